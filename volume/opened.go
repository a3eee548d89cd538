package volume

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
	"github.com/sextantdisk/sextant/volume/pg"
)

// openedPause is how long groups that cannot be opened, for want of copies, keep
// the others from changing their segments (R23).
const openedPause = 10 * time.Second

// groupOpened counts a group that was there at the opening. It may be called
// with the group's lock held.
func (v *Volume) groupOpened(g *group) {
	if g.born != v.epoch {
		v.countOpened(1)
	}
}

// countOpened notes that n more groups are open.
func (v *Volume) countOpened(n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.mu.unopened -= n
	if v.mu.unopened <= 0 && !v.mu.allOpen {
		v.mu.allOpen = true
		close(v.allOpen)
	}
}

// tellOpened tells the metadata service that the groups are open (protocol §2.5
// step 6), at once when all are; as long as some cannot be opened, which these
// are, so that the others may change.
func (v *Volume) tellOpened() {
	var told []block.PGIndex
	for first := true; ; {
		v.awaitOpened()
		if v.ctx.Err() != nil {
			return
		}
		left := v.unopenedGroups()
		if len(left) > metadata.MaxUnopened || !first && slices.Equal(left, told) {
			continue
		}
		ctx, cancel := context.WithTimeout(v.ctx, placeTimeout)
		err := v.cfg.Metadata.OpenDone(ctx, v.info.ID, v.epoch, left)
		cancel()
		switch {
		case errors.Is(err, block.Unavailable):
			v.rest(placeRetry)
		case err != nil || len(left) == 0:
			return // a refusal shows at the next lease renewal, too
		default:
			first, told = false, left
			v.log.Warn("groups cannot be opened for want of copies; the others go on", "groups", len(left), "first", uint32(left[0]))
		}
	}
}

// awaitOpened waits until all groups of the opening are open, at most
// openedPause, or until the volume ends.
func (v *Volume) awaitOpened() {
	select {
	case <-v.allOpen:
		return
	default:
	}
	timer := v.cfg.Pool.cfg.Clock.NewTimer(openedPause)
	defer timer.Stop()
	select {
	case <-v.ctx.Done():
	case <-v.allOpen:
	case <-timer.C():
	}
}

// rest waits a while, or until the volume ends.
func (v *Volume) rest(d time.Duration) {
	select {
	case <-v.ctx.Done():
	case <-v.cfg.Pool.cfg.Clock.After(d):
	}
}

// unopenedGroups are those of the opening that are not open.
func (v *Volume) unopenedGroups() (left []block.PGIndex) {
	v.eachGroup(func(g *group) {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.born != v.epoch && !g.mu.gone && g.mu.machine.Phase() < pg.Open {
			left = append(left, g.index)
		}
	})
	return left
}
