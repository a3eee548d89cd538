package segmentd

import (
	"context"
	"sync"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
)

// Rates of what daemons take from each other, a second.
const (
	// pullIdle is the rate when no gateway writes here, pullMost when one does.
	pullIdle = 2 * block.GiB
	pullMost = 256 * block.MiB
	// pullYield is by how much the rate shrinks for each byte that gateways
	// write; pullLeast is what is left in any case, or a segment that lags
	// would never catch up under load.
	pullYield = 4
	pullLeast = 32 * block.MiB
	// pullBurst is what may be taken at once after a pause.
	pullBurst = 64 * block.MiB
	// loadEvery is how often the load is looked at.
	loadEvery = 100 * time.Millisecond
)

// rateFor is how fast peers may be asked while gateways write that much a
// second.
func rateFor(load block.ByteCount) block.ByteCount {
	switch less := load * pullYield; {
	case load == 0:
		return pullIdle
	case less >= pullMost-pullLeast:
		return pullLeast
	default:
		return pullMost - less
	}
}

// throttle bounds the rate at which a daemon takes from its peers, all its
// segments together, by tokens that come the slower the more gateways write.
type throttle struct {
	clock clock.Clock
	// written is how much all have written here so far, own is what of it was
	// taken from peers.
	written, own func() block.ByteCount

	mu struct {
		sync.Mutex
		tokens  float64 // bytes; below zero they are owed
		rate    block.ByteCount
		at      time.Time
		looked  time.Time
		foreign block.ByteCount // what gateways had written then
	}
}

// wait takes n tokens, and waits until they are there.
func (t *throttle) wait(ctx context.Context, n block.ByteCount) error {
	d := t.take(n)
	if d <= 0 {
		return ctx.Err()
	}
	select {
	case <-t.clock.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// take takes n tokens and says how long the taker has to wait for them.
func (t *throttle) take(n block.ByteCount) time.Duration {
	now := t.clock.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	m := &t.mu
	t.lookLocked(now)
	m.tokens = min(float64(pullBurst), m.tokens+now.Sub(m.at).Seconds()*float64(m.rate))
	m.at = now
	m.tokens -= float64(n)
	if m.tokens >= 0 {
		return 0
	}
	return time.Duration(-m.tokens / float64(m.rate) * float64(time.Second))
}

// lookLocked sets the rate by what was written since the last look.
func (t *throttle) lookLocked(now time.Time) {
	m := &t.mu
	since := now.Sub(m.looked)
	if m.rate != 0 && since < loadEvery {
		return
	}
	written, own := t.written(), t.own()
	foreign := written - min(written, own)
	switch {
	case m.rate == 0:
		m.tokens, m.at, m.rate = float64(pullBurst), now, pullIdle
	case foreign <= m.foreign:
		m.rate = rateFor(0)
	default:
		m.rate = rateFor(block.ByteCount(float64(foreign-m.foreign) / since.Seconds()))
	}
	m.looked, m.foreign = now, foreign
}

// logged is the payload that was written to the log since the
// start.
func (s *Server) logged() block.ByteCount { return s.LogStats().ClientBytes }

// pulled is what of it came from peers.
func (s *Server) pulled() block.ByteCount {
	return block.ByteCount(s.counters.CaughtUpBytes.Load() + s.counters.HydratedBytes.Load())
}
