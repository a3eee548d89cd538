// Package mutant breaks rules on purpose, to prove that the tests notice: a
// suite that stays green while a rule is broken proves nothing about it.
//
// Job: On tells, at the place where a rule is kept, whether to break it. In
// every build but those with the tag "mutants" it is a constant false, and the
// compiler takes the broken branch out. With the tag, the environment variable
// SEXTANT_MUTANT names the one rule that is broken.
//
// The command in hunt (make mutants) builds the tests with the tag and runs
// them once with each rule broken: a mutant that survives is a finding.
//
// Non-job: it knows nothing of what the rules are about.
//
// Invariants: at most one mutant lives at a time; production code holds none.
//
// Goroutines: none.
package mutant
