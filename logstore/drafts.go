package logstore

import (
	"github.com/sextantdisk/sextant/internal/block"
)

// drafts are the settled part of an index while it is made from records in any
// order: with each block goes the LSN that it is of, and the highest wins. That
// takes 8 bytes a block more than the base that it becomes.
type drafts struct{ slots []draftSlot }

// draftSlot is a leaf: what wiped all of it last, and what is known block by
// block.
type draftSlot struct {
	lsn   block.LSN
	flags uint16
	draft *draft
}

type draft struct {
	lsns [leafBlocks]block.LSN
	leaf leaf
}

func (t *drafts) slot(i int) *draftSlot {
	if i >= len(t.slots) {
		t.slots = append(t.slots, make([]draftSlot, i+1-len(t.slots))...)
	}
	return &t.slots[i]
}

func (s *draftSlot) open() *draft {
	if s.draft == nil {
		s.draft = new(draft)
	}
	return s.draft
}

// data takes in a block of a WRITE or RELOC. Of the places of one record's block
// the one counts that it was moved to from the one before.
func (t *drafts) data(b block.Index, lsn block.LSN, l location, sum block.Sum, from location) {
	d := t.slot(int(b / leafBlocks)).open()
	i := b % leafBlocks
	if lsn > d.lsns[i] || lsn == d.lsns[i] && d.leaf.locs[i] == from {
		d.lsns[i], d.leaf.locs[i], d.leaf.sums[i] = lsn, l, sum
	}
}

// wipe takes in a ZERO or TRIM: a step for each leaf that it covers whole.
func (t *drafts) wipe(first block.Index, n block.Count, flags uint16, lsn block.LSN) {
	end := uint64(first) + uint64(n)
	for at := uint64(first); at < end; {
		i := int(at / leafBlocks)
		next := min(end, uint64(i+1)*leafBlocks)
		s := t.slot(i)
		if next-at == leafBlocks {
			if lsn > s.lsn {
				s.lsn, s.flags = lsn, flags
			}
		} else {
			s.open().wipe(int(at%leafBlocks), int(next-at), flags, lsn)
		}
		at = next
	}
}

func (d *draft) wipe(from, n int, flags uint16, lsn block.LSN) {
	for i := from; i < from+n; i++ {
		if lsn > d.lsns[i] {
			d.lsns[i], d.leaf.locs[i], d.leaf.sums[i] = lsn, location{flags: flags}, 0
		}
	}
}

// settle makes base what the drafts are, as of floor, and lets them go. What was
// wiped last may be forgotten where nothing needed it, so each leaf counts as
// changed at the floor, also those that there are none of (base.since).
func (t *drafts) settle(base *base, floor block.LSN) {
	base.since = floor
	for i := range t.slots {
		s := &t.slots[i]
		first := block.Index(i) * leafBlocks
		if s.lsn > 0 {
			base.wipe(first, leafBlocks, s.flags, floor)
		}
		if s.draft != nil {
			s.settle(base, first, floor)
		}
		base.slot(i).maxLSN = floor
		*s = draftSlot{}
	}
}

// settle brings in the blocks that were written since the whole leaf was wiped.
func (s *draftSlot) settle(base *base, first block.Index, floor block.LSN) {
	d := s.draft
	for i, lsn := range d.lsns {
		b, l := first+block.Index(i), d.leaf.locs[i]
		switch {
		case lsn <= s.lsn:
		case l.flags == locData:
			base.set(b, l, d.leaf.sums[i], floor)
		default:
			base.wipe(b, 1, l.flags, floor)
		}
	}
}
