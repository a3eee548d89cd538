package volume

import (
	"errors"
	"net"
	"runtime"
	"slices"
	"sync"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/pollset"
	"github.com/sextantdisk/sextant/volume/pg"
	"github.com/sextantdisk/sextant/wire"
)

// procsForTaker is how many processors there are for each goroutine that takes
// acks: an ack is a few microseconds, of which the daemons have to spend more.
const procsForTaker = 4

// togetherAtMost is for how many connections acks are taken before what follows
// from them is carried out: those of one write, but not of a hundred others.
const togetherAtMost = 8

// ackTaker takes the answers off the record connections of many links, in one
// goroutine: those to one write come nearly together, from six daemons, and what
// follows from all that are at hand is carried out once. See docs/adr/0044.
type ackTaker struct {
	set *pollset.Set

	mu struct {
		sync.Mutex
		last    pollset.Key
		streams map[pollset.Key]*ackStream
		over    error // why nobody takes any more
	}
}

// ackStream is one record connection, while it is up.
type ackStream struct {
	l    *link
	sock *pollset.Socket
	r    *wire.Reader
	ack  wire.Ack   // scratch
	over chan error // gets one value: why it has ended
}

func newAckTaker() (*ackTaker, error) {
	set, err := pollset.New()
	if err != nil {
		return nil, err
	}
	t := &ackTaker{set: set}
	t.mu.streams = map[pollset.Key]*ackStream{}
	return t, nil
}

// take has the answers on l's record connection heard until it ends, and tells
// why it did: the peer's end, its fault, or hangUp; false if it could not even
// begin. r may have read ahead.
func (t *ackTaker) take(l *link, nc *net.TCPConn, r *wire.Reader) (began bool, err error) {
	sock, err := pollset.NewSocket(nc)
	if err != nil {
		return false, err
	}
	r.From(sock)
	s := &ackStream{l: l, sock: sock, r: r, over: make(chan error, 1)}
	var b batch
	err = s.hear(&b)
	b.run()
	if err != nil {
		return true, err
	}
	key, err := t.add(s)
	if err != nil {
		return false, err
	}
	if err := t.set.Add(sock, key); err != nil {
		t.drop(key)
		return false, err
	}
	return true, <-s.over
}

func (t *ackTaker) add(s *ackStream) (pollset.Key, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.over != nil {
		return 0, t.mu.over
	}
	t.mu.last++
	t.mu.streams[t.mu.last] = s
	return t.mu.last, nil
}

func (t *ackTaker) drop(key pollset.Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.mu.streams, key)
}

func (t *ackTaker) stream(key pollset.Key) *ackStream {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.streams[key]
}

// end ends all connections: nobody takes what comes on them.
func (t *ackTaker) end(why error) {
	_ = t.set.Close() // unless that is why
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.over = why
	for key, s := range t.mu.streams {
		s.over <- why
		delete(t.mu.streams, key)
	}
}

func (t *ackTaker) ended() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.over != nil
}

// run takes answers until the set is closed.
func (t *ackTaker) run() {
	var b batch
	var keys []pollset.Key
	for {
		var err error
		if keys, err = t.set.Wait(keys[:0]); err != nil {
			t.end(err)
			return
		}
		for some := range slices.Chunk(keys, togetherAtMost) {
			for _, key := range some {
				t.fetch(&b, key)
			}
			b.run()
		}
	}
}

// fetch takes what has come on one connection, and ends it if that is its end.
func (t *ackTaker) fetch(b *batch, key pollset.Key) {
	s := t.stream(key)
	if s == nil {
		return
	}
	if err := s.fetch(b); err != nil {
		t.drop(key)
		_ = t.set.Remove(s.sock) // it is still open: its link waits for this
		s.over <- err
	}
}

// fetch reads once, and hears what is whole then.
func (s *ackStream) fetch(b *batch) error {
	if err := s.r.Fetch(); err != nil {
		if errors.Is(err, pollset.ErrEmpty) {
			return nil
		}
		return err
	}
	return s.hear(b)
}

// hear steps the groups with the answers that are at hand.
func (s *ackStream) hear(b *batch) error {
	for {
		h, meta, whole, err := s.r.Whole()
		if err != nil || !whole {
			return err
		}
		if err := s.answer(b, h, meta); err != nil {
			return err
		}
	}
}

func (s *ackStream) answer(b *batch, h wire.Header, meta []byte) error {
	if h.PayloadLen != 0 {
		return block.Errorf(block.Invalid, "%v frame with payload on a record connection", h.Type)
	}
	to := s.l.route(h.Tag)
	switch h.Type {
	case wire.TypeAck:
		if err := s.ack.Decode(meta); err != nil {
			return err
		}
		if to != nil && to.group.isFor(&s.ack.Identity, to.member) {
			to.group.hear(b, s.l, pg.Input{Kind: pg.Acked, Member: to.member, Ack: &s.ack})
		}
	case wire.TypeRefuse:
		var m wire.Refuse
		if err := m.Decode(meta); err != nil {
			return err
		}
		if to != nil {
			to.group.hear(b, s.l, pg.Input{Kind: pg.Refused, Member: to.member, Refuse: &m})
		}
	default:
		return block.Errorf(block.Invalid, "%v frame on a record connection", h.Type)
	}
	return nil
}

// taker gives the next link an ackTaker. Error kinds: Unavailable, Closed.
func (p *Pool) taker() (*ackTaker, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.takers = slices.DeleteFunc(p.mu.takers, (*ackTaker).ended)
	if len(p.mu.takers) < max(1, runtime.GOMAXPROCS(0)/procsForTaker) {
		t, err := newAckTaker()
		if err != nil {
			return nil, err
		}
		p.mu.takers = append(p.mu.takers, t)
		p.hearing.Go(t.run)
		return t, nil
	}
	p.mu.turn++
	return p.mu.takers[p.mu.turn%len(p.mu.takers)], nil
}

// endTakers ends them, when no link needs them any more.
func (p *Pool) endTakers() {
	p.mu.Lock()
	takers := p.mu.takers
	p.mu.Unlock()
	for _, t := range takers {
		_ = t.set.Close() // unless it has ended before
	}
	p.hearing.Wait()
}
