package segmentd

import (
	"context"
	"net"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/boxcar"
	"github.com/sextantdisk/sextant/internal/slab"
	"github.com/sextantdisk/sextant/segmentd/segment"
	"github.com/sextantdisk/sextant/wire"
)

const (
	dialTimeout  = 5 * time.Second
	fetchTimeout = 30 * time.Second
)

// handleCatchUp starts to fetch what the segment lacks, unless that is under
// way. The writer learns of progress by acks on this connection.
func (c *conn) handleCatchUp(h wire.Header, meta []byte) error {
	m := &wire.CatchUp{}
	if err := decodePlain(h, meta, m.Decode); err != nil {
		return err
	}
	host := c.admit(h.Tag, &m.Identity, (*segment.Core).AdmitJoined)
	if host == nil {
		return nil
	}
	donor := Peer{Segment: m.DonorSegment, Node: m.DonorNode, Disk: m.DonorDisk, Address: m.DonorAddress}
	w, tag := c.w, h.Tag
	c.s.pull(host, m.UpTo, &donor, func() { tell(host, m.Epoch, w, tag) })
	return nil
}

// tell sends the writer an ack that it did not ask for.
func tell(h *hosted, to block.VolumeEpoch, w *boxcar.Writer, tag wire.Tag) {
	if w.Queue(h.appendAnswer(nil, tag, to, 0), nil, nil) == nil {
		w.Flush()
	}
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

// dialPeer connects to the daemon of a peer and greets it; ident is of the
// segment here.
func (s *Server) dialPeer(to Peer, ident wire.Identity) (*peer, error) {
	return dial(s.ctx, s.id.Cluster, to, ident, "segment "+string(s.id.Node), s.clock.Now)
}

// dial connects to the daemon of a peer and greets it. The connection ends with
// ctx.
func dial(ctx context.Context, cluster block.ClusterID, to Peer, ident wire.Identity, sender string, now func() time.Time) (*peer, error) {
	life := ctx
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	nc, err := (&net.Dialer{}).DialContext(ctx, "tcp", to.Address)
	if err != nil {
		return nil, block.Wrap(block.Unavailable, err, "peer %s", to.Node)
	}
	p := &peer{nc: nc, r: wire.NewReader(nc), ident: ident, now: now}
	p.ident.Segment = to.Segment
	p.stop = context.AfterFunc(life, func() { nc.Close() })
	hello := wire.Hello{Cluster: cluster, Disk: to.Disk, Purpose: wire.ForPeers, Node: to.Node, Sender: sender}
	h, meta, err := p.ask(hello.Append(nil, 0), dialTimeout)
	if err == nil && h.Type != wire.TypeWelcome {
		err = refusal(h, meta)
	}
	if err != nil {
		p.Close()
		return nil, block.Wrap(block.KindOf(err), err, "peer %s", to.Node)
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

// send writes a request; receive takes the answer, in their order.
func (p *peer) send(frame []byte) error {
	_ = p.nc.SetDeadline(p.now().Add(fetchTimeout))
	if _, err := p.nc.Write(frame); err != nil {
		return block.Wrap(block.Unavailable, err, "asking a peer")
	}
	return nil
}

// receive takes the next answer, which must be of that type, with its payload
// in a buffer that the caller is to release, if there is any. Error kinds:
// those of a refusal, Unavailable.
func (p *peer) receive(t wire.Type) (meta []byte, buf *slab.Buffer, err error) {
	_ = p.nc.SetDeadline(p.now().Add(fetchTimeout))
	h, meta, err := p.r.Next()
	if err != nil {
		return nil, nil, block.Wrap(block.Unavailable, err, "waiting for %v", t)
	}
	if h.Type != t {
		return nil, nil, refusal(h, meta)
	}
	if h.PayloadLen > 0 {
		buf = slab.Get(h.PayloadLen)
		if err := p.r.Payload(buf.Bytes()); err != nil {
			buf.Release()
			return nil, nil, block.Wrap(block.Unavailable, err, "receiving %v", t)
		}
	}
	return meta, buf, nil
}

// standing asks where segments stand on the other side.
func (p *peer) standing(places ...wire.Place) ([]wire.Stand, error) {
	if err := p.send((&wire.Standing{Places: places}).Append(nil, 1)); err != nil {
		return nil, err
	}
	return p.stands(len(places))
}

// place is what this connection is about.
func (p *peer) place() wire.Place {
	return wire.Place{Volume: p.ident.Volume, PG: p.ident.PG, Segment: p.ident.Segment}
}

// quote quotes the peer's own membership epoch from now on, if it is the higher one.
// A segment that is out of its group (R29), or that no gateway has told of a
// change yet, does not know it. What a peer gives decides nothing: that both
// have promised one epoch is what counts (R20), and whoever counts copies does so
// by its own configuration.
func (p *peer) quote(s *wire.Stand) { p.ident.Member = max(p.ident.Member, s.Member) }

// stands takes the answer to a STANDING about n segments.
func (p *peer) stands(n int) ([]wire.Stand, error) {
	meta, buf, err := p.receive(wire.TypeStandings)
	if err != nil {
		return nil, err
	}
	release(buf)
	var m wire.Standings
	if err := m.Decode(meta); err != nil {
		return nil, err
	}
	if len(m.Stands) != n {
		return nil, block.Errorf(block.Invalid, "%d stands for %d segments", len(m.Stands), n)
	}
	return m.Stands, nil
}

// content is what is in a buffer that may not be there.
func content(b *slab.Buffer) []byte {
	if b == nil {
		return nil
	}
	return b.Bytes()
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
