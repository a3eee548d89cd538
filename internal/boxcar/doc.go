// Package boxcar sends messages over a connection: many in one system call,
// in order, without a slow peer ever holding up the sender.
//
// A message that finds the connection idle is written at once, by the
// goroutine that has it, with one non-blocking writev: no hand-off, no
// wake-up. Messages that come while somebody writes wait in a queue, and who
// writes takes them along when it comes back (a boxcar of the SIGMOD 2017
// paper on Aurora, without its timer). What the socket does not take at once
// is left to one background goroutine, which may wait for the peer.
//
//	Queue ──► pending ──swap──► out ──try──► socket     (whoever calls Flush)
//	                             └──EAGAIN, partial──► background goroutine
//
// The simpler design that lost is a writer goroutine for each connection and
// a channel to it: each lone reply then costs a wake-up, which on a loaded
// machine takes longer than the write itself.
//
// Non-job: it knows no message formats, does not limit what is queued (the
// owner looks at QueuedBytes and stops producing), and never retries.
//
// Invariants:
//   - Messages go out whole and in the order in which Queue was called; no
//     byte of one lies between the bytes of another.
//   - At most one goroutine writes at a time: the one that set mu.writing.
//     It alone touches out. The right to write passes from a flusher to the
//     background goroutine by a send on wake, and never back.
//   - The owner of each body is released exactly once: when its last byte is
//     with the kernel, or when the connection failed or was closed.
//   - Queue and Flush never wait for the peer.
//
// Goroutines: one for each Writer, from New to Close, asleep unless a write
// could not be done at once. Queue, Flush, Drain and Close may be called
// from any goroutine. Release and Config.OnError are called by whoever
// writes, with no lock of the Writer held; they must not wait and must not
// call Drain or Close.
package boxcar
