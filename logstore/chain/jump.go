package chain

import (
	"cmp"
	"slices"

	"github.com/sextantdisk/sextant/internal/block"
)

// Jump makes l the floor though the records up to it are not all here: what
// they made has come another way, as of l (rule R21). All that lies at or below
// l is forgotten without being settled, and so is what leaves the chain below
// l; what is above it is linked anew. False, and nothing happens, if l is below
// the floor.
//
// The SCL may go back only if l is not on the path and below its end: then the
// path lies on a branch that was annulled.
func (c *Chain[T]) Jump(l block.LSN, ev Events[T]) bool {
	if l < c.floor {
		return false
	}
	rest := c.unlinkAll(ev)
	*c = Chain[T]{floor: l, head: max(c.head, l)}
	slices.SortFunc(rest, func(a, b Entry[T]) int { return cmp.Compare(a.LSN, b.LSN) })
	for _, e := range rest {
		if e.LSN <= l || e.Prev < l {
			ev.Drop(e)
			continue
		}
		c.Add(e, ev)
	}
	return true
}

// unlinkAll takes all records off the path, and gives all that there are.
func (c *Chain[T]) unlinkAll(ev Events[T]) []Entry[T] {
	path := c.Path()
	for i := len(path) - 1; i >= 0; i-- {
		ev.Leave(path[i])
	}
	rest := slices.Clone(path)
	c.OffPath(func(e Entry[T]) { rest = append(rest, e) })
	return rest
}
