package segmentd

import (
	"net"
	"time"

	"github.com/sextantdisk/sextant/wire"
)

// frameTimeout is how long a peer may stop in the middle of a frame. TCP ends
// connections whose other end is gone; this is for one that is there and does
// not go on.
const frameTimeout = 30 * time.Second

// client is what the daemon knows of a connection beside its goroutine.
type client struct {
	purpose wire.Purpose // 0 before the greeting
	reader  *wire.Reader

	state uint64    // of reader, as of the last look
	since time.Time // when it was first seen so
}

// stopped tells whether the peer has stopped in the middle of a frame, and
// notes what is seen.
func (c *client) stopped(now time.Time) bool {
	state, within := c.reader.Waits()
	if !within || state != c.state {
		c.state, c.since = state, now
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
