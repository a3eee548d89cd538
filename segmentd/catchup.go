package segmentd

import (
	"context"
	"net"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/boxcar"
	"github.com/sextantdisk/sextant/internal/slab"
	"github.com/sextantdisk/sextant/logstore"
	"github.com/sextantdisk/sextant/wire"
)

const (
	dialTimeout  = 5 * time.Second
	fetchTimeout = 30 * time.Second
	// progressEvery is how often a segment that catches up tells its writer.
	progressEvery = 250 * time.Millisecond
)

// handleCatchUp starts to fetch what the segment lacks, unless that is under
// way. The writer learns of progress by acks on this connection.
func (c *conn) handleCatchUp(h wire.Header, meta []byte) error {
	m := &wire.CatchUp{}
	if err := decodePlain(h, meta, m.Decode); err != nil {
		return err
	}
	host, ok := c.s.host(m.Segment)
	if !ok {
		c.notHere(h.Tag, &m.Identity)
		return nil
	}
	host.mu.Lock()
	v := host.mu.core.Admit(&m.Identity)
	host.mu.Unlock()
	if v.Refuse == nil && (v.Promise != 0 || v.Meta != nil) {
		v.Refuse = &wire.Refuse{Kind: block.Unavailable, Message: "join first"}
	}
	if v.Refuse != nil {
		c.refuseWith(h.Tag, v.Refuse)
		return nil
	}
	if !host.catching.CompareAndSwap(false, true) {
		return nil
	}
	w, tag := c.w, h.Tag
	c.s.spawn(func() { c.s.catchUp(host, m, w, tag) })
	return nil
}

// catchUp fetches records from the donor until the segment has all up to the
// point that its writer named. It ends early when the donor fails or a newer
// writer comes; the writer then looks for another way.
func (s *Server) catchUp(h *hosted, m *wire.CatchUp, w *boxcar.Writer, tag wire.Tag) {
	select {
	case s.catchUps <- struct{}{}:
		defer func() { <-s.catchUps }()
	case <-s.ctx.Done():
		h.catching.Store(false)
		return
	}
	start := s.clock.Now()
	from := h.log.SCL()
	s.log.Info("catching up", "segment", m.Segment, "pg", m.PG, "from", from, "to", m.UpTo, "donor", m.DonorNode)
	bytes, err := s.fetchAll(h, m, func() { tell(h, m.Epoch, w, tag) })
	h.catching.Store(false)
	log := s.log.With("segment", m.Segment, "pg", m.PG, "scl", h.log.SCL(), "bytes", uint64(bytes), "took", s.clock.Now().Sub(start))
	if err != nil {
		log.Warn("catch-up stopped", "err", err)
	} else {
		log.Info("caught up")
	}
	tell(h, m.Epoch, w, tag)
}

// tell sends the writer an ack that it did not ask for.
func tell(h *hosted, to block.VolumeEpoch, w *boxcar.Writer, tag wire.Tag) {
	if w.Queue(h.appendAnswer(nil, tag, to, 0), nil, nil) == nil {
		w.Flush()
	}
}

// fetchAll pulls pages from the donor and appends them. It asks first from
// where the segment stands; if what comes does not link there, the segment
// stands on a branch that was annulled, and asks again from its floor, which
// is on every chain.
func (s *Server) fetchAll(h *hosted, m *wire.CatchUp, progress func()) (block.ByteCount, error) {
	p, err := s.dialPeer(m)
	if err != nil {
		return 0, err
	}
	defer p.Close()
	var total block.ByteCount
	after, last := h.log.SCL(), s.clock.Now()
	first := true
	for after < m.UpTo {
		if h.promised() != m.Epoch {
			return total, block.Errorf(block.Fenced, "a newer writer has come")
		}
		n, next, err := s.fetchPage(h, p, m, after, first)
		if err != nil {
			return total, err
		}
		total += n
		if first && next == 0 {
			if floor := h.log.State().Floor; floor < after {
				after, first = floor, false
				continue
			}
			return total, block.Errorf(block.Behind, "donor %s has nothing that links to %v", m.DonorNode, after)
		}
		if next == 0 {
			return total, block.Errorf(block.Behind, "donor %s has no records after %v", m.DonorNode, after)
		}
		after, first = next, false
		if now := s.clock.Now(); now.Sub(last) >= progressEvery {
			last = now
			progress()
		}
	}
	return total, nil
}

// fetchPage fetches and appends one page. next is the last LSN appended, or 0
// if nothing came, or if mustLink and what came does not follow after.
func (s *Server) fetchPage(h *hosted, p *peer, m *wire.CatchUp, after block.LSN, mustLink bool) (n block.ByteCount, next block.LSN, err error) {
	f, err := p.fetch(after, m.UpTo)
	if err != nil {
		return 0, 0, err
	}
	defer f.release()
	recs := f.write.Records
	if len(recs) == 0 || mustLink && recs[0].Prev != after {
		return 0, 0, nil
	}
	out := make([]logstore.Record, 0, len(recs))
	for i := range recs {
		if err := recs[i].Verify(); err != nil {
			return 0, 0, err
		}
		n += block.ByteCount(len(recs[i].Payload))
		out = append(out, logRecord(&recs[i]))
	}
	// Between the look at the promise and the place in the log nobody may
	// come: under the lock (T4).
	h.mu.Lock()
	if h.mu.core.Promised() != m.Epoch {
		h.mu.Unlock()
		return 0, 0, block.Errorf(block.Fenced, "a newer writer has come")
	}
	t := s.enqueueLocked(h, []logstore.Op{{Segment: h.log, Records: out}})
	h.mu.Unlock()
	if err := t.Wait(); err != nil {
		return 0, 0, err
	}
	s.counters.CaughtUpBytes.Add(uint64(n))
	return n, recs[len(recs)-1].LSN, nil
}

func (h *hosted) promised() block.VolumeEpoch {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mu.core.Promised()
}

// peer is a connection to another segment daemon, for fetching.
type peer struct {
	nc    net.Conn
	r     *wire.Reader
	ident wire.Identity // of the donor's segment
	now   func() time.Time
	stop  func() bool
}

func (p *peer) Close() {
	p.stop()
	p.nc.Close()
}

// dialPeer connects to the donor and greets it.
func (s *Server) dialPeer(m *wire.CatchUp) (*peer, error) {
	ctx, cancel := context.WithTimeout(s.ctx, dialTimeout)
	defer cancel()
	nc, err := (&net.Dialer{}).DialContext(ctx, "tcp", m.DonorAddress)
	if err != nil {
		return nil, block.Wrap(block.Unavailable, err, "donor %s", m.DonorNode)
	}
	p := &peer{nc: nc, r: wire.NewReader(nc), ident: m.Identity, now: s.clock.Now}
	p.ident.Segment = m.DonorSegment
	p.stop = context.AfterFunc(s.ctx, func() { nc.Close() })
	hello := wire.Hello{Cluster: s.id.Cluster, Disk: m.DonorDisk, Purpose: wire.ForPeers, Node: m.DonorNode, Sender: "segment " + string(s.id.Node)}
	h, meta, err := p.ask(hello.Append(nil, 0), dialTimeout)
	if err == nil && h.Type != wire.TypeWelcome {
		err = refusal(h, meta)
	}
	if err != nil {
		p.Close()
		return nil, block.Wrap(block.KindOf(err), err, "donor %s", m.DonorNode)
	}
	return p, nil
}

// ask sends a frame and reads the head of its answer.
func (p *peer) ask(frame []byte, timeout time.Duration) (wire.Header, []byte, error) {
	_ = p.nc.SetDeadline(p.now().Add(timeout))
	if _, err := p.nc.Write(frame); err != nil {
		return wire.Header{}, nil, err
	}
	return p.r.Next()
}

// fetched is a page of records and the memory that they lie in.
type fetched struct {
	write wire.Write
	buf   *slab.Buffer
}

func (f *fetched) release() {
	if f.buf != nil {
		f.buf.Release()
	}
}

// fetch asks for records in (after, upTo].
func (p *peer) fetch(after, upTo block.LSN) (*fetched, error) {
	m := wire.Fetch{Identity: p.ident, After: after, UpTo: upTo}
	h, meta, err := p.ask(m.Append(nil, 1), fetchTimeout)
	if err != nil {
		return nil, block.Wrap(block.Unavailable, err, "fetching records")
	}
	if h.Type != wire.TypeRecords {
		return nil, refusal(h, meta)
	}
	f := &fetched{}
	var payload []byte
	if h.PayloadLen > 0 {
		f.buf = slab.Get(h.PayloadLen)
		payload = f.buf.Bytes()
		if err := p.r.Payload(payload); err != nil {
			f.release()
			return nil, block.Wrap(block.Unavailable, err, "fetching records")
		}
	}
	if err := f.write.Decode(meta, payload); err != nil {
		f.release()
		return nil, err
	}
	return f, nil
}

// refusal is the error in an answer that is not what was asked for.
func refusal(h wire.Header, meta []byte) error {
	if h.Type != wire.TypeRefuse {
		return block.Errorf(block.Invalid, "%v is not an answer to this", h.Type)
	}
	var m wire.Refuse
	if err := m.Decode(meta); err != nil {
		return err
	}
	return m.Err()
}
