package volume

import (
	"context"
	"errors"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
	"github.com/sextantdisk/sextant/volume/pg"
)

// Groups change their segments while they are written to (R23 to R27, R29). The
// metadata service tells with each lease renewal which do, a group's tick when
// something new can be proved. For each of them the configuration is read anew,
// under this volume's epoch (R3); the machine goes on with it; and what the
// machine can prove is proposed: that those who join are hydrated, that the new
// set may stay alone (R26). All of it may be repeated, and goes on with the next
// gateway when this one dies.

// changing are the groups for which this writer counts with two sets.
func (v *Volume) changing() (out []metadata.PGMembership) {
	v.eachGroup(func(g *group) {
		if r := g.roster.Load(); r.quorum.Joint() && len(out) < metadata.MaxChanging {
			out = append(out, metadata.PGMembership{PG: g.index, Membership: r.cfg.Membership})
		}
	})
	return out
}

// noteChanging has runChanges see to these groups.
func (v *Volume) noteChanging(groups []metadata.PGMembership) {
	if len(groups) == 0 {
		return
	}
	v.mu.Lock()
	if v.mu.changing == nil {
		v.mu.changing = make(map[block.PGIndex]block.MembershipEpoch)
	}
	for _, m := range groups {
		v.mu.changing[m.PG] = max(v.mu.changing[m.PG], m.Membership)
	}
	v.mu.Unlock()
	select {
	case v.changesReady <- struct{}{}:
	default:
	}
}

// urgeLocked has a change carried on at once when something new can be proved,
// rather than when the next renewal tells of it.
func (g *group) urgeLocked() {
	if c := g.mu.machine.Change(); c.Caught || c.MayFinish {
		g.v.noteChanging([]metadata.PGMembership{{PG: g.index, Membership: g.roster.Load().cfg.Membership}})
	}
}

// runChanges carries changes on, one group after the other.
func (v *Volume) runChanges() {
	for {
		select {
		case <-v.ctx.Done():
			return
		case <-v.changesReady:
		}
		v.mu.Lock()
		groups := v.mu.changing
		v.mu.changing = nil
		v.mu.Unlock()
		for index, membership := range groups {
			if err := v.carryOn(metadata.PGMembership{PG: index, Membership: membership}); err != nil && v.ctx.Err() == nil {
				v.log.Warn("a change of a group's segments does not go on, trying again", "pg", uint32(index), "err", err)
			}
		}
	}
}

// carryOn takes the next steps of one group's change.
func (v *Volume) carryOn(known metadata.PGMembership) error {
	g := v.group(known.PG)
	if g == nil || v.ended() != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(v.ctx, placeTimeout)
	defer cancel()
	if known.Membership > g.roster.Load().cfg.Membership {
		cfg, err := v.cfg.Metadata.PG(ctx, v.info.ID.String(), v.epoch, g.index)
		if err := g.adopt(cfg, err); err != nil {
			return err
		}
	}
	if c := g.change(); c.Caught {
		cfg, err := v.cfg.Metadata.MarkHydrated(ctx, g.changeRef())
		if err := g.adopt(cfg, err); err != nil {
			return err
		}
		v.log.Info("who joins the group is hydrated", "pg", uint32(g.index), "from", c.Point)
	}
	if g.change().MayFinish {
		cfg, err := v.cfg.Metadata.FinishChange(ctx, g.changeRef())
		return g.adopt(cfg, err)
	}
	return nil
}

// adopt goes on with a configuration that the metadata service gave, or has
// the volume end if it is another's now (R3).
func (g *group) adopt(cfg metadata.PGConfig, err error) error {
	switch {
	case errors.Is(err, block.Fenced):
		g.v.end(block.Wrap(block.Fenced, err, "volume %s", g.v.info.Name))
		return nil
	case errors.Is(err, block.Stale), errors.Is(err, block.NotFound):
		return nil // it was decided otherwise meanwhile; the next renewal tells
	case err != nil:
		return err
	}
	var b batch
	defer b.run()
	return g.reconfigure(&b, cfg)
}

// reread reads the configuration anew, because a segment knows a newer one
// (R27).
func (v *Volume) reread(g *group) {
	v.noteChanging([]metadata.PGMembership{{PG: g.index, Membership: g.roster.Load().cfg.Membership + 1}})
}

// change tells how far the group's change has come.
func (g *group) change() pg.Change {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.gone {
		return pg.Change{}
	}
	return g.mu.machine.Change()
}

func (g *group) changeRef() metadata.ChangeRef {
	return metadata.ChangeRef{Volume: g.v.info.ID, Epoch: g.v.epoch, PG: g.index, Membership: g.roster.Load().cfg.Membership}
}
