// Package clock is time as an interface, so that leases, liveness and timers
// can be tested by moving a hand instead of by sleeping.
//
// Leases are counted by Elapsed, which goes on while the machine is suspended;
// timers, and the monotonic readings that Real's times carry, stand still then
// (Linux's CLOCK_BOOTTIME and CLOCK_MONOTONIC). Which faults of clocks the
// system survives is told in docs/DURABILITY.md.
//
// Non-job: it does not make wall-clock time trustworthy. All comparisons of
// times are to be made with time.Time.Sub or Before, which use the monotonic
// reading: a step of the system's clock moves no deadline.
//
// Invariants: a clock never goes back. A Fake moves only in Advance and Suspend;
// all timers that are due at the new time have fired when Advance returns, in
// the order of their deadlines. Suspend fires none.
//
// Goroutines: none of its own. All methods may be called from any goroutine.
package clock
