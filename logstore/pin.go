package logstore

import (
	"slices"

	"github.com/sextantdisk/sextant/internal/block"
)

const (
	// MaxPins bounds the pins of one segment.
	MaxPins = 64
	// MaxHeld is how many records a pin may keep from settling. Beyond that
	// it is given up: reads as of it fail with kind Stale, as below any
	// floor. A record takes some 200 bytes of memory while it is held.
	MaxHeld = 1 << 20
)

// pins hold a segment's floor; the segment's lock guards them.
type pins struct {
	held   []*pin
	wanted block.LSN // the floor that was asked for meanwhile
}

type pin struct{ lsn block.LSN }

// Pin keeps all that can be read as of lsn, and later, until release is called:
// for a backup or a snapshot (rule R17). The floor stays at or below lsn; what
// asks for a higher one is remembered. A pin is not durable: who needs one
// after a restart takes it before the floor is set again. Error kinds: Stale
// (below the floor), Behind (above the SCL), Invalid (not on the chain),
// Unavailable (MaxPins).
func (g *Segment) Pin(lsn block.LSN) (release func(), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := &g.mu.index.chain
	switch {
	case g.mu.index.hydration.On:
		return nil, block.Errorf(block.Unavailable, "segment %v takes over leaves from its peers: nothing can be pinned", g.id)
	case lsn < g.mu.index.readable():
		return nil, block.Errorf(block.Stale, "segment %v has settled its versions up to %v; %v cannot be pinned any more", g.id, g.mu.index.readable(), lsn)
	case lsn > c.SCL():
		return nil, block.Errorf(block.Behind, "segment %v is complete up to %v, not up to %v", g.id, c.SCL(), lsn)
	case !c.OnPath(lsn):
		return nil, block.Errorf(block.Invalid, "segment %v has no record %v on its chain to pin", g.id, lsn)
	case len(g.mu.pins.held) == MaxPins:
		return nil, block.Errorf(block.Unavailable, "segment %v has %d pins already: release one", g.id, MaxPins)
	}
	p := &pin{lsn}
	g.mu.pins.held = append(g.mu.pins.held, p)
	return func() { g.unpin(p) }, nil
}

// unpin releases p; the floor goes to where it was asked to be.
func (g *Segment) unpin(p *pin) {
	g.mu.Lock()
	defer g.mu.Unlock()
	ps := &g.mu.pins
	i := slices.Index(ps.held, p)
	if i < 0 {
		return // released before, or given up
	}
	ps.held = slices.Delete(ps.held, i, i+1)
	if c := &g.mu.index.chain; ps.wanted > c.Floor() && c.OnPath(ps.wanted) {
		_ = g.setFloorLocked(ps.wanted) // it is on the path
	}
}

// allow is how far the floor may go if lsn is asked for, path being the records
// above it.
func (ps *pins) allow(lsn block.LSN, path int) block.LSN {
	ps.wanted = max(ps.wanted, lsn)
	if path > MaxHeld {
		ps.held = nil
	}
	for _, p := range ps.held {
		lsn = min(lsn, p.lsn)
	}
	return lsn
}
