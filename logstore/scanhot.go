package logstore

import (
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/slab"
)

// scanChain is Scan for what lies above the floor: the chain has it all, with
// its places, whether the log files that it came in are still there or not. It
// tells whether it gave anything: not if the floor has passed meanwhile.
func (g *Segment) scanChain(after, upTo block.LSN, maxBytes block.ByteCount, fn func(Record) error) (given bool, err error) {
	buf := slab.Get(int(block.MaxRecordBytes))
	defer buf.Release()
	sum := block.ByteCount(0)
	for after < upTo {
		r, err := g.nextOf(after, upTo)
		if err != nil || r == nil {
			return given, err
		}
		n := block.ByteCount(r.rec.Count) * block.Size
		if r.rec.Type != TypeWrite {
			n = 0
		}
		if sum += scanCost + n; sum > maxBytes && given {
			r.release()
			return given, nil
		}
		if err := r.read(g, buf.Bytes()[:n]); err != nil {
			return given, err
		}
		if err := fn(r.rec); err != nil {
			return given, err
		}
		after, given = r.rec.LSN, true
	}
	return given, nil
}

// hotRecord is a record of the chain, and where it lies; its files stay until
// it was read or released.
type hotRecord struct {
	rec    Record
	pieces []piece
}

func (r *hotRecord) release() {
	for i := range r.pieces {
		_ = r.pieces[i].file.unpin() // the last one closes a file that was only read
	}
	r.pieces = nil
}

// nextOf finds the first record of the chain in (after, upTo]; nil if the
// floor is above after by now.
func (g *Segment) nextOf(after, upTo block.LSN) (*hotRecord, error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	c := &g.mu.index.chain
	e, ok := c.Above(after)
	if after < c.Floor() || !ok || e.LSN > upTo {
		return nil, nil
	}
	v := &e.Value
	r := &hotRecord{rec: Record{Type: v.typ, LSN: e.LSN, Prev: e.Prev, Block: v.block, Count: v.count}}
	if v.typ != TypeWrite {
		return r, nil
	}
	files := g.store.files.Load()
	for i := range int(v.count) {
		loc, sum := v.at(i)
		r.rec.Sums = append(r.rec.Sums, sum)
		if k := len(r.pieces) - 1; k >= 0 && r.pieces[k].follows(loc) {
			r.pieces[k].n++
			continue
		}
		f := files.find(loc.file)
		if f == nil || !f.pin() {
			r.release()
			return nil, block.Wrap(block.Corrupt, Damage{Kind: DamageFile, File: logName(loc.file)}, "record %v is lost; another copy must be asked", e.LSN)
		}
		r.pieces = append(r.pieces, piece{file: f, page: pageNo(loc.page), n: 1, to: i})
	}
	return r, nil
}

// read fills the payload, and verifies it (rule B3).
func (r *hotRecord) read(g *Segment, p []byte) error {
	defer r.release()
	if len(p) == 0 {
		return nil
	}
	r.rec.Payload = p
	for i := range r.pieces {
		at := &r.pieces[i]
		if err := at.file.read(p[at.to*block.Size:(at.to+at.n)*block.Size], at.page); err != nil {
			return err
		}
		for k := range at.n {
			b := p[(at.to+k)*block.Size : (at.to+k+1)*block.Size]
			if block.Checksum(b) == r.rec.Sums[at.to+k] {
				continue
			}
			err := g.doubt(at.file, at.page+pageNo(k), r.rec.Block+block.Index(at.to+k), r.rec.Sums[at.to+k], b)
			if err != nil {
				return err
			}
		}
	}
	return nil
}
