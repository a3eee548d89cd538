package logstore

import (
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/mutant"
)

// leafBlocks is how many blocks one leaf of the index covers: 2 MiB.
const leafBlocks = 512

// leaf says where the settled versions of leafBlocks neighbouring blocks are:
// 12 bytes a block, without pointers, so that the garbage collector does not
// look inside.
type leaf struct {
	locs [leafBlocks]location
	sums [leafBlocks]block.Sum
}

// slot is a place for a leaf. Where there is none, the blocks were never
// written or have been zeroed or trimmed all together, as kind says.
type slot struct {
	leaf *leaf
	// maxLSN is the highest LSN that was settled in this range, tombstones
	// included (rules R18, R21).
	maxLSN block.LSN
	kind   RunKind // RunHole or RunZero
}

// base is the settled part of a segment's index: for each block the newest
// version at or below the floor. It grows with what is written.
//
// Invariant: data counts the blocks whose flag is locData.
type base struct {
	slots []slot
	data  int
	// gone is told of each block of data that is replaced or wiped, if it
	// is not nil.
	gone func(location)
}

// replaced tells that nothing points to l any more.
func (t *base) replaced(l location) {
	if t.gone != nil {
		t.gone(l)
	}
}

// get is the settled version of b.
func (t *base) get(b block.Index) (location, block.Sum) {
	i := int(b / leafBlocks)
	if i >= len(t.slots) {
		return location{}, 0
	}
	s := &t.slots[i]
	if s.leaf == nil {
		if s.kind == RunZero {
			return location{flags: locZero}, 0
		}
		return location{}, 0
	}
	return s.leaf.locs[b%leafBlocks], s.leaf.sums[b%leafBlocks]
}

// uniform tells the kind of b's whole leaf where there is none.
func (t *base) uniform(b block.Index) (RunKind, bool) {
	i := int(b / leafBlocks)
	if i >= len(t.slots) {
		return RunHole, true
	}
	return t.slots[i].kind, t.slots[i].leaf == nil
}

// slot makes room up to slot i.
func (t *base) slot(i int) *slot {
	if i >= len(t.slots) {
		t.slots = append(t.slots, make([]slot, i+1-len(t.slots))...)
	}
	return &t.slots[i]
}

// set settles one block of data.
func (t *base) set(b block.Index, l location, sum block.Sum, lsn block.LSN) {
	s := t.slot(int(b / leafBlocks))
	if s.leaf == nil {
		s.leaf = newLeaf(s.kind)
		s.kind = RunHole
	}
	s.maxLSN = max(s.maxLSN, lsn)
	at := &s.leaf.locs[b%leafBlocks]
	if at.flags != locData {
		t.data++
	} else {
		t.replaced(*at)
	}
	*at = l
	s.leaf.sums[b%leafBlocks] = sum
}

func newLeaf(kind RunKind) *leaf {
	l := new(leaf)
	if kind == RunZero {
		for i := range l.locs {
			l.locs[i].flags = locZero
		}
	}
	return l
}

// move changes where a block of data lies, if it still lies at from
// (compare-and-set, for RELOC).
func (t *base) move(b block.Index, from, to location) bool {
	i := int(b / leafBlocks)
	if i >= len(t.slots) || t.slots[i].leaf == nil {
		return false
	}
	if t.slots[i].leaf.locs[b%leafBlocks] != from && !mutant.On(mutant.BlindRelocation) {
		return false
	}
	t.slots[i].leaf.locs[b%leafBlocks] = to
	return true
}

// wipe settles a range as zeroes, written or trimmed as flags says. It costs
// one step for each leaf that the range covers whole, which frees the leaf,
// and one for each block of the leaves at its two ends, if they exist: where
// there is no leaf, there is no data to wipe, and hole or zero is advice.
func (t *base) wipe(first block.Index, n block.Count, flags uint16, lsn block.LSN) {
	end := uint64(first) + uint64(n)
	for at := uint64(first); at < end; {
		i := int(at / leafBlocks)
		next := min(end, uint64(i+1)*leafBlocks)
		s := t.slot(i)
		s.maxLSN = max(s.maxLSN, lsn)
		if next-at == leafBlocks {
			t.wipeLeaf(s.leaf, 0, leafBlocks, flags)
			s.leaf, s.kind = nil, location{flags: flags}.kind()
		} else if s.leaf != nil {
			t.wipeLeaf(s.leaf, int(at%leafBlocks), int(next-at), flags)
		}
		at = next
	}
}

// wipeLeaf clears n blocks of a leaf, if there is one.
func (t *base) wipeLeaf(l *leaf, from, n int, flags uint16) {
	if l == nil {
		return
	}
	for i := from; i < from+n; i++ {
		if l.locs[i].flags == locData {
			t.data--
			t.replaced(l.locs[i])
		}
		l.locs[i] = location{flags: flags}
		l.sums[i] = 0
	}
}
