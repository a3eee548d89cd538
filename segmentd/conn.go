package segmentd

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/boxcar"
	"github.com/sextantdisk/sextant/internal/slab"
	"github.com/sextantdisk/sextant/wire"
)

// Bounds of a connection.
const (
	// replyBytes is how much may be queued for a peer that does not read;
	// beyond it the connection stops reading requests.
	replyBytes = 16 * block.MiB
	// flushBytes is when replies go out though more requests are at hand.
	flushBytes = 256 * block.KiB
)

// conn is one connection. All fields belong to its goroutine, but w, beside
// and aside.
type conn struct {
	s   *Server
	nc  net.Conn
	r   *wire.Reader
	w   *boxcar.Writer
	log *slog.Logger

	round *round // what was taken in
	aside aside
	head  []byte // scratch for encoding
	// beside are reads of the disk, and segments being made, by goroutines of
	// their own.
	beside sync.WaitGroup
}

// serve runs one connection to its end.
func (s *Server) serve(from *client) {
	nc := from.Conn
	defer s.untrack(nc)
	c := &conn{s: s, nc: nc, r: from.reader, log: s.log.With("peer", nc.RemoteAddr().String())}
	if tcp, ok := nc.(*net.TCPConn); ok {
		_ = tcp.SetNoDelay(true)
	}
	c.w = boxcar.New(nc, func(error) { nc.Close() })
	defer c.w.Close()
	defer c.beside.Wait()
	c.round = &round{c: c}
	c.aside.init()
	defer func() { c.round.abandon() }()
	defer c.aside.tasks.Wait()
	if err := c.greet(); err != nil {
		c.log.Warn("greeting failed, connection closed", "err", err)
		return
	}
	err := c.loop()
	if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && s.ctx.Err() == nil {
		c.log.Warn("connection ended", "err", err)
	}
}

// greet makes sure that both sides are who they think (R1, trap T27).
func (c *conn) greet() error {
	_ = c.nc.SetDeadline(c.s.clock.Now().Add(helloTimeout))
	h, meta, err := c.r.Next()
	if err != nil {
		return err
	}
	var m wire.Hello
	if h.Type != wire.TypeHello || h.PayloadLen != 0 {
		return block.Errorf(block.Invalid, "first frame is %v, not HELLO", h.Type)
	}
	if err := m.Decode(meta); err != nil {
		return err
	}
	id := &c.s.id
	c.log = c.log.With("sender", m.Sender)
	if !m.IsFor(id.Cluster, id.Disk, id.Node) {
		err := block.Errorf(block.Mismatch, "this is node %s, disk %v of cluster %v; node %s, disk %v of cluster %v was called",
			id.Node, id.Disk, id.Cluster, m.Node, m.Disk, m.Cluster)
		c.refuse(h.Tag, err)
		c.w.Flush()
		return err
	}
	c.s.note(c.nc, m.Purpose)
	welcome := wire.Welcome{Cluster: id.Cluster, Disk: id.Disk, Boot: id.Boot, Node: id.Node}
	c.send(welcome.Append(c.head[:0], h.Tag), nil, nil)
	c.w.Flush()
	return c.nc.SetDeadline(noDeadline)
}

// loop takes frames until the connection ends. It collects what is at hand,
// then waits for the disk once, answers, and sends all answers together.
func (c *conn) loop() error {
	for {
		h, meta, err := c.r.Next()
		if err != nil {
			return err
		}
		if err := c.handle(h, meta); err != nil {
			return err
		}
		if c.r.Buffered() && !c.round.full() {
			if c.w.QueuedBytes() >= flushBytes {
				c.w.Flush()
			}
			continue
		}
		c.endRound()
		if c.w.QueuedBytes() > replyBytes {
			if err := c.w.Drain(c.s.ctx); err != nil {
				return err
			}
		}
	}
}

// handle takes one frame. An error ends the connection: the stream is lost.
func (c *conn) handle(h wire.Header, meta []byte) error {
	if refused, err := c.withoutDisk(h); refused {
		return err
	}
	switch h.Type {
	case wire.TypeWrite:
		return c.handleWrite(h, meta)
	case wire.TypeRead:
		return c.handleRead(h, meta)
	case wire.TypePing:
		return c.handlePing(h, meta)
	case wire.TypeJoin:
		return c.handleJoin(h, meta)
	case wire.TypeMap:
		return c.handleMap(h, meta)
	case wire.TypeFetch:
		return c.handleFetch(h, meta)
	case wire.TypeCatchUp:
		return c.handleCatchUp(h, meta)
	case wire.TypeMend:
		return c.handleMend(h, meta)
	case wire.TypeLeaves:
		return c.handleLeaves(h, meta)
	case wire.TypeTake:
		return c.handleTake(h, meta)
	case wire.TypeStanding:
		return c.handleStanding(h, meta)
	case wire.TypeDigest:
		return c.handleDigest(h, meta)
	}
	return block.Errorf(block.Invalid, "a %v frame is not for a segment daemon", h.Type)
}

// endRound has the disk waited for: here, if that is all there is to do, or
// aside.
func (c *conn) endRound() {
	if c.round.empty() {
		c.w.Flush()
		return
	}
	if c.round.bytes < longRound && c.aside.idle() {
		c.round.finish()
		return
	}
	c.w.Flush()
	c.round = c.aside.pass(c.round)
}

// send queues a frame; head may be used again at once.
func (c *conn) send(head, payload []byte, owner *slab.Buffer) {
	c.head = head[:0]
	if owner == nil {
		_ = c.w.Queue(head, payload, nil) // a broken connection shows at the reader
		return
	}
	_ = c.w.Queue(head, payload, owner)
}

// refuse answers a request with an error.
func (c *conn) refuse(tag wire.Tag, err error) {
	m := c.s.refusal(err)
	c.send(m.Append(c.head[:0], tag), nil, nil)
}

// refusal counts and makes the answer to a request that fails.
func (s *Server) refusal(err error) wire.Refuse {
	s.counters.Refused.Add(1)
	return wire.Refuse{Kind: block.KindOf(err), Message: err.Error()}
}

func (c *conn) refuseWith(tag wire.Tag, m *wire.Refuse) {
	c.noteRefusal(m)
	c.send(m.Append(c.head[:0], tag), nil, nil)
}

func (c *conn) noteRefusal(m *wire.Refuse) {
	c.s.counters.Refused.Add(1)
	c.log.Debug("refused", "kind", m.Kind, "reason", m.Message)
}

// notHere refuses a message for a segment that this daemon does not have.
func (c *conn) notHere(tag wire.Tag, id *wire.Identity) {
	c.refuse(tag, block.Errorf(block.NotFound, "segment %v is not on node %s", id.Segment, c.s.id.Node))
}
