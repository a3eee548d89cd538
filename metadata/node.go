package metadata

import (
	"crypto/rand"
	"net"
	"strconv"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
)

// NodeState is what an operator has decided about a node.
type NodeState uint8

// The states of a node. Active and Draining go both ways; Removed is final:
// the id and the disk never come back.
const (
	NodeActive   NodeState = iota + 1 // takes new segments
	NodeDraining                      // keeps its segments, takes no new ones
	NodeRemoved                       // holds nothing and may not register again
)

var nodeStateNames = [...]string{"unknown", "active", "draining", "removed"}

func (s NodeState) String() string { return nameOf(nodeStateNames[:], int(s)) }

func nameOf(names []string, i int) string {
	if i < len(names) {
		return names[i]
	}
	return names[0]
}

// Session names one start of a segment daemon. It is made at random then, so
// that a repeated registration of the same start is told from a second start
// (or an older copy of the folder) with the same boot number (rule R28).
type Session [16]byte

// NewSession makes a session for a daemon that starts.
func NewSession() Session {
	var s Session
	rand.Read(s[:]) // never fails (crypto/rand)
	return s
}

// NodeRegistration is what a segment daemon tells when it starts.
type NodeRegistration struct {
	Node     block.NodeID
	Zone     block.Zone
	Address  string // HOST:PORT of its wire protocol, as gateways reach it
	Disk     block.DiskID
	Boot     block.Boot // from 1; above that of every earlier start
	Capacity block.ByteCount
	Format   uint32          // of the data folder
	Session  Session         // zero: the Client fills in its own
	Cluster  block.ClusterID // what the folder belongs to; zero if it is new
}

// Check says whether the registration is well formed. Error kind: Invalid.
func (r NodeRegistration) Check() error {
	if err := block.CheckName("node", string(r.Node)); err != nil {
		return err
	}
	if err := block.CheckName("zone", string(r.Zone)); err != nil {
		return err
	}
	if err := CheckAddress("node "+string(r.Node)+"'s address", r.Address); err != nil {
		return err
	}
	switch {
	case r.Disk.IsZero():
		return block.Errorf(block.Invalid, "node %s registers without a disk id", r.Node)
	case r.Boot == 0:
		return block.Errorf(block.Invalid, "node %s registers with boot number 0; the first start has number 1", r.Node)
	case r.Capacity == 0:
		return block.Errorf(block.Invalid, "node %s registers with a capacity of 0 bytes", r.Node)
	case r.Session == Session{}:
		return block.Errorf(block.Invalid, "node %s registers without a session", r.Node)
	}
	return nil
}

// CheckAddress says whether s is a HOST:PORT that another machine can dial;
// what is put into the message. Error kind: Invalid.
func CheckAddress(what, s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" || len(s) > MaxText {
		return block.Errorf(block.Invalid, "%s %q is not HOST:PORT", what, s)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return block.Errorf(block.Invalid, "%s %q has no port from 1 to 65535", what, s)
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		return block.Errorf(block.Invalid, "%s %q stands for every address of the machine: give the one under which others reach it", what, s)
	}
	return nil
}

// SegmentRef names a segment and where it belongs.
type SegmentRef struct {
	Volume  block.VolumeID
	PG      block.PGIndex
	Segment block.SegmentID
}

// Words of SegmentReport.State that ask for an operator's attention.
const (
	ReportDamaged    = "damaged"     // its log has lost a part
	ReportDiskFailed = "disk-failed" // its disk takes nothing any more
)

// SegmentReport is what a daemon tells about one of its segments. Healthy
// segments need no report.
type SegmentReport struct {
	SegmentRef
	State   string          // one word for people
	Lag     block.ByteCount // known to be missing
	Damaged uint64          // blocks found damaged and not yet mended
	// Rate is what comes from its peers a second, Ends how long that will take
	// still by the daemon's own word; 0: not known.
	Rate block.ByteCount
	Ends time.Duration
}

// ETA is when the segment will be complete if it lacks so many bytes; ETAUnknown
// if nobody can tell.
func (r *SegmentReport) ETA(lag block.ByteCount) time.Duration {
	switch {
	case r.Ends > 0:
		return r.Ends
	case r.Rate > 0 && lag > 0:
		return time.Duration(float64(lag) / float64(r.Rate) * float64(time.Second))
	}
	return ETAUnknown
}

// Heartbeat is a sign of life. It is no Raft write.
type Heartbeat struct {
	Node     block.NodeID
	Disk     block.DiskID
	Boot     block.Boot
	Capacity block.ByteCount
	Used     block.ByteCount // taken, and not to be had back by cleaning
	Live     block.ByteCount // of it, blocks that can still be read
	Log      block.ByteCount // log files at their full lengths
	Segments []SegmentReport // at most MaxSegmentReports
	Dropped  []SegmentRef    // done, as an earlier reply ordered; at most MaxDrops
	// Damages counts the places on the disk that were found damaged since
	// this start, mended or not: blocks, and parts of the log itself.
	Damages uint64
	Health  DiskHealth
}

// HeartbeatReply is what the service asks of a node.
type HeartbeatReply struct {
	Cluster block.ClusterID
	State   NodeState
	// Drop are segments of deleted volumes that the node is to drop, and
	// then to report in Heartbeat.Dropped (also those that it never had).
	Drop []SegmentRef
	// Scrub: a pass over all data is to begin now.
	Scrub bool
}

// Node is a segment daemon as the service knows it.
type Node struct {
	ID       block.NodeID
	Zone     block.Zone
	Address  string // empty if another node has registered it since (trap T27)
	Disk     block.DiskID
	Boot     block.Boot
	Capacity block.ByteCount
	State    NodeState
	Segments int // placed here

	// What the leader has heard in heartbeats. Heard is false as long as
	// this leader has heard none; Silent counts from the last one, or from
	// when the leader began to listen.
	Up, Heard bool
	Silent    time.Duration
	Used      block.ByteCount
	Live      block.ByteCount
	Log       block.ByteCount
	// Damaged is what the node's last start has found damaged, mended or not.
	Damaged uint64
	Health  DiskHealth
}
