// Package placement chooses the nodes of a new protection group.
//
// Non-job: it knows no Raft and places nothing: the choice goes into a
// command, and metadata/state checks it again. Moving what is placed is not
// its job either.
//
// Invariants: a choice has as many nodes as copies, all distinct, active and
// below FullPercent, spread over zones as state.Spread says. No more than
// MaxSilent of them are silent, and among all such choices this one has the
// fewest silent nodes, then the least load (docs/adr/0011). The same nodes
// give the same choice, in whatever order they come.
//
// Goroutines: none; Choose is a pure function.
package placement
