// Package invariant holds assertions: statements that are true unless the
// program itself is wrong. What a disk, a peer or a client can cause is an
// error, not an invariant.
//
// Violated always panics: it stands where going on would damage data. That
// checks only in builds with the race detector or the tag "invariants", so
// that it may be costly; guard costly arguments with Enabled.
//
// Non-job: it reports nothing and recovers nothing.
//
// Goroutines: none.
package invariant
