package volume

import (
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/wire"
)

// mapReq tells what is allocated from an offset on, as far as one group
// knows.
type mapReq struct {
	waiter  Waiter
	extents func([]Extent)
	skip    block.ByteCount // of the first run: the offset within its block
	limit   block.ByteCount
	runs    []wire.Run
}

func (r *mapReq) pieceDone(b *batch, err error) {
	if err == nil {
		r.extents(r.convert())
	}
	b.tell(r.waiter, err)
}

// convert cuts the runs to the bytes that were asked for.
func (r *mapReq) convert() []Extent {
	var out []Extent
	skip, left := r.skip, r.limit
	for _, run := range r.runs {
		n := block.ByteCount(run.Count)*block.Size - skip
		skip = 0
		n = min(n, left)
		if n == 0 {
			break
		}
		out = append(out, Extent{Length: n, Hole: run.Kind == wire.RunHole, Zero: run.Kind != wire.RunData})
		left -= n
	}
	return out
}

// Map tells extents from off on, at least one and at most n bytes; set is
// called with them before w is told. Groups that do not exist are one hole.
// Kick must follow.
func (h *Handle) Map(off block.Offset, n block.ByteCount, set func([]Extent), w Waiter) {
	if err := h.v.check(off, n); err != nil {
		h.b.tell(w, err)
		h.b.run()
		return
	}
	i, start := h.v.info.Geometry.Locate(off)
	g := h.v.group(i)
	if g == nil {
		length := h.holeAt(off, n)
		h.v.whenEmpty(&h.b, func(b *batch, err error) {
			if err == nil {
				set([]Extent{{Length: length, Hole: true, Zero: true}})
			}
			b.tell(w, err)
		})
		h.b.run()
		return
	}
	length := min(n, h.v.info.Geometry.PGSize-start)
	first := block.Index(start / block.Size)
	end := (start + length + block.Size - 1) / block.Size
	req := &mapReq{waiter: w, extents: set, skip: start % block.Size, limit: length}
	o := &readOp{g: g, owner: req, block: first, count: block.Count(uint64(end) - uint64(first)), began: h.v.now()}
	o.runs = func(runs []wire.Run) { req.runs = append(req.runs, runs...) }
	o.begin(&h.b)
}

// holeAt is how far the groups at off do not exist, up to n bytes.
func (h *Handle) holeAt(off block.Offset, n block.ByteCount) (hole block.ByteCount) {
	open := true
	h.v.info.Geometry.Split(off, n, func(p block.Piece) {
		if open = open && h.v.group(p.PG) == nil; open {
			hole += p.Length
		}
	})
	return hole
}
