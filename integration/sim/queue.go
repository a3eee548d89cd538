package sim

import "time"

// kind tells what an event is. The frequent ones are numbers and not closures:
// an event costs no allocation.
type kind uint8

const (
	evArrive  kind = iota + 1 // message a arrives
	evFlushed                 // node a's flush is over, in its life b
	evTick                    // gateway a looks at its clock
	evClient                  // a client of gateway a wants something
	evDown                    // gateway a learns that connection b is gone, in its life c
	evDial                    // gateway a dials node b
	evLate                    // read b of gateway a, of generation c, is late
	evCall                    // call a
)

// event is something that will happen.
type event struct {
	at   time.Duration
	seq  uint32 // ties happen in the order in which they were planned
	kind kind
	a, b int32
	c    uint32
}

func (e *event) before(o *event) bool { return e.at < o.at || e.at == o.at && e.seq < o.seq }

// queue is a heap of events with four children a node: half as deep as one of
// two, and the children lie side by side.
type queue []event

func (q *queue) push(e event) {
	h := append(*q, e)
	i := len(h) - 1
	for i > 0 {
		p := (i - 1) / 4
		if !e.before(&h[p]) {
			break
		}
		h[i] = h[p]
		i = p
	}
	h[i] = e
	*q = h
}

func (q *queue) pop() event {
	h := *q
	top, last := h[0], h[len(h)-1]
	h = h[:len(h)-1]
	*q = h
	if len(h) > 0 {
		h.sink(last)
	}
	return top
}

// sink puts e where the root is missing.
func (q queue) sink(e event) {
	i := 0
	for {
		c := 4*i + 1
		if c >= len(q) {
			break
		}
		least := c
		for k := c + 1; k < min(c+4, len(q)); k++ {
			if q[k].before(&q[least]) {
				least = k
			}
		}
		if !q[least].before(&e) {
			break
		}
		q[i] = q[least]
		i = least
	}
	q[i] = e
}
