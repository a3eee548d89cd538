package logstore

import (
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/invariant"
)

// hydration is how far a segment is with taking leaves over from peers, when
// no peer's log has the records any more that it lacks (rules R21, R22). The
// segment's lock guards it.
//
//	BeginHydration   HYDRATE(begin): the floor stands still from here on
//	EnqueueCopy      COPY records: runs of leaves as of a peer's floor, the
//	                 cut. They replace what the base had
//	Hydrate          HYDRATE: the chain goes on from the lowest cut
//
// Each leaf comes as of a cut of its own. All cuts are floors, so committed
// (R13): what the base has is never annulled. When every leaf that changed
// since is in, the segment has all records up to the lowest cut, C, on each
// block, and on some blocks more, up to the highest cut, D. So the chain goes on
// from C, at once; reads wait until it has come to D, where all blocks are as
// of one LSN again: what comes between is made once more, with the same
// outcome (rule R19). Before, the SCL stays where it was, and nothing is read:
// some blocks are newer than the SCL.
//
// A COPY that was lost to damage must not be missed: a leaf counts only when
// its runs have come in their order, and HYDRATE tells how many COPYs there
// were. If that is not so, all begins anew.
type hydration struct {
	on bool
	// spoiled, while a log is replayed: some of it is lost.
	spoiled bool
	// after is the floor as of which the base was whole: what changed since is to
	// be copied.
	after  block.LSN
	copies uint32 // COPYs so far
	high   block.LSN
	// filled tells of leaves that have begun to come.
	filled map[int]filling
}

// filling is a leaf that is not whole yet.
type filling struct {
	blocks block.Count // from its start
	maxLSN block.LSN   // all versions up to there are in: the least of its runs
}

// LeafBlocks is how many blocks a leaf has: 2 MiB, the unit of hydration.
const LeafBlocks = block.Count(leafBlocks)

// maxFilling bounds the leaves that may be copied at a time.
const maxFilling = 1024

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
	return Hydrating{On: h.on, After: h.after}
}

// BeginHydration makes the segment take COPYs, or go on with it after a
// restart. From here on it can be read no more, and its floor stands still,
// until Hydrate. Error kinds: those of Wait.
func (g *Segment) BeginHydration() error {
	g.mu.RLock()
	x := &g.mu.index
	d := descriptor{seg: g.idx, typ: TypeHydrate, flags: flagBegin, lsn: x.chain.Floor(), count: x.hydration.copies}
	if x.hydration.on {
		d.lsn = x.hydration.after
	}
	g.mu.RUnlock()
	return g.store.own(g, &ownRecord{d: d})
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
	switch {
	case !x.hydration.on:
		return block.Errorf(block.Invalid, "segment %v is not being hydrated", g.id)
	case len(x.hydration.filled) >= maxFilling:
		return block.Errorf(block.Invalid, "segment %v has %d leaves begun: end some first", g.id, maxFilling)
	}
	for i := range runs {
		if err := runs[i].check(); err != nil {
			return err
		}
		if floor := x.chain.Floor(); runs[i].Cut < floor {
			return block.Errorf(block.Invalid, "blocks %d+%d as of %v: segment %v has settled all up to %v", runs[i].Block, runs[i].Count, runs[i].Cut, g.id, floor)
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
	h := &x.hydration
	d := descriptor{seg: g.idx, typ: TypeHydrate, lsn: cut, prev: x.chain.Floor(), count: h.copies}
	on, floor, open := h.on, x.chain.Floor(), len(h.filled)
	g.mu.RUnlock()
	switch {
	case !on || cut < floor:
		return block.Errorf(block.Invalid, "segment %v (hydrating: %v, floor %v) cannot go on from %v", g.id, on, floor, cut)
	case open > 0:
		return block.Errorf(block.Unavailable, "segment %v has %d leaves that are not whole", g.id, open)
	}
	if err := g.store.own(g, &ownRecord{d: d}); err != nil {
		return err
	}
	if g.Hydration().On {
		return block.Errorf(block.Unavailable, "segment %v was copied to while the end of that was logged", g.id)
	}
	return nil
}

// readable is the lowest LSN as of which all blocks are whole.
func (x *index) readable() block.LSN { return max(x.chain.Floor(), x.solid) }

// begin takes in HYDRATE(begin).
func (x *index) begin(floor block.LSN, copies uint32) {
	h := &x.hydration
	switch {
	case h.on && !h.spoiled && h.copies == copies:
		return // it goes on
	case copies != 0:
		x.spoil()
		return
	}
	if h.on { // from the start
		x.forgetLeaves()
	}
	*h = hydration{on: true, after: floor}
	switch {
	case floor == 0: // all is copied, whatever is settled
	case !x.chain.OnPath(floor): // damage cut the chain
		x.spoil()
	default:
		x.chain.SetFloor(floor, x)
	}
}

// spoil notes that a part of the copies is lost: none counts.
func (x *index) spoil() {
	x.forgetLeaves()
	x.hydration = hydration{on: true, spoiled: true, high: x.hydration.high}
}

// forgetLeaves makes all leaves count as older than any peer's.
func (x *index) forgetLeaves() {
	x.base.since = 0
	for i := range x.base.slots {
		x.base.slots[i].maxLSN = 0
	}
}

// copyRun takes in a COPY whose payload begins at loc.
func (x *index) copyRun(d *descriptor, sums []block.Sum, loc location) {
	h := &x.hydration
	if !h.on {
		x.spoil() // its beginning is lost
	}
	h.copies++
	h.high = max(h.high, d.prev)
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
	h.fill(&x.base, first, block.Count(d.count), d.lsn)
}

// fill notes that a run of a leaf has come; the leaf counts when its last one
// has, and none is missing.
func (h *hydration) fill(t *base, first block.Index, n block.Count, maxLSN block.LSN) {
	leaf, at := int(first/leafBlocks), block.Count(first%leafBlocks)
	f, begun := h.filled[leaf]
	if at == 0 {
		f = filling{maxLSN: maxLSN}
	} else if !begun || f.blocks != at {
		delete(h.filled, leaf)
		return
	}
	f.blocks += n
	f.maxLSN = min(f.maxLSN, maxLSN)
	if f.blocks < leafBlocks {
		if h.filled == nil {
			h.filled = make(map[int]filling)
		}
		h.filled[leaf] = f
		return
	}
	delete(h.filled, leaf)
	if !h.spoiled {
		s := t.slot(leaf)
		s.maxLSN = max(s.maxLSN, f.maxLSN)
	}
}

// install takes in HYDRATE: the chain goes on from cut.
func (x *index) install(cut block.LSN, copies uint32) {
	h := &x.hydration
	if !h.on || h.spoiled || h.copies != copies {
		x.spoil()
		return
	}
	solid := max(x.solid, h.high)
	*h = hydration{}
	x.solid, x.first = solid, max(x.first, cut)
	jumped := x.chain.Jump(cut, x)
	invariant.That(jumped, "a hydration's cut is not below the floor that stood still")
}

// hydrateLocked takes in a HYDRATE record.
func (g *Segment) hydrateLocked(d *descriptor) {
	if d.flags&flagBegin != 0 {
		g.mu.index.begin(d.lsn, d.count)
		return
	}
	if x := &g.mu.index; d.lsn < x.chain.Floor() {
		x.spoil() // damage: it was checked when it was logged
		return
	}
	g.mu.index.install(d.lsn, d.count)
}
