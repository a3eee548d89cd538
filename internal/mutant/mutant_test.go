package mutant_test

import (
	"testing"

	"github.com/sextantdisk/sextant/internal/mutant"
)

func TestProductionHasNoMutants(t *testing.T) {
	seen := map[mutant.Mutant]bool{}
	for _, m := range mutant.All() {
		if seen[m] || m == "" {
			t.Errorf("two mutants are called %q, or one has no name", m)
		}
		seen[m] = true
		if !mutant.Enabled && mutant.On(m) {
			t.Errorf("%s is on in a build without mutants", m)
		}
	}
}
