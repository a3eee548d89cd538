// Package sim runs the protocol's state machines, the very code of the
// daemons, in a world of one goroutine, one seed and virtual time: a network
// that delays and breaks, disks that lose what was not synced, processes that
// crash and sleep. After each event it checks what must always hold.
//
// Job: find schedules in which acknowledged data is lost or a stale value is
// read, and print the seed that repeats them.
//
// Non-job: sockets, files, Raft: those are for real processes. The metadata
// service is a counter that never lies but may be slow.
//
// Invariants: nothing in here may depend on map order, wall time or
// goroutines: the same seed gives the same trace.
//
// Goroutines: none.
package sim
