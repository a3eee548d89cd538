package volume

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/boxcar"
	"github.com/sextantdisk/sextant/wire"
)

const (
	// firstGuess is taken for a daemon's latency before it is measured.
	firstGuess = 200 * time.Microsecond
	// hedgeEvery is how often outstanding reads are looked at (R15).
	hedgeEvery = 2 * time.Millisecond
	// hedgeFloor is the shortest time after which a read is sent twice.
	hedgeFloor = time.Millisecond
	// hedgeShare bounds the extra reads: one in so many (5 %).
	hedgeShare = 20
	// hedgeBurst is how many extra reads may be saved up.
	hedgeBurst = 64
)

// slot is a request on its way to a daemon.
type slot struct {
	to   reader
	sent time.Duration
	gen  uint32
}

// reader is who waits for the answer to a READ, MAP or MEND.
type reader interface {
	// claim takes the right to answer; false if somebody else has it.
	// unclaim gives it back after an answer that was no good.
	claim() bool
	unclaim()
	// data takes an answer, claimed before; the payload is read from r. An
	// error ends the connection; failed is called then, too.
	data(b *batch, l *link, typ wire.Type, d *wire.Data, r *wire.Reader) error
	// failed tells that this daemon gives no answer.
	failed(b *batch, l *link, err error, refusal *wire.Refuse)
	// skipped tells that this daemon's answer was thrown away, because
	// somebody else had the claim.
	skipped(b *batch, l *link)
	// overdue is asked from time to time while the answer is awaited.
	overdue(b *batch, l *link, waited time.Duration)
}

// readSide is the read connection of a link.
type readSide struct {
	l   *link
	out atomic.Pointer[boxcar.Writer]
	// ewma is the daemon's latency for reads, in nanoseconds, and slow a
	// high percentile of it, both smoothed.
	ewma, slow atomic.Int64
	inFlight   atomic.Int64

	mu struct {
		sync.Mutex
		slots []slot
		free  []uint32
	}
}

func (s *readSide) init(l *link) {
	s.l = l
	s.ewma.Store(int64(firstGuess))
	s.slow.Store(int64(10 * firstGuess))
}

func (s *readSide) flush() {
	if w := s.out.Load(); w != nil {
		w.Flush()
	}
}

// up reports whether the daemon can be asked now.
func (s *readSide) up() bool { return s.out.Load() != nil }

// cost is what a further read is expected to take here.
func (s *readSide) cost() int64 { return s.ewma.Load() * (1 + s.inFlight.Load()) }

// submit queues a request whose frame encode makes for the tag that it is
// given. It returns false when the connection is down.
func (s *readSide) submit(to reader, encode func(tag wire.Tag) []boxcar.Piece) bool {
	w := s.out.Load()
	if w == nil {
		return false
	}
	tag := s.reserve(to)
	if w.QueueAll(encode(tag)) != nil {
		_, ok := s.take(tag)
		return !ok // if it was taken by the end of the connection, failed is told there
	}
	if s.out.Load() != w {
		// The connection ended meanwhile, perhaps before the slot was
		// there to be failed.
		_, ok := s.take(tag)
		return !ok
	}
	return true
}

func (s *readSide) reserve(to reader) wire.Tag {
	s.mu.Lock()
	defer s.mu.Unlock()
	var k uint32
	if n := len(s.mu.free) - 1; n >= 0 {
		k, s.mu.free = s.mu.free[n], s.mu.free[:n]
	} else {
		k = uint32(len(s.mu.slots))
		s.mu.slots = append(s.mu.slots, slot{})
	}
	sl := &s.mu.slots[k]
	sl.to, sl.sent = to, s.l.pool.now()
	s.inFlight.Add(1)
	return wire.Tag(sl.gen)<<32 | wire.Tag(k)
}

// take frees the slot of a tag and gives who waits there; false if nobody
// does any more.
func (s *readSide) take(tag wire.Tag) (slot, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := uint32(tag)
	if uint64(k) >= uint64(len(s.mu.slots)) || s.mu.slots[k].gen != uint32(tag>>32) || s.mu.slots[k].to == nil {
		return slot{}, false
	}
	sl := s.mu.slots[k]
	s.mu.slots[k] = slot{gen: sl.gen + 1}
	s.mu.free = append(s.mu.free, k)
	s.inFlight.Add(-1)
	return sl, true
}

// run keeps the read connection up until the pool closes.
func (s *readSide) run() {
	s.l.keepUp("reads", func(ctx context.Context) (bool, error) {
		nc, r, err := s.l.dial(ctx, wire.ForReads)
		if err != nil {
			return false, err
		}
		w := boxcar.New(nc, func(error) { nc.Close() })
		stop := context.AfterFunc(ctx, func() { nc.Close() })
		defer stop()
		s.out.Store(w)
		err = s.readAnswers(r)
		s.out.Store(nil)
		w.Close()
		s.failAll(err)
		return true, err
	})
	s.failAll(block.Closed)
}

// failAll tells all who wait that the connection is gone.
func (s *readSide) failAll(err error) {
	s.mu.Lock()
	var lost []reader
	for k := range s.mu.slots {
		if sl := &s.mu.slots[k]; sl.to != nil {
			lost = append(lost, sl.to)
			*sl = slot{gen: sl.gen + 1}
			s.mu.free = append(s.mu.free, uint32(k))
			s.inFlight.Add(-1)
		}
	}
	s.mu.Unlock()
	var b batch
	for _, to := range lost {
		to.failed(&b, s.l, block.Wrap(block.Unavailable, err, "node %s: connection lost", s.l.node), nil)
	}
	b.run()
}

// readAnswers takes answers off the read connection until it ends.
func (s *readSide) readAnswers(r *wire.Reader) error {
	var b batch
	defer b.run()
	var d wire.Data
	for {
		h, meta, err := r.Next()
		if err != nil {
			return err
		}
		sl, waited := s.take(h.Tag)
		switch h.Type {
		case wire.TypeData, wire.TypeRuns:
			err = s.takeData(&b, h, meta, &d, r, sl, waited)
		case wire.TypeRefuse:
			var m wire.Refuse
			if err = m.Decode(meta); err == nil && waited {
				sl.to.failed(&b, s.l, m.Err(), &m)
			}
		case wire.TypeAck: // to a MEND
			if waited && sl.to.claim() {
				if err = sl.to.data(&b, s.l, h.Type, &d, r); err != nil {
					sl.to.unclaim()
				}
			}
		default:
			err = block.Errorf(block.Invalid, "%v frame on a read connection", h.Type)
		}
		if err != nil {
			if waited {
				sl.to.failed(&b, s.l, err, nil)
			}
			return err
		}
		if !r.Buffered() {
			b.run()
		}
	}
}

// takeData hands an answer to who waits, or skips it if nobody does any more.
func (s *readSide) takeData(b *batch, h wire.Header, meta []byte, d *wire.Data, r *wire.Reader, sl slot, waited bool) error {
	if !waited {
		return r.Skip(h.PayloadLen)
	}
	if !sl.to.claim() {
		err := r.Skip(h.PayloadLen)
		if err == nil {
			sl.to.skipped(b, s.l)
		}
		return err
	}
	s.measure(s.l.pool.now() - sl.sent)
	err := d.Decode(meta, h.Type, h.PayloadLen)
	if err == nil {
		err = sl.to.data(b, s.l, h.Type, d, r)
	}
	if err != nil {
		sl.to.unclaim()
	}
	return err
}

// measure smooths the latency: its mean, and a value that about one read in
// twenty exceeds (it rises 19 times as fast as it falls).
func (s *readSide) measure(took time.Duration) {
	mean := s.ewma.Load()
	s.ewma.Store(mean + (int64(took)-mean)/8)
	slow := s.slow.Load()
	step := max(slow/64, 1000)
	if int64(took) > slow {
		s.slow.Store(slow + 19*step/4)
	} else {
		s.slow.Store(slow - step/4)
	}
}

// hedge looks at outstanding reads from time to time: who is late is asked
// for elsewhere (R15). One goroutine serves all links.
func (p *Pool) hedge() {
	timer := p.cfg.Clock.NewTimer(hedgeEvery)
	defer timer.Stop()
	var late []lateRead
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-timer.C():
		}
		busy := false
		for _, l := range p.all() {
			late = l.reads.late(late[:0])
			busy = busy || l.reads.inFlight.Load() > 0
			var b batch
			for _, x := range late {
				x.to.overdue(&b, l, x.waited)
			}
			b.run()
			clear(late)
		}
		if busy {
			timer.Reset(hedgeEvery)
		} else {
			timer.Reset(10 * hedgeEvery)
		}
	}
}

type lateRead struct {
	to     reader
	waited time.Duration
}

// late lists the requests that have waited longer than nearly all do.
func (s *readSide) late(out []lateRead) []lateRead {
	if s.inFlight.Load() == 0 {
		return out
	}
	now, limit := s.l.pool.now(), max(time.Duration(s.slow.Load()), hedgeFloor)
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.mu.slots {
		if sl := &s.mu.slots[k]; sl.to != nil && now-sl.sent > limit {
			out = append(out, lateRead{sl.to, now - sl.sent})
		}
	}
	return out
}
