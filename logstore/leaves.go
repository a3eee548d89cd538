package logstore

import (
	"github.com/sextantdisk/sextant/internal/block"
)

// LeafMark tells of one leaf up to which LSN its settled versions go,
// tombstones included.
type LeafMark struct {
	Block  block.Index // the leaf's first
	MaxLSN block.LSN
}

// Leaves lists the leaves from first on that have changed after an LSN, and
// are settled, at most limit of them, for a peer that lacks what the log does
// not have any more (rule R21). What it tells is as of cut, the floor. Error
// kinds: Unavailable (this segment is being hydrated itself), NotFound
// (dropped).
func (g *Segment) Leaves(after block.LSN, first block.Index, limit int) (cut block.LSN, marks []LeafMark, err error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if err := g.givesLocked(); err != nil {
		return 0, nil, err
	}
	x := &g.mu.index
	leaves := len(x.base.slots)
	if after < x.base.since { // each leaf may have changed, also one that is not there any more
		leaves = int(maxBlocks / leafBlocks)
	}
	for i := int(first / leafBlocks); i < leaves && len(marks) < limit; i++ {
		if l := x.base.maxLSN(i); l > after {
			marks = append(marks, LeafMark{block.Index(i) * leafBlocks, l})
		}
	}
	return x.chain.Floor(), marks, nil
}

// LeafMax is up to which LSN the leaf of block b is settled here; 0 if nothing
// of it is.
func (g *Segment) LeafMax(b block.Index) block.LSN {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if i := int(b / leafBlocks); i < len(g.mu.index.base.slots) {
		return g.mu.index.base.slots[i].maxLSN
	}
	return 0
}

// Extent is how much all leaves up to the last one with anything settled have: the
// most that a peer can be given.
func (g *Segment) Extent() block.ByteCount {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return block.ByteCount(len(g.mu.index.base.slots)) * leafBlocks * block.Size
}

// maxLSN is up to where leaf i may have changed.
func (t *base) maxLSN(i int) block.LSN {
	if i >= len(t.slots) {
		return t.since
	}
	return max(t.slots[i].maxLSN, t.since)
}

// givesLocked tells whether the settled part is whole, as of the floor.
func (g *Segment) givesLocked() error {
	x := &g.mu.index
	if g.dropped.Load() {
		return block.Errorf(block.NotFound, "segment %v was dropped", g.id)
	}
	if err := x.hydration.Gives(x.chain.Floor()); err != nil {
		return block.Wrap(block.KindOf(err), err, "segment %v", g.id)
	}
	return nil
}

// ReadSettled reads n blocks from first on, which must lie in one leaf, as of
// the floor. cut is that floor, maxLSN up to where the leaf is settled, both of
// the moment of reading. Checksums are verified. Error kinds: those of ReadAt
// and Leaves.
func (g *Segment) ReadSettled(first block.Index, n block.Count, dst *ReadResult) (cut, maxLSN block.LSN, err error) {
	dst.reset(g, first)
	if len(dst.Buf) < int(n)*block.Size || n == 0 || first%leafBlocks+block.Index(n) > leafBlocks {
		return 0, 0, block.Errorf(block.Invalid, "%d blocks from %d with a buffer of %d bytes: not a part of a leaf", n, first, len(dst.Buf))
	}
	files := g.store.files.Load()
	g.mu.RLock()
	x := &g.mu.index
	cut = x.chain.Floor()
	maxLSN = x.base.maxLSN(int(first / leafBlocks))
	if err = g.givesLocked(); err == nil {
		err = g.planLocked(files, cut, first, n, dst)
	}
	g.mu.RUnlock()
	switch {
	case err != nil:
		return 0, 0, dst.end(err)
	case dst.fetchCached():
		return cut, maxLSN, dst.end(g.verify(dst))
	}
	return cut, maxLSN, dst.Finish()
}
