package metadata_test

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
)

// A quorum is accepted exactly if every read quorum meets every write quorum
// and every two write quorums meet: checked against all subsets.
func TestQuorumsOverlap(t *testing.T) {
	for copies := 1; copies <= metadata.MaxCopies; copies++ {
		for w := 0; w <= copies+1; w++ {
			for r := 0; r <= copies+1; r++ {
				q := metadata.Quorum{Copies: copies, Write: w, Read: r}
				want := w >= 1 && r >= 1 && w <= copies && r <= copies && meet(copies, w, r) && meet(copies, w, w)
				if got := q.Check(); (got == nil) != want {
					t.Errorf("%+v: %v, want accepted %v", q, got, want)
				}
			}
		}
	}
	if err := (metadata.Quorum{Copies: 7, Write: 4, Read: 4}).Check(); !errors.Is(err, block.Invalid) {
		t.Errorf("seven copies: %v", err)
	}
}

// meet says whether every set of a and every set of b of n have a member in
// common.
func meet(n, a, b int) bool {
	for x := range 1 << n {
		for y := range 1 << n {
			if ones(x) == a && ones(y) == b && x&y == 0 {
				return false
			}
		}
	}
	return true
}

func ones(x int) int {
	count := 0
	for ; x > 0; x &= x - 1 {
		count++
	}
	return count
}

// The numbers of states on the wire and in snapshots are those of our types.
func TestStatesArePinned(t *testing.T) {
	for ours, wire := range map[metadata.NodeState]pb.NodeState{
		metadata.NodeActive: pb.NodeState_NODE_STATE_ACTIVE, metadata.NodeDraining: pb.NodeState_NODE_STATE_DRAINING, metadata.NodeRemoved: pb.NodeState_NODE_STATE_REMOVED,
	} {
		if int(ours) != int(wire) {
			t.Errorf("node state %v is %d, %v is %d", ours, ours, wire, wire)
		}
	}
	for ours, wire := range map[metadata.OpenState]pb.OpenState{
		metadata.Closed: pb.OpenState_OPEN_STATE_CLOSED, metadata.Recovering: pb.OpenState_OPEN_STATE_RECOVERING, metadata.Open: pb.OpenState_OPEN_STATE_OPEN,
	} {
		if int(ours) != int(wire) {
			t.Errorf("open state %v is %d, %v is %d", ours, ours, wire, wire)
		}
	}
	for ours, wire := range map[metadata.SegmentState]pb.SegmentState{
		metadata.Streaming: pb.SegmentState_SEGMENT_STATE_STREAMING, metadata.Lagging: pb.SegmentState_SEGMENT_STATE_LAGGING,
		metadata.CatchingUp: pb.SegmentState_SEGMENT_STATE_CATCHING_UP, metadata.Unreachable: pb.SegmentState_SEGMENT_STATE_UNREACHABLE,
		metadata.Full: pb.SegmentState_SEGMENT_STATE_FULL,
	} {
		if int(ours) != int(wire) {
			t.Errorf("segment state %v is %d, %v is %d", ours, ours, wire, wire)
		}
	}
	if s := metadata.SegmentState(99).String() + metadata.OpenState(0).String() + metadata.NodeState(7).String(); s != "unknownunknownunknown" {
		t.Errorf("unknown states are called %q", s)
	}
}

func TestAddressesAreChecked(t *testing.T) {
	for address, good := range map[string]bool{
		"127.0.0.1:1": true, "host:65535": true, "[::1]:7": true,
		"": false, "host": false, ":7": false, "host:0": false, "host:65536": false, "host:x": false, "0.0.0.0:7": false, "[::]:7": false,
	} {
		if err := metadata.CheckAddress("address", address); (err == nil) != good {
			t.Errorf("%q: %v", address, err)
		}
	}
}

// What the client sends, the service reads: nothing is lost on the way, and
// bounds hold at the bound.
func TestIDsSurvive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := block.SegmentID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
		got, err := metadata.IDFromPB[block.SegmentID]("segment", metadata.IDToPB(id))
		if err != nil || got != id {
			t.Fatalf("%v became %v, %v", id, got, err)
		}
	})
	for _, n := range []int{1, 15, 17} {
		if _, err := metadata.IDFromPB[block.VolumeID]("volume", make([]byte, n)); !errors.Is(err, block.Invalid) {
			t.Errorf("%d bytes of id: %v", n, err)
		}
	}
}

func TestListsAreBounded(t *testing.T) {
	refs := func(n int) []*pb.SegmentRef {
		all := make([]*pb.SegmentRef, n)
		for i := range all {
			all[i] = &pb.SegmentRef{}
		}
		return all
	}
	for n, good := range map[int]bool{metadata.MaxDrops: true, metadata.MaxDrops + 1: false} {
		if _, err := metadata.HeartbeatFromPB(&pb.HeartbeatRequest{Dropped: refs(n)}); (err == nil) != good {
			t.Errorf("%d dropped segments: %v", n, err)
		}
	}
	for n, good := range map[int]bool{metadata.MaxUnhealthy: true, metadata.MaxUnhealthy + 1: false} {
		if _, err := metadata.LeaseReportFromPB(&pb.RenewLeaseRequest{Unhealthy: make([]*pb.SegmentHealth, n)}); (err == nil) != good {
			t.Errorf("%d unhealthy segments: %v", n, err)
		}
	}
	for n, good := range map[int]bool{metadata.MaxSegmentReports: true, metadata.MaxSegmentReports + 1: false} {
		if _, err := metadata.HeartbeatFromPB(&pb.HeartbeatRequest{Segments: make([]*pb.SegmentReport, n)}); (err == nil) != good {
			t.Errorf("%d segment reports: %v", n, err)
		}
	}
	long := string(make([]byte, metadata.MaxText+1))
	if _, err := metadata.HeartbeatFromPB(&pb.HeartbeatRequest{Segments: []*pb.SegmentReport{{State: long}}}); !errors.Is(err, block.Invalid) {
		t.Errorf("a long state: %v", err)
	}
	if _, err := metadata.LeaseReportFromPB(&pb.RenewLeaseRequest{Counters: map[string]uint64{long: 1}}); !errors.Is(err, block.Invalid) {
		t.Errorf("a long counter: %v", err)
	}
}

// A daemon's own estimate counts before what its rate makes of a lag.
func TestSegmentReportETA(t *testing.T) {
	for _, c := range []struct {
		r    metadata.SegmentReport
		lag  block.ByteCount
		want time.Duration
	}{
		{metadata.SegmentReport{}, 4096, metadata.ETAUnknown},
		{metadata.SegmentReport{Rate: 1024}, 0, metadata.ETAUnknown},
		{metadata.SegmentReport{Rate: 1024}, 4096, 4 * time.Second},
		{metadata.SegmentReport{Rate: 1024, Ends: time.Minute}, 4096, time.Minute},
	} {
		if got := c.r.ETA(c.lag); got != c.want {
			t.Errorf("%+v with %v to come: %v, want %v", c.r, c.lag, got, c.want)
		}
	}
}
