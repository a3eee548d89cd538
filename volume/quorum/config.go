package quorum

import (
	"fmt"
	"strings"

	"github.com/sextantdisk/sextant/internal/block"
)

// MaxMembers bounds the segments of one protection group in all its sets.
const MaxMembers = 16

// Member is the number of a segment within a configuration, from 0.
type Member int

// Set is a quorum set: who is in it, and how many of them a write and a
// recovery need. That is 4 and 3 of all six; a set that goes on without a lost
// zone has quorums of its own (R29).
type Set struct {
	Members     []Member
	Write, Read int
}

// Config is the membership of a protection group: its segments, and the sets
// of them that each need a quorum. There is one set, and two while the
// membership changes (joint quorums: SIGMOD 2018 §4.1, rules R25 and R29), the
// old set first.
type Config struct {
	Epoch    block.MembershipEpoch
	Segments []block.SegmentID // by Member; zero: the number is free
	Sets     []Set
	// Unhydrated members count for a fence, never for data (R25).
	Unhydrated map[Member]bool
}

// Check says whether the configuration keeps data safe: W + R > N and
// 2W > N in each set. Error kind: Invalid.
func (c *Config) Check() error {
	if len(c.Segments) == 0 || len(c.Segments) > MaxMembers || len(c.Sets) == 0 {
		return block.Errorf(block.Invalid, "a group has 1 to %d segments and at least one quorum set: %d and %d given",
			MaxMembers, len(c.Segments), len(c.Sets))
	}
	for _, set := range c.Sets {
		if err := set.check(len(c.Segments)); err != nil {
			return err
		}
	}
	return nil
}

// check is Check for one set of a configuration with so many member numbers.
func (s *Set) check(numbers int) error {
	if n := len(s.Members); s.Write < 1 || s.Read < 1 || s.Write > n || s.Read > n || s.Write+s.Read <= n || 2*s.Write <= n {
		return block.Errorf(block.Invalid, "write quorum %d and read quorum %d of %d copies are not safe: W+R > N and 2W > N are needed",
			s.Write, s.Read, n)
	}
	var seen Votes
	for _, m := range s.Members {
		if m < 0 || int(m) >= numbers || seen.Has(m) {
			return block.Errorf(block.Invalid, "quorum set %v does not fit %d segments", s.Members, numbers)
		}
		seen = seen.Add(m)
	}
	return nil
}

// String prints epoch and sets with their quorums, as in
// "m3 4/3 of [0 1 2 3 4 5] and 3/2 of [0 1 2 3]".
func (c *Config) String() string {
	var text strings.Builder
	fmt.Fprintf(&text, "m%d ", c.Epoch)
	for i, set := range c.Sets {
		if i > 0 {
			text.WriteString(" and ")
		}
		fmt.Fprintf(&text, "%d/%d of %v", set.Write, set.Read, set.Members)
	}
	return text.String()
}

// Votes is a set of members.
type Votes uint32

// Add is v with m in it.
func (v Votes) Add(m Member) Votes { return v | 1<<m }

// Has reports whether m is in v.
func (v Votes) Has(m Member) bool { return v&(1<<m) != 0 }

// in counts the members of a set that are in v.
func (v Votes) in(set Set) (n int) {
	for _, m := range set.Members {
		if v.Has(m) {
			n++
		}
	}
	return n
}

// Writes reports whether v holds a write quorum of every set.
func (c *Config) Writes(v Votes) bool {
	for _, set := range c.Sets {
		if v.in(set) < set.Write {
			return false
		}
	}
	return true
}

// Fences reports whether v holds a read quorum of every set: no writer without
// one of them has a write quorum.
func (c *Config) Fences(v Votes) bool {
	for _, set := range c.Sets {
		if v.in(set) < set.Read {
			return false
		}
	}
	return true
}

// All reports whether v holds every member of every set.
func (c *Config) All(v Votes) bool {
	for _, set := range c.Sets {
		if v.in(set) < len(set.Members) {
			return false
		}
	}
	return true
}
