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

// shareRings divides ringsBytes among the groups that keep anything, and has
// those let go what is beyond their share: whoever lacks it catches up from a
// peer (R8).
func (v *Volume) shareRings(b *batch) {
	keeping, limit := 0, pg.RingLimit
	v.eachGroup(func(g *group) {
		g.mu.Lock()
		defer g.mu.Unlock()
		if !g.mu.gone && g.mu.machine.RingBytes() > 0 {
			keeping++
		}
	})
	if keeping > 0 {
		limit = min(limit, ringsBytes/block.ByteCount(keeping))
	}
	v.eachGroup(func(g *group) {
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
