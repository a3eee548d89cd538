// Package rmw decides in which order changes of parts of blocks take effect
// among all others (rule B1, trap T23). A change of whole blocks is a record; a
// change of a part of one, an edit, needs what is there: its gateway reads the
// block, modifies the image, and writes it. In between nothing may change that
// block, and the image must be the newest that was issued, not the newest that
// was acknowledged: else a write in flight is taken back.
//
// The life of an edit:
//
//	Start ── all that was issued before it is committed ──▶ Ready: it is read
//	      ── its record is issued ──▶ Done
//
// Whoever overlaps an edit and comes later waits in the queue until that is
// issued; then the order of LSNs takes over. Who overlaps somebody in the queue
// waits behind him, so that the changes of a block keep their order.
//
// Job: the edits of one protection group that are under way, and what waits for
// them.
//
// Non-job: reading, bytes, clients (volume); what is issued and committed
// (volume/pg).
//
// Invariants: no two edits that are under way touch the same block; nobody
// overtakes whom he overlaps; an edit is read once, at a point that covers all
// that was issued when it began.
//
// Goroutines: none; the caller serialises.
package rmw
