package logstore

import (
	"maps"
	"slices"
)

// capture is what a checkpoint is made of: each segment as it was at one
// moment between two records. It is taken segment by segment, while the log
// goes on; what is small is copied, leaves are frozen: who changes one changes
// a copy (slot.thawed). So a segment is held for microseconds, and what is
// written fits together exactly, for all that comes meanwhile.
//
// The position is read first. So each segment is at or behind it, and says
// where it is (segmentState.applied): a replay from the position skips what a
// segment has already.
type capture struct {
	at      positions
	next    segIndex // number that was never given out
	files   []fileState
	segs    []*segmentState
	frozen  []frozenLeaf
	written int // of frozen
}

// frozenLeaf is a leaf to be written. Whoever wrote it thaws it.
type frozenLeaf struct {
	seg  *Segment
	slot int
	leaf *leaf // nil: written
	at   savedLeaf
	to   *savedSlot
}

// capture takes all segments. Leaves are frozen that are dirty or lie in one
// of the parts of rewrite.
func (s *Store) capture(rewrite map[generation]bool) *capture {
	s.mu.Lock()
	c := &capture{at: s.mu.applied, next: s.mu.nextSeg}
	segs := slices.Collect(maps.Values(s.mu.segments))
	s.mu.Unlock()
	for _, g := range segs {
		c.segment(g, rewrite)
	}
	for _, f := range s.files.Load().all {
		c.files = append(c.files, f.state())
	}
	return c
}

func (c *capture) segment(g *Segment, rewrite map[generation]bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	x := &g.mu.index
	s := &segmentState{
		idx: g.idx, id: g.id, promised: g.mu.promised, declared: g.mu.health.declared, told: g.mu.told,
		applied: g.mu.applied, config: g.mu.config, chain: x.chain.Contents(), opens: x.opens,
		slots: make([]savedSlot, len(x.base.slots)), since: x.base.since, hydration: x.hydration.Clone(),
	}
	c.segs = append(c.segs, s)
	for _, entries := range [][]chainEntry{s.chain.Path, s.chain.Branches, s.chain.Pending} {
		for i := range entries { // a record's places change when blocks are moved
			entries[i].Value.places = slices.Clone(entries[i].Value.places)
		}
	}
	for i := range x.base.slots {
		t := &x.base.slots[i]
		s.slots[i] = savedSlot{maxLSN: t.maxLSN, kind: t.kind, leaf: t.saved}
		if t.leaf == nil || !t.dirty && !rewrite[t.saved.part] {
			continue
		}
		if t.dirty {
			t.dirty = false
			x.base.dirty--
		}
		t.frozen = true
		c.frozen = append(c.frozen, frozenLeaf{seg: g, slot: i, leaf: t.leaf, to: &s.slots[i]})
	}
}

// thaw lets the leaves be changed that were written since it was called last.
func (c *capture) thaw(upTo int) {
	for ; c.written < upTo; c.written++ {
		f := &c.frozen[c.written]
		f.seg.mu.Lock()
		if t := f.slotLocked(); t != nil && t.leaf == f.leaf {
			t.frozen = false
		}
		f.seg.mu.Unlock()
		f.leaf = nil
	}
}

// slotLocked is the leaf's slot, nil if it has no leaf any more.
func (f *frozenLeaf) slotLocked() *slot {
	slots := f.seg.mu.index.base.slots
	if f.slot >= len(slots) || slots[f.slot].leaf == nil { // dropped
		return nil
	}
	return &slots[f.slot]
}

// commit notes where the leaves lie now: the checkpoint is durable.
func (c *capture) commit() {
	for i := range c.frozen {
		f := &c.frozen[i]
		f.seg.mu.Lock()
		if t := f.slotLocked(); t != nil {
			t.saved = f.at
		}
		f.seg.mu.Unlock()
	}
}

// abandon makes the leaves dirty again: there is no such checkpoint.
func (c *capture) abandon() {
	for i := range c.frozen {
		f := &c.frozen[i]
		f.seg.mu.Lock()
		if t := f.slotLocked(); t != nil {
			if t.leaf == f.leaf {
				t.frozen = false
			}
			f.seg.mu.index.base.change(t)
		}
		f.seg.mu.Unlock()
	}
}

// state is what a checkpoint keeps of f.
func (f *logFile) state() fileState {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return fileState{seq: f.header.seq, end: pageNo(f.end.Load()), spans: maps.Clone(f.mu.spans), gaps: slices.Clone(f.mu.gaps)}
}
