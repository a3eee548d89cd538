//go:build race || invariants

package invariant

// Enabled tells whether That checks.
const Enabled = true
