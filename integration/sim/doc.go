// Package sim runs the protocol's state machines, the very code of the
// daemons, in a world of one goroutine, one seed and virtual time: a network
// that delays, breaks and holds back, disks that lose what was not synced, fill
// up, fail and rot, processes that crash, sleep and come back, clocks that
// drift, a metadata service that is slow or away. After each event it checks
// what must always hold, and at the end, when everything is healed, that all
// copies are equal and all that was asked for was done.
//
//	World ── gateway (pg.Machine, quorum, rmw for each group) ── conn ── node
//	   │        └─ metadata (metadata/state)       replica (segment.Core, chain, ──┤
//	   │                                             hydration, pull.Machine)     disk
//	   └─ oracle: what was committed, what clients were told
//
// Job: find schedules in which acknowledged data is lost, a stale value is
// read, copies differ, or nothing goes on, and print the seed that repeats them
// with the last things that happened to that group.
//
// Non-job: sockets, files, sums, Raft: those are for real processes. What TCP gives
// is given here: what is sent over one connection comes in order or, when the
// connection breaks, not at all; what was under way may come late, beside what
// the next connection brings.
//
// Invariants: nothing in here may depend on map order, wall time or
// goroutines: the same seed gives the same trace. Each run draws its own mix
// of faults and its own limits (swarm): Draw.
//
// Goroutines: none; runs share nothing, so that tests may have one on each
// processor.
package sim
