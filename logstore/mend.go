package logstore

import (
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/mutant"
	"github.com/sextantdisk/sextant/internal/slab"
)

// Mend writes a block again whose bytes here are damaged; payload comes from
// another copy and must have the checksum that this one's index holds (rule
// S2). It is written as a RELOC that names where the damaged bytes lie, and
// the index changes only if it still points there. Error kinds: Mismatch (it
// has another checksum), NotFound (the block holds no data as of the SCL, or
// is not damaged), Invalid, and those of Wait.
func (g *Segment) Mend(b block.Index, payload []byte) error {
	if len(payload) != block.Size || uint64(b) >= maxBlocks {
		return block.Errorf(block.Invalid, "block %d cannot be mended with %d bytes", b, len(payload))
	}
	f := g.newest(b)
	if f.loc.flags != locData {
		return block.Errorf(block.NotFound, "block %d of segment %v holds no data", b, g.id)
	}
	if sum := block.Checksum(payload); sum != f.sum && !mutant.On(mutant.MendBlindly) {
		return block.Errorf(block.Mismatch, "block %d of segment %v has checksum %08x, the one to mend it with %08x", b, g.id, uint32(f.sum), uint32(sum))
	}
	if g.sound(f) {
		return block.Errorf(block.NotFound, "block %d of segment %v is not damaged", b, g.id)
	}
	d := descriptor{seg: g.idx, typ: TypeReloc, block: uint32(b), count: 1, source: f.loc}
	d.lsn, d.prev = g.origin(b, f.loc)
	return g.store.own(g, &ownRecord{d: d, sums: []block.Sum{f.sum}, payload: payload})
}

// sound tells whether what lies at a location on the disk has its checksum;
// memory may have a copy that is better, or worse.
func (g *Segment) sound(f found) bool {
	file := g.store.files.Load().find(f.loc.file)
	if file == nil || !file.pin() {
		return false
	}
	defer func() { _ = file.unpin() }() // the last one closes a file that was only read
	buf := slab.Get(block.Size)
	defer buf.Release()
	sum, err := file.again(buf.Bytes(), pageNo(f.loc.page))
	return err == nil && sum == f.sum
}

// newest is where block b is as of the SCL.
func (g *Segment) newest(b block.Index) found {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.mu.index.newest(b)
}

func (x *index) newest(b block.Index) (f found) {
	x.resolve(x.chain.SCL(), b, 1, func(_ block.Index, at found) bool {
		f = at
		return true
	})
	return f
}

// origin is the record that wrote block b, which lies at l; a RELOC keeps its
// LSNs. If they cannot be found out any more, both are the floor: as of that,
// the block has these bytes.
func (g *Segment) origin(b block.Index, l location) (lsn, prev block.LSN) {
	g.mu.RLock()
	x := &g.mu.index
	floor, hot := x.chain.Floor(), x.hot.at(b, l)
	if hot != nil {
		e, _ := x.chain.Get(hot.lsn)
		lsn, prev = hot.lsn, e.Prev
	}
	g.mu.RUnlock()
	if hot != nil {
		return lsn, prev
	}
	if lsn, prev, ok := g.writer(l); ok {
		return lsn, prev
	}
	return floor, floor
}

// writer reads in the log which record wrote what lies at l.
func (g *Segment) writer(l location) (lsn, prev block.LSN, ok bool) {
	file := g.store.files.Load().find(l.file)
	if file == nil || !file.pin() {
		return 0, 0, false
	}
	defer func() { _ = file.unpin() }() // the last one closes a file that was only read
	sc := newScanner(file, file.source(bigWindow*pageSize, true), pageNo(file.end.Load()))
	defer sc.close()
	for at := pageNo(headerCopies); at < sc.size; {
		st, err := sc.decode(at)
		if err != nil {
			return 0, 0, false
		}
		if st != frameGood {
			next := file.gapAt(at)
			if next == at {
				return 0, 0, false
			}
			at = next
			continue
		}
		if r, ok := sc.frame.holder(pageNo(l.page)); ok {
			return r.d.lsn, r.d.prev, r.d.seg == g.idx
		}
		at = sc.frame.end()
	}
	return 0, 0, false
}

// holder is the record whose payload has a page.
func (f *frame) holder(page pageNo) (logged, bool) {
	for _, r := range f.each() {
		if page >= r.at && page < r.at+pageNo(r.d.payload()) {
			return r, true
		}
	}
	return logged{}, false
}
