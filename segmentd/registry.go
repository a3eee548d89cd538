package segmentd

import (
	"context"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/logstore"
)

// Registry is what a daemon needs of the metadata service.
type Registry interface {
	// Register tells of this start and gets the cluster's id. Error kinds:
	// Unavailable (try again); all others end the daemon.
	Register(ctx context.Context, r Registration) (block.ClusterID, error)
	// Heartbeat tells that the daemon lives, and gets orders. Error kinds:
	// NotFound (register again), Mismatch (another process runs under this
	// id: end).
	Heartbeat(ctx context.Context, r Report) (Orders, error)
	// VolumeEpoch is the newest epoch of a volume, as agreed. Error kinds:
	// NotFound, Unavailable.
	VolumeEpoch(ctx context.Context, v block.VolumeID) (block.VolumeEpoch, error)
	// Placed says whether the volume's writer may have this segment made here:
	// nil if it is one of the group's as agreed now, on this disk, and epoch is
	// the volume's newest. Error kinds: NotFound: it is not, or the volume was
	// deleted; Fenced: the epoch is over; Unavailable.
	Placed(ctx context.Context, disk block.DiskID, ref SegmentRef, epoch block.VolumeEpoch) error
	// Peers are the copies of a group, this daemon's own among them. Error
	// kinds: NotFound, Unavailable.
	Peers(ctx context.Context, v block.VolumeID, pg block.PGIndex) ([]Peer, error)
}

// Registration is what a daemon says of itself when it starts.
type Registration struct {
	Identity Identity
	Address  string
	Capacity block.ByteCount
}

// Report is what a daemon says with each heartbeat.
type Report struct {
	Identity Identity
	Capacity block.ByteCount
	Folder   string
	Used     block.ByteCount // taken, and not to be had back by cleaning
	Log      block.ByteCount // log files and spares, at their full lengths
	Space    logstore.Space
	// IndexBlocks and IndexBytes are what the index in memory knows and takes.
	IndexBlocks int
	IndexBytes  block.ByteCount
	// Stalls and LongestFlush tell of the disk's flushes since the start.
	Stalls       int
	LongestFlush time.Duration
	Hosted       int // segments on this disk
	Damages      int // damaged places found since the start
	Unmended     int // damaged places that are still to be mended
	Scrub        ScrubState
	Mended       int // blocks, since the start
	// Segments are those that are not simply healthy.
	Segments []SegmentReport
	// Dropped have been dropped as ordered.
	Dropped []SegmentRef
	// Failed is why the disk has ended, or empty.
	Failed string
}

// SegmentRef names a segment and its place.
type SegmentRef struct {
	Volume  block.VolumeID
	PG      block.PGIndex
	Segment block.SegmentID
}

// SegmentReport is the state of one segment that is not simply healthy.
type SegmentReport struct {
	SegmentRef
	State     string // "disk-failed", "damaged", "hydrating", "catching-up", "bad-blocks"
	BadBlocks int
	Pull      PullReport
}

// Pulls adds up how far all segments are, and how many of them take anything.
func (r *Report) Pulls() (sum PullReport, segments int) {
	for i := range r.Segments {
		p := &r.Segments[i].Pull
		if *p == (PullReport{}) && r.Segments[i].State != "catching-up" && r.Segments[i].State != "hydrating" {
			continue
		}
		segments++
		sum.Records += p.Records
		sum.Leaves += p.Leaves
		sum.Left += p.Left
		sum.Rate += p.Rate
		sum.Ends = max(sum.Ends, p.Ends)
	}
	return sum, segments
}

// PullReport is how far a segment is with taking from its peers what it lacks;
// all zero if it does not.
type PullReport struct {
	Records block.ByteCount // payload that came in records
	Leaves  block.ByteCount // payload that came in leaves
	// Left is an estimate of what is still to come in leaves; 0: not known.
	Left block.ByteCount
	// Rate is what came a second since it began.
	Rate block.ByteCount
	// Ends is how long it will take still; 0: not known.
	Ends time.Duration
}

// Orders are what the metadata service wants done.
type Orders struct {
	Drop  []SegmentRef
	Scrub bool // read all data now
}

// Timing of the talk with the metadata service.
const (
	heartbeatEvery = time.Second
	registerRetry  = 200 * time.Millisecond
	callTimeout    = 5 * time.Second
)
