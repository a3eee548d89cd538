package netns

import (
	"math/rand/v2"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
)

// Match chooses whom a fault is about: packets from one host to another.
type Match func(from, to *Host) bool

// Around are all packets that enter or leave a zone; within it all goes on.
func Around(zone string) Match {
	return func(from, to *Host) bool { return (from.Zone == zone) != (to.Zone == zone) }
}

// Into are the packets that enter a zone.
func Into(zone string) Match {
	return func(from, to *Host) bool { return from.Zone != zone && to.Zone == zone }
}

// Of are all packets from and to a host.
func Of(h *Host) Match { return func(from, to *Host) bool { return from == h || to == h } }

// From are all packets that a host sends.
func From(h *Host) Match { return func(from, _ *Host) bool { return from == h } }

// Between are the packets between two hosts, both ways.
func Between(a, b *Host) Match {
	return func(from, to *Host) bool { return from == a && to == b || from == b && to == a }
}

// OneWay are the packets from one host to another.
func OneWay(a, b *Host) Match { return func(from, to *Host) bool { return from == a && to == b } }

// Rule says what happens to packets. Its zero value is a good network.
type Rule struct {
	// Cut loses all.
	Cut bool
	// Hold keeps all back until the fault is lifted.
	Hold bool
	// Loss and Twice are the shares, 0 to 1, of packets that are lost, and
	// that arrive twice.
	Loss, Twice float64
	// Each packet is late by Delay and up to Jitter more; so packets overtake
	// each other.
	Delay, Jitter time.Duration
	// BytesPerSecond bounds what goes from one host to another; 0: no bound.
	BytesPerSecond block.ByteCount
}

// and is what two faults do together.
func (r Rule) and(o Rule) Rule {
	r.Cut = r.Cut || o.Cut
	r.Hold = r.Hold || o.Hold
	r.Loss = 1 - (1-r.Loss)*(1-o.Loss)
	r.Twice = 1 - (1-r.Twice)*(1-o.Twice)
	r.Delay += o.Delay
	r.Jitter += o.Jitter
	if r.BytesPerSecond == 0 || o.BytesPerSecond != 0 && o.BytesPerSecond < r.BytesPerSecond {
		r.BytesPerSecond = o.BytesPerSecond
	}
	return r
}

// maxQueue is how far a link with a bound may be behind before it loses.
const maxQueue = time.Second

// link is one direction between two hosts.
type link struct {
	rule Rule
	// free is when a link with a bound has sent all that it was given.
	free time.Time
	// sever counts the connections that are still to be ended.
	sever int
}

// fate is what becomes of one packet.
type fate struct {
	lost, held, twice bool
	due               time.Time
}

// decide is the fate of a packet of size bytes that is sent now.
func (l *link) decide(now time.Time, size int, rng *rand.Rand) fate {
	r := l.rule
	f := fate{due: now, held: r.Hold}
	if r == (Rule{}) {
		return f
	}
	f.lost = r.Cut || r.Loss > 0 && rng.Float64() < r.Loss
	f.twice = r.Twice > 0 && rng.Float64() < r.Twice
	if r.BytesPerSecond > 0 && !f.lost {
		if l.free.Before(now) {
			l.free = now
		}
		if l.free.Sub(now) > maxQueue {
			f.lost = true
		} else {
			l.free = l.free.Add(time.Duration(float64(size) / float64(r.BytesPerSecond) * float64(time.Second)))
			f.due = l.free
		}
	}
	f.due = f.due.Add(r.Delay)
	if r.Jitter > 0 {
		f.due = f.due.Add(time.Duration(rng.Int64N(int64(r.Jitter))))
	}
	return f
}
