package volume

import (
	"sync"
	"sync/atomic"

	"github.com/sextantdisk/sextant/internal/block"
)

// admission bounds the bytes that are admitted and not done (R10). An
// operation larger than the whole bound is admitted when nothing else is.
type admission struct {
	limit   int64
	used    atomic.Int64
	waiters atomic.Int32

	mu struct {
		sync.Mutex
		closed bool
	}
	freed *sync.Cond // with mu
}

func (a *admission) init(limit block.ByteCount) {
	a.limit = int64(limit)
	a.freed = sync.NewCond(&a.mu)
}

// try admits n bytes if there is room.
func (a *admission) try(n block.ByteCount) bool {
	if used := a.used.Add(int64(n)); used <= a.limit || used == int64(n) {
		return true
	}
	a.used.Add(-int64(n))
	return false
}

// wait admits n bytes when there is room; false if the volume ended.
func (a *admission) wait(n block.ByteCount) bool {
	a.waiters.Add(1) // before try: whoever frees after it sees us
	defer a.waiters.Add(-1)
	a.mu.Lock()
	defer a.mu.Unlock()
	for !a.mu.closed {
		if a.try(n) {
			return true
		}
		a.freed.Wait()
	}
	return false
}

func (a *admission) release(n block.ByteCount) {
	a.used.Add(-int64(n))
	if a.waiters.Load() > 0 {
		a.mu.Lock()
		a.freed.Broadcast()
		a.mu.Unlock()
	}
}

// close wakes all who wait: there will be no room any more.
func (a *admission) close() {
	a.mu.Lock()
	a.mu.closed = true
	a.freed.Broadcast()
	a.mu.Unlock()
}

// hedgeBudget allows one extra read for each hedgeShare reads (R15), and saves
// up to hedgeBurst of them.
type hedgeBudget struct{ tokens atomic.Int64 }

func (h *hedgeBudget) earn() {
	if h.tokens.Load() < hedgeBurst*hedgeShare {
		h.tokens.Add(1)
	}
}

func (h *hedgeBudget) take() bool {
	if h.tokens.Add(-hedgeShare) >= 0 {
		return true
	}
	h.tokens.Add(hedgeShare)
	return false
}

// Counters count since the volume was opened. They may be read at any time.
type Counters struct {
	Reads        atomic.Uint64 // pieces read from segments
	CorruptReads atomic.Uint64 // answers that told of a damaged copy
	Mended       atomic.Uint64 // blocks sent back to a damaged copy
	Hedged       atomic.Uint64 // pieces asked of another copy because the first was late
}

// Counters gives the volume's counters.
func (v *Volume) Counters() *Counters { return &v.counters }
