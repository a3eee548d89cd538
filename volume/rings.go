package volume

import (
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/volume/pg"
)

const (
	// ringsBytes bounds what all groups of a volume keep for members that
	// lag, beside what is not committed (R5, B6): while a daemon is down,
	// each group that is written to keeps something.
	ringsBytes = 256 * block.MiB
	// ringsEvery is how often that is looked at.
	ringsEvery = 500 * time.Millisecond
)

// noteRingLocked tells the volume whether this group keeps anything.
func (g *group) noteRingLocked() {
	keeps := !g.mu.gone && g.mu.machine.RingBytes() > 0
	if keeps == g.keeps.Load() {
		return
	}
	g.keeps.Store(keeps)
	if keeps {
		g.v.keeping.Add(1)
	} else {
		g.v.keeping.Add(-1)
	}
}

// shareRings divides ringsBytes among the groups that keep anything, and has
// those let go what is beyond their share: whoever lacks it catches up from a
// peer (R8). A group that begins to keep something between two calls has the
// limit of the last time when it did.
func (v *Volume) shareRings(b *batch) {
	keeping := block.ByteCount(v.keeping.Load())
	if keeping <= 0 {
		return
	}
	limit := min(pg.RingLimit, ringsBytes/keeping)
	v.eachGroup(func(g *group) {
		if !g.keeps.Load() {
			return
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.mu.gone {
			return
		}
		g.mu.machine.SetRingLimit(limit)
		if g.mu.machine.RingBytes() > limit {
			g.stepLocked(b, pg.Input{Kind: pg.Tick})
		}
	})
}
