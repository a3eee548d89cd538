package nbd

import (
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/sextantdisk/sextant/internal/slab"
)

// pool is the memory that all connections of a server share, in bytes.
type pool struct {
	max    int64
	used   atomic.Int64
	parked atomic.Int32 // len(mu.parked), to look at without the lock

	mu struct {
		sync.Mutex
		parked map[*budget]struct{}
	}
}

func newPool(max int64) *pool {
	p := &pool{max: max}
	p.mu.parked = make(map[*budget]struct{})
	return p
}

// give returns n bytes and wakes who waits for memory.
func (p *pool) give(n int64) {
	p.used.Add(-n)
	if p.parked.Load() == 0 {
		return
	}
	p.mu.Lock()
	for b := range p.mu.parked {
		b.nudge()
	}
	p.mu.Unlock()
}

// budget is what one connection may have in flight. Its reader alone takes;
// anybody may give back.
//
// A connection holds at most its own maximum, and at most as much as the pool
// has left: k connections that are stuck with all they could get hold
// k/(k+1) of the pool together, and the rest stays for others. A first come,
// first served queue for the pool lost: at its head a large request would
// wait for the memory of stuck clients, and everybody behind it.
type budget struct {
	pool        *pool
	maxBytes    int64
	maxRequests int64
	bytes       atomic.Int64
	requests    atomic.Int64
	waiting     atomic.Bool
	room        chan struct{} // a token when something was given back while waiting
}

func newBudget(p *pool, maxBytes, maxRequests int64) *budget {
	return &budget{pool: p, maxBytes: maxBytes, maxRequests: maxRequests, room: make(chan struct{}, 1)}
}

// chargeFor is the memory that slab.Get(n) takes.
func chargeFor(n int) int64 {
	if n <= slab.Align {
		return slab.Align
	}
	return 1 << bits.Len(uint(n-1))
}

// tryTake takes one request of n bytes if there is room.
func (b *budget) tryTake(n int64) bool {
	if b.requests.Load() >= b.maxRequests {
		return false
	}
	if n > 0 {
		held := b.bytes.Load()
		if held > 0 && held+n > b.maxBytes {
			return false
		}
		if b.pool.used.Add(n)+held > b.pool.max {
			b.pool.give(n)
			return false
		}
		b.bytes.Add(n)
	}
	b.requests.Add(1)
	return true
}

// take waits until there is room for one request of n bytes and takes it. It
// reports false when stop or gone is closed first.
func (b *budget) take(n int64, stop, gone <-chan struct{}) bool {
	p := b.pool
	p.mu.Lock()
	p.mu.parked[b] = struct{}{}
	p.parked.Store(int32(len(p.mu.parked)))
	p.mu.Unlock()
	b.waiting.Store(true)
	defer func() {
		b.waiting.Store(false)
		p.mu.Lock()
		delete(p.mu.parked, b)
		p.parked.Store(int32(len(p.mu.parked)))
		p.mu.Unlock()
	}()
	for !b.tryTake(n) {
		select {
		case <-b.room:
		case <-stop:
			return false
		case <-gone:
			return false
		}
	}
	return true
}

// giveBytes returns n bytes of a request that goes on.
func (b *budget) giveBytes(n int64) {
	if n == 0 {
		return
	}
	b.bytes.Add(-n)
	b.pool.give(n)
	if b.waiting.Load() {
		b.nudge()
	}
}

// giveRequest returns a request and its remaining n bytes.
func (b *budget) giveRequest(n int64) {
	b.requests.Add(-1)
	if n > 0 {
		b.giveBytes(n)
		return
	}
	if b.waiting.Load() {
		b.nudge()
	}
}

// nudge makes a waiting take look again. Who waits has registered before it
// looked, and who gives has given before it looks for who waits: one of them
// sees the other.
func (b *budget) nudge() {
	select {
	case b.room <- struct{}{}:
	default:
	}
}
