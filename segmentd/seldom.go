package segmentd

import (
	"sync/atomic"
	"time"
)

// seldomEvery is how often one sort of trouble is logged at most.
const seldomEvery = time.Second

// seldom keeps what happens a thousand times a second, on a full disk say, from
// filling the log: one in a second is told, with how many were not.
type seldom struct {
	told  atomic.Int64 // when, in Unix ns; 0: never
	count atomic.Uint64
}

// due tells whether to log now, and how many times it was not since the last.
func (s *seldom) due(now time.Time) (untold uint64, ok bool) {
	told, at := s.told.Load(), now.UnixNano()
	if told != 0 && at-told < int64(seldomEvery) || !s.told.CompareAndSwap(told, at) {
		s.count.Add(1)
		return 0, false
	}
	return s.count.Swap(0), true
}
