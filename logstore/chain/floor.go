package chain

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sextantdisk/sextant/internal/block"
)

const (
	// sweepAlways: so few pending records are looked through at each move
	// of the floor; more of them once in len/sweepShare moves, so that a
	// move costs the same however many wait.
	sweepAlways = 64
	sweepShare  = 16
)

// SetFloor settles the path up to l, in order, and forgets what can never be
// on the path again: all other records at or below l, and the branches that
// leave the path below l. It tells whether l is on the path; if not, nothing
// happens. A floor below the present one changes nothing.
func (c *Chain[T]) SetFloor(l block.LSN, ev Events[T]) bool {
	if l <= c.floor {
		return true
	}
	i, ok := c.find(l)
	if !ok {
		return false
	}
	c.dropBranches(l, ev)
	for _, e := range c.Path()[:i+1] {
		ev.Settle(e)
	}
	clear(c.path[c.start : c.start+i+1])
	c.start += i + 1
	c.floor = l
	c.trim()
	c.sweepPending(ev)
	return true
}

// trim moves the path to the start of its memory when most of it is unused.
func (c *Chain[T]) trim() {
	if c.start == len(c.path) {
		c.path, c.start = c.path[:0], 0
		return
	}
	if c.start < 64 || c.start < len(c.path)/2 {
		return
	}
	n := copy(c.path, c.path[c.start:])
	clear(c.path[n:])
	c.path, c.start = c.path[:n], 0
}

// dropBranches forgets the complete records that do not descend from l.
func (c *Chain[T]) dropBranches(l block.LSN, ev Events[T]) {
	if len(c.branches) == 0 {
		return
	}
	alive := make(map[block.LSN]bool, len(c.branches))
	for at := range c.branches {
		c.descends(at, l, alive)
	}
	for at, ok := range alive {
		if !ok {
			e := c.branches[at]
			delete(c.branches, at)
			ev.Drop(e)
		}
	}
}

// descends tells whether the branch record at leaves the path at l or above,
// and notes it for all the records in between.
func (c *Chain[T]) descends(at, l block.LSN, known map[block.LSN]bool) {
	var way []block.LSN
	var verdict bool
	for {
		if ok, seen := known[at]; seen {
			verdict = ok
			break
		}
		e, ok := c.branches[at]
		if !ok {
			verdict = at >= l
			break
		}
		way = append(way, at)
		at = e.Prev
	}
	for _, w := range way {
		known[w] = verdict
	}
}

// sweepPending forgets pending records that wait for something at or below
// the floor, which will be ignored if it arrives, and those that wait for
// them in turn.
func (c *Chain[T]) sweepPending(ev Events[T]) {
	if len(c.pending) == 0 {
		return
	}
	c.unswept++
	if len(c.pending) > sweepAlways && c.unswept < len(c.pending)/sweepShare {
		return
	}
	c.unswept = 0
	var dead []block.LSN
	for l, e := range c.pending {
		if l <= c.floor || e.Prev < c.floor {
			dead = append(dead, l)
		}
	}
	for len(dead) > 0 {
		l := dead[len(dead)-1]
		dead = dead[:len(dead)-1]
		e, ok := c.pending[l]
		if !ok {
			continue
		}
		delete(c.pending, l)
		c.unwait(e)
		ev.Drop(e)
		dead = append(dead, c.waiting[l]...)
	}
}

func (c *Chain[T]) unwait(e Entry[T]) {
	w := c.waiting[e.Prev]
	if i := slices.Index(w, e.LSN); i >= 0 {
		w = slices.Delete(w, i, i+1)
	}
	if len(w) == 0 {
		delete(c.waiting, e.Prev)
		return
	}
	c.waiting[e.Prev] = w
}

// Describe prints the chain for tests and inspection, such as
// "floor 0.0, path 1.1 1.2, annulled 1.3<1.2, pending 1.5<1.4".
func (c *Chain[T]) Describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, "floor %v, path", c.floor)
	for _, e := range c.Path() {
		fmt.Fprintf(&b, " %v", e.LSN)
	}
	describe(&b, ", annulled", c.branches)
	describe(&b, ", pending", c.pending)
	return b.String()
}

func describe[T any](b *strings.Builder, what string, m map[block.LSN]Entry[T]) {
	if len(m) == 0 {
		return
	}
	ls := make([]block.LSN, 0, len(m))
	for l := range m {
		ls = append(ls, l)
	}
	slices.Sort(ls)
	b.WriteString(what)
	for _, l := range ls {
		fmt.Fprintf(b, " %v<%v", l, m[l].Prev)
	}
}
