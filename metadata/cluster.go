package metadata

import (
	"crypto/rand"

	"github.com/sextantdisk/sextant/internal/block"
)

// MemberID names a member of the metadata service.
type MemberID string

// Instance names one formatted data folder of a member: a member whose
// folder was lost must not come back under its old id with an empty one,
// for it would vote again on what it has forgotten.
type Instance [16]byte

// NewInstance makes an instance for a folder that is formatted.
func NewInstance() Instance {
	var i Instance
	rand.Read(i[:]) // never fails (crypto/rand)
	return i
}

// Member is one process of the metadata service.
type Member struct {
	ID          MemberID
	Address     string // of this API
	RaftAddress string
	Leader      bool
	Voter       bool
	Instance    Instance
}

// ClusterInfo is what anybody may ask of any member.
type ClusterInfo struct {
	Cluster block.ClusterID
	Format  uint32
	Members []Member
}

// VolumeStatus is a volume and what its gateway reports.
type VolumeStatus struct {
	Volume         Volume
	Unhealthy      []SegmentHealth // the first of them
	UnhealthyTotal int
	Counters       map[string]uint64
	Changes        []PGChange // the first of them
	ChangesTotal   int
	Reduced        []ReducedPG // the first of those that go on without a zone (R29)
	ReducedTotal   int
}

// Damage is a segment of which its node says that blocks are damaged.
type Damage struct {
	Node    block.NodeID
	Segment SegmentReport
}

// Problem is something that an operator should know, and what to do.
type Problem struct {
	Subject string // "node n3", "volume default", "zone c"
	What    string
	Do      string
	// Severe: data is at risk or requests fail or wait now.
	Severe bool
}

// Status is the whole cluster's health.
type Status struct {
	Cluster  block.ClusterID
	Members  []Member
	Nodes    []Node
	Volumes  []VolumeStatus
	Damage   []Damage
	Problems []Problem
}
