package logstore

import (
	"github.com/sextantdisk/sextant/internal/block"
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
	if sum := block.Checksum(payload); sum != f.sum {
		return block.Errorf(block.Mismatch, "block %d of segment %v has checksum %08x, the one to mend it with %08x", b, g.id, uint32(f.sum), uint32(sum))
	}
	if g.sound(f) {
		return block.Errorf(block.NotFound, "block %d of segment %v is not damaged", b, g.id)
	}
	d := descriptor{seg: g.idx, typ: TypeReloc, block: uint32(b), count: 1, source: f.loc}
	d.lsn, d.prev = g.origin(f.loc)
	return g.store.own(g, &ownRecord{d: d, sums: []block.Sum{f.sum}, payload: payload})
}

// sound tells whether what lies at a location on the disk has its checksum;
// memory may have a copy that is better, or worse.
func (g *Segment) sound(f found) bool {
	file := g.store.files.Load().bySeq[f.loc.file]
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
func (g *Segment) newest(b block.Index) (f found) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	x := &g.mu.index
	x.resolve(x.chain.SCL(), b, 1, func(_ block.Index, at found) bool {
		f = at
		return true
	})
	return f
}

// origin finds the record that wrote a location; a RELOC keeps its LSNs. They
// are zero if the file cannot be read: then only a scan would miss them.
func (g *Segment) origin(l location) (lsn, prev block.LSN) {
	file := g.store.files.Load().bySeq[l.file]
	if file == nil || !file.pin() {
		return 0, 0
	}
	defer func() { _ = file.unpin() }() // the last one closes a file that was only read
	refs, err := g.decodeRecords(file, nil, headerCopies, pageNo(file.end.Load()))
	if err != nil {
		return 0, 0
	}
	for i := range refs {
		if r := &refs[i]; pageNo(l.page) >= r.payload && pageNo(l.page) < r.payload+pageNo(r.d.payload()) {
			return r.d.lsn, r.d.prev
		}
	}
	return 0, 0
}
