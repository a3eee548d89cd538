package logstore

import (
	"sync/atomic"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
)

// DeadFlush is after which time a flush is no longer waited for: the disk is
// to be treated as failed.
const DeadFlush = 20 * time.Second

// stalls watches over how long flushes take.
type stalls struct {
	base    time.Time    // when the store was made: all is told since then
	since   atomic.Int64 // when the flush under way began, in ns and above 0; 0: none is
	longest atomic.Int64
}

func (s *stalls) begin(now time.Time) { s.since.Store(int64(now.Sub(s.base)) + 1) }

// end notes a flush that took d.
func (s *stalls) end(d time.Duration) {
	s.since.Store(0)
	if int64(d) > s.longest.Load() {
		s.longest.Store(int64(d)) // only the leader stores
	}
}

// Flushing is for how long the flush that is under way has lasted, or 0.
func (s *Store) Flushing() time.Duration {
	since := s.stalls.since.Load()
	if since == 0 {
		return 0
	}
	return s.cfg.Clock.Now().Sub(s.stalls.base) + 1 - time.Duration(since)
}

// Fail ends the log as a failed write does (rule S3), for a reason that its
// owner has found. Who waits for a flush that does not return waits on.
func (s *Store) Fail(err error) {
	s.fail(block.Wrap(block.Unavailable, err, "the disk was given up"))
}
