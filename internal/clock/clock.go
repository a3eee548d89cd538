package clock

import (
	"sync"
	"time"
)

// Clock tells the time and makes timers.
type Clock interface {
	// Now is the current time, with a monotonic reading.
	Now() time.Time
	// Elapsed is the time since some fixed moment. Unlike what timers and the
	// monotonic readings of Now measure, it passes while the machine is
	// suspended, too: leases are counted by it (R14). Nobody's setting of
	// the clock changes it, and it never goes back.
	Elapsed() time.Duration
	// NewTimer makes a timer that fires once, d from now; at once if d is
	// not positive.
	NewTimer(d time.Duration) Timer
	// After is NewTimer(d).C() for those who never stop it.
	After(d time.Duration) <-chan time.Time
}

// Timer is a time.Timer behind an interface. As with Go 1.23's timers, no
// stale tick is received after Stop or Reset has returned.
type Timer interface {
	// C delivers one time each time that the timer fires.
	C() <-chan time.Time
	// Stop keeps the timer from firing; it tells whether it was running.
	Stop() bool
	// Reset lets the timer fire once, d from now; it tells whether it was
	// running.
	Reset(d time.Duration) bool
}

// Real is the system's clock.
func Real() Clock { return realClock{} }

type realClock struct{}

// lived is the Elapsed of all real clocks.
var lived = sync.OnceValue(func() *elapsed { return newElapsed(machine{}) })

func (realClock) Now() time.Time                         { return time.Now() }
func (realClock) Elapsed() time.Duration                 { return lived().now() }
func (realClock) After(d time.Duration) <-chan time.Time { return time.After(d) }
func (realClock) NewTimer(d time.Duration) Timer         { return realTimer{time.NewTimer(d)} }

type realTimer struct{ t *time.Timer }

func (t realTimer) C() <-chan time.Time        { return t.t.C }
func (t realTimer) Stop() bool                 { return t.t.Stop() }
func (t realTimer) Reset(d time.Duration) bool { return t.t.Reset(d) }
