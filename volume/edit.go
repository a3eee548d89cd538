package volume

import (
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/slab"
	"github.com/sextantdisk/sextant/volume/pg"
	"github.com/sextantdisk/sextant/wire"
)

// edit changes a part of one block: read, modify, write under a lock of the
// block (B1, trap T23). Its life:
//
//	waiting for all that was issued before  ─▶  reading  ─▶  issued
//
// What overlaps it and comes later waits in the queue until it is issued.
// Then the order of LSNs takes over. It reads at a point that covers all that
// was issued before it, so its image is the newest issued one.
type edit struct {
	g      *group
	op     *writeOp
	block  block.Index
	at     int    // first byte within the block
	with   []byte // what is put there; nil: zeroes
	n      int
	buf    *slab.Buffer // holds with
	began  pg.Time      // when the client asked
	after  block.LSN    // what must be committed before it reads; 0: not known yet
	known  bool
	inRead bool
	image  *slab.Buffer
}

// edits are the sub-block writes of one group, and what waits for them.
type edits struct {
	active []*edit
	queue  []queued
}

// queued is a change or an edit that waits for an overlapping edit.
type queued struct {
	op     *writeOp
	began  pg.Time
	change change
	edit   *edit
}

// overlaps reports whether the range touches an active edit, or a queued
// change that must stay before it.
func (e *edits) overlaps(first block.Index, n block.Count) bool {
	for _, a := range e.active {
		if touches(first, n, a.block, 1) {
			return true
		}
	}
	for i := range e.queue {
		q := &e.queue[i]
		at, k := q.change.block, q.change.count
		if q.edit != nil {
			at, k = q.edit.block, 1
		}
		if touches(first, n, at, k) {
			return true
		}
	}
	return false
}

func touches(a block.Index, an block.Count, b block.Index, bn block.Count) bool {
	return uint64(a) < uint64(b)+uint64(bn) && uint64(b) < uint64(a)+uint64(an)
}

// edit begins an edit, or queues it behind others of its block.
func (g *group) edit(b *batch, e *edit) {
	g.mu.Lock()
	defer g.mu.Unlock()
	e.began = g.v.now()
	if g.mu.gone {
		e.end(b, g.v.ended())
		return
	}
	if g.mu.rmw.overlaps(e.block, 1) {
		g.mu.rmw.queue = append(g.mu.rmw.queue, queued{op: e.op, began: e.began, edit: e})
		return
	}
	g.startEditLocked(b, e)
}

func (g *group) startEditLocked(b *batch, e *edit) {
	if g.hopelessLocked() {
		e.end(b, g.heldLocked())
		return
	}
	g.mu.rmw.active = append(g.mu.rmw.active, e)
	if g.mu.machine.Phase() == pg.Idle {
		g.stepLocked(b, pg.Input{Kind: pg.Start})
	}
	g.advanceEditsLocked()
}

// advanceEditsLocked lets edits read whose time has come.
func (g *group) advanceEditsLocked() {
	m := g.mu.machine
	if m.Phase() != pg.Open {
		return
	}
	for _, e := range g.mu.rmw.active {
		if !e.known {
			e.after, e.known = m.Tail(), true
		}
		if e.inRead || m.Committed() < e.after {
			continue
		}
		e.inRead = true
		e.image = slab.Get(block.Size)
		r := &readOp{g: g, owner: e, block: e.block, count: 1, dst: e.image.Bytes(), began: e.began}
		// Not from here: this may be in the middle of a step.
		g.v.later(func(b *batch) { r.begin(b) })
	}
}

// pieceDone has the block's image: modify and write. It is called without the
// group's lock, or with it when the read failed at once; so it goes on later.
func (e *edit) pieceDone(_ *batch, err error) {
	e.g.v.later(func(b *batch) { e.issue(b, err) })
}

func (e *edit) issue(b *batch, err error) {
	g := e.g
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.gone {
		return // abandonLocked has ended it
	}
	g.removeEditLocked(e)
	if err != nil {
		e.end(b, err)
	} else {
		image := e.image.Bytes()
		if e.with == nil {
			clear(image[e.at : e.at+e.n])
		} else {
			copy(image[e.at:], e.with)
		}
		g.recordLocked(b, e.op, change{typ: wire.RecordWrite, block: e.block, count: 1, data: image, buf: e.image})
		e.release()
	}
	g.runQueueLocked(b)
	g.stepLocked(b, pg.Input{Kind: pg.Collect})
}

func (g *group) removeEditLocked(e *edit) {
	active := g.mu.rmw.active
	for i, x := range active {
		if x == e {
			g.mu.rmw.active = append(active[:i], active[i+1:]...)
			return
		}
	}
}

// runQueueLocked issues what waited, in its order, as far as it no longer
// overlaps.
func (g *group) runQueueLocked(b *batch) {
	waiting := g.mu.rmw.queue
	g.mu.rmw.queue = nil
	for _, q := range waiting {
		if q.edit != nil {
			if g.mu.rmw.overlaps(q.edit.block, 1) {
				g.mu.rmw.queue = append(g.mu.rmw.queue, q)
			} else {
				g.startEditLocked(b, q.edit)
			}
			continue
		}
		if g.mu.rmw.overlaps(q.change.block, q.change.count) {
			g.mu.rmw.queue = append(g.mu.rmw.queue, q)
			continue
		}
		g.recordLocked(b, q.op, q.change)
		if q.change.buf != nil {
			q.change.buf.Release()
		}
	}
}

// failHeldEditsLocked fails the edits that have waited for the hold time, and
// what has waited behind them (B5): nothing of them was issued. An edit that
// reads is left to its read.
func (g *group) failHeldEditsLocked(b *batch) {
	rmw := &g.mu.rmw
	old := func(began pg.Time) bool { return g.v.now()-began >= g.v.cfg.Hold }
	var held []*edit
	active := rmw.active[:0]
	for _, e := range rmw.active {
		if e.inRead || !old(e.began) {
			active = append(active, e)
			continue
		}
		held = append(held, e)
	}
	clear(rmw.active[len(active):])
	rmw.active = active
	queue := rmw.queue[:0]
	for _, q := range rmw.queue {
		switch {
		case !old(q.began):
			queue = append(queue, q)
		case q.edit != nil:
			held = append(held, q.edit)
		default:
			q.op.pieceDone(b, g.heldLocked())
			if q.change.buf != nil {
				q.change.buf.Release()
			}
		}
	}
	clear(rmw.queue[len(queue):])
	rmw.queue = queue
	for _, e := range held {
		e.end(b, g.heldLocked())
	}
	if len(held) > 0 {
		g.runQueueLocked(b)
		g.stepLocked(b, pg.Input{Kind: pg.Collect})
	}
}

// end tells the op and gives the memory back.
func (e *edit) end(b *batch, err error) {
	e.op.pieceDone(b, err)
	e.release()
}

func (e *edit) release() {
	if e.image != nil {
		e.image.Release()
		e.image = nil
	}
	if e.buf != nil {
		e.buf.Release()
		e.buf = nil
	}
}
