// Package stamp checks that a disk keeps what it acknowledged. It writes
// blocks that say of themselves which block, which version and whose they
// are, keeps outside the server what was acknowledged and what was not, and
// reads everything back, before and after the server was killed.
//
// Non-job: speed (integration/bench), file systems (integration/vm), the
// corners of the NBD protocol (integration/conformance).
//
// Parts: a stamp is the content of one 4 KiB block (stamp.go). The History
// knows for each block which versions it may hold now, from when writes and
// reads began and ended: each block is a register, and must be linearizable
// (history.go). The Conn is an NBD client that shares no code with the
// server under test (client.go, uri.go). The Tester drives load over several
// connections and judges every read (tester.go).
//
// What a block may hold: the version of its last acknowledged write, or of
// any write that was in flight together with that one, or of any write that
// was not acknowledged. A write that began after another one was
// acknowledged supersedes it once it is acknowledged itself, or seen by a
// read. A version that a read has shown stays until it is superseded. A
// write whose connection broke may take effect at any time for as long as
// the server lives that it was sent to; after the death of that server
// (History.ServerDied) it has either happened or never will, and the first
// read or acknowledged write decides.
//
// Invariants: the History never calls a linearizable history wrong. It tells
// every violation in a history whose reads of a block do not overlap one
// another; with overlapping reads it may tell it one read later. All its
// knowledge lives in the test's process: nothing is derived from what the
// server says of itself.
//
// Goroutines: each Conn has one that reads replies, from Dial until the
// connection ends. Tester.Run and Tester.Verify start one for each operation
// in flight and join them before they return.
package stamp
