package metadata

import (
	"time"

	"github.com/sextantdisk/sextant/internal/block"
)

// GatewayID names a gateway process. A gateway that restarts under the same
// id may open its volumes again at once; two that run at the same time must
// not share one.
type GatewayID string

// Quorum is how many copies a protection group has, and how many of them a
// write and a recovery need.
type Quorum struct {
	Copies, Write, Read int
}

// MaxCopies is the most copies that a protection group has.
const MaxCopies = 6

// DefaultQuorum is Aurora's: six copies, four to write, three to read.
var DefaultQuorum = Quorum{Copies: 6, Write: 4, Read: 3}

// Check says whether the quorums overlap as they must: any read quorum with
// any write quorum, and any two write quorums. Error kind: Invalid.
func (q Quorum) Check() error {
	switch {
	case q.Copies < 1 || q.Copies > MaxCopies:
		return block.Errorf(block.Invalid, "%d copies: a volume has 1 to %d", q.Copies, MaxCopies)
	case q.Write < 1 || q.Write > q.Copies:
		return block.Errorf(block.Invalid, "write quorum %d is not within 1 to %d copies", q.Write, q.Copies)
	case q.Read < 1 || q.Read > q.Copies:
		return block.Errorf(block.Invalid, "read quorum %d is not within 1 to %d copies", q.Read, q.Copies)
	case q.Write+q.Read <= q.Copies:
		return block.Errorf(block.Invalid, "write quorum %d and read quorum %d of %d copies can miss each other: their sum must be at least %d", q.Write, q.Read, q.Copies, q.Copies+1)
	case 2*q.Write <= q.Copies:
		return block.Errorf(block.Invalid, "two write quorums of %d of %d copies can miss each other: the write quorum must be at least %d", q.Write, q.Copies, q.Copies/2+1)
	}
	return nil
}

// Of are the quorums of a set of n copies: the volume's own for all of them. A
// group that goes on with fewer, because a zone is lost for long, has a majority
// to write (R29): 3 and 2 of 4, where 4 and 3 of 6 are the volume's.
func (q Quorum) Of(n int) Quorum {
	if n >= q.Copies {
		return q
	}
	write := n/2 + 1
	return Quorum{Copies: n, Write: write, Read: n - write + 1}
}

// VolumeSpec is what a volume is made from.
type VolumeSpec struct {
	ID       block.VolumeID // zero: the Client makes one
	Name     string
	Geometry block.Geometry
	Quorum   Quorum
	// AllowUnplaceable makes the volume even if the nodes that are there
	// now could not take its copies.
	AllowUnplaceable bool
}

// Check says whether the spec is well formed. Error kind: Invalid.
func (s VolumeSpec) Check() error {
	if s.ID.IsZero() {
		return block.Errorf(block.Invalid, "volume %q has no id", s.Name)
	}
	if err := block.CheckName("volume", s.Name); err != nil {
		return err
	}
	if _, err := block.ParseVolumeID(s.Name); err == nil {
		return block.Errorf(block.Invalid, "volume name %q has the form of an id: choose another", s.Name)
	}
	if err := s.Geometry.Check(); err != nil {
		return err
	}
	return s.Quorum.Check()
}

// OpenState is how far the last opening of a volume has come.
//
//	Closed --open--> Recovering --done--> Open
//	  ^                |   ^               |  |
//	  +-----close------+   +------open-----+  |
//	  +-----------------close-----------------+
//
// Recovering --open--> Recovering too: a recovery that dies is repeated at a
// higher epoch (protocol §2.5). Configurations are frozen in Recovering (R23).
type OpenState uint8

// The open states.
const (
	Closed OpenState = iota + 1
	Recovering
	Open
)

var openStateNames = [...]string{"unknown", "closed", "recovering", "open"}

func (s OpenState) String() string { return nameOf(openStateNames[:], int(s)) }

// ConfigVersion goes up with each change of a volume that its gateway has to
// learn of.
type ConfigVersion uint64

// Volume is a virtual disk as the service knows it.
type Volume struct {
	ID       block.VolumeID
	Name     string
	Geometry block.Geometry
	Quorum   Quorum
	// Epoch is that of the last opening, 0 before the first.
	Epoch block.VolumeEpoch
	// Gateway made the last opening; Description is what it says of itself.
	Gateway     GatewayID
	Description string
	State       OpenState
	// Clean: the last owner has said goodbye and nobody can still serve
	// reads of an earlier epoch (R14).
	Clean    bool
	Created  time.Time
	Deleting bool
	// PGs is the number of protection groups placed.
	PGs int
	// Version goes up with each change that its gateway has to learn of:
	// its size, its configuration, or the address or boot of any node.
	Version ConfigVersion

	// What only the leader's memory knows: whether a lease is alive, and
	// how long ago it was renewed.
	Leased   bool
	LeaseAge time.Duration
}

// OpenRequest asks for a volume's next epoch.
type OpenRequest struct {
	Volume      string // name, or id in its printed form
	Gateway     GatewayID
	Description string // for people: where the gateway runs
	// Takeover opens the volume at once, even if another gateway has it and
	// lives.
	Takeover bool
}

// Opened is what a new owner gets.
type Opened struct {
	// Volume as it is at the new epoch, in state Recovering. Its Epoch is
	// the caller's; every later call quotes it.
	Volume Volume
	// CleanHandover: the owner before said goodbye, R14's wait is not
	// needed.
	CleanHandover bool
	// FormerFor is for how long at least the epoch before was the newest; 0 if
	// that is not known.
	FormerFor time.Duration
	// PGs are the configurations of all protection groups placed, by index.
	PGs []PGConfig
}

// CloseRequest gives a volume back.
type CloseRequest struct {
	Volume block.VolumeID
	Epoch  block.VolumeEpoch
	// ReadLeasesExpired: this owner serves no more reads, and no owner
	// before it can either, because R14's wait of this epoch is over or was
	// not needed. Only then may the next one skip its wait.
	ReadLeasesExpired bool
}

// SegmentState is a segment as its writer sees it.
type SegmentState uint8

// The states of a segment.
const (
	Streaming SegmentState = iota + 1
	Lagging
	CatchingUp
	Unreachable
	Full // serves reads, takes no data: its disk is full
)

var segmentStateNames = [...]string{"unknown", "streaming", "lagging", "catching up", "unreachable", "full"}

func (s SegmentState) String() string { return nameOf(segmentStateNames[:], int(s)) }

// ETAUnknown is the ETA of a segment of which nobody can tell.
const ETAUnknown time.Duration = -1

// SegmentHealth is what a gateway tells about a segment that is not simply
// streaming and complete.
type SegmentHealth struct {
	PG      block.PGIndex
	Segment block.SegmentID
	State   SegmentState
	SCL     block.LSN
	Lag     block.ByteCount
	ETA     time.Duration // until complete, or ETAUnknown
	Node    block.NodeID  // filled by the service
}

// LeaseReport renews a lease and tells how the volume does.
type LeaseReport struct {
	Volume    block.VolumeID
	Epoch     block.VolumeEpoch
	Gateway   GatewayID
	Unhealthy []SegmentHealth   // at most MaxUnhealthy; streaming ones are left out
	Counters  map[string]uint64 // for people: at most MaxCounters
	// Changing are the groups for which this writer counts with two quorum
	// sets, under the membership epochs that it knows: at most MaxChanging.
	Changing []PGMembership
}

// LeaseReply tells what may have changed.
type LeaseReply struct {
	Size    block.ByteCount
	Version ConfigVersion // as Volume.Version
	// Changing are groups of which the writer may not know the configuration:
	// those that change now, and those of the report that are at another
	// membership epoch.
	Changing []PGMembership
}
