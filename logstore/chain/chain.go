package chain

import (
	"cmp"
	"slices"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/mutant"
)

// Entry is a record as far as linking goes.
type Entry[T any] struct {
	LSN, Prev block.LSN
	Value     T
}

// Events are told what happens to the path, in the order in which it happens.
type Events[T any] interface {
	// Join: e became the end of the path.
	Join(e Entry[T])
	// Leave: e was the end of the path and is annulled now.
	Leave(e Entry[T])
	// Settle: e was the start of the path and is now at or below the floor.
	Settle(e Entry[T])
	// Drop: e was off the path and is forgotten, since the floor has moved.
	Drop(e Entry[T])
}

// Verdict is what became of an added record.
type Verdict uint8

// The verdicts of Add.
const (
	Linked    Verdict = iota + 1 // it is on the path
	Annulled                     // it is complete, but a higher record is on another branch
	Pending                      // one before it is missing
	Duplicate                    // it was there already
	Settled                      // it is at or below the floor, or can never be linked above it
	Conflict                     // another record has its LSN: one of the two is not of this volume
)

func (v Verdict) String() string {
	return [...]string{"none", "linked", "annulled", "pending", "duplicate", "settled", "conflict"}[v]
}

// Chain is the records of one segment above its floor. The zero value is
// empty, with floor 0.
type Chain[T any] struct {
	floor block.LSN
	head  block.LSN // highest LSN ever added

	// path is the chain above the floor; path[start:] is in use.
	path  []Entry[T]
	start int

	// branches has the complete records off the path.
	branches map[block.LSN]Entry[T]
	// pending has the incomplete ones; waiting has their LSNs by Prev.
	pending map[block.LSN]Entry[T]
	waiting map[block.LSN][]block.LSN
	// unswept counts the floor's moves since pending was last looked
	// through for records that can never be linked any more.
	unswept int
}

// SCL is the highest complete LSN; the floor if nothing is above it.
func (c *Chain[T]) SCL() block.LSN {
	if c.start == len(c.path) {
		return c.floor
	}
	return c.path[len(c.path)-1].LSN
}

// Floor is the LSN at or below which all is settled.
func (c *Chain[T]) Floor() block.LSN { return c.floor }

// Head is the highest LSN that was ever added, linked or not.
func (c *Chain[T]) Head() block.LSN { return max(c.head, c.floor) }

// Readable says whether a read at l can be served: not beyond what is
// complete, nor below the floor, where versions were given up (R11). Error
// kinds: Behind, Stale.
func (c *Chain[T]) Readable(l block.LSN) error {
	switch {
	case l > c.SCL():
		return block.Errorf(block.Behind, "complete up to %v, not up to %v", c.SCL(), l)
	case l < c.floor:
		return block.Errorf(block.Stale, "versions are settled up to %v; %v cannot be read any more", c.floor, l)
	}
	return nil
}

// Pending counts the records that wait for one before them.
func (c *Chain[T]) Pending() int { return len(c.pending) }

// Misses tells whether a record above the SCL waits for one at or below l that
// is not there: with it, the SCL would perhaps be higher.
func (c *Chain[T]) Misses(l block.LSN) bool {
	if c.Head() == c.SCL() {
		return false
	}
	for prev := range c.waiting {
		if _, ok := c.pending[prev]; !ok && prev <= l {
			return true
		}
	}
	return false
}

// Annulled counts the complete records off the path.
func (c *Chain[T]) Annulled() int { return len(c.branches) }

// Path is the chain above the floor, ascending. It is valid until the next
// Add or SetFloor and must not be changed.
func (c *Chain[T]) Path() []Entry[T] { return c.path[c.start:] }

// OnPath tells whether l is on the chain above the floor, or the floor.
func (c *Chain[T]) OnPath(l block.LSN) bool {
	_, ok := c.find(l)
	return ok || l == c.floor
}

// find is the index of l in c.Path.
func (c *Chain[T]) find(l block.LSN) (int, bool) {
	return slices.BinarySearchFunc(c.Path(), l, func(e Entry[T], l block.LSN) int { return cmp.Compare(e.LSN, l) })
}

// Add takes a record in. It must be well-formed: Prev < LSN.
func (c *Chain[T]) Add(e Entry[T], ev Events[T]) Verdict {
	if e.LSN <= c.floor {
		return Settled
	}
	c.head = max(c.head, e.LSN)
	if e.Prev == c.SCL() && len(c.pending) == 0 {
		c.path = append(c.path, e)
		ev.Join(e)
		return Linked
	}
	if old, ok := c.lookup(e.LSN); ok {
		if old.Prev != e.Prev {
			return Conflict
		}
		return Duplicate
	}
	if e.Prev < c.floor {
		return Settled
	}
	if !c.complete(e.Prev) {
		c.wait(e)
		return Pending
	}
	c.link(e, ev)
	if c.OnPath(e.LSN) {
		return Linked
	}
	return Annulled
}

func (c *Chain[T]) lookup(l block.LSN) (Entry[T], bool) {
	if i, ok := c.find(l); ok {
		return c.Path()[i], true
	}
	if e, ok := c.branches[l]; ok {
		return e, true
	}
	e, ok := c.pending[l]
	return e, ok
}

// AtOrBelow is the highest LSN on the path at or below l, the floor at least.
func (c *Chain[T]) AtOrBelow(l block.LSN) block.LSN {
	i, ok := c.find(l)
	switch {
	case ok:
		return l
	case i == 0:
		return c.floor
	}
	return c.Path()[i-1].LSN
}

// Above is the first record of the path above l; false if there is none.
func (c *Chain[T]) Above(l block.LSN) (Entry[T], bool) {
	i, ok := c.find(l)
	if ok {
		i++
	}
	if i >= len(c.Path()) {
		return Entry[T]{}, false
	}
	return c.Path()[i], true
}

// Get is the record at l, on the path or off it.
func (c *Chain[T]) Get(l block.LSN) (Entry[T], bool) { return c.lookup(l) }

// Edit lets fn change the value of the record at l, wherever it is; false if
// there is none.
func (c *Chain[T]) Edit(l block.LSN, fn func(*T)) bool {
	if i, ok := c.find(l); ok {
		fn(&c.Path()[i].Value)
		return true
	}
	for _, m := range []map[block.LSN]Entry[T]{c.branches, c.pending} {
		if e, ok := m[l]; ok {
			fn(&e.Value)
			m[l] = e
			return true
		}
	}
	return false
}

// OffPath calls fn for each record that is not on the path, in no order. fn
// must not change the chain.
func (c *Chain[T]) OffPath(fn func(Entry[T])) {
	for _, m := range []map[block.LSN]Entry[T]{c.branches, c.pending} {
		for _, e := range m {
			fn(e)
		}
	}
}

// complete tells whether the chain from l down to the floor is present.
func (c *Chain[T]) complete(l block.LSN) bool {
	if _, ok := c.branches[l]; ok {
		return true
	}
	return c.OnPath(l)
}

func (c *Chain[T]) wait(e Entry[T]) {
	if c.pending == nil {
		c.pending = make(map[block.LSN]Entry[T])
		c.waiting = make(map[block.LSN][]block.LSN)
	}
	c.pending[e.LSN] = e
	c.waiting[e.Prev] = append(c.waiting[e.Prev], e.LSN)
}

// link takes in e, whose predecessor is complete, and all that waited for it,
// then adopts the branch of the highest of them if that is above the SCL.
func (c *Chain[T]) link(e Entry[T], ev Events[T]) {
	if c.branches == nil {
		c.branches = make(map[block.LSN]Entry[T])
	}
	top := e.LSN
	todo := []Entry[T]{e}
	for len(todo) > 0 {
		e := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		c.branches[e.LSN] = e
		top = max(top, e.LSN)
		for _, l := range c.waiting[e.LSN] {
			todo = append(todo, c.pending[l])
			delete(c.pending, l)
		}
		delete(c.waiting, e.LSN)
	}
	if c.counts(top) {
		c.adopt(top, ev)
	}
}

// counts tells whether the branch of top, which is complete, is to become the
// path: the highest end counts.
func (c *Chain[T]) counts(top block.LSN) bool {
	if !mutant.On(mutant.HighestChild) {
		return top > c.SCL()
	}
	first := c.branches[top]
	for e, ok := c.branches[first.Prev]; ok; e, ok = c.branches[first.Prev] {
		first = e
	}
	i, ok := c.find(first.Prev)
	if ok {
		i++
	}
	return i == len(c.Path()) || first.LSN > c.Path()[i].LSN
}

// adopt makes top, which is in branches, the end of the path.
func (c *Chain[T]) adopt(top block.LSN, ev Events[T]) {
	var add []Entry[T]
	at := top
	for {
		e, ok := c.branches[at]
		if !ok {
			break // at is on the path, or the floor
		}
		add = append(add, e)
		delete(c.branches, at)
		at = e.Prev
	}
	for c.SCL() > at {
		last := c.path[len(c.path)-1]
		c.path = c.path[:len(c.path)-1]
		c.branches[last.LSN] = last
		if !mutant.On(mutant.AnnulledStays) {
			ev.Leave(last)
		}
	}
	slices.Reverse(add)
	for _, e := range add {
		c.path = append(c.path, e)
		ev.Join(e)
	}
}
