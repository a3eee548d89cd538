package logstore

import (
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/slab"
)

const (
	// moveSpan is what the cleaner reads at once, past the page cache.
	moveSpan = 256
	// moveGap is over how many dead pages it reads on.
	moveGap = 16
)

// errStopped is returned by what was interrupted because the store closes.
var errStopped = block.Errorf(block.Closed, "the log store is being closed")

// clean moves what is live out of f and saves its marks; all is durable when
// it returns. What cannot be read stays where it is. Error kinds: NoSpace,
// Unavailable, Closed.
func (s *Store) clean(f *logFile, stop <-chan struct{}) (*survey, error) {
	v, err := s.surveyFile(f)
	if err != nil {
		return nil, err
	}
	if !f.pin() {
		return nil, f.goneError()
	}
	defer func() { _ = f.unpin() }() // the last one closes a file that was only read
	m := mover{store: s, file: f, in: slab.Get(moveSpan * pageSize), out: slab.Get(int(coldBatch))}
	defer m.release()
	for left := v.moves; len(left) > 0; {
		n := together(left)
		if err := m.span(left[:n]); err != nil {
			return nil, err
		}
		left = left[n:]
		if !s.yield(stop) {
			return nil, errStopped
		}
	}
	if err := m.flush(); err != nil {
		return nil, err
	}
	v.moves = nil
	return v, s.saveMarks(v, f)
}

// together is how many of the first moves are read by one call.
func together(moves []move) int {
	first := moves[0].at
	end := first
	for i := range moves {
		m := &moves[i]
		if i > 0 && (m.at < end || m.at-end > moveGap || m.at+pageNo(m.count)-first > moveSpan) {
			return i
		}
		end = m.at + pageNo(m.count)
	}
	return len(moves)
}

// mover copies blocks from one file to the cold head.
type mover struct {
	store *Store
	file  *logFile
	in    *slab.Buffer // what was read
	out   *slab.Buffer // the payload of the cold batch
	used  int
}

func (m *mover) release() {
	m.store.cleaner.cold.batch.reset() // after an error it names memory that goes back
	m.in.Release()
	m.out.Release()
}

// span reads neighbouring moves and hands their blocks on.
func (m *mover) span(moves []move) error {
	first, last := &moves[0], &moves[len(moves)-1]
	n := int(last.at) + last.count - int(first.at)
	buf := m.in.Bytes()[:n*pageSize]
	if err := readPages(m.file.pastCache(true), m.file.name, buf, first.at); err != nil {
		m.pick(moves, buf)
	}
	for i := range moves {
		mv := &moves[i]
		off := int(mv.at-first.at) * pageSize
		if err := m.one(mv, buf[off:off+mv.count*pageSize]); err != nil {
			return err
		}
	}
	return nil
}

// pick reads the blocks of moves one by one, after a read of all has failed.
// One that cannot be read becomes zeroes: its checksum will tell.
func (m *mover) pick(moves []move, buf []byte) {
	for i := range moves {
		for at := moves[i].at; at < moves[i].at+pageNo(moves[i].count); at++ {
			p := buf[int(at-moves[0].at)*pageSize:][:pageSize]
			if readPages(m.file.pastCache(true), m.file.name, p, at) != nil {
				clear(p)
			}
		}
	}
}

// one hands on the blocks of a move that have their checksums.
func (m *mover) one(mv *move, p []byte) error {
	from := 0
	for i := range mv.count {
		got := block.Checksum(p[i*pageSize : (i+1)*pageSize])
		if got == mv.sums[i] {
			continue
		}
		_ = mv.seg.rotten(Damage{ // it stays where it is, to be mended
			Kind: DamagePayload, File: m.file.name, Offset: (mv.at + pageNo(i)).bytes(), Length: block.Size,
			Segment: mv.seg.id, Block: block.Index(mv.d.block) + block.Index(i), Expected: mv.sums[i], Found: got,
		}, mv.d.source.plus(i))
		if err := m.run(mv, p, from, i); err != nil {
			return err
		}
		from = i + 1
	}
	return m.run(mv, p, from, mv.count)
}

// run puts blocks [from, to) of a move into the cold batch.
func (m *mover) run(mv *move, p []byte, from, to int) error {
	if from == to {
		return nil
	}
	size := (to - from) * pageSize
	if m.used+size > len(m.out.Bytes()) {
		if err := m.flush(); err != nil {
			return err
		}
	}
	d := mv.d
	d.block, d.count, d.source = d.block+uint32(from), uint32(to-from), d.source.plus(from)
	payload := m.out.Bytes()[m.used : m.used+size]
	copy(payload, p[from*pageSize:])
	m.used += size
	return m.store.addCold(item{seg: mv.seg, d: d, sums: mv.sums[from:to], payload: payload})
}

func (m *mover) flush() error {
	m.used = 0
	return m.store.writeCold()
}

// yield leaves the disk to others for a while, the longer the less room is
// needed; false if the store closes.
func (s *Store) yield(stop <-chan struct{}) bool {
	c := &s.cleaner
	c.mu.Lock()
	p := c.mu.pace
	c.mu.Unlock()
	s.mu.Lock()
	busy := s.mu.leading || len(s.mu.queue) > 0
	s.mu.Unlock()
	if d := p.breath(busy); d > 0 && !s.cfg.byHand {
		return pause(s.cfg.Clock, d, stop)
	}
	return !stopped(stop)
}

// brake holds a batch of clients back while room is made.
func (s *Store) brake(b *batch, who taker) {
	rate := s.braking.Load()
	if rate == 0 || who != takeClient || s.cfg.byHand {
		return
	}
	d := time.Duration(float64(b.payload.bytes()) / float64(rate) * float64(time.Second))
	pause(s.cfg.Clock, min(d, maxBrake), s.stop)
}

// maxBrake bounds how long one batch is held back.
const maxBrake = 250 * time.Millisecond
