// Package integration tests the whole system: real processes, real clients.
//
// Its parts are packages of their own: cluster (processes), netns (a network
// between them that can fail), stamp (a checker of acknowledged writes), history
// (a checker of all that clients have seen), torture (random faults),
// conformance (foreign NBD clients), vm (a real kernel), sim (the protocol under
// virtual time), bench (speed beside others). What needs several of them is
// tested here.
//
// Non-job: nothing of the product is in here.
//
// Invariants: servers listen on loopback; every process that a test starts
// ends with it.
//
// Goroutines: those of the tests.
package integration
