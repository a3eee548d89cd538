package nbd

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

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

func newPool(limit int64) *pool {
	p := &pool{max: limit}
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
// A connection holds at most its own maximum, and never more than it leaves
// free in the pool. So one connection, or a few, that are stuck with all they
// could get are not felt by others. Each further one still takes up to half
// of what is left; Server.relieve sees to it that this does not go on. A
// first come, first served queue for the pool lost: at its head a large
// request would wait for the memory of stuck clients, and everybody behind it.
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
	if !b.within(n) {
		return false
	}
	if n > 0 {
		held := b.bytes.Load()
		if used := b.pool.used.Add(n); held+n > b.pool.max-used {
			b.pool.give(n)
			return false
		}
		b.bytes.Add(n)
	}
	b.requests.Add(1)
	return true
}

// take waits until there is room for one request of n bytes and takes it. It
// reports false when stop or gone is closed first. While it is the pool that
// has no room, starving is called every now and then.
func (b *budget) take(n int64, stop, gone <-chan struct{}, every time.Duration, starving func()) bool {
	b.park()
	defer b.unpark()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for !b.tryTake(n) {
		select {
		case <-b.room:
		case <-tick.C:
			if b.within(n) {
				starving()
			}
		case <-stop:
			return false
		case <-gone:
			return false
		}
	}
	return true
}

// within reports whether the connection's own bounds allow n bytes more.
func (b *budget) within(n int64) bool {
	held := b.bytes.Load()
	return b.requests.Load() < b.maxRequests && (held == 0 || held+n <= b.maxBytes)
}

// park registers for nudges from the pool and from the connection itself.
func (b *budget) park() {
	p := b.pool
	p.mu.Lock()
	p.mu.parked[b] = struct{}{}
	p.parked.Store(int32(len(p.mu.parked)))
	p.mu.Unlock()
	b.waiting.Store(true)
}

func (b *budget) unpark() {
	p := b.pool
	b.waiting.Store(false)
	p.mu.Lock()
	delete(p.mu.parked, b)
	p.parked.Store(int32(len(p.mu.parked)))
	p.mu.Unlock()
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
