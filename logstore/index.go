package logstore

import (
	"slices"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/invariant"
	"github.com/sextantdisk/sextant/logstore/chain"
	"github.com/sextantdisk/sextant/logstore/hydration"
)

// index is where the blocks of one segment are: the chain of its records
// above the floor, the versions that these made, and the settled rest. It
// does no I/O; the segment's lock guards it.
//
// It follows the chain as its Events: what joins becomes visible, what leaves
// becomes invisible, what settles moves to base. So what a read sees depends
// on the LSNs alone, never on the order of arrival or of the log (rule R19).
type index struct {
	chain chain.Chain[version]
	hot   hot
	base  base
	// opens are the settled EPOCH_OPENs: what lies between prev and lsn of
	// one was annulled. It is replaced, never changed, so that a scan can
	// keep what it was given. One entry for each takeover.
	opens []opening
	// hydration is under way, or not on, or over.
	hydration hydration.State
	// accounts count what the index points to.
	accounts accounts
}

// chainEntry is a record as the chain of an index has it.
type chainEntry = chain.Entry[version]

// chainContents is such a chain, taken out of it.
type chainContents = chain.Contents[version]

type opening struct{ prev, lsn block.LSN }

// annulled tells whether a settled record at l was annulled.
func annulled(opens []opening, l block.LSN) bool {
	i, _ := slices.BinarySearchFunc(opens, l, func(o opening, l block.LSN) int {
		if o.lsn <= l {
			return -1
		}
		return 1
	})
	return i < len(opens) && opens[i].prev < l // opens[i] is the first above l
}

// add takes a record in.
func (x *index) add(e chain.Entry[version]) chain.Verdict {
	verdict := x.chain.Add(e, x)
	switch verdict {
	case chain.Linked, chain.Annulled, chain.Pending:
		x.accounts.keep(&e.Value)
	}
	return verdict
}

// Join makes a record's versions visible.
func (x *index) Join(e chain.Entry[version]) {
	v := &e.Value
	if v.typ == TypeEpochOpen {
		return
	}
	if !v.narrow() {
		loc, _ := v.at(0)
		x.hot.wide = append(x.hot.wide, wide{e.LSN, v.block, v.count, loc.flags})
		return
	}
	for i := range int(v.count) {
		loc, sum := v.at(i)
		x.hot.push(v.block+block.Index(i), e.LSN, loc, sum)
	}
}

// Leave makes them invisible again.
func (x *index) Leave(e chain.Entry[version]) {
	v := &e.Value
	if v.typ == TypeEpochOpen {
		return
	}
	if !v.narrow() {
		x.hot.wide = x.hot.wide[:len(x.hot.wide)-1]
		return
	}
	for i := range int(v.count) {
		n := x.hot.pop(v.block + block.Index(i))
		if n.lsn != e.LSN {
			invariant.Violated("version %v leaves block %d instead of %v", n.lsn, v.block+block.Index(i), e.LSN)
		}
	}
}

// Drop forgets a record that was off the path.
func (x *index) Drop(e chain.Entry[version]) { x.accounts.forget(&e.Value) }

// Settle moves them to base.
func (x *index) Settle(e chain.Entry[version]) {
	v := &e.Value
	switch {
	case v.typ == TypeEpochOpen:
		x.opens = append(slices.Clone(x.opens), opening{e.Prev, e.LSN})
	case !v.narrow():
		w := x.hot.wide[0]
		x.hot.wide = x.hot.wide[1:]
		x.base.wipe(w.first, w.count, w.flags, e.LSN)
	default:
		x.settleBlocks(e)
	}
}

func (x *index) settleBlocks(e chain.Entry[version]) {
	v := &e.Value
	for i := range int(v.count) {
		b := v.block + block.Index(i)
		n := x.hot.shift(b)
		if n.lsn != e.LSN {
			invariant.Violated("version %v settles block %d instead of %v", n.lsn, b, e.LSN)
		}
		if n.loc.flags == locData {
			x.base.set(b, n.loc, n.sum, e.LSN)
		}
	}
	if v.typ != TypeWrite {
		loc, _ := v.at(0)
		x.base.wipe(v.block, v.count, loc.flags, e.LSN)
	}
}

// found is one block's newest version at some LSN.
type found struct {
	loc location
	sum block.Sum
}

// resolve calls fn for each block of [first, first+n) as of at, in order;
// until fn returns false.
func (x *index) resolve(at block.LSN, first block.Index, n block.Count, fn func(block.Index, found) bool) {
	end := uint64(first) + uint64(n)
	var room [8]wide
	wides := x.hot.overlapping(room[:0], at, first, end)
	for b := first; uint64(b) < end; b++ {
		var f found
		v, w := x.hot.find(b, at), (*wide)(nil)
		if len(wides) > 0 {
			w = wideAt(wides, b)
		}
		switch {
		case w != nil && (v == nil || w.lsn > v.lsn):
			f.loc.flags = w.flags
		case v != nil:
			f.loc, f.sum = v.loc, v.sum
		default:
			f.loc, f.sum = x.base.get(b)
		}
		if !fn(b, f) {
			return
		}
	}
}

// relocate moves one block of the record at lsn, if the index still points at
// from (compare-and-set).
func (x *index) relocate(b block.Index, lsn block.LSN, from, to location) bool {
	if n := x.hot.at(b, from); n != nil {
		n.loc, lsn = to, n.lsn
	} else if x.base.move(b, from, to) {
		x.count(from, to)
		return true
	}
	moved := false
	x.chain.Edit(lsn, func(v *version) { moved = v.move(int(b)-int(v.block), from, to) })
	if moved {
		x.count(from, to)
	}
	return moved
}

// count notes a move.
func (x *index) count(from, to location) {
	x.accounts.add(from, -1)
	x.accounts.add(to, 1)
}

// pointsAt tells whether block b of the record at lsn, or of any record that
// was mended, can still be read from l.
func (x *index) pointsAt(b block.Index, lsn block.LSN, l location) bool {
	if loc, _ := x.base.get(b); loc == l || x.hot.at(b, l) != nil {
		return true
	}
	e, ok := x.chain.Get(lsn)
	i := int(b) - int(e.Value.block)
	return ok && e.Value.typ == TypeWrite && i >= 0 && i < int(e.Value.count) && e.Value.place(i) == l
}
