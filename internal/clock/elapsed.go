package clock

import (
	"sync"
	"sync/atomic"
	"time"
)

// sources are the machine's clocks as elapsed reads them.
type sources interface {
	// both reads CLOCK_REALTIME, in nanoseconds, and CLOCK_MONOTONIC, since
	// a fixed moment, in one go. It costs no system call.
	both() (wall int64, mono time.Duration)
	// boot reads CLOCK_BOOTTIME, since a fixed moment. It is a system call.
	boot() time.Duration
}

// elapsed measures time that passes while the machine is suspended, too, at
// the price of a clock that does not: some 50 ns instead of a system call for
// each request of a client.
//
// CLOCK_MONOTONIC stands still while the machine is suspended. When it goes on
// the kernel adds the time slept to CLOCK_BOOTTIME and CLOCK_REALTIME, both by
// the same amount at the same moment. So as long as wall clock and monotonic
// clock keep their distance, nothing was slept; when the distance changes, by
// sleep or because somebody has set the wall clock, the time slept is read anew
// off CLOCK_BOOTTIME. The wall clock only tells when to look: whoever sets it
// changes nothing.
type elapsed struct {
	src  sources
	seen atomic.Pointer[slept]
	mu   sync.Mutex // held while slept is read anew
}

// slept is the time slept as of a look at the boot clock.
type slept struct {
	apart int64 // wall minus monotonic then
	sum   time.Duration
}

const (
	// apartSlack is how far the distance may move before the time slept is
	// read anew: a shorter sleep is missed. The drift bound of leases has
	// room for twenty such.
	apartSlack = 10 * time.Millisecond
	// bootTries and bootTight bound the search for a moment at which two
	// clocks can be read close together.
	bootTries = 10
	bootTight = 50 * time.Microsecond
)

func newElapsed(src sources) *elapsed {
	e := &elapsed{src: src}
	e.look()
	return e
}

// now is the time since a fixed moment. It never goes back.
func (e *elapsed) now() time.Duration {
	for {
		s := e.seen.Load()
		wall, mono := e.src.both()
		if moved := wall - int64(mono) - s.apart; -int64(apartSlack) < moved && moved < int64(apartSlack) {
			return mono + s.sum
		}
		e.look()
	}
}

// look reads the time slept off the boot clock.
func (e *elapsed) look() {
	e.mu.Lock()
	defer e.mu.Unlock()
	var s slept
	best := time.Duration(1<<63 - 1)
	for range bootTries {
		// The boot clock is read last: a sleep in between is then in sum and
		// not in apart, and the next now looks once more. The other way
		// round it would be missed.
		wall, mono := e.src.both()
		boot := e.src.boot()
		_, after := e.src.both()
		if width := after - mono; width < best {
			best = width
			s = slept{apart: wall - int64(mono), sum: boot - mono}
		}
		if best <= bootTight {
			break
		}
	}
	if old := e.seen.Load(); old != nil {
		s.sum = max(s.sum, old.sum)
	}
	e.seen.Store(&s)
}
