package history

import (
	"fmt"
	"slices"
	"strings"
)

// Violation is a block whose history has no order.
type Violation struct {
	Block Block
	// Why says what is wrong, Proof are operations that show it.
	Why   string
	Proof []Op
}

// String prints it in several lines.
func (v Violation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "block %d: %s", v.Block, v.Why)
	for _, o := range v.Proof {
		fmt.Fprintf(&b, "\n    %v", o)
	}
	return b.String()
}

// cluster is a write with all reads of its value. In any order they stand
// together, the write first.
//
// Let first be the operation of the cluster that ended first, and last the one
// that began last. If first ended before last began, the block held the value
// all the time between: the zone [first.End, last.Begin] is solid. If not, all
// operations of the cluster overlap, and the value may have been there for one
// moment of our choice within [last.Begin, first.End].
//
// There is an order if and only if (Gibbons and Korach, "Testing shared
// memories", SIAM J. Comput. 26, 1997): no read ends before its write begins,
// solid zones do not overlap, and no zone of the other kind lies within a
// solid one.
type cluster struct {
	write       Op
	first, last Op
	ops         int
}

func (c *cluster) add(o Op) {
	if c.ops == 0 || o.End < c.first.End {
		c.first = o
	}
	if c.ops == 0 || o.Begin > c.last.Begin {
		c.last = o
	}
	c.ops++
}

func (c *cluster) solid() bool { return c.first.End < c.last.Begin }

// proof are the operations that make the cluster's zone.
func (c *cluster) proof() []Op {
	all := []Op{c.write, c.first, c.last}
	return slices.CompactFunc(all, func(a, b Op) bool { return a == b })
}

// checkRegister judges all operations of one block: nil if there is an order.
// The block held initial before all of them. All instants differ.
func checkRegister(block Block, initial Value, ops []Op) *Violation {
	clusters := map[Value]*cluster{initial: {}}
	first := Op{Block: block, Value: initial, Write: true}
	clusters[initial].write = first
	clusters[initial].add(first)
	for _, o := range ops {
		if !o.Write {
			continue
		}
		if c := clusters[o.Value]; c != nil {
			return &Violation{block, "two writes of one value: the test is wrong", []Op{c.write, o}}
		}
		c := &cluster{write: o}
		c.add(o)
		clusters[o.Value] = c
	}
	for _, o := range ops {
		if o.Write {
			continue
		}
		c := clusters[o.Value]
		if c == nil {
			return &Violation{block, "a value was read that was never written, or was superseded long ago", []Op{o}}
		}
		if o.End < c.write.Begin {
			return &Violation{block, "a value was read before its write began", []Op{c.write, o}}
		}
		c.add(o)
	}
	return order(block, clusters)
}

// order looks for zones that are in each other's way.
func order(block Block, clusters map[Value]*cluster) *Violation {
	var solid, brief []*cluster
	for _, c := range clusters {
		switch {
		case c.solid():
			solid = append(solid, c)
		case c.first.End != Never: // a maybe that nobody has read need not have happened
			brief = append(brief, c)
		}
	}
	slices.SortFunc(solid, func(a, b *cluster) int { return compare(a.first.End, b.first.End) })
	for i := 1; i < len(solid); i++ {
		if a, b := solid[i-1], solid[i]; b.first.End < a.last.Begin {
			return &Violation{block, fmt.Sprintf("%v and %v were both there, each before and after the other: a stale read, or a write that was lost and came back", a.write.Value, b.write.Value),
				append(a.proof(), b.proof()...)}
		}
	}
	slices.SortFunc(brief, func(a, b *cluster) int { return compare(a.write.Begin, b.write.Begin) })
	for _, b := range brief {
		i, _ := slices.BinarySearchFunc(solid, b.last.Begin, func(s *cluster, at Instant) int { return compare(s.first.End, at) })
		if i == 0 {
			continue
		}
		if s := solid[i-1]; b.first.End < s.last.Begin {
			return &Violation{block, fmt.Sprintf("%v was there before and after %v, which was acknowledged or read in between: a lost write, or a stale read", s.write.Value, b.write.Value),
				append(s.proof(), b.proof()...)}
		}
	}
	return nil
}

func compare(a, b Instant) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
