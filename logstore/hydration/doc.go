// Package hydration decides what becomes of a segment that takes leaves over
// from peers, because no peer's log has the records any more that it lacks
// (rules R21, R22): from when on it cannot be read, which leaves count, from
// where its chain goes on, and what it may give to others meanwhile.
//
// The log of a segment has three sorts of records about it; State takes them in,
// in the order of the log, when they are durable and when a log is replayed:
//
//	Begin   the floor stands still from where this was made on
//	Copy    a run of a leaf as of a peer's floor, its cut; it replaces what
//	        the base had
//	End     the chain goes on from the lowest cut
//
// Each leaf comes as of a cut of its own. All cuts are floors, so committed
// (R13): what the base has is never annulled. When every leaf that changed
// since is in, the segment has all records up to the lowest cut, C, on each
// block, and on some blocks more, up to the highest cut, D. So the chain goes on
// from C, at once; reads wait until it has come to D, where all blocks are as
// of one LSN again: what comes between is made once more, with the same
// outcome (rule R19). Before, the SCL stays where it was, and nothing is read:
// some blocks are newer than the SCL.
//
// What is told of a leaf, up to where it has all versions, may go down: when it is
// copied once more from a peer that has settled less, and when the chain, on its
// way from C to D, makes blocks older again that were newer (logstore's index sees to
// that). Else the next hydration would leave it out.
//
// A Copy that was lost to damage must not be missed: a leaf counts only when
// its runs have come in their order, and End tells how many Copies there
// were, and of which round: each that begins anew has a number. A round leaves out what
// the one before has copied; so it follows only when that one has ended. If any of
// that is not so, all begins anew.
//
// Job: a state machine over those records.
//
// Non-job: the bytes of leaves and where they lie (logstore); from whom they
// come and when all are there (segmentd/pull); the chain (logstore/chain).
//
// Invariants: the floor does not move while Still; a leaf is told Whole only when
// all of its runs have come, in their order, and none of the copies so far is
// lost, and Mixed from its next run on; the chain jumps only to a cut that is not
// below its floor.
//
// Goroutines: none; the caller serialises.
package hydration
