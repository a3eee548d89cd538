package logstore

import (
	"time"

	"github.com/sextantdisk/sextant/internal/clock"
)

// bell wakes a goroutine that has its work noted elsewhere: however often it
// is rung before the goroutine looks, that is once. A nil bell never rings.
type bell chan struct{}

func newBell() bell { return make(bell, 1) }

// ring never waits.
func (b bell) ring() {
	select {
	case b <- struct{}{}:
	default:
	}
}

// serve does work each time when the bell has rung, until it is time to stop.
func (b bell) serve(stop <-chan struct{}, work func()) {
	for {
		select {
		case <-b:
		case <-stop:
			return
		}
		work()
	}
}

// wait pauses until the bell rings, no longer than d; false when it is time to
// stop.
func (b bell) wait(c clock.Clock, d time.Duration, stop <-chan struct{}) bool {
	t := c.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C():
	case <-b:
	case <-stop:
		return false
	}
	return true
}

// pause waits; false when it is time to stop.
func pause(c clock.Clock, d time.Duration, stop <-chan struct{}) bool {
	return bell(nil).wait(c, d, stop)
}

// stopped tells whether it is time to stop.
func stopped(stop <-chan struct{}) bool {
	select {
	case <-stop:
		return true
	default:
		return false
	}
}
