package logstore

import (
	"github.com/sextantdisk/sextant/internal/block"
)

// piece is a number of pages that lie together in one file, and are read
// together. It holds a reference to the file.
type piece struct {
	file *logFile
	page pageNo
	n    int
}

// ReadAt reads [first, first+n) as of LSN at into dst; each block's checksum
// is verified (rule B3). It never waits for a flush. Error kinds: Behind
// (at > SCL), Stale (at < floor), Invalid, Corrupt (says where; counted; a
// Damage is in its tree), Unavailable, Closed.
func (g *Segment) ReadAt(at block.LSN, first block.Index, n block.Count, dst *ReadResult) error {
	dst.Runs, dst.Sums, dst.plan = dst.Runs[:0], dst.Sums[:0], dst.plan[:0]
	if len(dst.Buf) < int(n)*block.Size {
		return block.Errorf(block.Invalid, "buffer of %d bytes is too small for %d blocks", len(dst.Buf), n)
	}
	err := g.plan(at, first, n, dst)
	if err == nil {
		err = dst.fetch()
	}
	for _, p := range dst.plan {
		if uerr := p.file.unpin(); err == nil && uerr != nil {
			err = diskError(uerr, "closing", p.file.name)
		}
	}
	if err == nil {
		err = g.verify(first, dst)
	}
	clear(dst.plan)
	return err
}

// plan looks up what is to be read and takes references to the files.
func (g *Segment) plan(at block.LSN, first block.Index, n block.Count, dst *ReadResult) (err error) {
	files := g.store.files.Load()
	g.mu.RLock()
	defer g.mu.RUnlock()
	if err := g.readableLocked(at, first, n); err != nil {
		return err
	}
	g.mu.index.resolve(at, first, n, func(b block.Index, f found) bool {
		kind := f.loc.kind()
		addRun(&dst.Runs, kind, 1)
		if kind != RunData {
			return true
		}
		dst.Sums = append(dst.Sums, f.sum)
		page := pageNo(f.loc.page)
		if k := len(dst.plan) - 1; k >= 0 && dst.plan[k].follows(f.loc) {
			dst.plan[k].n++
			return true
		}
		file, ok := files.bySeq[f.loc.file]
		if !ok { // made since files was loaded
			files = g.store.files.Load()
			file = files.bySeq[f.loc.file]
		}
		if file == nil || !file.pin() {
			err = block.Errorf(block.Closed, "the log store is closed")
			return false
		}
		dst.plan = append(dst.plan, piece{file, page, 1})
		return true
	})
	return err
}

func (p *piece) follows(l location) bool {
	return p.file.header.seq == l.file && p.page+pageNo(p.n) == pageNo(l.page)
}

// readableLocked validates a read before any effect.
func (g *Segment) readableLocked(at block.LSN, first block.Index, n block.Count) error {
	c := &g.mu.index.chain
	switch {
	case g.dropped.Load():
		return block.Errorf(block.NotFound, "segment %v was dropped", g.id)
	case n == 0 || uint64(first)+uint64(n) > maxBlocks:
		return block.Errorf(block.Invalid, "range of %d blocks from %d does not lie in a protection group", n, first)
	case at > c.SCL():
		return block.Errorf(block.Behind, "segment %v is complete up to %v, not up to %v", g.id, c.SCL(), at)
	case at < c.Floor():
		return block.Errorf(block.Stale, "segment %v has settled its versions up to %v; %v cannot be read any more", g.id, c.Floor(), at)
	}
	return nil
}

func addRun(runs *[]Run, kind RunKind, n block.Count) {
	if k := len(*runs) - 1; k >= 0 && (*runs)[k].Kind == kind {
		(*runs)[k].Count += n
		return
	}
	*runs = append(*runs, Run{n, kind})
}

// fetch reads the pieces of the plan, packed.
func (r *ReadResult) fetch() error {
	to := r.Buf
	for _, p := range r.plan {
		size := p.n * block.Size
		if err := p.file.read(to[:size], p.page); err != nil {
			return err
		}
		to = to[size:]
	}
	return nil
}

// verify checks what was fetched against the index.
func (g *Segment) verify(first block.Index, r *ReadResult) error {
	i, inPiece, p := 0, 0, 0
	for _, run := range r.Runs {
		if run.Kind != RunData {
			first += block.Index(run.Count)
			continue
		}
		for range run.Count {
			if inPiece == r.plan[p].n {
				inPiece, p = 0, p+1
			}
			got := block.Checksum(r.Buf[i*block.Size : (i+1)*block.Size])
			if got != r.Sums[i] {
				at := r.plan[p].page + pageNo(inPiece)
				return g.rotten(Damage{Kind: DamagePayload, File: r.plan[p].file.name, Offset: at.bytes(), Length: block.Size,
					Segment: g.id, Block: first, Expected: r.Sums[i], Found: got})
			}
			i, inPiece, first = i+1, inPiece+1, first+1
		}
	}
	return nil
}

// rotten counts damage that a read found and makes the error of it.
func (g *Segment) rotten(d Damage) error {
	g.mu.Lock()
	g.mu.bad++
	g.mu.Unlock()
	g.store.found(d)
	return d.err()
}

// Map tells what ReadAt would find, without reading, appended to runs. Error
// kinds: those of ReadAt but Corrupt.
func (g *Segment) Map(at block.LSN, first block.Index, n block.Count, runs []Run) ([]Run, error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if err := g.readableLocked(at, first, n); err != nil {
		return runs, err
	}
	var got []Run
	x := &g.mu.index
	warm := x.warmLeaves(at, first, n)
	for n > 0 {
		k := min(n, block.Count(leafBlocks-first%leafBlocks))
		if kind, ok := x.base.uniform(first); ok && !warm[first/leafBlocks] {
			addRun(&got, kind, k)
		} else {
			x.resolve(at, first, k, func(_ block.Index, f found) bool {
				addRun(&got, f.loc.kind(), 1)
				return true
			})
		}
		first += block.Index(k)
		n -= k
	}
	return append(runs, got...), nil
}

// warmLeaves tells which leaves of a range have versions above the floor, so
// that the others can be answered as wholes.
func (x *index) warmLeaves(at block.LSN, first block.Index, n block.Count) map[block.Index]bool {
	warm := make(map[block.Index]bool)
	end := uint64(first) + uint64(n)
	for b := range x.hot.blocks {
		if b >= first && uint64(b) < end {
			warm[b/leafBlocks] = true
		}
	}
	for _, w := range x.hot.overlapping(nil, at, first, end) {
		for b := max(w.first, first) / leafBlocks; uint64(b)*leafBlocks < min(w.end(), end); b++ {
			warm[b] = true
		}
	}
	return warm
}
