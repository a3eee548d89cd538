//go:build mutants

package mutant

import (
	"os"
	"slices"
)

// Enabled tells whether a rule can be broken in this build.
const Enabled = true

// Variable is the environment variable that names the mutant.
const Variable = "SEXTANT_MUTANT"

var chosen = choose(Mutant(os.Getenv(Variable)))

// choose refuses names that no mutant has: such a hunt would prove nothing.
func choose(m Mutant) Mutant {
	if m != "" && !slices.Contains(All(), m) {
		panic("mutant: no mutant is called " + string(m))
	}
	return m
}

// On tells whether m is to break its rule now.
func On(m Mutant) bool { return m == chosen }
