package nbd

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sextantdisk/sextant/internal/boxcar"
)

// Why a connection ends, beside errors of its socket.
var (
	errDisconnected = errors.New("client disconnected")
	errStopping     = errors.New("the server is shutting down")
	errSevered      = errors.New("connection cut")
)

// conn is one connection, from accept to end.
type conn struct {
	srv      *Server
	nc       net.Conn
	accepted time.Time
	phase    phase // guarded by Server.mu

	// The reader's own.
	in      reader
	waiting bool // something was submitted or queued since the last kick

	// Set once, when the handshake has made a session.
	session
	w      *boxcar.Writer
	budget *budget

	// active counts requests that were submitted and are not complete,
	// plus one for the reader; quiet is closed when it comes to 0.
	active atomic.Int64
	quiet  chan struct{}
	// gone is closed when the connection is of no more use; severed says
	// so without a channel.
	gone    chan struct{}
	severed atomic.Bool
	// lastComplaint is when a failed request was last logged, in
	// nanoseconds since accepted; 0 for never.
	lastComplaint atomic.Int64

	mu struct {
		sync.Mutex
		stopping bool // the read deadline has passed for good
	}
}

func newConn(s *Server, nc net.Conn) *conn {
	return &conn{
		srv:      s,
		nc:       nc,
		accepted: time.Now(),
		in:       reader{src: nc, buf: make([]byte, handshakeBuffer)},
		quiet:    make(chan struct{}),
		gone:     make(chan struct{}),
	}
}

// client names the peer in logs.
func (c *conn) client() string { return c.nc.RemoteAddr().String() }

// setDeadline bounds reads and writes during the handshake; the zero time
// lifts the bound. Once reading was stopped it stays so.
func (c *conn) setDeadline(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.nc.SetDeadline(t) // fails only on a closed connection
	if c.mu.stopping {
		_ = c.nc.SetReadDeadline(time.Unix(1, 0))
	}
}

// stopReading makes the reader end at its next read.
func (c *conn) stopReading() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.stopping = true
	_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // fails only on a closed connection
}

// run is the life of a connection.
func (c *conn) run() {
	defer c.nc.Close()
	log := c.srv.cfg.Log
	s, err := (&handshake{srv: c.srv, conn: c}).run()
	if err != nil {
		if c.srv.cfg.Metrics != nil && !errors.Is(err, errAborted) {
			c.srv.cfg.Metrics.HandshakeFailed()
		}
		log.Debug("handshake ended", "client", c.client(), "err", err)
		return
	}
	c.session = *s
	c.setDeadline(time.Time{})
	c.transmit(log.With("export", s.export.Name, "client", c.client()))
}

// transmit serves requests until the connection ends, then waits for what is
// in flight and closes the device.
func (c *conn) transmit(log *slog.Logger) {
	metrics := c.srv.cfg.Metrics
	if metrics != nil {
		metrics.ConnOpened(c.export.Name)
		defer metrics.ConnClosed(c.export.Name)
	}
	log.Info("connected")
	c.in.resize(requestBuffer)
	c.in.idle = c.kick
	c.budget = newBudget(c.srv.pool, int64(c.srv.cfg.ConnBytes), int64(c.srv.cfg.ConnRequests))
	c.w = boxcar.New(c.nc, func(err error) { c.sever(err) })
	c.active.Store(1)
	c.srv.setPhase(c, phaseServing)

	why := c.readRequests()
	c.waiting = true
	c.kick()
	c.leave()
	<-c.quiet
	if err := c.dev.Close(); err != nil {
		log.Error("device did not close in good order", "err", err)
	}
	if !c.severed.Load() {
		c.part(why)
	}
	_ = c.w.Close() // all replies are out or were given up
	log.Info("disconnected", "why", why)
}

// kick tells the device that nothing more is at hand, and sends replies that
// were made meanwhile. It is called before the reader waits.
func (c *conn) kick() {
	if c.waiting {
		c.waiting = false
		c.dev.Kick()
		c.w.Flush()
	}
}

// leave ends what active has counted.
func (c *conn) leave() {
	if c.active.Add(-1) == 0 {
		close(c.quiet)
	}
}

// sever ends the connection without another word: its device has lost the
// volume, or it cannot be written to.
func (c *conn) sever(err error) {
	if c.severed.Swap(true) {
		return
	}
	c.srv.cfg.Log.Warn("connection cut", "export", c.export.Name, "client", c.client(), "err", err)
	close(c.gone)
	c.nc.Close()
}

// part takes leave of a client that is still there: the last replies go out,
// and it is left to the client to close first, within limits.
func (c *conn) part(why error) {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeMax)
	defer cancel()
	if err := c.w.Drain(ctx); err != nil {
		return
	}
	if !errors.Is(why, errDisconnected) && !errors.Is(why, errStopping) {
		return
	}
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	_ = c.nc.SetReadDeadline(time.Now().Add(lingerTimeMax)) // fails only on a closed connection
	_, _ = io.Copy(io.Discard, io.LimitReader(c.nc, int64(MaxPayload)))
}

// Flush implements Flusher.
func (c *conn) Flush() { c.w.Flush() }
