// Package faultfs wraps a file system so that chosen operations fail: with an
// error (EIO, ENOSPC), after a short write, with flipped bits in what is read
// or written, at the wrong place, not at all though they say so, or late.
//
// What fails is said by rules, looked at in order: the first one whose
// operation and file match, and that has not acted as often as it may, acts.
// Rules may be added and removed while the file system is in use.
//
// Non-job: losing power (memfs does) and deciding at random; a test that
// wants chance draws it itself, from its seed.
//
// Invariants: without a rule that matches, every call goes through unchanged.
//
// Goroutines: none. All methods may be called from any goroutine. A stalled
// call blocks the goroutine that made it, without a lock held.
package faultfs
