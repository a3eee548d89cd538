package state

import (
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
)

// Version of commands and snapshots. A member that meets a higher one stops
// instead of guessing.
//
//	1: first.
//	2: changes of a group's segments: the commands BeginReplace, MarkHydrated,
//	   FinishChange and CancelChange; VolumeRecord.departed; OpenDone.unopened.
//	3: groups that go on without a zone: the commands BeginReduce and
//	   BeginRestore; PGRecord.sets that are smaller than the group.
//	4: CancelChange is taken while a volume is opened.
const Version = 4

// versionCancel is from which version of a command on a change is cancelled while
// its volume is opened: what was refused once is refused in each replay of the log.
const versionCancel = 4

// Bounds of what is kept, beside those of package metadata.
const (
	// maxTombstones bounds the removed nodes that are remembered; the ones
	// registered first are forgotten first.
	maxTombstones = 10000
	// maxGroups bounds the protection groups of all volumes: about 250
	// bytes of memory each.
	maxGroups = 4 << 20
)

// Index is the position of a command in the Raft log, from 1.
type Index uint64

// State is the agreed state.
type State struct {
	applied Index
	cluster block.ClusterID
	members map[metadata.MemberID]metadata.Member

	nodes    map[block.NodeID]*node
	numbers  map[uint32]*node // by node.number
	disks    map[block.DiskID]*node
	nextNode uint32
	// nodesVersion goes up when any node's address or boot changes.
	nodesVersion uint64

	volumes map[block.VolumeID]*volume
	names   map[string]*volume // those that are not being deleted
	groups  int                // of all volumes
}

// node is a segment daemon. Its number stands for it in groups: 4 bytes
// instead of a string.
type node struct {
	number   uint32
	id       block.NodeID
	zone     block.Zone
	address  string
	disk     block.DiskID
	boot     block.Boot
	capacity block.ByteCount
	session  metadata.Session
	state    metadata.NodeState
	segments int // placed here, or departed and not dropped; Invariant: counts them in all volumes
}

// volume is a virtual disk.
type volume struct {
	id          block.VolumeID
	name        string
	geometry    block.Geometry
	quorum      metadata.Quorum
	epoch       block.VolumeEpoch
	gateway     metadata.GatewayID
	description string
	open        metadata.OpenState
	clean       bool
	createdNs   int64 // as the command said; the state machine has no clock
	deleting    bool
	version     uint64
	pgs         []*group // by index, ascending
	// unopened are the groups that the owner could not open yet, ascending,
	// when open is Open: they are frozen as all are while it is Recovering.
	unopened []block.PGIndex
	// changing are the groups with two quorum sets, reduced those with one
	// that lacks a zone (R29), ascending; derived.
	changing, reduced []block.PGIndex
	// departed have left their groups and are to be dropped, oldest first.
	departed []departed
}

// group is a protection group. Sets is nil for the usual case: one set of
// all segments. While segments change there are two, the old one first. One that
// is smaller than the group goes on without a zone (R29).
type group struct {
	index      block.PGIndex
	membership block.MembershipEpoch
	born       block.VolumeEpoch
	segments   []segment
	sets       [][]uint8 // indexes into segments
}

// segment is one copy of a group. Its disk is its node's.
type segment struct {
	id       block.SegmentID
	node     uint32
	born     block.VolumeEpoch
	hydrated bool
}

// New is the state before the first command.
func New() *State {
	return &State{
		members: make(map[metadata.MemberID]metadata.Member),
		nodes:   make(map[block.NodeID]*node),
		numbers: make(map[uint32]*node),
		disks:   make(map[block.DiskID]*node),
		volumes: make(map[block.VolumeID]*volume),
		names:   make(map[string]*volume),
	}
}

// Applied is the index of the last command applied.
func (s *State) Applied() Index { return s.applied }

// Cluster is the cluster's id, zero before it is agreed.
func (s *State) Cluster() block.ClusterID { return s.cluster }

// Spread is how copies are spread over zones: how many in each, most first.
// Three zones are used, or as many as there are copies.
func Spread(copies int) []int {
	zones := min(copies, 3)
	spread := make([]int, zones)
	for i := range copies {
		spread[i%zones]++
	}
	return spread
}
