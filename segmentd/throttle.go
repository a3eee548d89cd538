package segmentd

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
	"github.com/sextantdisk/sextant/segmentd/pull"
)

// Rates of what daemons take from and give to each other, a second. Who takes
// and who gives each keep to their own: a new copy on an idle disk must not
// slow down the busy ones that it is made of.
const (
	// rateIdle holds when no gateway is served, rateMost when one is.
	rateIdle = 2 * block.GiB
	rateMost = 256 * block.MiB
	// leafYield is by how much the rate of leaves shrinks for each byte that
	// gateways read or write: so much that a gateway that is held up by what
	// daemons exchange gets ahead of it, instead of passing for one that asks for
	// little. Records yield less: as long as a segment lags, its group has a copy
	// too few, and one that is replaced has none too few. takeLeast and giveLeast
	// are what is left in any case, or as much as lets a segment be hydrated
	// within hydrateWithin: what is written meanwhile comes by records, for which
	// logs are kept for 5 minutes where there is room.
	leafYield     = 64
	recordYield   = 16
	takeLeast     = 16 * block.MiB
	giveLeast     = 2 * block.MiB
	hydrateWithin = 4 * 60 // seconds
	// chaseShare is how much faster than gateways write records come, in
	// percent: slower, a segment that lags would never catch up. Two copies of
	// a group may lag while it is written to, and ask the same third one: each
	// gets half again as much as is written meanwhile.
	chaseShare = 300
	// burstShare is for which part of a second tokens are kept, and burstLeast
	// how many at least: what is given at a time.
	burstShare = 8
	burstLeast = block.ByteCount(leafPart) * block.Size
	// loadEvery is how often the load is looked at, loadHalf how long it takes
	// to halve in memory when gateways pause, and below loadNone it is none.
	loadEvery = 100 * time.Millisecond
	loadHalf  = 500 * time.Millisecond
	loadNone  = 64 * block.KiB
)

// traffic is what daemons exchange.
type traffic uint8

const (
	leafTraffic   traffic = iota // all that a segment holds: it may take long
	recordTraffic                // what was written lately: must not fall behind
	traffics
)

// rateFor is how fast daemons may exchange something while gateways read and
// write that much a second.
func rateFor(t traffic, load, least block.ByteCount) block.ByteCount {
	rate, yield := rateIdle, block.ByteCount(leafYield)
	if t == recordTraffic {
		yield = recordYield
	}
	switch less := load * yield; {
	case load == 0:
	case less >= rateMost-least:
		rate = least
	default:
		rate = rateMost - less
	}
	if t == recordTraffic {
		rate = max(rate, load*chaseShare/100)
	}
	return rate
}

// loadNow is the load after so many bytes were served in a while: what it was
// just now fades, so that a gateway that waits for a moment, perhaps for what
// daemons exchange, does not pass for idle.
func loadNow(was, bytes block.ByteCount, in time.Duration) block.ByteCount {
	faded := float64(was) * math.Exp2(-in.Seconds()/loadHalf.Seconds())
	if faded < float64(loadNone) {
		faded = 0
	}
	return block.ByteCount(max(float64(bytes)/in.Seconds(), faded))
}

// takeFloor is the least rate for whoever takes a segment of that size, and
// giveFloor for each of those who give it.
func takeFloor(size block.ByteCount) block.ByteCount { return max(takeLeast, size/hydrateWithin) }
func giveFloor(size block.ByteCount) block.ByteCount {
	return max(giveLeast, size/hydrateWithin/pull.MaxDonors)
}

// throttle bounds what a daemon exchanges with its peers, all its segments
// together, by tokens that come the slower the more gateways ask for.
type throttle struct {
	clock clock.Clock
	// served is what gateways have read and written here so far.
	served func() block.ByteCount

	mu struct {
		sync.Mutex
		tokens [traffics]float64 // bytes; below zero they are owed
		at     [traffics]time.Time
		load   block.ByteCount // a second
		looked time.Time
		served block.ByteCount
	}
}

// wait takes n tokens, which come at the rate least at least, and waits until
// they are there.
func (t *throttle) wait(ctx context.Context, what traffic, n, least block.ByteCount) error {
	d := t.take(what, n, least)
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
func (t *throttle) take(what traffic, n, least block.ByteCount) time.Duration {
	now := t.clock.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	m := &t.mu
	t.lookLocked(now)
	rate := float64(rateFor(what, m.load, least))
	have := m.tokens[what] + now.Sub(m.at[what]).Seconds()*rate
	m.tokens[what] = min(have, max(rate/burstShare, float64(burstLeast))) - float64(n)
	m.at[what] = now
	return time.Duration(max(0, -m.tokens[what]/rate*float64(time.Second)))
}

// look notes the load; it is to be called now and then also when nobody takes
// anything, so that the first one to take knows it.
func (t *throttle) look() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lookLocked(t.clock.Now())
}

// loaded tells whether gateways ask for anything.
func (t *throttle) loaded() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.load > 0
}

func (t *throttle) lookLocked(now time.Time) {
	m := &t.mu
	since := now.Sub(m.looked)
	if since < loadEvery {
		return
	}
	served := t.served()
	if m.looked.IsZero() {
		m.served = served
	}
	m.load = loadNow(m.load, served-min(served, m.served), since)
	m.looked, m.served = now, served
}

// served is what gateways have read and written here since the start; what came
// from peers does not count, from when it is given to the log: counted when it
// is on disk, all that is on its way there would look like load, and slow itself
// down.
func (s *Server) served() block.ByteCount {
	own := block.ByteCount(s.fromPeers.Load())
	written := s.LogStats().ClientBytes
	return written - min(written, own) + block.ByteCount(s.counters.Reads.Load())*block.Size
}
