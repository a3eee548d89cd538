// Package pg is the writer's side of one protection group as a pure state
// machine: opening and recovery, issuing records, counting acknowledgements,
// who gets what sent, who lags and catches up, until when reads may be
// served.
//
// A Machine is stepped with inputs (a connection came up, a segment
// acknowledged, a write wants to be issued, time passed) and gives back
// effects: messages to send, writes to answer, records whose memory is free.
// The goroutine shell in package volume carries them out; the simulator
// carries them out in a world of its own. There is one code for both.
//
// Non-job: no I/O, no clock (time comes in with each step), no goroutine, no
// lock, no log, no memory of payloads beyond references.
//
// Invariants (rule numbers of docs/PROTOCOL.md):
//   - LSNs are given out in order, each record naming the one before it (R5).
//   - committed (PGCL) never goes back (R7, I2); a write is answered only
//     when its LSN is at or below it, and not while a former writer's read
//     lease may last (R14).
//   - Nothing is served before EPOCH_OPEN is on a write quorum (§2.5).
//   - A machine that has seen a higher epoch is dead for good (R3).
//   - While the membership changes both sets count (R25); the new one alone is
//     offered only with the proof of R26 (change.go).
//   - What is not committed stays in the ring; what is committed stays as
//     long as somebody lacks it, up to the ring's limit (R5).
//
// Goroutines: none. Callers serialise steps.
package pg
