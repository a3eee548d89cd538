package quorum

import (
	"slices"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/mutant"
)

// Decided is a configuration as the metadata service gives it: who is in it by
// position, and what the positions mean.
type Decided struct {
	Epoch    block.MembershipEpoch
	Segments []block.SegmentID
	Hydrated []bool // by position
	Sets     []DecidedSet
}

// DecidedSet is a quorum set by positions.
type DecidedSet struct {
	At          []int
	Write, Read int
}

// voting tells of each position whether it is in a set. Error kind: Invalid.
func (d *Decided) voting() ([]bool, error) {
	votes := make([]bool, len(d.Segments))
	for _, set := range d.Sets {
		for _, k := range set.At {
			if k < 0 || k >= len(votes) {
				return nil, block.Errorf(block.Invalid, "quorum set %v does not fit %d segments", set.At, len(votes))
			}
			votes[k] = true
		}
	}
	return votes, nil
}

// Adopt is the configuration that follows c when d was decided. A segment
// keeps its member number as long as it is there, so that what is under way to
// and from it stays true; numbers of segments that left stay free (a zero id,
// in no set) until new ones need them. Who is in no set is no member: a writer
// tells it nothing, and does not count it (R29). Error kind: Invalid.
func (c *Config) Adopt(d Decided) (*Config, error) {
	votes, err := d.voting()
	if err != nil {
		return nil, err
	}
	next := &Config{Epoch: d.Epoch, Segments: slices.Clone(c.Segments)}
	for m, id := range next.Segments {
		if k := slices.Index(d.Segments, id); k < 0 || !votes[k] {
			next.Segments[m] = block.SegmentID{}
		}
	}
	number := make([]Member, len(d.Segments))
	for k, id := range d.Segments {
		if !votes[k] {
			continue
		}
		number[k] = next.take(c, id)
		if !d.Hydrated[k] {
			if next.Unhydrated == nil {
				next.Unhydrated = map[Member]bool{}
			}
			next.Unhydrated[number[k]] = true
		}
	}
	for _, set := range d.Sets {
		members := make([]Member, len(set.At))
		for i, k := range set.At {
			members[i] = number[k]
		}
		next.Sets = append(next.Sets, Set{Members: members, Write: set.Write, Read: set.Read})
	}
	return next, next.Check()
}

// take gives a segment its member number: the one it has; or a free one, at
// best one that was free before as well, so that no late message finds another
// segment in its place; or a further one.
func (c *Config) take(before *Config, id block.SegmentID) Member {
	if m := slices.Index(c.Segments, id); m >= 0 {
		return Member(m)
	}
	fresh, stale := -1, -1
	for m, other := range c.Segments {
		switch {
		case !other.IsZero():
		case before.Segments[m].IsZero():
			fresh = m
		default:
			stale = m
		}
	}
	switch {
	case fresh >= 0:
	case len(c.Segments) < MaxMembers:
		fresh = len(c.Segments)
		c.Segments = append(c.Segments, block.SegmentID{})
	default:
		fresh = stale
	}
	c.Segments[fresh] = id
	return Member(fresh)
}

// Joint reports whether the membership changes: two sets are in force, the old
// one and then the new one (R25).
func (c *Config) Joint() bool { return len(c.Sets) > 1 }

// TakenBack reports whether next is what c is when its change was cancelled: the
// old set, alone. All that was acknowledged under c has a write quorum there, too.
func (c *Config) TakenBack(next *Config) bool {
	if len(next.Sets) != 1 || next.Epoch <= c.Epoch {
		return false
	}
	was, is := c.Sets[0], next.Sets[0]
	return is.Write == was.Write && is.Read == was.Read && next.Members() == was.votes() && !slices.ContainsFunc(is.Members, func(m Member) bool {
		return int(m) >= len(c.Segments) || c.Segments[m] != next.Segments[m]
	})
}

// Members are all that are in a set.
func (c *Config) Members() (v Votes) {
	for i := range c.Sets {
		v |= c.Sets[i].votes()
	}
	return v
}

func (s *Set) votes() (v Votes) {
	for _, m := range s.Members {
		v = v.Add(m)
	}
	return v
}

// Joining are the members of the new set that the old one lacks.
func (c *Config) Joining() (v Votes) {
	if !c.Joint() {
		return 0
	}
	for _, m := range c.Sets[1].Members {
		if !slices.Contains(c.Sets[0].Members, m) {
			v = v.Add(m)
		}
	}
	return v
}

// OldSettled reports whether no writer can acknowledge with the old set alone
// any more: of that set so many have installed the epoch of this configuration,
// and refuse lower ones, that the others are no write quorum (R26).
func (c *Config) OldSettled(installed Votes) bool {
	old := c.Sets[0]
	return len(old.Members)-installed.in(old) < old.Write || mutant.On(mutant.InstallUnasked)
}

// SyncPoint is P* of rule R26: the highest SCL among the members of the old set
// that have installed this configuration, OldSettled given. Whatever was
// acknowledged with the old set alone is at or below it, because its write
// quorum has one of them. It must be taken after they have installed it.
func (c *Config) SyncPoint(installed Votes, scl func(Member) block.LSN) (p block.LSN) {
	for _, m := range c.Sets[0].Members {
		if installed.Has(m) {
			p = max(p, scl(m))
		}
	}
	return p
}

// Caught reports whether all that join have everything up to p: they may be
// marked hydrated, and then count for data (R25).
func (c *Config) Caught(p block.LSN, scl func(Member) block.LSN) bool {
	joining := c.Joining()
	for _, m := range c.Sets[1].Members {
		if joining.Has(m) && scl(m) < p && !mutant.On(mutant.FinishEarly) {
			return false
		}
	}
	return true
}

// MayFinish reports whether the new set may be left alone in force (R26): a
// write quorum of it has everything up to p, and all that join are marked
// hydrated. When nobody joins (R29) the former alone counts: what the old set
// alone has acknowledged is then on a write quorum of the new one.
func (c *Config) MayFinish(p block.LSN, scl func(Member) block.LSN) bool {
	next := c.Sets[1]
	reached := nth(next.Members, next.Write, scl) >= p || mutant.On(mutant.FinishEarly)
	return len(c.Unhydrated) == 0 && c.Caught(p, scl) && reached
}
