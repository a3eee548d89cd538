package netns

import (
	"container/heap"
	"time"
)

// parcel is a packet on its way.
type parcel struct {
	due      time.Time
	order    int // of those due at the same time
	held     bool
	from, to *Host
	packet   []byte
}

// queue is what is to be delivered later: by time, and what a fault holds
// back. Invariant: bytes counts the packets of both, at most maxHeld.
type queue struct {
	timed parcels
	held  []parcel
	order int
	bytes int
}

// push tells whether there was room.
func (q *queue) push(p parcel) bool {
	if q.bytes+len(p.packet) > int(maxHeld) {
		return false
	}
	q.bytes += len(p.packet)
	q.order++
	p.order = q.order
	if p.held {
		q.held = append(q.held, p)
	} else {
		heap.Push(&q.timed, p)
	}
	return true
}

// release makes due what is held and no longer has to be.
func (q *queue) release(holds func(parcel) bool) {
	kept := q.held[:0]
	for _, p := range q.held {
		if holds(p) {
			kept = append(kept, p)
		} else {
			heap.Push(&q.timed, p)
		}
	}
	clear(q.held[len(kept):])
	q.held = kept
}

// pop is the first parcel that is due; if there is none, next is when there
// will be one, zero if never.
func (q *queue) pop(now time.Time) (p parcel, ok bool, next time.Time) {
	if len(q.timed) == 0 {
		return p, false, next
	}
	if q.timed[0].due.After(now) {
		return p, false, q.timed[0].due
	}
	p = heap.Pop(&q.timed).(parcel)
	q.bytes -= len(p.packet)
	return p, true, next
}

// deliver delivers what is late, until the network is closed.
func (n *Network) deliver() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		n.mu.Lock()
		n.mu.late.release(func(p parcel) bool { return n.mu.links[p.from.index][p.to.index].rule.Hold })
		p, ok, next := n.mu.late.pop(time.Now())
		n.mu.Unlock()
		if ok {
			p.to.receive(p.packet)
			continue
		}
		wait := time.Hour
		if !next.IsZero() {
			wait = time.Until(next)
		}
		timer.Reset(wait)
		select {
		case <-n.closing:
			return
		case <-n.wake:
		case <-timer.C:
		}
	}
}

// parcels is a heap.
type parcels []parcel

func (h parcels) Len() int { return len(h) }
func (h parcels) Less(i, j int) bool {
	if h[i].due.Equal(h[j].due) {
		return h[i].order < h[j].order
	}
	return h[i].due.Before(h[j].due)
}
func (h parcels) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *parcels) Push(x any)   { *h = append(*h, x.(parcel)) }
func (h *parcels) Pop() any {
	old := *h
	p := old[len(old)-1]
	old[len(old)-1] = parcel{}
	*h = old[:len(old)-1]
	return p
}
