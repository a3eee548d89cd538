// Package metadata is the language of the metadata service and its client:
// nodes, volumes, protection groups, leases, members and the calls on them,
// in the types of package block.
//
// Non-job: it decides nothing. The rules live in metadata/state (what is
// agreed through Raft) and metadata/raftnode (what only the leader's memory
// knows: liveness, leases, health). Nothing of this package is on the path of
// a read or a write.
//
// Invariants: a kind of error that the service returns comes back from the
// Client as the same block.Kind. Every call may be repeated without harm:
// ids are made by the caller, and epochs quote what was seen.
//
// Goroutines: those of gRPC's connections, until Client.Close.
//
// Callers: the gateway (volume), the segment daemon, the admin commands, and
// metadata/raftnode on the other side of the wire.
package metadata
