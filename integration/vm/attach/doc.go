// Package attach shows that a real kernel uses Sextant: it attaches volumes
// of a cluster of real processes, with the kernel's NBD driver and several
// connections, and puts file systems on them.
//
// Non-job: what is done in the guest (integration/vm), how daemons are
// started (integration/cluster).
//
// Invariants: each file system gets a fresh volume.
//
// Goroutines: those of the tests.
package attach
