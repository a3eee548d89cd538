// Package quorum is the arithmetic of a protection group: from what its
// segments have acknowledged, what is committed; from who has answered, what
// is fenced, what may be recovered, until when a writer may read.
//
// Non-job: it remembers nothing and decides no action; package volume/pg
// does, with these functions.
//
// Invariants: all functions are pure and depend on their arguments only. A
// set of a configuration never has a write quorum that two disjoint groups
// of segments could form, nor one that misses a read quorum (Check); each set
// has quorums of its own.
//
// Goroutines: none.
package quorum
