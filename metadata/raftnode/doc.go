// Package raftnode runs a member of the metadata service: metadata/state on
// hashicorp/raft, the leader's memory (liveness, leases, health), and the
// gRPC API over both.
//
// Non-job: the rules of what is agreed are metadata/state's, the choice of
// nodes is metadata/placement's. Nothing here is on the path of a read or a
// write of a volume.
//
// Invariants:
//   - What changes agreed state goes through Raft's Apply, with what the
//     proposer saw quoted in the command; a decision is never taken on a
//     leader's local read alone (R4, trap T28). Reads that others act upon
//     are preceded by a check that this member still leads (following).
//   - A member serves as leader only after a barrier of its own term, and
//     its memory begins empty with each term of leading.
//   - A member that meets a log entry it cannot apply stops.
//   - A data folder serves one member of one cluster, one process at a time.
//
// Goroutines, all joined by Node.Close: those of Raft and its transport; one
// that accepts and one for each handshake on the Raft port; gRPC's; one that
// follows leadership, one for each term of leading that prepares it; one
// that tells the leader this member's addresses; one for each proposal whose
// caller may give up first; while somebody asks whether this member leads, one
// for each other voter.
//
// Locks, none held over I/O: fsm.mu before soft.mu.
package raftnode
