package segmentd

import (
	"context"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
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
	Used     block.ByteCount // taken by log files
	Live     block.ByteCount // data of newest versions
	Damages  int             // damaged places found since the start
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
	State     string // "damaged", "catching-up", "bad-blocks"
	BadBlocks int
}

// Orders are what the metadata service wants done.
type Orders struct {
	Drop []SegmentRef
}

// Timing of the talk with the metadata service.
const (
	heartbeatEvery = time.Second
	registerRetry  = 200 * time.Millisecond
	callTimeout    = 5 * time.Second
)
