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
	to   int // where it goes in the buffer, in blocks
}

// ReadAt reads [first, first+n) as of LSN at into dst; each block's checksum
// is verified (rule B3). It never waits for a flush. Error kinds: Behind
// (at > SCL), Stale (at < floor), Invalid, Corrupt (says where; counted; a
// Damage is in its tree), Unavailable, Closed.
func (g *Segment) ReadAt(at block.LSN, first block.Index, n block.Count, dst *ReadResult) error {
	done, err := g.TryReadAt(at, first, n, dst)
	if done || err != nil {
		return err
	}
	return dst.Finish()
}

// TryReadAt is ReadAt as far as memory has the bytes: it never waits for the
// disk. If it is not done, and there is no error, dst.Finish must be called,
// by any goroutine, to read the rest.
func (g *Segment) TryReadAt(at block.LSN, first block.Index, n block.Count, dst *ReadResult) (done bool, err error) {
	dst.reset(g, first)
	if len(dst.Buf) < int(n)*block.Size {
		return false, block.Errorf(block.Invalid, "buffer of %d bytes is too small for %d blocks", len(dst.Buf), n)
	}
	if err := g.plan(at, first, n, dst); err != nil {
		return false, dst.end(err)
	}
	if !dst.fetchCached() {
		return false, nil
	}
	return true, dst.end(g.verify(dst))
}

// plan looks up what is to be read and takes references to the files.
func (g *Segment) plan(at block.LSN, first block.Index, n block.Count, dst *ReadResult) error {
	files := g.store.files.Load()
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.planLocked(files, at, first, n, dst)
}

func (g *Segment) planLocked(files *fileTable, at block.LSN, first block.Index, n block.Count, dst *ReadResult) (err error) {
	err = g.reachableLocked(first, n)
	if err == nil && !dst.Held {
		err = g.completeLocked(at)
	}
	if err != nil {
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
		file := files.find(f.loc.file)
		if file == nil { // made since files was loaded
			files = g.store.files.Load()
			file = files.find(f.loc.file)
		}
		if file == nil {
			err = block.Wrap(block.Corrupt, Damage{Kind: DamageFile, File: logName(f.loc.file)}, "block %d is lost; another copy must be read", b)
			return false
		}
		if !file.pin() {
			err = block.Errorf(block.Closed, "the log store is closed")
			return false
		}
		dst.plan = append(dst.plan, piece{file, page, 1, len(dst.Sums) - 1})
		return true
	})
	return err
}

func (p *piece) end() pageNo { return p.page + pageNo(p.n) }

func (p *piece) follows(l location) bool {
	return p.file.header.seq == l.file && p.page+pageNo(p.n) == pageNo(l.page)
}

// reachableLocked validates a range before any effect.
func (g *Segment) reachableLocked(first block.Index, n block.Count) error {
	switch {
	case g.dropped.Load():
		return block.Errorf(block.NotFound, "segment %v was dropped", g.id)
	case n == 0 || uint64(first)+uint64(n) > maxBlocks:
		return block.Errorf(block.Invalid, "range of %d blocks from %d does not lie in a protection group", n, first)
	}
	return nil
}

// readableLocked validates a read before any effect.
func (g *Segment) readableLocked(at block.LSN, first block.Index, n block.Count) error {
	if err := g.reachableLocked(first, n); err != nil {
		return err
	}
	return g.completeLocked(at)
}

// completeLocked tells why not all is here as of an LSN.
func (g *Segment) completeLocked(at block.LSN) error {
	err := g.mu.index.hydration.Readable(at)
	if err == nil {
		err = g.mu.index.chain.Readable(at)
	}
	if err != nil {
		return block.Wrap(block.KindOf(err), err, "segment %v", g.id)
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

// verify checks what was fetched against the index.
func (g *Segment) verify(r *ReadResult) error {
	b, i, inPiece, p := r.first, 0, 0, 0
	for _, run := range r.Runs {
		if run.Kind != RunData {
			b += block.Index(run.Count)
			continue
		}
		for range run.Count {
			if inPiece == r.plan[p].n {
				inPiece, p = 0, p+1
			}
			if got := block.Checksum(r.block(i)); got != r.Sums[i] {
				page := r.plan[p].page + pageNo(inPiece)
				if err := g.doubt(r.plan[p].file, page, b, r.Sums[i], r.block(i)); err != nil {
					return err
				}
			}
			i, inPiece, b = i+1, inPiece+1, b+1
		}
	}
	return nil
}

// doubt reads a block whose checksum is wrong once more, past the page cache:
// memory can rot, too, and that is no damage of the disk.
func (g *Segment) doubt(f *logFile, page pageNo, b block.Index, want block.Sum, dst []byte) error {
	got, err := f.again(dst, page)
	if err != nil {
		g.store.cfg.Logger.Error("the disk does not give a block", "segment", g.id, "file", f.name, "offset", page.bytes(), "err", err)
		return g.rotten(Damage{Kind: DamageUnreadable, File: f.name, Offset: page.bytes(), Length: block.Size,
			Segment: g.id, Block: b, Expected: want}, dataAt(f.header.seq, page))
	}
	if got == want {
		g.store.cfg.Logger.Error("the page cache gave a damaged block, the disk has it whole; test this machine's memory",
			"segment", g.id, "file", f.name, "offset", page.bytes())
		return nil
	}
	return g.rotten(Damage{Kind: DamagePayload, File: f.name, Offset: page.bytes(), Length: block.Size,
		Segment: g.id, Block: b, Expected: want, Found: got}, dataAt(f.header.seq, page))
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
	for b := first / leafBlocks; uint64(b)*leafBlocks < end; b++ {
		if x.hot.warm(b * leafBlocks) {
			warm[b] = true
		}
	}
	for _, w := range x.hot.overlapping(nil, at, first, end) {
		for b := max(w.first, first) / leafBlocks; uint64(b)*leafBlocks < min(w.end(), end); b++ {
			warm[b] = true
		}
	}
	return warm
}
