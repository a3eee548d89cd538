// Package state is what the metadata service agrees on through Raft, as a
// pure state machine: State.Apply takes the next command of the log and
// gives its result; Snapshot and Restore carry the whole from one member, or
// one day, to another.
//
// Non-job: no clock, no randomness, no goroutine, no logger, no I/O but the
// io.Writer and io.Reader of snapshots. Ids, times and the choice of nodes
// come inside the command, made by the proposer. What only the leader's
// memory knows (liveness, leases, health) is not here.
//
// Invariants:
//   - The same commands give the same State everywhere, and a State always
//     gives the same snapshot, byte for byte.
//   - Apply never panics, whatever the bytes. A command that is refused
//     changes nothing but the applied index.
//   - A node id and a disk id belong together for ever; a node's boot number
//     never goes back (R28, trap T13).
//   - A volume's epoch goes up by one with each opening and never otherwise
//     (R4). Only the current epoch's owner places groups or closes.
//   - The segments of each quorum set are on distinct nodes, spread over zones
//     as Spread says when they are placed.
//   - A group's segments change through two quorum sets in force, one change
//     at a time, never while its volume is being recovered (R23, R25); see
//     change.go.
//
// Goroutines: none. A State is not safe for concurrent use; its owner,
// metadata/raftnode, guards it.
package state
