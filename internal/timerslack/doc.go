// Package timerslack lets the kernel be late with the timer of the Go runtime's
// monitor, so that its ticking does not take the processor away from the
// daemons.
//
// While any goroutine runs or is in a system call, the runtime's monitor
// thread sleeps 20 µs at a time and looks around. The kernel's default slack
// of 50 µs makes that 70 µs: on a small write, which spends most of its time
// in a flush, each daemon is woken three to five times for nothing. Eight
// daemons on two processors lose half of them to it. With a slack of 1 ms the
// monitor comes by a thousand times a second at most, which still is ten times
// more often than it needs (it preempts goroutines after 10 ms). See
// docs/adr/0012.
//
// Only the monitor is meant. Threads that run goroutines sleep, too, now and
// then, for the 3 µs after which they take work from another one: with a wide
// slack the work waits for milliseconds.
//
// The slack belongs to a thread and is given to the threads that it makes. The
// monitor is made before any code of ours runs, so the process starts itself
// anew: what a thread has set survives execve (prctl(2), PR_SET_TIMERSLACK).
// The process id, the open files and the environment stay. Then all other threads
// get back what they had; a process may do that for its threads from inside
// only, so goroutines are put on all of them at once.
//
// Non-job: deciding which commands want this (main).
//
// Invariants: a process starts itself anew at most once; where the kernel
// refuses, it goes on as it is. No goroutines that last.
package timerslack
