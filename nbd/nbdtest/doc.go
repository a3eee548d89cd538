// Package nbdtest has a memory disk that serves as an nbd.Backend, and a
// server around it on loopback: for tests of package nbd, of its users and of
// foreign clients.
//
// Non-job: it is no product. It keeps everything in memory, has one copy, and
// its flush does nothing.
//
// Invariants: each request is completed exactly once, by Submit itself unless
// a hook has taken it. Ranges never written read as zeroes and are holes.
//
// Goroutines: none of its own but the server's.
package nbdtest
