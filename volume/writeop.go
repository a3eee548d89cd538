package volume

import (
	"encoding/binary"
	"sync"
	"sync/atomic"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/slab"
	"github.com/sextantdisk/sextant/volume/pg"
	"github.com/sextantdisk/sextant/wire"
)

// writeOp is one write, zero or trim of a client, until all its pieces are
// done.
type writeOp struct {
	v      *Volume
	waiter Waiter
	bytes  block.ByteCount // admitted
	left   atomic.Int32    // pieces not done, and one while pieces are made

	mu struct {
		sync.Mutex
		err error
	}
}

var writeOps = sync.Pool{New: func() any { return new(writeOp) }}

func (v *Volume) newWriteOp(w Waiter, bytes block.ByteCount) *writeOp {
	o := writeOps.Get().(*writeOp)
	o.v, o.waiter, o.bytes = v, w, bytes
	o.left.Store(1)
	return o
}

// pieceDone counts a piece as done; after the last one the client is told.
func (o *writeOp) pieceDone(b *batch, err error) {
	if err != nil {
		o.mu.Lock()
		if o.mu.err == nil {
			o.mu.err = err
		}
		o.mu.Unlock()
	}
	if o.left.Add(-1) > 0 {
		return
	}
	b.tell(o.waiter, o.mu.err)
	o.v.pending.release(o.bytes)
	o.v, o.waiter, o.mu.err = nil, nil, nil
	writeOps.Put(o)
}

// change is one record to be, in blocks of a group.
type change struct {
	typ   wire.RecordType
	block block.Index
	count block.Count
	data  []byte       // RecordWrite: count blocks
	buf   *slab.Buffer // holds data
}

// issue gives a change to the group's machine, behind sub-block writes that
// it overlaps.
func (g *group) issue(b *batch, o *writeOp, c change) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.issueLocked(b, o, c)
}

func (g *group) issueLocked(b *batch, o *writeOp, c change) {
	if g.mu.gone {
		o.pieceDone(b, g.v.ended())
		return
	}
	if g.mu.rmw.Overlaps(c.block, c.count) {
		g.waitLocked(o, c)
		return
	}
	if g.hopelessLocked() {
		o.pieceDone(b, g.heldLocked())
		return
	}
	g.recordLocked(b, o, c)
}

// recordLocked makes the record and issues it. Between the end of the volume
// and the time when abandon comes round to this group its machine may be dead
// already and would lose the record: whoever waits for it is told here.
func (g *group) recordLocked(b *batch, o *writeOp, c change) {
	if err := g.v.ended(); err != nil {
		o.pieceDone(b, err)
		return
	}
	if g.mu.machine.Phase() == pg.Idle {
		g.stepLocked(b, pg.Input{Kind: pg.Start})
	}
	r := records.Get().(*record)
	r.op = o
	r.Owner = r
	r.Type, r.Block, r.Count = c.typ, c.block, c.count
	r.Sums = r.Sums[:0]
	if c.typ == wire.RecordWrite {
		r.Payload, r.buf = c.data, c.buf.Retain()
		for i := 0; i < len(c.data); i += block.Size {
			r.Sums = append(r.Sums, block.Checksum(c.data[i:i+block.Size]))
		}
	}
	g.stepLocked(b, pg.Input{Kind: pg.Issue, Record: &r.Record})
}

// isZero reports whether p, whose length is a multiple of 8, is all zeroes.
func isZero(p []byte) bool {
	for len(p) >= 64 {
		if binary.LittleEndian.Uint64(p)|binary.LittleEndian.Uint64(p[8:])|
			binary.LittleEndian.Uint64(p[16:])|binary.LittleEndian.Uint64(p[24:])|
			binary.LittleEndian.Uint64(p[32:])|binary.LittleEndian.Uint64(p[40:])|
			binary.LittleEndian.Uint64(p[48:])|binary.LittleEndian.Uint64(p[56:]) != 0 {
			return false
		}
		p = p[64:]
	}
	for ; len(p) >= 8; p = p[8:] {
		if binary.LittleEndian.Uint64(p) != 0 {
			return false
		}
	}
	return true
}
