package chain

import (
	"maps"
	"slices"

	"github.com/sextantdisk/sextant/internal/block"
)

// Contents are all records of a Chain and what else it knows, to be kept
// elsewhere and brought back by Restore.
type Contents[T any] struct {
	Floor, Head block.LSN
	Path        []Entry[T] // ascending
	Branches    []Entry[T] // complete records off the path, in no order
	Pending     []Entry[T] // incomplete records, in no order
}

// Contents copies all that c holds; later changes of c do not show in it.
func (c *Chain[T]) Contents() Contents[T] {
	return Contents[T]{
		Floor: c.floor, Head: c.head, Path: slices.Clone(c.Path()),
		Branches: slices.Collect(maps.Values(c.branches)),
		Pending:  slices.Collect(maps.Values(c.pending)),
	}
}

// Restore makes c, which must be empty, what Contents was taken of, and tells
// ev of the path's records as they join. It is false, and c is not to be used,
// if s breaks an invariant of chains.
func (c *Chain[T]) Restore(s Contents[T], ev Events[T]) bool {
	c.floor, c.head = s.Floor, s.Head
	last := s.Floor
	for _, e := range s.Path {
		if e.Prev != last || e.LSN <= e.Prev {
			return false
		}
		c.path = append(c.path, e)
		ev.Join(e)
		last = e.LSN
	}
	return c.restoreBranches(s.Branches) && c.restorePending(s.Pending) && c.head >= c.highest()
}

func (c *Chain[T]) restoreBranches(entries []Entry[T]) bool {
	if len(entries) == 0 {
		return true
	}
	c.branches = make(map[block.LSN]Entry[T], len(entries))
	for _, e := range entries {
		if _, twice := c.lookup(e.LSN); twice || e.LSN <= e.Prev || e.LSN <= c.floor {
			return false
		}
		c.branches[e.LSN] = e
	}
	for _, e := range entries {
		if !c.complete(e.Prev) {
			return false
		}
	}
	return true
}

func (c *Chain[T]) restorePending(entries []Entry[T]) bool {
	for _, e := range entries {
		if _, twice := c.lookup(e.LSN); twice || e.LSN <= e.Prev || c.complete(e.Prev) {
			return false
		}
		c.wait(e)
	}
	return true
}

// highest is the highest LSN that c holds a record of; 0 if it holds none.
func (c *Chain[T]) highest() (top block.LSN) {
	if len(c.Path()) > 0 {
		top = c.SCL()
	}
	for _, m := range []map[block.LSN]Entry[T]{c.branches, c.pending} {
		for l := range m {
			top = max(top, l)
		}
	}
	return top
}
