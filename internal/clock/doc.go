// Package clock is time as an interface, so that leases, liveness and timers
// can be tested by moving a hand instead of by sleeping.
//
// Non-job: it does not make wall-clock time trustworthy. All comparisons are
// to be made with time.Time.Sub or Before, which use the monotonic reading
// that Real's times carry: a step of the system's clock moves no lease.
//
// Invariants: a clock never goes back. A Fake moves only in Advance; all
// timers that are due at the new time have fired when Advance returns, in
// the order of their deadlines.
//
// Goroutines: none of its own. All methods may be called from any goroutine.
package clock
