package logstore

import (
	"errors"
	"slices"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/slab"
)

// ScrubAt is how far a scrub has come: a page of a file, by their numbers. The
// zero value is the beginning of the log.
type ScrubAt struct {
	File uint32 `json:"file"`
	Page uint32 `json:"page"`
}

// Scrubbed is what one step of a scrub has done.
type Scrubbed struct {
	Next  ScrubAt
	Bytes block.ByteCount // read
	// Found counts the damage that was met: blocks that can still be read
	// (they are in Bad of their segments), and headers of batches.
	Found int
	// Done: nothing is left up to the last file.
	Done bool
}

// ScrubEnd is the number of the newest file: the last of a pass that begins
// now.
func (s *Store) ScrubEnd() uint32 {
	if all := s.files.Load().all; len(all) > 0 {
		return uint32(all[len(all)-1].header.seq)
	}
	return 0
}

// ScrubLeft is how many bytes there are from at up to the end of file last.
func (s *Store) ScrubLeft(at ScrubAt, last uint32) (n block.ByteCount) {
	for _, f := range s.files.Load().all {
		from, end := pageNo(0), pageNo(f.end.Load())
		switch seq := uint32(f.header.seq); {
		case seq < at.File || seq > last:
			continue
		case seq == at.File:
			from = min(pageNo(at.Page), end)
		}
		n += (end - from).bytes()
	}
	return n
}

// Scrub reads what was written from at on, up to the end of a file or about
// limit bytes, past the page cache, and checks every checksum (rule S1). What is
// damaged and still counts is noted as a read would; what is dead is not. It
// does not pace itself. Error kind: Closed.
func (s *Store) Scrub(at ScrubAt, last uint32, limit block.ByteCount) (Scrubbed, error) {
	files := s.files.Load().all
	i, _ := slices.BinarySearchFunc(files, at.File, func(f *logFile, seq uint32) int { return int(f.header.seq) - int(seq) })
	if i == len(files) || uint32(files[i].header.seq) > last {
		return Scrubbed{Next: at, Done: true}, nil
	}
	f, from := files[i], uint32(headerCopies)
	if uint32(f.header.seq) == at.File {
		from = max(from, min(at.Page, f.end.Load()))
	}
	if !f.pin() {
		return Scrubbed{}, block.Errorf(block.Closed, "log file %s is gone", f.name)
	}
	defer func() { _ = f.unpin() }() // the last one closes a file that was only read
	t := scrub{s: s, f: f, at: pageNo(from), end: pageNo(f.end.Load())}
	t.run(limit)
	seq := uint32(f.header.seq)
	out := Scrubbed{Next: ScrubAt{seq, uint32(t.at)}, Bytes: (t.at - pageNo(from)).bytes(), Found: t.found}
	if t.at >= t.end {
		out.Next = ScrubAt{File: seq + 1}
		out.Done = seq >= last
	}
	return out, nil
}

// scrub is a step's walk over one file.
type scrub struct {
	s       *Store
	f       *logFile
	at, end pageNo
	found   int
}

func (t *scrub) run(limit block.ByteCount) {
	sc := newScanner(t.f, t.f.source(bigWindow*pageSize, true), t.end)
	defer sc.close()
	for from := t.at; t.at < t.end && (t.at-from).bytes() < limit; {
		st, err := sc.decode(t.at)
		if err != nil { // some sector there: perhaps none of the header
			sc.long = true
			st, err = sc.decode(t.at)
		}
		if err == nil && st == frameGood {
			t.batch(sc)
			continue
		}
		if gap := t.f.gapAt(t.at); gap > t.at { // known since the log was opened
			t.at = gap
			continue
		}
		t.lost(sc)
	}
}

// lost notes a batch whose header is damaged, and goes on behind it.
func (t *scrub) lost(sc *scanner) {
	d := Damage{Kind: DamageBatch, File: t.f.name, Offset: t.at.bytes()}
	next, ok, err := sc.later(t.at, 0)
	if err != nil || !ok {
		next = t.end
	}
	d.Length = (next - t.at).bytes()
	if t.s.broken(t.f, t.at) {
		t.s.found(d)
		t.s.cleaner.wake.ring()
	}
	t.found++
	t.at = next
}

// batch checks the payload of the batch in sc.frame.
func (t *scrub) batch(sc *scanner) {
	fr := &sc.frame
	at := fr.page + pageNo(fr.headerPages)
	var bad []int // pages of the payload
	sc.long = false
	next := 0
	err := sc.payload(at, int(fr.payloadPages), func(p []byte, i int) bool {
		if next = i + 1; block.Checksum(p) != fr.sums[i] {
			bad = append(bad, i)
		}
		return true
	})
	if err != nil { // some sector near there gives nothing: each page is looked at by itself
		for i := next; i < int(fr.payloadPages); i++ {
			bad = append(bad, i)
		}
	}
	for _, i := range bad {
		t.judge(fr, at+pageNo(i))
	}
	t.at = fr.end()
}

// judge looks whether a page of a batch's payload counts, and if so reads it
// once more and notes what comes of it.
func (t *scrub) judge(fr *frame, page pageNo) {
	for _, r := range fr.each() {
		d := r.d
		if page >= r.at+pageNo(len(r.sums)) {
			continue
		}
		if d.typ != TypeWrite && d.typ != TypeReloc && d.typ != TypeCopy {
			return // a configuration: opening tells
		}
		g := t.s.byIndex(d.seg)
		b := block.Index(d.block) + block.Index(page-r.at)
		if g == nil || g.newest(b).loc != dataAt(t.f.header.seq, page) {
			return
		}
		t.doubt(g, page, b, r.sums[page-r.at])
		return
	}
}

func (t *scrub) doubt(g *Segment, page pageNo, b block.Index, want block.Sum) {
	buf := slab.Get(block.Size)
	defer buf.Release()
	if err := g.doubt(t.f, page, b, want, buf.Bytes()); errors.Is(err, block.Corrupt) {
		t.found++
	}
}

// broken remembers a damaged header; it tells whether it is a new one.
func (s *Store) broken(f *logFile, at pageNo) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if slices.Contains(f.mu.broken, at) || len(f.mu.broken) >= maxBad {
		return false
	}
	f.mu.broken = append(f.mu.broken, at)
	return true
}

// BrokenBatches counts the batches whose headers scrubs have found damaged, in
// files that are still there: until the cleaner has emptied those, which it does
// before all others.
func (s *Store) BrokenBatches() (n int) {
	for _, f := range s.files.Load().all {
		f.mu.RLock()
		n += len(f.mu.broken)
		f.mu.RUnlock()
	}
	return n
}
