package volume

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
	"github.com/sextantdisk/sextant/volume/pg"
	"github.com/sextantdisk/sextant/volume/quorum"
)

const (
	// tickFast is the pace while groups are being opened, tickSlow else.
	tickFast = 20 * time.Millisecond
	tickSlow = 100 * time.Millisecond
	// openBatch groups are opened in the background each openPause.
	openBatch = 10
	openPause = 10 * time.Millisecond
)

// ticker knows the groups to which time can make a difference.
type ticker struct {
	mu struct {
		sync.Mutex
		groups []*group
	}
}

func (t *ticker) add(g *group) {
	t.mu.Lock()
	t.mu.groups = append(t.mu.groups, g)
	t.mu.Unlock()
}

func (t *ticker) takeAll() []*group {
	t.mu.Lock()
	defer t.mu.Unlock()
	groups := t.mu.groups
	t.mu.groups = nil
	return groups
}

// runClock steps groups as time passes.
func (v *Volume) runClock() {
	timer := v.cfg.Pool.cfg.Clock.NewTimer(tickFast)
	defer timer.Stop()
	var b batch
	shared := v.now()
	for {
		select {
		case <-v.ctx.Done():
			return
		case <-timer.C():
		}
		if now := v.now(); now-shared >= ringsEvery {
			shared = now
			v.shareRings(&b)
		}
		pace := tickSlow
		for _, g := range v.ticker.takeAll() {
			if g.tick(&b) != pg.Open {
				pace = tickFast
			}
		}
		b.run()
		timer.Reset(pace)
	}
}

// tick steps the group and lets reads go on that wait, or fails those that
// have waited too long (B5).
func (g *group) tick(b *batch) pg.Phase {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.ticking = false
	if g.mu.gone {
		return pg.Open
	}
	g.stepLocked(b, pg.Input{Kind: pg.Tick})
	g.urgeLocked()
	g.failHeldEditsLocked(b)
	keep := g.mu.reads[:0]
	for _, o := range g.mu.reads {
		if g.v.now()-o.began < g.v.cfg.Hold {
			keep = append(keep, o)
			continue
		}
		o.owner.pieceDone(b, block.Errorf(block.Unavailable, "volume %s, group %v: no complete copy could be read for %v", g.v.info.Name, g.index, g.v.cfg.Hold))
	}
	clear(g.mu.reads[len(keep):])
	g.mu.reads = keep
	g.retryReadsLocked(b)
	g.wantTickLocked()
	return g.mu.machine.Phase()
}

// openGroups opens the groups that nobody has used yet, at a bounded rate
// (protocol §2.5), and tells the metadata service.
func (v *Volume) openGroups() {
	var b batch
	n := 0
	v.eachGroup(func(g *group) {
		if v.ctx.Err() != nil {
			return
		}
		g.mu.Lock()
		idle := g.mu.machine.Phase() == pg.Idle && !g.mu.gone
		if idle {
			g.stepLocked(&b, pg.Input{Kind: pg.Start})
		}
		g.mu.Unlock()
		b.run()
		if n++; idle && n%openBatch == 0 {
			select {
			case <-v.ctx.Done():
			case <-v.cfg.Pool.cfg.Clock.After(openPause):
			}
		}
	})
	v.countOpened(0)
	v.tellOpened()
}

// keepLease tells the metadata service that this gateway has the volume, and
// how it does, and learns of a larger size and of a successor.
func (v *Volume) keepLease() {
	timer := v.cfg.Pool.cfg.Clock.NewTimer(0)
	defer timer.Stop()
	reachable := true
	for {
		select {
		case <-v.ctx.Done():
			return
		case <-timer.C():
		}
		err := v.renew()
		switch {
		case err == nil:
			reachable = true
			v.nowSure()
		case v.ctx.Err() != nil:
			return
		case errors.Is(err, block.Fenced):
			v.end(block.Wrap(block.Fenced, err, "volume %s", v.info.Name))
			return
		case errors.Is(err, block.NotFound):
			v.end(block.Errorf(block.Closed, "volume %s was deleted", v.info.Name))
			return
		case reachable:
			reachable = false
			v.log.Warn("lease cannot be renewed; reads go on as long as a read quorum of segments answers, but where nothing was ever written they wait", "err", err)
		}
		v.failHeldUnsure()
		timer.Reset(metadata.RenewEvery)
	}
}

func (v *Volume) renew() error {
	ctx, cancel := context.WithTimeout(v.ctx, metadata.LeaseFor)
	defer cancel()
	sent := v.now()
	reply, err := v.cfg.Metadata.RenewLease(ctx, metadata.LeaseReport{
		Volume: v.info.ID, Epoch: v.epoch, Gateway: v.cfg.Gateway, Unhealthy: v.Unhealthy(), Changing: v.changing(),
	})
	if err != nil {
		return err
	}
	v.confirmed.Store(int64(sent))
	v.grow(reply.Size)
	v.noteChanging(reply.Changing)
	return nil
}

var segmentStates = map[pg.State]metadata.SegmentState{
	pg.Unreachable: metadata.Unreachable,
	pg.Joining:     metadata.CatchingUp,
	pg.Streaming:   metadata.Streaming,
	pg.Lagging:     metadata.Lagging,
	pg.CatchingUp:  metadata.CatchingUp,
	pg.Refusing:    metadata.Unreachable,
	pg.Full:        metadata.Full,
}

// Unhealthy lists the segments that are not simply streaming and complete,
// the first metadata.MaxUnhealthy of them.
func (v *Volume) Unhealthy() []metadata.SegmentHealth {
	var out []metadata.SegmentHealth
	v.eachGroup(func(g *group) {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.mu.gone || g.mu.machine.Phase() == pg.Idle {
			return
		}
		for i, s := range g.roster.Load().members {
			if s.ID.IsZero() {
				continue
			}
			st := g.mu.machine.Member(quorum.Member(i))
			if st.State == pg.Streaming && !st.Damaged || len(out) >= metadata.MaxUnhealthy {
				continue
			}
			out = append(out, metadata.SegmentHealth{PG: g.index, Segment: s.ID, State: segmentStates[st.State],
				SCL: st.SCL, Lag: st.Lag, ETA: metadata.ETAUnknown})
		}
	})
	return out
}
