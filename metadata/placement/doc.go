// Package placement chooses the nodes of a new protection group.
//
// Non-job: it knows no Raft and places nothing: the choice goes into a
// command, and metadata/state checks it again. Moving what is placed is not
// its job either.
//
// Invariants: a choice has as many nodes as copies, all distinct, up, active
// and below FullPercent, spread over zones as state.Spread says; among all
// such choices its nodes are the least loaded. The same nodes give the same
// choice, in whatever order they come.
//
// Goroutines: none; Choose is a pure function.
package placement
