package volume

import (
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/slab"
	"github.com/sextantdisk/sextant/volume/pg"
	"github.com/sextantdisk/sextant/volume/rmw"
	"github.com/sextantdisk/sextant/wire"
)

// edit changes a part of one block: read, modify, write (B1). When it reads, and
// who waits for it, is decided by package rmw.
type edit struct {
	rmw.Item
	g     *group
	op    *writeOp
	at    int    // first byte within the block
	with  []byte // what is put there; nil: zeroes
	n     int
	buf   *slab.Buffer // holds with
	image *slab.Buffer
}

// newEdit makes an edit of n bytes from at on, within a block.
func (g *group) newEdit(o *writeOp, b block.Index, at, n int, with []byte, buf *slab.Buffer) *edit {
	e := &edit{g: g, op: o, at: at, with: with, n: n, buf: buf}
	e.Item = rmw.Item{Block: b, Count: 1, Owner: e}
	return e
}

// queued is a change that waits for an edit that it overlaps.
type queued struct {
	rmw.Item
	op     *writeOp
	change change
}

// waitLocked has a change wait.
func (g *group) waitLocked(o *writeOp, c change) {
	if c.buf != nil {
		c.buf.Retain()
	}
	q := &queued{op: o, change: c}
	q.Item = rmw.Item{Block: c.block, Count: c.count, Began: g.v.now(), Owner: q}
	g.mu.rmw.Wait(&q.Item)
}

// end tells who has waited, and gives the memory back.
func (q *queued) end(b *batch, err error) {
	q.op.pieceDone(b, err)
	if q.change.buf != nil {
		q.change.buf.Release()
	}
}

// edit begins an edit, or queues it behind others of its block.
func (g *group) edit(b *batch, e *edit) {
	g.mu.Lock()
	defer g.mu.Unlock()
	e.Began = g.v.now()
	if g.mu.gone {
		e.end(b, g.v.ended())
		return
	}
	if g.mu.rmw.Overlaps(e.Block, 1) {
		g.mu.rmw.Wait(&e.Item)
		return
	}
	g.startEditLocked(b, e)
}

func (g *group) startEditLocked(b *batch, e *edit) {
	if g.hopelessLocked() {
		e.end(b, g.heldLocked())
		return
	}
	g.mu.rmw.Start(&e.Item)
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
	for _, i := range g.mu.rmw.Ready(nil, m.Tail(), m.Committed()) {
		e := i.Owner.(*edit)
		e.image = slab.Get(block.Size)
		r := &readOp{g: g, owner: e, block: e.Block, count: 1, dst: e.image.Bytes(), began: e.Began}
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
	g.mu.rmw.Done(&e.Item)
	if err != nil {
		e.end(b, err)
	} else {
		image := e.image.Bytes()
		if e.with == nil {
			clear(image[e.at : e.at+e.n])
		} else {
			copy(image[e.at:], e.with)
		}
		g.recordLocked(b, e.op, change{typ: wire.RecordWrite, block: e.Block, count: 1, data: image, buf: e.image})
		e.release()
	}
	g.runQueueLocked(b)
	g.stepLocked(b, pg.Input{Kind: pg.Collect})
}

// runQueueLocked issues what waited, in its order, as far as it no longer
// overlaps.
func (g *group) runQueueLocked(b *batch) {
	for i := g.mu.rmw.Next(); i != nil; i = g.mu.rmw.Next() {
		switch w := i.Owner.(type) {
		case *edit:
			g.startEditLocked(b, w)
		case *queued:
			g.recordLocked(b, w.op, w.change)
			if w.change.buf != nil {
				w.change.buf.Release()
			}
		}
	}
}

// failHeldEditsLocked fails the edits that have waited for the hold time, and
// what has waited behind them (B5).
func (g *group) failHeldEditsLocked(b *batch) {
	if g.mu.rmw.Len() == 0 {
		return
	}
	held := g.mu.rmw.Expire(nil, g.v.now()-g.v.cfg.Hold)
	for _, i := range held {
		endWaiting(b, i, g.heldLocked())
	}
	if len(held) > 0 {
		g.runQueueLocked(b)
		g.stepLocked(b, pg.Input{Kind: pg.Collect})
	}
}

// endWaiting tells whoever an item is of.
func endWaiting(b *batch, i *rmw.Item, err error) {
	switch w := i.Owner.(type) {
	case *edit:
		w.end(b, err)
	case *queued:
		w.end(b, err)
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
