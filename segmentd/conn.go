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
	"github.com/sextantdisk/sextant/logstore"
	"github.com/sextantdisk/sextant/wire"
)

// Bounds of a connection.
const (
	// roundBytes and roundFrames bound what a connection takes in before it
	// waits for the disk.
	roundBytes  = 4 * block.MiB
	roundFrames = 64
	// replyBytes is how much may be queued for a peer that does not read;
	// beyond it the connection stops reading requests.
	replyBytes = 16 * block.MiB
	// flushBytes is when replies go out though more requests are at hand.
	flushBytes = 256 * block.KiB
)

// conn is one connection. All fields belong to its goroutine, but w and reads.
type conn struct {
	s   *Server
	nc  net.Conn
	r   *wire.Reader
	w   *boxcar.Writer
	log *slog.Logger

	frames []*frame // taken in, not yet waited for
	spare  []*frame
	bytes  block.ByteCount // payload of frames
	acks   []pendingAck
	head   []byte         // scratch for encoding
	reads  sync.WaitGroup // reads of the disk by goroutines of their own
}

// frame is a message whose records are on their way to the disk.
type frame struct {
	write   wire.Write
	recs    []logstore.Record
	payload *slab.Buffer
	ticket  *logstore.Ticket
	host    *hosted
	tag     wire.Tag
}

// pendingAck is owed to a segment's writer at the end of a round; messages of
// one round are answered together (R6).
type pendingAck struct {
	host     *hosted
	tag      wire.Tag
	epoch    block.VolumeEpoch
	progress wire.Progress
}

// serve runs one connection to its end.
func (s *Server) serve(nc net.Conn) {
	defer s.untrack(nc)
	c := &conn{s: s, nc: nc, r: wire.NewReader(nc), log: s.log.With("peer", nc.RemoteAddr().String())}
	if tcp, ok := nc.(*net.TCPConn); ok {
		_ = tcp.SetNoDelay(true)
	}
	c.w = boxcar.New(nc, func(error) { nc.Close() })
	defer c.w.Close()
	defer c.reads.Wait()
	defer c.abandon()
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
	if m.Cluster != id.Cluster || m.Disk != id.Disk || m.Node != id.Node {
		err := block.Errorf(block.Mismatch, "this is node %s, disk %v of cluster %v; node %s, disk %v of cluster %v was called",
			id.Node, id.Disk, id.Cluster, m.Node, m.Disk, m.Cluster)
		c.refuse(h.Tag, err)
		c.w.Flush()
		return err
	}
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
		if c.r.Buffered() && c.bytes < roundBytes && len(c.frames) < roundFrames {
			if c.w.QueuedBytes() >= flushBytes {
				c.w.Flush()
			}
			continue
		}
		c.finishRound()
		if c.w.QueuedBytes() > replyBytes {
			if err := c.w.Drain(c.s.ctx); err != nil {
				return err
			}
		}
	}
}

// handle takes one frame. An error ends the connection: the stream is lost.
func (c *conn) handle(h wire.Header, meta []byte) error {
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
	}
	return block.Errorf(block.Invalid, "a %v frame is not for a segment daemon", h.Type)
}

// finishRound waits for the disk, answers, and sends the answers off.
func (c *conn) finishRound() {
	for _, f := range c.frames {
		if f.ticket == nil {
			continue
		}
		if err := f.ticket.Wait(); err != nil {
			c.log.Error("segment takes no records", "segment", f.host.log.ID(), "err", err)
			c.refuse(f.tag, err)
			c.dropAck(f.host)
		}
	}
	for i := range c.acks {
		c.answer(&c.acks[i])
		c.acks[i] = pendingAck{}
	}
	c.acks = c.acks[:0]
	c.release()
	c.w.Flush()
}

// answer settles what the progress allows and sends the ack.
func (c *conn) answer(a *pendingAck) {
	if a.host == nil {
		return
	}
	if err := a.host.settled(a.epoch, a.progress); err != nil {
		c.log.Error("settling failed", "segment", a.host.log.ID(), "floor", a.progress.Floor, "err", err)
	}
	ack := a.host.ack(a.progress.Stamp)
	c.send(ack.Append(c.head[:0], a.tag), nil, nil)
}

// owe notes that host's writer is to get an ack that covers this message.
func (c *conn) owe(h *hosted, tag wire.Tag, epoch block.VolumeEpoch, p wire.Progress) {
	for i := range c.acks {
		if a := &c.acks[i]; a.host == h && a.epoch == epoch {
			a.tag, a.progress = tag, p
			return
		}
	}
	c.acks = append(c.acks, pendingAck{host: h, tag: tag, epoch: epoch, progress: p})
}

func (c *conn) dropAck(h *hosted) {
	for i := range c.acks {
		if c.acks[i].host == h {
			c.acks[i].host = nil
		}
	}
}

// newFrame gives an unused frame, with a slab of n bytes if n is not 0.
func (c *conn) newFrame(n int) *frame {
	var f *frame
	if k := len(c.spare) - 1; k >= 0 {
		f, c.spare = c.spare[k], c.spare[:k]
	} else {
		f = &frame{}
	}
	if n > 0 {
		f.payload = slab.Get(n)
	}
	c.frames = append(c.frames, f)
	c.bytes += block.ByteCount(n)
	return f
}

// release gives all frames of the round back.
func (c *conn) release() {
	for _, f := range c.frames {
		if f.payload != nil {
			f.payload.Release()
		}
		f.payload, f.ticket, f.host = nil, nil, nil
		c.spare = append(c.spare, f)
	}
	c.frames, c.bytes = c.frames[:0], 0
}

// abandon ends the last round of a connection that is gone: what was enqueued
// is waited for, because its memory is in use until then.
func (c *conn) abandon() {
	for _, f := range c.frames {
		if f.ticket != nil {
			_ = f.ticket.Wait()
		}
	}
	c.release()
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
	c.s.counters.Refused.Add(1)
	m := wire.Refuse{Kind: block.KindOf(err), Message: err.Error()}
	c.send(m.Append(c.head[:0], tag), nil, nil)
}

func (c *conn) refuseWith(tag wire.Tag, m *wire.Refuse) {
	c.s.counters.Refused.Add(1)
	c.log.Debug("refused", "kind", m.Kind, "reason", m.Message)
	c.send(m.Append(c.head[:0], tag), nil, nil)
}

// notHere refuses a message for a segment that this daemon does not have.
func (c *conn) notHere(tag wire.Tag, id *wire.Identity) {
	c.refuse(tag, block.Errorf(block.NotFound, "segment %v is not on node %s", id.Segment, c.s.id.Node))
}
