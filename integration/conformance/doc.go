// Package conformance drives an NBD server with foreign clients, to show that
// it keeps the rules of the NBD spec where they have been broken by others.
//
//   - suite.py: the cases, in Python, with libnbd in its least strict mode
//     and, for what libnbd cannot send, with bytes on a socket. Run runs it.
//   - Tools: nbdinfo, nbdcopy, qemu-img and qemu-io, as people use them.
//
// Run and Tools take the address of any server, so the same cases go against
// the memory disk of nbdtest and against a gateway with a cluster behind it.
//
// Non-job: rules that need a hand on the server's inside (held requests,
// failing devices, bounds) are proven by the tests of package nbd.
//
// Invariants: the export's contents are destroyed; nothing is skipped: a
// missing tool is a failure that names the Debian package.
//
// Goroutines: none.
package conformance
