package metadata

import "github.com/sextantdisk/sextant/internal/block"

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
	// Segments are all members, once each.
	Segments []Segment
	// Sets are the quorum sets in force, as indexes into Segments: one set,
	// or two while the membership changes. A write needs the write quorum
	// of each (R7).
	Sets [][]int
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
