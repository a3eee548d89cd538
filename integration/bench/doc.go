// Package bench measures Sextant beside another NBD server, in turn in one
// run on one machine: absolute figures drift between runs and machines, the
// ratios of one run hold.
//
// Non-job: profiles (the daemons have their own), correctness (every other
// package of integration).
//
// The load is fio's, through its nbd engine, over one TCP connection of
// loopback. The peer is nbdkit's file plugin on a file that was written
// once before: one copy in the page cache. Its writes are not durable, but
// those of the job that flushes after each, so a job says which one of the
// peer's it is compared with. Sextant is a metadata service, six segment
// daemons and a gateway as separate processes; its writes are always
// durable on four of six copies, all of them on the one disk here.
//
// Invariants: both sides serve a volume of the same size that has been
// written from end to end before the first job; each job runs on both sides
// in turn, for several rounds, and the side that goes first alternates; a
// side's figure is that of its median round; nothing is reported if any
// operation failed. Jobs that only read run twice more in the end: with nothing
// of either side's files in the page cache, and over a small part that was read
// before.
//
// Goroutines: none of its own. The command is in bench/cmd.
package bench
