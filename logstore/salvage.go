package logstore

import (
	"cmp"
	"slices"

	"github.com/sextantdisk/sextant/internal/block"
)

// A batch whose header cannot be read tells nobody any more what it holds. As
// long as the store is open, or a checkpoint lies behind it, the indexes know
// all of it that counts. So the cleaner empties its file before others, moves its
// blocks by what the indexes say, and logs again what the batch may have held
// beside them. One thing it cannot know: which older records a TRIM in there
// hides from who makes an index from the log alone. A HYDRATE tells that one to
// begin the segment anew (see rebuild.reset).

// salvageOne empties a file of which a scrub has found such a batch; false if
// there is none that can be emptied now.
func (c *cleaner) salvageOne(stop <-chan struct{}) bool {
	s := c.store
	for _, f := range s.files.Load().all {
		if !f.sealed.Load() || c.waits(f) || f.live.Load() == f.stuck.Load() || !f.isBroken() {
			continue
		}
		if s.freeable(f) {
			return c.empty(f, stop)
		}
		if !s.ckpt.covers(f) {
			s.ckpt.request()
		}
	}
	return false
}

func (f *logFile) isBroken() bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return len(f.mu.broken) > 0
}

// salvage adds to a survey of f what may have been in the parts of it that
// cannot be decoded.
func (s *Store) salvage(v *survey, f *logFile, lost []gap) {
	if len(lost) == 0 {
		return
	}
	for _, g := range s.Segments() {
		v.moves = g.rescue(v.moves, f, lost)
	}
	slices.SortStableFunc(v.moves, func(a, b move) int { return cmp.Compare(a.at, b.at) })
	all := s.files.Load().all
	for seg := range f.spoken() {
		if g := s.byIndex(seg); g != nil {
			v.news[g], v.configs[g] = true, true
			v.marks = append(v.marks, item{seg: g, d: descriptor{seg: seg, typ: TypeHydrate}})
		}
	}
	for _, o := range all {
		for seg := range o.spoken() {
			if s.byIndex(seg) == nil && !slices.Contains(v.drops, seg) {
				v.drops = append(v.drops, seg)
			}
		}
		h := &o.header
		if h.prevSeq != 0 && s.files.Load().find(h.prevSeq) == nil && !slices.Contains(v.frees, h.prevSeq) {
			v.frees = append(v.frees, h.prevSeq)
		}
		if o.sealed.Load() && !namedAsPrevious(all, h.seq) {
			v.seals = append(v.seals, descriptor{typ: TypeSeal, block: uint32(h.seq), count: o.end.Load()})
		}
	}
}

// spoken are the segments that f speaks of.
func (f *logFile) spoken() map[segIndex]bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	segs := make(map[segIndex]bool, len(f.mu.spans))
	for seg := range f.mu.spans {
		segs[seg] = true
	}
	return segs
}

// rescue appends moves of the blocks of g that lie in the lost parts of f. Which
// record a settled one is of is not known: as of the floor it has these bytes.
func (g *Segment) rescue(moves []move, f *logFile, lost []gap) []move {
	g.mu.RLock()
	defer g.mu.RUnlock()
	x := &g.mu.index
	add := func(b block.Index, l location, sum block.Sum, lsn, prev block.LSN) {
		at := pageNo(l.page)
		if l.flags != locData || l.file != f.header.seq || !slices.ContainsFunc(lost, func(p gap) bool { return p.from <= at && at < p.to }) {
			return
		}
		moves = append(moves, move{
			seg: g, at: at, count: 1, sums: []block.Sum{sum},
			d: descriptor{seg: g.idx, typ: TypeReloc, lsn: lsn, prev: prev, block: uint32(b), count: 1, source: l},
		})
	}
	floor := x.chain.Floor()
	for i := range x.base.slots {
		if leaf := x.base.slots[i].leaf; leaf != nil {
			for k := range leaf.locs {
				add(block.Index(i*leafBlocks+k), leaf.locs[k], leaf.sums[k], floor, floor)
			}
		}
	}
	record := func(e chainEntry) {
		for i := range e.Value.data() {
			l, sum := e.Value.at(i)
			add(e.Value.block+block.Index(i), l, sum, e.LSN, e.Prev)
		}
	}
	for _, e := range x.chain.Path() {
		record(e)
	}
	x.chain.OffPath(record)
	return moves
}
