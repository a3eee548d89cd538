package logstore

import (
	"sync"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/slab"
)

const (
	// moveSpan is what the cleaner reads at once, past the page cache.
	moveSpan = 256
	// readAhead is how many such reads go on at the same time.
	readAhead = 3
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
	m := newMover(s, f, v.moves)
	defer m.release()
	gain := gainOf(v.moves, f)
	for t := m.next(); t != nil; t = m.next() {
		if err := m.hand(t); err != nil {
			return nil, err
		}
		if !s.cleaner.yield(gain*float64(blocksOf(t.moves)), stop) {
			return nil, errStopped
		}
	}
	if err := m.flush(); err != nil {
		return nil, err
	}
	return v, s.saveMarks(v, f)
}

// gainOf is how many bytes of f are won for each block that is moved.
func gainOf(moves []move, f *logFile) float64 {
	n := float64(blocksOf(moves))
	return max(0, float64(f.header.pages)-n) * pageSize / max(n, 1)
}

func blocksOf(moves []move) (n int) {
	for i := range moves {
		n += moves[i].count
	}
	return n
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

// mover copies blocks from one file to the cold head. It reads ahead.
type mover struct {
	store *Store
	file  *logFile
	left  []move         // not being read yet
	ahead []*stretch     // being read, or read
	idle  []*slab.Buffer // to read into
	reads sync.WaitGroup
	out   *slab.Buffer // the payload of the cold batch
	used  int
}

func newMover(s *Store, f *logFile, moves []move) *mover {
	m := &mover{store: s, file: f, left: moves, out: slab.Get(int(coldBatch))}
	for range readAhead {
		m.idle = append(m.idle, slab.Get(moveSpan*pageSize))
	}
	return m
}

func (m *mover) release() {
	m.reads.Wait()
	m.store.cleaner.cold.batch.reset() // after an error it names memory that goes back
	for _, t := range m.ahead {
		t.buf.Release()
	}
	for _, b := range m.idle {
		b.Release()
	}
	m.out.Release()
}

// stretch is neighbouring moves whose blocks are read by one call.
type stretch struct {
	moves []move
	buf   *slab.Buffer
	p     []byte        // of buf: from the first move's page on
	read  chan struct{} // closed when err is set
	err   error
}

// next gives the next stretch, and begins to read those behind it; nil if there
// are none. Each read is a goroutine's, which ends with it.
func (m *mover) next() *stretch {
	for len(m.left) > 0 && len(m.idle) > 0 {
		n := together(m.left)
		m.fetch(m.left[:n])
		m.left = m.left[n:]
	}
	if len(m.ahead) == 0 {
		return nil
	}
	t := m.ahead[0]
	m.ahead = m.ahead[1:]
	return t
}

func (m *mover) fetch(moves []move) {
	first, last := &moves[0], &moves[len(moves)-1]
	t := &stretch{moves: moves, buf: m.idle[0], read: make(chan struct{})}
	t.p = t.buf.Bytes()[:(int(last.at)+last.count-int(first.at))*pageSize]
	m.idle = m.idle[1:]
	m.ahead = append(m.ahead, t)
	m.reads.Add(1)
	go func() {
		defer m.reads.Done()
		defer close(t.read)
		t.err = readPages(m.file.pastCache(true), m.file.name, t.p, first.at)
	}()
}

// hand hands the blocks of a stretch on, and takes its buffer back.
func (m *mover) hand(t *stretch) error {
	defer func() { m.idle = append(m.idle, t.buf) }()
	<-t.read
	first := &t.moves[0]
	if t.err != nil {
		m.pick(t.moves, t.p)
	}
	for i := range t.moves {
		mv := &t.moves[i]
		off := int(mv.at-first.at) * pageSize
		if err := m.one(mv, t.p[off:off+mv.count*pageSize]); err != nil {
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
	it := item{seg: mv.seg, d: mv.d, sums: mv.sums, payload: p}
	it = it.cut(from, to)
	payload := m.out.Bytes()[m.used : m.used+size]
	copy(payload, it.payload)
	it.payload = payload
	m.used += size
	return m.store.addCold(it)
}

func (m *mover) flush() error {
	m.used = 0
	return m.store.writeCold()
}

// yield leaves the disk to others for a while after a piece that wins so many
// bytes: until clients have written enough for more to be owed, or have nothing
// to write. So cleaning goes along with them, in small pieces. False if the
// store closes.
func (c *cleaner) yield(won float64, stop <-chan struct{}) bool {
	s := c.store
	c.debt -= won
	s.brakes.win(block.ByteCount(won))
	if s.cfg.byHand {
		return !stopped(stop)
	}
	for waited := time.Duration(0); waited < paceIdle; waited += paceLook {
		c.recycleLeft()
		p := c.look()
		if !c.owes(p) {
			if !pause(s.cfg.Clock, paceLook, stop) {
				return false
			}
			continue
		}
		if d := p.breath(s.busy()); d > 0 {
			return pause(s.cfg.Clock, d, stop)
		}
		break
	}
	return !stopped(stop)
}

const (
	// paceLook is how often who is ahead of the clients looks where they are.
	paceLook = 2 * time.Millisecond
	// paceIdle is how long it waits for them at most.
	paceIdle = 100 * time.Millisecond
)

// busy tells whether clients write.
func (s *Store) busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.leading || len(s.mu.queue) > 0
}
