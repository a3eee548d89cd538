// Package integration tests the whole system: real processes, real clients.
//
// Its parts are packages of their own: cluster (processes), stamp (a checker
// of acknowledged writes), conformance (foreign NBD clients), vm (a real
// kernel), sim (the protocol under virtual time), bench (speed beside others).
// What needs several of them is tested here.
//
// Non-job: nothing of the product is in here.
//
// Invariants: servers listen on loopback; every process that a test starts
// ends with it.
//
// Goroutines: those of the tests.
package integration
