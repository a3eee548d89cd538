package volume

import (
	"sync/atomic"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/slab"
	"github.com/sextantdisk/sextant/volume/pg"
	"github.com/sextantdisk/sextant/wire"
)

// Handle is one client's access to a volume. What one handle was told is
// done, all see. Its methods belong to one goroutine.
type Handle struct {
	v     *Volume
	b     batch
	dirty []*group // have issued records that were not sent yet
}

// NewHandle makes a handle.
func (v *Volume) NewHandle() *Handle { return &Handle{v: v} }

// Kick sends off what was collected.
func (h *Handle) Kick() {
	for i, g := range h.dirty {
		g.step(&h.b, pg.Input{Kind: pg.Collect})
		h.dirty[i] = nil
	}
	h.dirty = h.dirty[:0]
	h.b.run()
}

func (h *Handle) touch(g *group) {
	for _, x := range h.dirty {
		if x == g {
			return
		}
	}
	h.dirty = append(h.dirty, g)
}

// begin admits an operation of n bytes at off; nil if w was told already.
func (h *Handle) begin(off block.Offset, n, payload block.ByteCount, w Waiter) *writeOp {
	v := h.v
	if err := v.check(off, n); err != nil {
		h.b.tell(w, err)
		h.b.run()
		return nil
	}
	bytes := payload + opBytes
	if !v.pending.try(bytes) {
		h.Kick() // what was collected must be on its way before we wait for it
		if !v.pending.wait(bytes) {
			h.b.tell(w, v.ended())
			h.b.run()
			return nil
		}
	}
	return v.newWriteOp(w, bytes)
}

func (v *Volume) check(off block.Offset, n block.ByteCount) error {
	if err := v.ended(); err != nil {
		return err
	}
	if size := v.Size(); n == 0 || block.ByteCount(off) > size || n > size-block.ByteCount(off) {
		return block.Errorf(block.Invalid, "volume %s: bytes %d+%d are beyond its size of %v", v.info.Name, uint64(off), uint64(n), size)
	}
	return nil
}

// Write writes data at off. The handle holds data until w is told; Kick must
// follow.
func (h *Handle) Write(off block.Offset, data *slab.Buffer, w Waiter) {
	n := block.ByteCount(data.Len())
	o := h.begin(off, n, n, w)
	if o == nil {
		return
	}
	bytes, pos := data.Bytes(), 0
	h.v.info.Geometry.Split(off, n, func(p block.Piece) {
		h.writePiece(o, p, bytes[pos:pos+int(p.Length)], data)
		pos += int(p.Length)
	})
	o.pieceDone(&h.b, nil)
}

// Zero makes n bytes at off read as zeroes. Without keep the space is given
// back. Kick must follow.
func (h *Handle) Zero(off block.Offset, n block.ByteCount, keep bool, w Waiter) {
	typ := wire.RecordTrim
	if keep {
		typ = wire.RecordZero
	}
	h.clear(off, n, typ, true, w)
}

// Trim gives back what lies in n bytes at off, as far as it is whole blocks;
// those read as zeroes then. Kick must follow.
func (h *Handle) Trim(off block.Offset, n block.ByteCount, w Waiter) {
	h.clear(off, n, wire.RecordTrim, false, w)
}

// clear makes ZERO or TRIM records, one for each group that exists (B4); with
// edges the parts of blocks at both ends are zeroed, too.
func (h *Handle) clear(off block.Offset, n block.ByteCount, typ wire.RecordType, edges bool, w Waiter) {
	o := h.begin(off, n, 0, w)
	if o == nil {
		return
	}
	h.v.info.Geometry.Split(off, n, func(p block.Piece) {
		g := h.v.group(p.PG)
		if g == nil {
			h.afterPlacing(o, p.PG, func(b *batch, g *group) { h.v.clearPiece(b, o, g, p, typ, edges) })
			return
		}
		h.v.clearPiece(&h.b, o, g, p, typ, edges)
		h.touch(g)
	})
	o.pieceDone(&h.b, nil)
}

// afterPlacing runs f when the group is placed, if it is being placed; where
// no group is, all is zero already (B4).
func (h *Handle) afterPlacing(o *writeOp, i block.PGIndex, f func(b *batch, g *group)) {
	o.left.Add(1)
	if !h.v.ifPlacing(i, func(b *batch, g *group, err error) {
		if err == nil {
			f(b, g)
			g.step(b, pg.Input{Kind: pg.Collect})
		}
		o.pieceDone(b, err)
	}) {
		h.v.whenEmpty(&h.b, o.pieceDone)
	}
}

func (v *Volume) clearPiece(b *batch, o *writeOp, g *group, p block.Piece, typ wire.RecordType, edges bool) {
	head, first, count, tail := cut(p)
	if edges && head > 0 {
		o.left.Add(1)
		g.edit(b, g.newEdit(o, block.Index(p.Start/block.Size), int(p.Start%block.Size), head, nil, nil))
	}
	if count > 0 {
		o.left.Add(1)
		g.issue(b, o, change{typ: typ, block: first, count: count})
	}
	if edges && tail > 0 {
		o.left.Add(1)
		g.edit(b, g.newEdit(o, first+block.Index(count), 0, tail, nil, nil))
	}
}

// cut divides a piece into a part of its first block, whole blocks, and a
// part of its last block. A piece within one block is all head.
func cut(p block.Piece) (head int, first block.Index, count block.Count, tail int) {
	start, end := uint64(p.Start), uint64(p.Start+p.Length)
	up := (start + block.Size - 1) / block.Size
	down := end / block.Size
	if up > down {
		return int(end - start), block.Index(up), 0, 0
	}
	return int(up*block.Size - start), block.Index(up), block.Count(down - up), int(end - down*block.Size)
}

// writePiece writes what lies in one group.
func (h *Handle) writePiece(o *writeOp, p block.Piece, data []byte, buf *slab.Buffer) {
	if g := h.v.group(p.PG); g != nil {
		h.v.writeBlocks(&h.b, o, g, p, data, buf)
		h.touch(g)
		return
	}
	if p.Start%8 == 0 && len(data)%8 == 0 && isZero(data) && !h.v.isPlacing(p.PG) && h.v.emptyKnown() {
		return // zeroes where nothing is (B4)
	}
	o.left.Add(1)
	buf.Retain()
	h.v.place(p.PG, func(b *batch, g *group, err error) {
		if err == nil {
			h.v.writeBlocks(b, o, g, p, data, buf)
			g.step(b, pg.Input{Kind: pg.Collect})
		}
		o.pieceDone(b, err)
		buf.Release()
	})
}

// writeBlocks makes the records of a piece: whole blocks in runs of at most
// MaxRecordBlocks, parts of blocks as edits (B1, B2).
func (v *Volume) writeBlocks(b *batch, o *writeOp, g *group, p block.Piece, data []byte, buf *slab.Buffer) {
	head, first, count, tail := cut(p)
	if head > 0 {
		o.left.Add(1)
		g.edit(b, g.newEdit(o, block.Index(p.Start/block.Size), int(p.Start%block.Size), head, data[:head], buf.Retain()))
		data = data[head:]
	}
	for count > 0 {
		n := min(count, block.MaxRecordBlocks)
		c := change{typ: wire.RecordWrite, block: first, count: n, data: data[:int(n)*block.Size], buf: buf}
		if isZero(c.data) {
			c = change{typ: wire.RecordZero, block: first, count: n}
		}
		o.left.Add(1)
		g.issue(b, o, c)
		data = data[int(n)*block.Size:]
		first += block.Index(n)
		count -= n
	}
	if tail > 0 {
		o.left.Add(1)
		g.edit(b, g.newEdit(o, first, 0, tail, data[:tail], buf.Retain()))
	}
}

// Flush is done at once: what was acknowledged is durable (protocol §2.0).
func (h *Handle) Flush(w Waiter) {
	h.b.tell(w, h.v.ended())
	h.b.run()
}

// readReq is one read of a client, until all its pieces are done.
type readReq struct {
	v      *Volume
	waiter Waiter
	left   atomic.Int32
	err    atomic.Pointer[error]
	data   *slab.Buffer // where the client wants it
	wide   *slab.Buffer // whole blocks around it, if it is not whole blocks
	skip   int          // of wide
}

func (r *readReq) pieceDone(b *batch, err error) {
	if err != nil {
		r.err.CompareAndSwap(nil, &err)
	}
	if r.left.Add(-1) > 0 {
		return
	}
	var first error
	if p := r.err.Load(); p != nil {
		first = *p
	}
	if r.wide != nil {
		if first == nil {
			copy(r.data.Bytes(), r.wide.Bytes()[r.skip:])
		}
		r.wide.Release()
	}
	b.tell(r.waiter, first)
}

// Read fills data from off. Kick must follow.
func (h *Handle) Read(off block.Offset, data *slab.Buffer, w Waiter) {
	n := block.ByteCount(data.Len())
	if err := h.v.check(off, n); err != nil {
		h.b.tell(w, err)
		h.b.run()
		return
	}
	req := &readReq{v: h.v, waiter: w, data: data}
	req.left.Store(1)
	start, end := off/block.Size*block.Size, (off+block.Offset(n)+block.Size-1)/block.Size*block.Size
	dst := data.Bytes()
	if start != off || end != off+block.Offset(n) {
		req.wide = slab.Get(int(end - start))
		req.skip = int(off - start)
		dst = req.wide.Bytes()
	}
	h.v.info.Geometry.Split(start, block.ByteCount(end-start), func(p block.Piece) {
		h.readPiece(req, p, dst[:p.Length])
		dst = dst[p.Length:]
	})
	req.pieceDone(&h.b, nil)
}

// readBytes is the most that one READ asks for: as much as one record brings, and
// one MEND. A longer read asks for several pieces at once: one is read from disk
// while another one is on its way, and what was received is in the processor's
// cache still when it is summed (ADR 43).
const readBytes = int(block.MaxRecordBytes)

// readPiece reads what lies in one group. Where no group is, there are zeroes
// (B4).
func (h *Handle) readPiece(req *readReq, p block.Piece, dst []byte) {
	g := h.v.group(p.PG)
	if g == nil {
		req.left.Add(1)
		h.v.whenEmpty(&h.b, func(b *batch, err error) {
			clear(dst)
			req.pieceDone(b, err)
		})
		return
	}
	first := block.Index(p.Start / block.Size)
	for len(dst) > 0 {
		n := min(len(dst), readBytes)
		req.left.Add(1)
		h.v.counters.Reads.Add(1)
		h.v.budget.earn()
		o := &readOp{g: g, owner: req, block: first, count: block.Count(n / block.Size), dst: dst[:n:n], began: h.v.now()}
		o.begin(&h.b)
		first += block.Index(n / block.Size)
		dst = dst[n:]
	}
}
