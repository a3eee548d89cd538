package clock

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Fake is a clock that stands still until Advance moves it.
type Fake struct {
	mu struct {
		sync.Mutex
		now     time.Time
		elapsed time.Duration // what Advance and Suspend have added
		running []*fakeTimer  // sorted by deadline, ties in order of start
		changed chan struct{} // closed and replaced when running changes
	}
}

// NewFake makes a clock that shows start; the zero time stands for some day
// in 2026.
func NewFake(start time.Time) *Fake {
	if start.IsZero() {
		start = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	}
	f := &Fake{}
	f.mu.now = start
	f.mu.changed = make(chan struct{})
	return f
}

// Now is where the last Advance left the hand.
func (f *Fake) Now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.now
}

// Elapsed is the sum of all that Advance and Suspend have added.
func (f *Fake) Elapsed() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.elapsed
}

// Suspend lets time pass as it does for a machine that is suspended: Elapsed
// tells of it, Now and the timers do not.
func (f *Fake) Suspend(d time.Duration) {
	if d < 0 {
		panic("clock: a clock never goes back")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.elapsed += d
}

// NewTimer makes a timer that fires in the Advance that reaches its deadline.
func (f *Fake) NewTimer(d time.Duration) Timer {
	t := &fakeTimer{clock: f, c: make(chan time.Time, 1)}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.startLocked(t, d)
	return t
}

// After is NewTimer(d).C().
func (f *Fake) After(d time.Duration) <-chan time.Time { return f.NewTimer(d).C() }

// Advance moves the clock by d, which must not be negative, and fires what
// is due on the way.
func (f *Fake) Advance(d time.Duration) {
	if d < 0 {
		panic("clock: a clock never goes back")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	end := f.mu.now.Add(d)
	for len(f.mu.running) > 0 && !f.mu.running[0].due.After(end) {
		t := f.mu.running[0]
		f.mu.elapsed += t.due.Sub(f.mu.now)
		f.mu.now = t.due
		f.stopLocked(t)
		t.c <- t.due // has room: a timer is drained when it is started
	}
	f.mu.elapsed += end.Sub(f.mu.now)
	f.mu.now = end
}

// Running is the number of timers that wait to fire.
func (f *Fake) Running() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.mu.running)
}

// AwaitRunning waits until at least n timers wait to fire: a test calls it
// before Advance, so that the goroutine under test has armed its timer.
func (f *Fake) AwaitRunning(ctx context.Context, n int) error {
	for {
		f.mu.Lock()
		enough, changed := len(f.mu.running) >= n, f.mu.changed
		f.mu.Unlock()
		if enough {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *Fake) startLocked(t *fakeTimer, d time.Duration) {
	select {
	case <-t.c: // a tick that nobody took is stale now
	default:
	}
	if d <= 0 {
		t.c <- f.mu.now
		return
	}
	t.due = f.mu.now.Add(d)
	at, _ := slices.BinarySearchFunc(f.mu.running, t, func(r, t *fakeTimer) int {
		if r.due.After(t.due) {
			return 1
		}
		return -1
	})
	f.mu.running = slices.Insert(f.mu.running, at, t)
	f.tellLocked()
}

func (f *Fake) stopLocked(t *fakeTimer) bool {
	at := slices.Index(f.mu.running, t)
	if at < 0 {
		return false
	}
	f.mu.running = slices.Delete(f.mu.running, at, at+1)
	f.tellLocked()
	return true
}

func (f *Fake) tellLocked() {
	close(f.mu.changed)
	f.mu.changed = make(chan struct{})
}

type fakeTimer struct {
	clock *Fake
	c     chan time.Time
	due   time.Time // guarded by clock.mu
}

func (t *fakeTimer) C() <-chan time.Time { return t.c }

func (t *fakeTimer) Stop() bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	running := t.clock.stopLocked(t)
	select {
	case <-t.c:
	default:
	}
	return running
}

func (t *fakeTimer) Reset(d time.Duration) bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	running := t.clock.stopLocked(t)
	t.clock.startLocked(t, d)
	return running
}
