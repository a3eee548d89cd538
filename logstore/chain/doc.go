// Package chain decides which records of one segment are complete, which are
// annulled and which still wait, from nothing but their LSNs and the LSN that
// each one follows.
//
// The records above a floor form trees: each names its predecessor, and a
// writer that takes over may begin a new branch below records that its
// predecessor left (EPOCH_OPEN). A record is complete when its predecessors
// down to the floor are all present. The highest complete record is the SCL;
// the path from the floor to it is the chain, and the only thing that reads
// may see (rule R16). Complete records off the path are annulled, but kept: a
// higher epoch may adopt their branch (protocol §2.5 note c). Records with a
// predecessor missing are pending (rules R8, R20).
//
//	floor ── 1.2 ── 1.3 ── 3.1 ── 3.2 = SCL      path
//	            └── 2.1                          annulled (a writer that failed)
//	                          ?── 3.4 ── 3.5     pending: 3.3 is missing
//
// Walking forward from the floor and taking the highest child would be wrong:
// above it would end in 2.1 (§2.5 note b). Here a record is first found
// complete, and the highest of those is taken.
//
// Non-job: it holds no payload, knows no block and no place in the log; a
// value of the caller's type travels with each record.
//
// Invariants: the path's LSNs ascend, each one's Prev is the one before it,
// the first one's Prev is the floor. SCL never goes back: a branch is adopted
// only for a higher LSN. The floor never goes back and lies on the path.
//
// Goroutines: none; the caller serialises.
package chain
