package logstore

import (
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/mutant"
	"github.com/sextantdisk/sextant/logstore/hydration"
)

// A segment takes leaves over from peers when no peer's log has the records any
// more that it lacks (rules R21, R22). What that means for it is decided by
// package hydration; its records in the log are:
//
//	BeginHydration   HYDRATE(begin)
//	EnqueueCopy      COPY records: runs of leaves as of a peer's floor, the cut
//	Hydrate          HYDRATE: the chain goes on from the lowest cut

// LeafBlocks is how many blocks a leaf has: 2 MiB, the unit of hydration.
const LeafBlocks = block.Count(leafBlocks)

// CopyRun is a run of blocks of one leaf as a peer has settled them. The runs of
// a leaf are to be logged in their order, from its first block to its last.
type CopyRun struct {
	Block  block.Index
	Count  block.Count
	Kind   RunKind
	Cut    block.LSN // the peer's floor when they were read
	MaxLSN block.LSN // of the leaf, then; at most Cut
	// Sums and Payload are those of a WRITE, for RunData only.
	Sums    []block.Sum
	Payload []byte
}

// Hydrating tells how far copying is.
type Hydrating struct {
	On    bool
	After block.LSN // leaves that changed since are to be copied
}

// Hydration tells how far copying is.
func (g *Segment) Hydration() Hydrating {
	g.mu.RLock()
	defer g.mu.RUnlock()
	h := &g.mu.index.hydration
	return Hydrating{On: h.On, After: h.After}
}

// BeginHydration makes the segment take COPYs, or go on with it after a
// restart. From here on it can be read no more, and its floor stands still,
// until Hydrate. Error kinds: those of Wait.
func (g *Segment) BeginHydration() error {
	g.mu.Lock()
	x := &g.mu.index
	d := g.hydrateRecord(x.hydration.Start(x.chain.Floor()))
	d.flags = flagBegin
	g.mu.Unlock()
	err := g.store.own(g, &ownRecord{d: d})
	if err != nil {
		g.mu.Lock()
		x.hydration.Cancel()
		g.mu.Unlock()
	}
	return err
}

// EnqueueCopy fixes the place of runs in the log, as Store.Enqueue does. Error
// kinds of the ticket: Invalid (not hydrating, not within a leaf, a cut below
// the floor), and those of Store.Enqueue.
func (g *Segment) EnqueueCopy(runs []CopyRun) *Ticket {
	t := &Ticket{store: g.store}
	t.steps = t.one[:0]
	if err := g.checkCopy(runs); err != nil {
		return t.fail(err)
	}
	for i := range runs {
		r := &runs[i]
		own := &ownRecord{
			d:    descriptor{seg: g.idx, typ: TypeCopy, block: uint32(r.Block), count: uint32(r.Count), lsn: r.MaxLSN, prev: r.Cut},
			sums: r.Sums, payload: r.Payload,
		}
		switch r.Kind {
		case RunZero:
			own.d.flags = flagZero
		case RunHole:
			own.d.flags = flagHole
		}
		t.steps = append(t.steps, step{seg: g, own: own})
		t.bytes += block.ByteCount(len(r.Payload))
	}
	return g.store.enqueue(t)
}

func (g *Segment) checkCopy(runs []CopyRun) error {
	g.mu.RLock()
	defer g.mu.RUnlock()
	x := &g.mu.index
	for i := range runs {
		r := &runs[i]
		if err := r.check(); err != nil {
			return err
		}
		if err := x.hydration.MayCopy(x.chain.Floor(), r.Cut); err != nil {
			return block.Wrap(block.KindOf(err), err, "segment %v, blocks %d+%d", g.id, r.Block, r.Count)
		}
	}
	return nil
}

// check tells whether r is well-formed. Error kind: Invalid.
func (r *CopyRun) check() error {
	data := 0
	if r.Kind == RunData {
		data = int(r.Count)
	}
	switch {
	case r.Count == 0 || uint64(r.Block)+uint64(r.Count) > maxBlocks || r.Block%leafBlocks+block.Index(r.Count) > leafBlocks:
		return block.Errorf(block.Invalid, "copy of %d blocks from %d does not lie in a leaf", r.Count, r.Block)
	case r.Kind > RunData || data > int(block.MaxRecordBlocks) || len(r.Sums) != data || len(r.Payload) != data*block.Size:
		return block.Errorf(block.Invalid, "copy of %d blocks (%v) with %d sums and %d bytes", r.Count, r.Kind, len(r.Sums), len(r.Payload))
	case r.MaxLSN > r.Cut:
		return block.Errorf(block.Invalid, "copy as of %v of what changed at %v", r.Cut, r.MaxLSN)
	}
	return nil
}

// Hydrate ends copying: all leaves that changed after Hydration().After have
// come as of cut or later. The SCL is cut, at least, when it returns; the
// segment can be read when it has come to the highest cut. Error kinds:
// Invalid, Unavailable (leaves have begun and not ended; what came does not
// count, begin again), and those of Wait.
func (g *Segment) Hydrate(cut block.LSN) error {
	g.mu.RLock()
	x := &g.mu.index
	d := g.hydrateRecord(x.hydration.Mark(cut))
	d.prev = x.chain.Floor()
	err := x.hydration.MayEnd(x.chain.Floor(), cut)
	g.mu.RUnlock()
	if err != nil {
		return block.Wrap(block.KindOf(err), err, "segment %v", g.id)
	}
	if err := g.store.own(g, &ownRecord{d: d}); err != nil {
		return err
	}
	if g.Hydration().On {
		return block.Errorf(block.Unavailable, "segment %v was copied to while the end of that was logged", g.id)
	}
	return nil
}

// hydrateRecord is a HYDRATE that says m.
func (g *Segment) hydrateRecord(m hydration.Mark) descriptor {
	return descriptor{seg: g.idx, typ: TypeHydrate, lsn: m.LSN, count: m.Copies, block: uint32(m.Round)}
}

// readable is the lowest LSN as of which all blocks are whole.
func (x *index) readable() block.LSN { return x.hydration.Lowest(x.chain.Floor()) }

// spoil notes that a part of the copies is lost: none counts.
func (x *index) spoil() { x.hydration.Spoil(leafIndex{x}) }

// leafIndex is an index as its hydration sees it.
type leafIndex struct{ x *index }

// Floor implements hydration.Index.
func (l leafIndex) Floor() block.LSN { return l.x.chain.Floor() }

// Raise implements hydration.Index.
func (l leafIndex) Raise(lsn block.LSN) bool {
	return l.x.chain.OnPath(lsn) && l.x.chain.SetFloor(lsn, l.x)
}

// Jump implements hydration.Index.
func (l leafIndex) Jump(lsn block.LSN) bool { return l.x.chain.Jump(lsn, l.x) }

// Forget implements hydration.Index.
func (l leafIndex) Forget() {
	l.x.base.since = 0
	for i := range l.x.base.slots {
		l.x.base.slots[i].maxLSN = 0
	}
}

// Mixed implements hydration.Index.
func (l leafIndex) Mixed(leaf int) { l.Whole(leaf, 0) }

// Whole implements hydration.Index.
func (l leafIndex) Whole(leaf int, lsn block.LSN) {
	if s := l.x.base.slot(leaf); lsn >= s.maxLSN || !mutant.On(mutant.LeafStaysWhole) {
		s.maxLSN = lsn
	}
}

// copyRun takes in a COPY whose payload begins at loc.
func (x *index) copyRun(d *descriptor, sums []block.Sum, loc location) {
	first := block.Index(d.block)
	switch {
	case d.flags&flagZero != 0:
		x.base.wipe(first, block.Count(d.count), locZero, 0)
	case d.flags&flagHole != 0:
		x.base.wipe(first, block.Count(d.count), locTrim, 0)
	default:
		x.accounts.add(loc, int(d.count))
		for i := range int(d.count) {
			x.base.set(first+block.Index(i), loc.plus(i), sums[i], 0)
		}
	}
	x.hydration.Copy(leafIndex{x}, hydration.Run{
		Leaf: int(first / leafBlocks), At: block.Count(first % leafBlocks), Count: block.Count(d.count), Of: leafBlocks,
		Cut: d.prev, MaxLSN: d.lsn,
	})
}

// hydrateLocked takes in a HYDRATE record.
func (g *Segment) hydrateLocked(d *descriptor) {
	x, m := &g.mu.index, hydration.Mark{LSN: d.lsn, Copies: d.count, Round: hydration.Round(d.block)}
	if d.flags&flagBegin != 0 {
		x.hydration.Begin(leafIndex{x}, m)
		return
	}
	x.hydration.End(leafIndex{x}, m)
}
