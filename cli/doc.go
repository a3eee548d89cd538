// Package cli is the command line: it parses, wires the parts together, runs
// them and prints.
//
// Job: the commands of the one binary, their flags (from the command line,
// SEXTANT_ variables and a TOML file), the adapters between packages that do
// not know each other (nbd and volume, segmentd and metadata), output as
// tables and JSON.
//
// Non-job: decisions. Whatever a daemon decides is in its own package.
//
// Invariants: exit status 0 is done, 1 failed, 2 bad usage. A daemon prints
// one line "ready key=value ..." on standard output when it serves. The names
// of JSON fields are a contract.
//
// Goroutines: those of the daemons it starts; each command joins what it has
// started before it returns.
package cli
