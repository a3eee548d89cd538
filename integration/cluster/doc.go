// Package cluster runs Sextant's daemons as real processes on loopback, the
// way a user starts them: by their command lines, each with a data folder of
// its own. Tests kill, pause and restart them; the benchmark measures them.
//
// Non-job: it makes no promise about what the daemons do, speaks none of
// their protocols and links none of their code. What it relies on is the
// contract of the command line: a daemon that is given port 0 takes a free
// port, and prints one line on its standard output when it serves:
//
//	ready listen=127.0.0.1:40123 http=127.0.0.1:40124
//
// that is the word ready and then key=value pairs. Other lines, before and
// after, are kept in its log.
//
// Invariants: a daemon that is started again listens where it did before. No
// daemon outlives the process that started it: each gets SIGKILL from the
// kernel if that dies. Only processes started here are ever signalled, by
// their pid, and never after they have been waited for. A daemon that ends
// without being asked to fails the test that started it, as does a panic or a
// data race in its log.
//
// Goroutines: one for each running daemon, locked to its thread from fork to
// wait, because the kernel's parent-death signal is sent when the thread that
// forked ends; and one that copies the daemon's standard output to its log.
// Both end with the daemon. The methods of Daemon and Cluster may be called
// from any goroutine.
package cluster
