package metadata

import (
	"slices"

	"github.com/sextantdisk/sextant/internal/block"
)

// Segment is one copy of a protection group, with where its node is.
type Segment struct {
	ID   block.SegmentID
	Born block.VolumeEpoch // created with this epoch promised (R24)
	// Hydrated: it counts for data (R25). Segments placed with their group
	// are born hydrated: there was nothing to miss.
	Hydrated bool

	Node    block.NodeID
	Zone    block.Zone
	Address string // of the wire protocol; empty: not known, treat as unreachable
	Disk    block.DiskID
	Boot    block.Boot
}

// PGConfig is where a protection group lives.
type PGConfig struct {
	Index      block.PGIndex
	Membership block.MembershipEpoch // from 1
	Born       block.VolumeEpoch     // placed by this epoch's owner
	// Segments are all copies, once each. Those in no set are out: the group
	// goes on without them (R29).
	Segments []Segment
	// Sets are the quorum sets in force, as indexes into Segments: one set,
	// or two while the membership changes. A write needs the write quorum
	// of each (R7), which is Quorum.Of for as many as are in it.
	Sets [][]int
	// Departed counts segments that have left and that their nodes have not
	// dropped yet, and those that are out. A gateway that does not know may
	// still read from them, and no opening fences them (R14).
	Departed int
}

// PGPage is some of a volume's protection groups, by index, together with
// the volume's epoch at the time (R3).
type PGPage struct {
	Epoch block.VolumeEpoch
	PGs   []PGConfig
	// Next is where the next page begins, if More.
	Next block.PGIndex
	More bool
}

// Joint reports whether the membership changes: two sets are in force, first
// the old one, then the new one.
func (p *PGConfig) Joint() bool { return len(p.Sets) > 1 }

// Reducing reports whether the change under way gives up the copies of a zone
// that is lost for long, Restoring whether it takes them back, and Reduced
// whether the group goes on without them (R29).
func (p *PGConfig) Reducing() bool { return p.Joint() && len(p.Sets[1]) < len(p.Sets[0]) }

// Restoring is explained at Reducing.
func (p *PGConfig) Restoring() bool { return p.Joint() && len(p.Sets[1]) > len(p.Sets[0]) }

// Reduced is explained at Reducing.
func (p *PGConfig) Reduced() bool { return len(p.Sets) == 1 && len(p.Sets[0]) < len(p.Segments) }

// Without is the zone whose copies are in no set, or in one of two that are not
// of one size: the one that the group goes on without, or that it is about to
// give up or to take back (R29).
func (p *PGConfig) Without() (block.Zone, bool) {
	if !p.Reducing() && !p.Restoring() && !p.Reduced() {
		return "", false
	}
	for i, s := range p.Segments {
		if !p.everywhere(i) {
			return s.Zone, true
		}
	}
	return "", false
}

// Out reports whether the i-th segment is in no set.
func (p *PGConfig) Out(i int) bool {
	return !slices.ContainsFunc(p.Sets, func(set []int) bool { return slices.Contains(set, i) })
}

func (p *PGConfig) everywhere(i int) bool {
	return !slices.ContainsFunc(p.Sets, func(set []int) bool { return !slices.Contains(set, i) })
}

// Joining is the segment that takes the place of another: the one of the new set
// that the old one lacks.
func (p *PGConfig) Joining() (Segment, bool) { return p.onlyIn(1, 0) }

// Leaving is the segment that is replaced: the one of the old set that the new
// one lacks.
func (p *PGConfig) Leaving() (Segment, bool) { return p.onlyIn(0, 1) }

func (p *PGConfig) onlyIn(in, notIn int) (Segment, bool) {
	if !p.Joint() || p.Reducing() || p.Restoring() {
		return Segment{}, false
	}
	for _, i := range p.Sets[in] {
		if !slices.Contains(p.Sets[notIn], i) {
			return p.Segments[i], true
		}
	}
	return Segment{}, false
}

// PGMembership is a group and its membership epoch.
type PGMembership struct {
	PG         block.PGIndex
	Membership block.MembershipEpoch
}

// ReplaceRequest asks for a new segment in the place of another.
type ReplaceRequest struct {
	Volume string // name, or id in its printed form
	PG     block.PGIndex
	// Leaving is the segment's id in its printed form, or its node.
	Leaving string
	// To is the node of the new one; empty: the service chooses.
	To block.NodeID
	// Joining is the new one's id; zero: the Client makes one.
	Joining block.SegmentID
}

// ChangeRef names the change of a group that is under way, by the epochs
// under which the caller has seen it.
type ChangeRef struct {
	Volume     block.VolumeID
	Epoch      block.VolumeEpoch
	PG         block.PGIndex
	Membership block.MembershipEpoch
}

// PGChange is a change that is under way, for people.
type PGChange struct {
	PG                       block.PGIndex
	Leaving, Joining         block.SegmentID // zero if it is about a zone
	LeavingNode, JoiningNode block.NodeID
	// Zone is what the group is about to go on without, or, if Back, to take
	// back (R29); empty: a segment is replaced.
	Zone     block.Zone
	Back     bool
	Hydrated bool // all that join are
}

// ReducedPG is a group that goes on without the copies of a zone (R29).
type ReducedPG struct {
	PG     block.PGIndex
	Zone   block.Zone
	Copies int // that are left
}
