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
	// maxLSN is the LSN that was settled last in this range, tombstones
	// included (rules R18, R21): what is here has all versions up to there. What
	// settles ascends, but for a segment whose leaves were taken over as of
	// several cuts: there the chain goes on from the lowest, and makes some
	// blocks older again for a while.
	maxLSN block.LSN
	// saved is where a checkpoint has the leaf, as it was before it became
	// dirty.
	saved savedLeaf
	kind  RunKind // RunHole or RunZero
	// frozen: a checkpoint is writing leaf; it must not change, a copy may.
	frozen bool
	// dirty: leaf is not what saved has.
	dirty bool
}

// thawed is the leaf, to be changed: a copy of it if a checkpoint is writing
// it.
func (s *slot) thawed() *leaf {
	if s.frozen {
		c := *s.leaf
		s.leaf, s.frozen = &c, false
	}
	return s.leaf
}

// settled notes that a version of this range was settled; 0 is that of a copied
// leaf, whose LSN is told when all of it is there.
func (s *slot) settled(lsn block.LSN) {
	if lsn > s.maxLSN || lsn != 0 && !mutant.On(mutant.LeafStaysNew) {
		s.maxLSN = lsn
	}
}

// base is the settled part of a segment's index: for each block the newest
// version at or below the floor. It grows with what is written.
//
// A leaf is changed by set, move and wipe alone: they leave what a checkpoint
// is writing as it is, and note what the next one has to write.
//
// Invariant: data counts the blocks whose flag is locData, dirty the leaves
// that are dirty.
type base struct {
	slots []slot
	data  int
	dirty int
	// since is from where on maxLSN is exact: below it tombstones may have
	// been forgotten, so that a leaf may have changed up to there.
	since block.LSN
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

// change is the leaf of a slot, to be changed.
func (t *base) change(s *slot) *leaf {
	if !s.dirty {
		s.dirty = true
		t.dirty++
	}
	return s.thawed()
}

// drop frees the leaf of a slot.
func (t *base) drop(s *slot) {
	if s.dirty {
		t.dirty--
	}
	s.leaf, s.frozen, s.dirty, s.saved = nil, false, false, savedLeaf{}
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
	s.settled(lsn)
	changed := t.change(s)
	at := &changed.locs[b%leafBlocks]
	if at.flags != locData {
		t.data++
	} else {
		t.replaced(*at)
	}
	*at = l
	changed.sums[b%leafBlocks] = sum
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
	t.change(&t.slots[i]).locs[b%leafBlocks] = to
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
		s.settled(lsn)
		if next-at == leafBlocks {
			s.leaf.references(t.lose)
			t.drop(s)
			s.kind = location{flags: flags}.kind()
		} else if s.leaf != nil {
			t.wipeLeaf(t.change(s), int(at%leafBlocks), int(next-at), flags)
		}
		at = next
	}
}

// lose counts a block of data off.
func (t *base) lose(l location, n int) {
	t.data -= n
	t.replaced(l)
}

// wipeLeaf clears n blocks of a leaf.
func (t *base) wipeLeaf(l *leaf, from, n int, flags uint16) {
	for i := from; i < from+n; i++ {
		if l.locs[i].flags == locData {
			t.lose(l.locs[i], 1)
		}
		l.locs[i] = location{flags: flags}
		l.sums[i] = 0
	}
}
