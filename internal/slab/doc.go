// Package slab lends out page-aligned, reference-counted byte buffers.
//
// The data path copies a payload once, from the client's socket into a slab;
// the NBD server, the six connections to segments, the resend ring and the
// log share it from there by counting references. Alignment to 4 KiB lets a
// segment hand a received payload to an O_DIRECT write as it is, and memory in
// huge pages lets the kernel do so in few pieces: 1 MiB writes with six copies
// on one disk went from 141 to 195 a second.
//
// Non-job: it does not bound how much is lent; whoever asks has a bound of
// its own (in-flight bytes of a connection, of a ring, of a queue).
//
// Invariants: a buffer's memory is handed out again only when its last
// reference is released; a released buffer's contents may be overwritten at
// any moment. Releasing once too often panics. Contents of a fresh buffer
// are undefined (not zeroed).
//
// Goroutines: none. All functions may be called from any goroutine.
package slab
