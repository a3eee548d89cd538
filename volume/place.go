package volume

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
)

const (
	placeRetry   = 250 * time.Millisecond
	placeTimeout = 5 * time.Second
)

// placed is called when a group is there, or cannot be: then err says why.
type placed func(b *batch, g *group, err error)

// placing is a group that the metadata service is asked to place, and who
// waits for it.
type placing struct {
	waiting []placed
}

func (p *placing) fail(b *batch, err error) {
	for _, f := range p.waiting {
		f(b, nil, err)
	}
}

// isPlacing reports whether group i is about to be.
func (v *Volume) isPlacing(i block.PGIndex) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.mu.placing[i] != nil
}

// ifPlacing has f called when group i is placed, if it is about to be; it
// returns false if it is not.
func (v *Volume) ifPlacing(i block.PGIndex, f placed) bool {
	v.mu.Lock()
	if p := v.mu.placing[i]; p != nil {
		p.waiting = append(p.waiting, f)
		v.mu.Unlock()
		return true
	}
	v.mu.Unlock()
	g := v.group(i)
	if g != nil { // it came meanwhile
		v.later(func(b *batch) { f(b, g, nil) })
	}
	return g != nil
}

// place has group i placed, because it is written to for the first time, and
// f called then.
func (v *Volume) place(i block.PGIndex, f placed) {
	if v.ifPlacing(i, f) {
		return
	}
	v.mu.Lock()
	err := v.ended()
	switch p := v.mu.placing[i]; {
	case err != nil:
	case p != nil:
		p.waiting = append(p.waiting, f)
	default:
		v.mu.placing[i] = &placing{waiting: []placed{f}}
		v.spawn(func() { v.placeGroup(i) })
	}
	v.mu.Unlock()
	if err != nil {
		v.later(func(b *batch) { f(b, nil, err) })
	}
}

// placeGroup asks until the group is placed or the hold time is over.
func (v *Volume) placeGroup(i block.PGIndex) {
	deadline := v.now() + v.cfg.Hold
	for {
		g, err := v.tryPlace(i)
		if err == nil {
			v.endPlacing(i, g, nil)
			return
		}
		if errors.Is(err, block.Fenced) {
			v.end(err)
			return
		}
		if !errors.Is(err, block.Unavailable) || v.now() >= deadline {
			v.endPlacing(i, nil, block.Wrap(block.KindOf(err), err, "volume %s: placing group %v", v.info.Name, i))
			return
		}
		v.log.Warn("group cannot be placed, trying again", "pg", uint32(i), "err", err)
		select {
		case <-v.ctx.Done():
			return
		case <-v.cfg.Pool.cfg.Clock.After(placeRetry):
		}
	}
}

func (v *Volume) tryPlace(i block.PGIndex) (*group, error) {
	ctx, cancel := context.WithTimeout(v.ctx, placeTimeout)
	defer cancel()
	cfg, err := v.cfg.Metadata.EnsurePG(ctx, v.info.ID, v.epoch, i)
	if err != nil {
		return nil, err
	}
	return newGroup(v, cfg)
}

// endPlacing makes the group known and lets those go on who waited.
func (v *Volume) endPlacing(i block.PGIndex, g *group, err error) {
	var b batch
	if g != nil {
		g.attach(&b)
	}
	v.mu.Lock()
	p := v.mu.placing[i]
	delete(v.mu.placing, i)
	if g != nil && p != nil {
		groups := *v.groups.Load()
		groups[i].Store(g)
	}
	v.mu.Unlock()
	switch {
	case p != nil:
		for _, f := range p.waiting {
			f(&b, g, err)
		}
	case g != nil: // the volume has ended, told them, and will not find the group
		g.detach()
		g.abandon(&b)
	}
	b.run()
}

// grow makes room for the groups of a larger size.
func (v *Volume) grow(size block.ByteCount) {
	if size <= v.Size() {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	geometry := v.info.Geometry
	geometry.Size = size
	old := *v.groups.Load()
	groups := make([]atomic.Pointer[group], geometry.PGs())
	for i := range old {
		groups[i].Store(old[i].Load())
	}
	v.groups.Store(&groups)
	v.size.Store(uint64(size))
	v.log.Info("volume has grown", "size", size.String())
}
