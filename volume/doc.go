// Package volume is a virtual disk: reads, writes, trims and zeroes as quorum
// operations on protection groups, over connections to segment daemons.
//
//	Handle (one for each client connection)
//	  └─ Volume: geometry, epoch, lease, LSNs, what is pending
//	       └─ group: one protection group; its pg.Machine under one lock
//	            └─ link (shared by all volumes of a Pool): one segment daemon
//
// The decisions are those of pg.Machine and packages quorum and rmw; this package
// carries them out. A write goes from the caller's goroutine into six
// connections without a hand-off: Write gives it an LSN, Kick sends what was
// collected. Acks are taken off all links by one goroutine (one for each four
// processors), and completed there.
//
// Non-job: it knows neither NBD nor log files, and keeps nothing on disk.
//
// Invariants: a Waiter is told exactly once. Bytes go back to a caller only
// after their checksums were verified (B3) and while the read lease holds
// (R14). What is pending is bounded (R10): who writes more, waits. When a
// higher epoch is seen the volume ends: nothing is acknowledged, nothing
// fails, all waiters are told Fenced (R3, trap T32).
//
// Locks, in the order of acquisition: Manager.mu, group.mu, readOp.mu, then
// one of Volume.mu, link.mu, readSide.mu, ticker.mu, Pool.mu, ackTaker.mu. No lock is held across I/O or while a Waiter is told.
//
// Goroutines: for a Pool, one to keep up each of a link's two connections, which
// reads the one for reads, one for each four processors that takes acks
// (ackTaker), one for hedging; for a Volume, one for time, one for the
// lease, one that opens groups. Close joins them.
package volume
