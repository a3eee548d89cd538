// Package segmentd is the segment daemon: it serves the segments of one disk
// to gateways and to its peers over the wire protocol.
//
//	connection goroutine: read frames ─▶ admit (segment.Core) ─▶ enqueue in the log
//	                      ─▶ nothing more at hand? wait for the disk ─▶ one ack a segment
//
// A connection's goroutine does the whole way by itself: while it waits for
// the disk, what arrives piles up in the socket and becomes the next batch.
// The first waiter writes and flushes for all (package logstore), so a lone
// connection costs no hand-off between goroutines at all. Only long rounds are
// waited for by a second goroutine, while the first takes in the next one.
//
// Non-job: what is complete, what is durable (logstore); what is promised and
// refused (segmentd/segment); placement and membership (metadata).
//
// Invariants: an Ack is sent only for what fdatasync has covered (R6, I9).
// Admission and the place in the log are fixed under one lock a segment, so
// that a promise comes after all that was admitted before it and before all
// that is admitted after (trap T4). A data folder is used under one identity
// only, by one process at a time, and never in an older state than before;
// nor does a segment that was dropped come back empty (R28).
//
// A disk that fails ends the log and this daemon's service, not the daemon: it
// refuses, and tells everybody why (S3, failure.go). One that is full says so
// in acks before it must refuse (space.go). What is damaged is found by the
// scrubber or by reads, and mended from peers (S1, S2: scrubber.go, heal.go).
//
// Goroutines: one to accept, one for each connection, one for heartbeats, one
// that looks after disk and connections (watch), one that scrubs and mends, one
// that gossips, one for each segment that is pulled up (bounded; it joins its own: see puller),
// one for each connection with long rounds,
// one for each read that waits for
// the disk while others are at hand (bounded by their bytes), one for each
// segment that is being made (bounded, birth.go). Close ends
// and joins all.
package segmentd
