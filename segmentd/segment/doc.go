// Package segment is the protocol of one segment as a pure state machine: to
// whom it listens, what it has promised, what it answers.
//
// A Core sees every message for its segment in the order in which its effects
// go to the log, and says what is to be done: refuse it with a reason, or log
// a promise, a configuration and the message's records, in that order, and
// answer when they are durable. Package segmentd carries it out on a
// logstore; the simulator on a disk of its own.
//
// Non-job: which records are complete is known by package logstore/chain;
// this package only asks for the result. No I/O, no clock, no goroutine, no
// lock.
//
// Invariants: the promised volume epoch and the membership epoch never go
// back (R2, I2). A message of a lower epoch changes nothing (I5). A promise
// is in the log before anything of its epoch is answered (R2). A damaged
// segment says so until it is known to be complete again (trap T14).
//
// Goroutines: none. Callers serialise calls for one segment.
package segment
