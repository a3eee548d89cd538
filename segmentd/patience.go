package segmentd

import (
	"net"
	"sync/atomic"
	"time"

	"github.com/sextantdisk/sextant/wire"
)

// frameTimeout is how long a peer may stop in the middle of a frame. TCP ends
// connections whose other end is gone; this is for one that is there and does
// not go on.
const frameTimeout = 30 * time.Second

// client is a connection as the daemon keeps it, and what its frames are read
// from: it notes for how long the rest of a frame is waited for.
type client struct {
	net.Conn
	reader  *wire.Reader // on this client
	purpose wire.Purpose // 0 before the greeting

	reads   uint64        // calls so far; the connection's goroutine's
	waiting atomic.Uint64 // the number of the call that waits for the rest of a frame, or 0

	seen  uint64    // waiting, as of the last look
	since time.Time // when it was first seen so
}

func newClient(nc net.Conn) *client {
	c := &client{Conn: nc}
	c.reader = wire.NewReader(c)
	return c
}

// Read implements net.Conn.
func (c *client) Read(p []byte) (int, error) {
	if !c.reader.Within() {
		return c.Conn.Read(p)
	}
	c.reads++
	c.waiting.Store(c.reads)
	n, err := c.Conn.Read(p)
	c.waiting.Store(0)
	return n, err
}

// stopped tells whether the peer has stopped in the middle of a frame, and
// notes what is seen.
func (c *client) stopped(now time.Time) bool {
	waiting := c.waiting.Load()
	if waiting == 0 || waiting != c.seen {
		c.seen, c.since = waiting, now
		return false
	}
	return now.Sub(c.since) >= frameTimeout
}

// cutStopped ends the connections whose peers have stopped half-way. What a
// goroutine does with a frame that is whole is not limited.
func (s *Server) cutStopped() {
	now := s.clock.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for nc, c := range s.mu.conns {
		if c.stopped(now) {
			s.log.Warn("peer has stopped in the middle of a frame, connection closed", "peer", nc.RemoteAddr().String())
			nc.Close()
		}
	}
}

// note tells what a connection is for.
func (s *Server) note(nc net.Conn, p wire.Purpose) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.mu.conns[nc]; c != nil {
		c.purpose = p
	}
}
