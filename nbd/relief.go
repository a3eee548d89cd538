package nbd

import (
	"sync"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
)

// stallTimeMax is how long a client may leave its replies lying while others
// wait for the memory that they hold. Without others waiting there is no
// limit: a client may be stopped for hours.
const stallTimeMax = 10 * time.Second

// relief remembers what it saw of connections while somebody waited for
// memory.
type relief struct {
	after time.Duration // stallTimeMax but in tests
	mu    struct {
		sync.Mutex
		last time.Time // of the last look
		seen map[*conn]glimpse
	}
}

// glimpse is a connection with replies queued: since when no write of them
// has made progress.
type glimpse struct {
	writes int64
	since  time.Time
}

// relieve is called every quarter of relief.after while a request waits for
// the server's memory. It cuts the one connection that holds most of it among
// those whose client has taken no byte for that long.
func (s *Server) relieve() {
	s.mu.Lock()
	var conns []*conn
	for c := range s.mu.conns {
		if c.phase == phaseServing {
			conns = append(conns, c)
		}
	}
	s.mu.Unlock()
	if c := s.relief.stalled(conns, time.Now()); c != nil {
		c.sever(block.Errorf(block.Unavailable, "the client has taken no reply for %v, and others wait for the memory that they hold", s.relief.after))
	}
}

// stalled picks whom to cut, or nobody.
func (r *relief) stalled(conns []*conn, now time.Time) *conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.mu.seen
	if now.Sub(r.mu.last) > r.after {
		old = nil // nobody has looked for so long that it says nothing
	}
	r.mu.last = now
	r.mu.seen = make(map[*conn]glimpse, len(conns))
	var worst *conn
	for _, c := range conns {
		if c.w.QueuedBytes() == 0 || c.severed.Load() {
			continue
		}
		g, known := old[c]
		if writes := c.w.Stats().Writes; !known || g.writes != writes {
			g = glimpse{writes: writes, since: now}
		}
		r.mu.seen[c] = g
		if now.Sub(g.since) >= r.after && (worst == nil || c.budget.bytes.Load() > worst.budget.bytes.Load()) {
			worst = c
		}
	}
	return worst
}
