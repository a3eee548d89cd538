package invariant

import "fmt"

// Violated panics: the program is wrong, and going on could damage data.
func Violated(format string, args ...any) {
	panic("invariant violated: " + fmt.Sprintf(format, args...))
}

// That panics when ok is false, in builds where Enabled is true; what says
// what should have been.
func That(ok bool, what string) {
	if Enabled && !ok {
		panic("invariant violated: " + what)
	}
}
