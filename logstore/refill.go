package logstore

import (
	"cmp"
	"maps"
	"slices"

	"github.com/sextantdisk/sextant/internal/block"
)

// refill visits the second walk of a rebuild: it takes the records in.
type refill struct{ *rebuild }

func (v refill) file(*logFile, int) error { return nil }

func (v refill) damage(d Damage) error {
	v.lost(d)
	return nil
}

func (v refill) batch(f *logFile, fr *frame, _ *scanner) error {
	if v.freed.files[f.header.seq] || v.damaged {
		return nil // what counts of it is elsewhere
	}
	for _, rec := range fr.each() {
		m := v.segs[rec.d.seg]
		if m == nil || m.hydrated || !rec.d.typ.isChange() && rec.d.typ != TypeReloc {
			continue
		}
		loc := dataAt(f.header.seq, rec.at)
		if rec.d.lsn > m.floor {
			m.higher(rec.d, rec.sums, loc)
		} else if !annulled(m.opens, rec.d.lsn) {
			m.lower(rec.d, rec.sums, loc)
		}
	}
	return nil
}

// lower takes in a record at or below the floor.
func (m *remade) lower(d *descriptor, sums []block.Sum, loc location) {
	first := block.Index(d.block)
	switch d.typ {
	case TypeWrite, TypeReloc:
		for i, sum := range sums {
			m.settled.data(first+block.Index(i), d.lsn, loc.plus(i), sum, d.source.plus(i))
		}
	case TypeZero:
		m.settled.wipe(first, block.Count(d.count), locZero, d.lsn)
	case TypeTrim:
		m.settled.wipe(first, block.Count(d.count), locTrim, d.lsn)
	}
}

// fragment is what is known of a record above the floor: all of it, or, of a
// WRITE that was moved, blocks.
type fragment struct {
	prev   block.LSN
	whole  bool
	v      version
	blocks map[block.Index]found // unless whole
}

// higher takes in a record above the floor.
func (m *remade) higher(d *descriptor, sums []block.Sum, loc location) {
	if d.prev >= d.lsn {
		return // a mended block of an unknown record: the record is in the log still
	}
	f := m.above[d.lsn]
	switch {
	case f == nil:
		f = &fragment{prev: d.prev, blocks: map[block.Index]found{}}
		m.above[d.lsn] = f
	case f.prev != d.prev:
		return // two records have one LSN: the first one counts
	}
	switch {
	case d.typ == TypeReloc:
		f.relocate(d, sums, loc)
	case !f.whole:
		f.whole, f.blocks, f.v = true, nil, versionOf(d, sums, loc)
	}
}

// relocate takes blocks in that were moved.
func (f *fragment) relocate(d *descriptor, sums []block.Sum, to location) {
	for i, sum := range sums {
		b, from := block.Index(d.block)+block.Index(i), d.source.plus(i)
		if f.whole {
			f.v.move(int(b)-int(f.v.block), from, to.plus(i))
			continue
		}
		if was, ok := f.blocks[b]; !ok || was.loc == from {
			f.blocks[b] = found{to.plus(i), sum}
		}
	}
}

// version is the record; false if a part of it is missing.
func (f *fragment) version() (v version, ok bool) {
	if f.whole {
		return f.v, true
	}
	blocks := slices.Sorted(maps.Keys(f.blocks))
	n := len(blocks)
	if n == 0 || n > int(block.MaxRecordBlocks) || int(blocks[n-1]-blocks[0]) != n-1 {
		return v, false
	}
	v = version{typ: TypeWrite, block: blocks[0], count: block.Count(n)}
	for _, b := range blocks {
		v.places, v.sums = append(v.places, f.blocks[b].loc), append(v.sums, f.blocks[b].sum)
	}
	v.loc, v.sum = v.places[0], v.sums[0]
	if n == 1 {
		v.sums = nil
	}
	v.tidy()
	return v, true
}

// filled ends the second walk: it makes the indexes.
func (b *rebuild) filled() {
	for _, m := range b.segs {
		if b.damaged {
			return
		}
		if !m.build() {
			b.lost(Damage{Kind: DamageOrphan, File: "the log", Segment: m.g.id})
		}
	}
}

// build makes the index; false if a part of a record is missing.
func (m *remade) build() bool {
	x := &m.g.mu.index
	m.settled.settle(&x.base, m.floor)
	x.opens = m.opens
	x.chain.Restore(chainContents{Floor: m.floor, Head: max(m.head, m.floor)}, x)
	for _, l := range slices.SortedFunc(maps.Keys(m.above), cmp.Compare) {
		v, ok := m.above[l].version()
		if !ok {
			return false
		}
		x.add(chainEntry{LSN: l, Prev: m.above[l].prev, Value: v})
	}
	m.above = nil
	return true
}
