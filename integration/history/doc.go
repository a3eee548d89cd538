// Package history judges what the clients of a disk have seen: were there an
// order of all writes and reads of each block, in which each read shows the
// newest write before it, and no operation takes effect before it began or
// after it ended (linearizability of a register)?
//
// Each write of a block has a value of its own (see Value), so a read tells
// which write it has seen, and the question takes O(n log n) to answer
// (register.go). The answer is exact. Writes that were never acknowledged may
// take effect at any time after they began, or never: they stay maybe for
// ever. Windows of a block's history are also given to porcupine, a checker
// by others, as a second opinion, and it draws a picture of what is wrong
// (window.go).
//
// Parts: a Log takes the operations of one client (log.go). A Checker judges
// chapters: the operations from one quiet moment to the next, the end of which
// has read each block; it keeps for each block the value it then had and the
// writes that are still maybe (checker.go).
//
// Non-job: it makes no load, and does not read stamps; see integration/stamp
// and integration/torture. What is not whole blocks, and zeroing, is judged
// elsewhere.
//
// Invariants: a history without fault is never called wrong; a history with a
// fault always is. No part trusts the clock: begins and ends are numbers that
// one counter gave out.
//
// Goroutines: none. A Clock and a Log may be used from any goroutine, the rest
// by one at a time.
package history
