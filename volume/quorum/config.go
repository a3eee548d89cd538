package quorum

import (
	"fmt"

	"github.com/sextantdisk/sextant/internal/block"
)

// MaxMembers bounds the segments of one protection group in all its sets.
const MaxMembers = 16

// Member is the number of a segment within a configuration, from 0.
type Member int

// Config is the membership of a protection group: its segments, and the sets
// of them that each need a quorum. There is one set, and more while a segment
// is being replaced (joint quorums: SIGMOD 2018 §4.1, rule R25), the old set
// first.
type Config struct {
	Epoch    block.MembershipEpoch
	Segments []block.SegmentID // by Member; zero: the number is free
	Sets     [][]Member
	// Write and Read are the quorums within each set: 4 and 3 of 6.
	Write, Read int
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
		n := len(set)
		if c.Write < 1 || c.Read < 1 || c.Write > n || c.Read > n || c.Write+c.Read <= n || 2*c.Write <= n {
			return block.Errorf(block.Invalid, "write quorum %d and read quorum %d of %d copies are not safe: W+R > N and 2W > N are needed",
				c.Write, c.Read, n)
		}
		var seen uint32
		for _, m := range set {
			if m < 0 || int(m) >= len(c.Segments) || seen&(1<<m) != 0 {
				return block.Errorf(block.Invalid, "quorum set %v does not fit %d segments", set, len(c.Segments))
			}
			seen |= 1 << m
		}
	}
	return nil
}

// String prints epoch, quorums and sets, as in "m3 4/3 of [0 1 2 3 4 5]".
func (c *Config) String() string {
	return fmt.Sprintf("m%d %d/%d of %v", c.Epoch, c.Write, c.Read, c.Sets)
}

// Votes is a set of members.
type Votes uint32

// Add is v with m in it.
func (v Votes) Add(m Member) Votes { return v | 1<<m }

// Has reports whether m is in v.
func (v Votes) Has(m Member) bool { return v&(1<<m) != 0 }

// of counts the members of a set that are in v.
func (v Votes) of(set []Member) (n int) {
	for _, m := range set {
		if v.Has(m) {
			n++
		}
	}
	return n
}

// Reaches reports whether v holds at least n members of every set.
func (c *Config) Reaches(v Votes, n int) bool {
	for _, set := range c.Sets {
		if v.of(set) < n {
			return false
		}
	}
	return true
}

// reachesOne reports whether v holds at least n members of some set.
func (c *Config) reachesOne(v Votes, n int) bool {
	for _, set := range c.Sets {
		if v.of(set) >= n {
			return true
		}
	}
	return false
}

// All reports whether v holds every member of every set.
func (c *Config) All(v Votes) bool {
	for _, set := range c.Sets {
		for _, m := range set {
			if !v.Has(m) {
				return false
			}
		}
	}
	return true
}
