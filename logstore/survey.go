package logstore

import (
	"github.com/sextantdisk/sextant/internal/block"
)

// survey is what a log file holds that must outlive it.
type survey struct {
	moves []move
	// marks are ZERO, TRIM, EPOCH_OPEN and HYDRATE records, and COPYs of
	// zeroes.
	marks []item
	// news are segments with records in the file; configs those with a
	// configuration.
	news, configs map[*Segment]bool
	// drops are numbers of segments that were dropped, frees those of files
	// that were freed, seals tell where files ended.
	drops []segIndex
	frees []fileSeq
	seals []descriptor
}

// move is a run of neighbouring blocks of one record that are to be moved.
type move struct {
	seg   *Segment
	d     descriptor // of the RELOC
	at    pageNo     // where its payload lies
	sums  []block.Sum
	count int
}

// surveyFile reads the headers of the batches of a log file and asks the indexes what of it
// counts. Of parts that cannot be decoded they know it, too (salvage). Error
// kinds: Unavailable, Closed.
func (s *Store) surveyFile(f *logFile) (*survey, error) {
	if !f.pin() {
		return nil, f.goneError()
	}
	defer func() { _ = f.unpin() }() // the last one closes a file that was only read
	if v := s.surveyFooter(f); v != nil {
		return v, nil
	}
	v := newSurvey()
	end := pageNo(f.end.Load())
	sc := newScanner(f, f.source(bigWindow*pageSize, true), end)
	defer sc.close()
	var lost []gap
	for at := pageNo(headerCopies); at < end; {
		st, err := sc.decode(at)
		if err != nil {
			return nil, err
		}
		if st == frameGood {
			s.surveyBatch(v, f, &sc.frame)
			at = sc.frame.end()
			continue
		}
		next, ok, err := s.beyond(f, sc, at)
		if err != nil {
			return nil, err
		}
		if !ok {
			next = end
		}
		lost = append(lost, gap{at, next})
		at = next
	}
	s.salvage(v, f, lost)
	return v, nil
}

// surveyFooter does so by the footer; nil if there is none that is whole.
func (s *Store) surveyFooter(f *logFile) *survey {
	t := readFooter(f, f.pastCache(true))
	if t == nil {
		return nil
	}
	v, fr := newSurvey(), frame{}
	for rest := t.body; len(rest) > 0; {
		var st frameState
		if rest, st = fr.decodeFooter(rest, f); st != frameGood {
			return nil
		}
		s.surveyBatch(v, f, &fr)
	}
	return v
}

func newSurvey() *survey {
	return &survey{news: map[*Segment]bool{}, configs: map[*Segment]bool{}}
}

// beyond is where a file goes on behind what cannot be decoded.
func (s *Store) beyond(f *logFile, sc *scanner, at pageNo) (next pageNo, ok bool, err error) {
	if next = f.gapAt(at); next != at {
		return next, true, nil
	}
	s.found(Damage{Kind: DamageBatch, File: f.name, Offset: at.bytes()})
	return sc.later(at, 0)
}

func (s *Store) surveyBatch(v *survey, f *logFile, fr *frame) {
	for _, r := range fr.each() {
		s.surveyRecord(v, r.d, r.sums, dataAt(f.header.seq, r.at))
	}
}

func (s *Store) surveyRecord(v *survey, d *descriptor, sums []block.Sum, at location) {
	switch d.typ {
	case TypeSyncMark:
		return
	case TypeFree:
		v.frees = append(v.frees, fileSeq(d.block))
		return
	case TypeSeal:
		v.seals = append(v.seals, *d)
		return
	}
	g := s.byIndex(d.seg)
	if d.typ == TypeDrop || g == nil {
		if d.typ == TypeDrop {
			v.drops = append(v.drops, d.seg)
		}
		return
	}
	v.news[g] = true
	switch d.typ {
	case TypeConfig:
		v.configs[g] = true
	case TypeZero, TypeTrim, TypeEpochOpen:
		v.marks = append(v.marks, item{seg: g, d: *d})
	case TypeHydrate:
		v.marks = append(v.marks, item{seg: g, d: *d})
	case TypeCopy:
		if len(sums) == 0 {
			v.marks = append(v.marks, item{seg: g, d: *d})
		}
		v.moves = g.liveRuns(v.moves, d, sums, at)
	case TypeWrite, TypeReloc:
		v.moves = g.liveRuns(v.moves, d, sums, at)
	}
}

func (s *Store) byIndex(i segIndex) *Segment {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.byIndex[i]
}

// liveRuns appends the runs of a record's blocks that the index still finds in
// this place.
func (g *Segment) liveRuns(moves []move, d *descriptor, sums []block.Sum, at location) []move {
	g.mu.RLock()
	defer g.mu.RUnlock()
	from := 0
	for i := range sums {
		if g.mu.index.pointsAt(block.Index(d.block)+block.Index(i), d.lsn, at.plus(i)) {
			continue
		}
		moves = g.appendMove(moves, d, sums, at, from, i)
		from = i + 1
	}
	return g.appendMove(moves, d, sums, at, from, len(sums))
}

func (g *Segment) appendMove(moves []move, d *descriptor, sums []block.Sum, at location, from, to int) []move {
	if from == to {
		return moves
	}
	source, prev := at.plus(from), d.prev
	if d.typ == TypeCopy {
		prev = d.lsn // nobody knows what it followed
	}
	return append(moves, move{
		seg: g, at: pageNo(source.page), count: to - from, sums: append([]block.Sum(nil), sums[from:to]...),
		d: descriptor{
			seg: g.idx, typ: TypeReloc, lsn: d.lsn, prev: prev,
			block: d.block + uint32(from), count: uint32(to - from), source: source,
		},
	})
}
