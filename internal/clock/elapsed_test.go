package clock

import (
	"sync"
	"testing"
	"time"
)

// hands are clocks that a test moves.
type hands struct {
	wall      int64
	mono, lay time.Duration
	looks     int
	// asleep happens between a look's readings, once.
	asleep func()
}

func (h *hands) both() (int64, time.Duration) { return h.wall, h.mono }

func (h *hands) boot() time.Duration {
	h.looks++
	boot := h.mono + h.lay
	if f := h.asleep; f != nil {
		h.asleep = nil
		f()
		boot = h.mono + h.lay // the sleep came just before the reading
	}
	return boot
}

func (h *hands) run(d time.Duration) { h.mono += d; h.wall += int64(d) }

// sleep is what the kernel does when a machine wakes up.
func (h *hands) sleep(d time.Duration) { h.lay += d; h.wall += int64(d) }

func TestElapsedCountsSleepOnly(t *testing.T) {
	h := &hands{wall: 1e18, mono: time.Minute, lay: time.Hour}
	e := newElapsed(h)
	last, looks := e.now(), h.looks
	want := func(what string, d time.Duration, looked bool) {
		t.Helper()
		now := e.now()
		if now-last != d || (h.looks > looks) != looked {
			t.Fatalf("%s: %v passed, not %v; the boot clock was read: %v", what, now-last, d, h.looks > looks)
		}
		last, looks = now, h.looks
	}
	want("nothing", 0, false)
	h.run(time.Second)
	want("a second", time.Second, false)
	h.sleep(3 * time.Second)
	want("a sleep", 3*time.Second, true)
	h.run(time.Second)
	want("after it", time.Second, false)
	h.wall -= int64(time.Hour)
	want("the wall clock set back", 0, true)
	h.wall += int64(2 * time.Hour)
	want("the wall clock set forward", 0, true)
	h.wall -= int64(time.Hour)
	h.sleep(time.Hour + time.Second)
	h.run(time.Second)
	want("both at once", time.Hour+2*time.Second, true)
	h.asleep = func() { h.sleep(time.Minute) }
	h.wall += int64(time.Second) // makes it look; it sleeps while it does
	want("a sleep amid a look", time.Minute, true)
	h.lay -= time.Minute
	h.wall++
	h.wall += int64(time.Second)
	want("a boot clock that goes back", 0, true)
}

func TestFakeSuspendFiresNothing(t *testing.T) {
	f := NewFake(time.Time{})
	timer, was := f.NewTimer(time.Second), f.Now()
	f.Suspend(time.Hour)
	select {
	case <-timer.C():
		t.Fatal("a timer fired in a machine that sleeps")
	default:
	}
	if f.Elapsed() != time.Hour || !f.Now().Equal(was) {
		t.Fatalf("%v passed, and it is %v", f.Elapsed(), f.Now())
	}
	f.Advance(2 * time.Second)
	if <-timer.C(); f.Elapsed() != time.Hour+2*time.Second {
		t.Fatalf("%v passed", f.Elapsed())
	}
}

// Elapsed of the real clock goes with the monotonic clock, in many goroutines.
func TestRealElapsed(t *testing.T) {
	c := Real()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			last := c.Elapsed()
			for range 10000 {
				now := c.Elapsed()
				if now < last {
					t.Errorf("went back by %v", last-now)
				}
				last = now
			}
		})
	}
	wg.Wait()
	began, at := time.Now(), c.Elapsed()
	<-c.After(5 * time.Millisecond)
	// At least what the timer took, and no more than a test may last.
	if d := c.Elapsed() - at; d < 5*time.Millisecond || d > time.Since(began)+time.Minute {
		t.Fatalf("%v passed in %v", d, time.Since(began))
	}
}

func BenchmarkElapsed(b *testing.B) {
	c := Real()
	for b.Loop() {
		c.Elapsed()
	}
}

func BenchmarkNow(b *testing.B) {
	c := Real()
	for b.Loop() {
		c.Now()
	}
}
