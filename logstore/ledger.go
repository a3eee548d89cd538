package logstore

import (
	"sync/atomic"

	"github.com/sextantdisk/sextant/logstore/chain"
)

// ledger counts for each log file the blocks of it that can still be read:
// settled ones, and those of all records above their segment's floor, on the
// chain or off it. What it does not count no index points to, so a file whose
// count is zero is needed by nobody but those who read it just now.
//
// Invariant: logFile.live is the number of references that all indexes hold to
// the file's blocks; a version on the chain counts once, though both its
// record and its block's list know where it lies. Counts change under the lock
// of the index that holds the references.
type ledger struct {
	files *atomic.Pointer[fileTable]
	total atomic.Int64 // blocks in all files
}

// accounts is one index's way into the ledger; it remembers the last file,
// for neighbours mostly lie in the same one. The index's lock guards it.
type accounts struct {
	ledger *ledger
	last   *logFile
}

// add counts n blocks at l, or takes them off if n is negative. A place in a
// file that is gone (lost to damage, or cleaned, while a replay has not come to
// where the block lies now) counts nowhere: then it is false.
func (a *accounts) add(l location, n int) bool {
	if l.flags != locData || a.ledger == nil {
		return true
	}
	if a.last == nil || a.last.header.seq != l.file {
		f := a.ledger.files.Load().find(l.file)
		if f == nil {
			return false
		}
		a.last = f
	}
	a.last.live.Add(int64(n))
	a.ledger.total.Add(int64(n))
	return true
}

// references calls fn for each place where blocks of a record lie, and how
// many of them.
func (v *version) references(fn func(l location, n int)) {
	switch {
	case v.typ != TypeWrite:
	case v.places == nil:
		fn(v.loc, int(v.count))
	default:
		for _, l := range v.places {
			fn(l, 1)
		}
	}
}

// references calls fn for each place that the index points to.
func (x *index) references(fn func(l location, n int)) {
	for i := range x.base.slots {
		x.base.slots[i].leaf.references(fn)
	}
	for _, e := range x.chain.Path() {
		e.Value.references(fn)
	}
	x.chain.OffPath(func(e chain.Entry[version]) { e.Value.references(fn) })
}

func (l *leaf) references(fn func(l location, n int)) {
	if l == nil {
		return
	}
	for i := range l.locs {
		if l.locs[i].flags == locData {
			fn(l.locs[i], 1)
		}
	}
}

// keep and forget count the blocks of a record in and out.
func (a *accounts) keep(v *version) {
	v.references(func(l location, n int) { a.add(l, n) })
}

func (a *accounts) forget(v *version) {
	v.references(func(l location, n int) { a.add(l, -n) })
}

// recount sets all counts anew from the indexes, which nobody may use
// meanwhile. It gives the files that blocks lie in and that are not there.
func (s *Store) recount() (gone map[fileSeq]bool) {
	gone = make(map[fileSeq]bool)
	for _, f := range s.files.Load().all {
		f.live.Store(0)
	}
	s.ledger.total.Store(0)
	for _, g := range s.mu.segments {
		x := &g.mu.index
		x.accounts.last = nil
		x.references(func(l location, n int) {
			if !x.accounts.add(l, n) {
				gone[l.file] = true
			}
		})
	}
	return gone
}
