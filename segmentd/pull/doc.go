// Package pull decides how one segment gets from its peers what it lacks: from
// whom, what next, and when it is complete (rules R20, R21, R22).
//
// Job: a state machine. Its shell tells it where the peers stand and what has
// come of what it asked for; it says what to ask for next.
//
//	          SCL of peers
//	Begin ─────────▶ Records ──upTo reached──▶ Done
//	                  │   ▲
//	     no log reaches   │ the chain goes on from the lowest cut
//	                  ▼   │
//	               Listing ─▶ Copying ─▶ Ending
//	  any ── no peer is left, or the shell says so ──▶ Failed
//
// Records are taken from one peer at a time, several pages ahead of the disk.
// A peer has surely all records above its floor (logstore keeps them); below it
// only as far back as its log was not cleaned. When no peer has what is next,
// when what came from two of them does not link, or when this segment is empty and
// a peer is not, the leaves that have changed are taken over, from up to MaxDonors
// peers side by side, and then the records since. Whatever came is on disk and
// counts when it is begun anew.
//
// Non-job: connections, the log, rates (segmentd); who may give to whom
// (segmentd/segment); what a half-way copy means (logstore).
//
// Invariants: nothing is asked of a peer that has failed, that has promised
// another epoch, or that lacks a part itself; at most Window pages or
// LeafWindow leaves of one peer are asked for and not on disk; the chain goes
// on (Hydrate) only when each leaf that was named is on disk, and from no
// higher LSN than the lowest cut at which one of them was read or the list
// was made; or from the floor, when nobody has settled more than
// that, or a leaf cannot be had.
//
// Goroutines: none; the caller serialises.
package pull
