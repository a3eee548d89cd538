package raftnode

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
)

func healthyNodes() []metadata.Node {
	var all []metadata.Node
	for _, id := range six {
		all = append(all, metadata.Node{
			ID: block.NodeID(id), Zone: block.Zone(id[:1]), Address: "h:1", Capacity: block.TiB, State: metadata.NodeActive, Up: true, Heard: true,
		})
	}
	return all
}

func volumeStatus(unhealthy ...metadata.SegmentHealth) metadata.VolumeStatus {
	return metadata.VolumeStatus{
		Volume:    metadata.Volume{Name: "v", Quorum: metadata.DefaultQuorum, State: metadata.Open, Gateway: "g", Leased: true, Epoch: 1},
		Unhealthy: unhealthy,
	}
}

// ill are count segments of a group in a state.
func ill(pg block.PGIndex, state metadata.SegmentState, count int) []metadata.SegmentHealth {
	return slices.Repeat([]metadata.SegmentHealth{{PG: pg, State: state}}, count)
}

// Each row spoils one thing and names the problem that must be told, with
// "!" before a severe one; no row may tell of more.
func TestProblems(t *testing.T) {
	down := func(st *metadata.Status, ids ...block.NodeID) {
		for i := range st.Nodes {
			if slices.Contains(ids, st.Nodes[i].ID) {
				st.Nodes[i].Up, st.Nodes[i].Silent = false, 7*time.Second
			}
		}
	}
	for name, c := range map[string]struct {
		spoil func(*metadata.Status)
		young bool
		want  []string
	}{
		"nothing":  {func(*metadata.Status) {}, false, nil},
		"one node": {func(st *metadata.Status) { down(st, "a1") }, false, []string{"placement: new groups of v are placed with copies on nodes that are down or whose disks have failed: a1; they begin with 5 of 6", "node a1: is down: nothing heard for 7s"}},
		"one node, another is there": {func(st *metadata.Status) {
			down(st, "a1")
			st.Nodes = append(st.Nodes, st.Nodes[1])
			st.Nodes[6].ID = "a3"
		}, false, []string{"node a1: is down"}},
		"two volumes": {func(st *metadata.Status) {
			down(st, "a1")
			few := volumeStatus()
			few.Volume.Name, few.Volume.Quorum = "w", metadata.Quorum{Copies: 6, Write: 6, Read: 1}
			st.Volumes = append(st.Volumes, few)
		}, false, []string{"placement: new groups of v are", "!placement: first writes to new groups of w wait", "node a1: is down"}},
		"one node, volumes need few": {func(st *metadata.Status) {
			down(st, "a1")
			st.Volumes[0].Volume.Quorum = metadata.Quorum{Copies: 3, Write: 2, Read: 2}
		}, false, []string{"node a1: is down"}},
		"a zone": {func(st *metadata.Status) { down(st, "b1", "b2") }, false, []string{"!zone b: all 2 nodes are down", "placement: new groups of v are placed with copies on nodes that are down or whose disks have failed: b1, b2; they begin with 4 of 6"}},
		"a zone and a node": {func(st *metadata.Status) { down(st, "a2", "b1", "b2") }, false,
			[]string{"!zone b: all 2 nodes are down", "node a2: is down", "!placement: first writes to new groups of v wait: 6 copies need"}},
		"a young leader": {func(st *metadata.Status) { down(st, "b1", "b2"); st.Volumes[0].Volume.Leased = false }, true, nil},
		"no address":     {func(st *metadata.Status) { st.Nodes[0].Address = "" }, false, []string{"node a1: has no address"}},
		"filling": {func(st *metadata.Status) {
			st.Nodes = append(st.Nodes, st.Nodes[0])
			st.Nodes[6].Used = block.TiB * 8 / 10
		}, false, []string{"node a1: is 80 % full and takes no new"}},
		"nearly full": {func(st *metadata.Status) {
			st.Nodes = append(st.Nodes, st.Nodes[0])
			st.Nodes[6].Used, st.Nodes[6].Health.Fullness = block.TiB*85/100, metadata.NearlyFull
		}, false, []string{"!node a1: is 85 % full"}},
		"full": {func(st *metadata.Status) {
			st.Nodes = append(st.Nodes, st.Nodes[0])
			st.Nodes[6].Used, st.Nodes[6].Health = block.TiB*95/100, metadata.DiskHealth{Fullness: metadata.DiskFull, Folder: "/srv/a1"}
		}, false, []string{"!node a1: its disk, folder /srv/a1, is full (95 % taken) and takes no more data"}},
		"failed": {func(st *metadata.Status) {
			st.Nodes = append(st.Nodes, st.Nodes[0])
			st.Nodes[6].ID, st.Nodes[6].Disk, st.Nodes[6].Health = "a3", block.DiskID{15: 9}, metadata.DiskHealth{Failed: "input/output error", Folder: "/srv/a1"}
		}, false, []string{"!node a3: its disk 00000000-0000-0000-0000-000000000009, folder /srv/a1, has failed and is used no more: input/output error"}},
		"copies on full disks": {func(st *metadata.Status) { st.Volumes[0] = volumeStatus(ill(0, metadata.Full, 2)...) }, false,
			[]string{"volume v: 1 group with fewer than 6"}},
		"too many copies on full disks": {func(st *metadata.Status) {
			st.Volumes[0] = volumeStatus(append(ill(0, metadata.Full, 2), ill(0, metadata.Unreachable, 1)...)...)
		}, false, []string{"!volume v: fewer than 4 of 6 copies of 1 group have room"}},
		"two copies lost while one of them is replaced": {func(st *metadata.Status) {
			st.Volumes[0] = volumeStatus(ill(0, metadata.Unreachable, 2)...)
			out, in := block.SegmentID{1}, block.SegmentID{2}
			st.Volumes[0].Unhealthy[0].Segment = out
			st.Volumes[0].Unhealthy = append(st.Volumes[0].Unhealthy, metadata.SegmentHealth{State: metadata.CatchingUp, Segment: in})
			st.Volumes[0].Changes = []metadata.PGChange{{Leaving: out, Joining: in}}
		}, false, []string{"volume v: 1 group with fewer than 6"}},
		"a zone was given up": {func(st *metadata.Status) {
			down(st, "b1", "b2")
			st.Volumes[0].Reduced = []metadata.ReducedPG{{PG: 1, Zone: "b", Copies: 4}, {PG: 4, Zone: "b", Copies: 4}}
		}, false, []string{"!zone b: all 2 nodes are down", "placement: new groups of v", "volume v: 2 groups go on without zone b, as was asked for: 3 of 4 copies take each write"}},
		"one more is lost": {func(st *metadata.Status) {
			st.Volumes[0] = volumeStatus(append(ill(1, metadata.Unreachable, 1), ill(2, metadata.Unreachable, 1)...)...)
			st.Volumes[0].Reduced = []metadata.ReducedPG{{PG: 1, Zone: "b", Copies: 4}}
		}, false, []string{"volume v: 1 group goes on without", "volume v: 1 group with fewer than 6", "volume v: 1 group with fewer than 4"}},
		"two more are lost": {func(st *metadata.Status) {
			st.Volumes[0] = volumeStatus(append(ill(1, metadata.Unreachable, 2), ill(2, metadata.Unreachable, 2)...)...)
			st.Volumes[0].Reduced = []metadata.ReducedPG{{PG: 1, Zone: "b", Copies: 4}}
		}, false, []string{"volume v: 1 group goes on without", "volume v: 1 group with fewer than 6", "!volume v: fewer than 3 of 4 copies of 1 group keep up: writes wait"}},
		"all four are lost": {func(st *metadata.Status) {
			st.Volumes[0] = volumeStatus(ill(1, metadata.Unreachable, 4)...)
			st.Volumes[0].Reduced = []metadata.ReducedPG{{PG: 1, Zone: "b", Copies: 4}}
		}, false, []string{"volume v: 1 group goes on without", "!volume v: no copy of 1 group can be reached"}},
		"a zone is given up": {func(st *metadata.Status) {
			st.Volumes[0] = volumeStatus(ill(1, metadata.Unreachable, 2)...)
			st.Volumes[0].Changes = []metadata.PGChange{{PG: 1, Zone: "b"}}
		}, false, []string{"volume v: 1 group with fewer than 6"}},
		"drained": {func(st *metadata.Status) {
			st.Nodes = append(st.Nodes, st.Nodes[0])
			st.Nodes[6].State = metadata.NodeDraining
		}, false, []string{"node a1: is drained"}},
		"damage": {func(st *metadata.Status) {
			st.Nodes[0].Damaged, st.Nodes[0].Health.Unmended = 3, 2
		}, false, []string{"!node a1: has 2 damaged places on its disk, folder , that are not mended yet (3 found"}},
		"damage that is mended": {func(st *metadata.Status) { st.Nodes[0].Damaged = 3 }, false, nil},
		"gateway gone":          {func(st *metadata.Status) { st.Volumes[0].Volume.Leased = false }, false, []string{"volume v: its gateway g () is gone"}},
		"closed": {func(st *metadata.Status) {
			st.Volumes[0].Volume.Leased, st.Volumes[0].Volume.State = false, metadata.Closed
		}, false, nil},
		"being deleted":   {func(st *metadata.Status) { st.Volumes[0].Volume.Deleting, st.Volumes[0].Volume.Leased = true, false }, false, nil},
		"two copies lost": {func(st *metadata.Status) { st.Volumes[0] = volumeStatus(ill(0, metadata.Unreachable, 2)...) }, false, []string{"volume v: 1 group with fewer than 6 complete copies"}},
		"copies behind":   {func(st *metadata.Status) { st.Volumes[0] = volumeStatus(ill(0, metadata.CatchingUp, 2)...) }, false, []string{"volume v: 1 group with fewer than 6"}},
		"three copies lost": {func(st *metadata.Status) { st.Volumes[0] = volumeStatus(ill(0, metadata.Unreachable, 3)...) }, false,
			[]string{"!volume v: fewer than 4 of 6 copies of 1 group keep up: writes wait"}},
		"two lost, one behind": {func(st *metadata.Status) {
			st.Volumes[0] = volumeStatus(append(ill(4, metadata.Unreachable, 2), ill(4, metadata.Lagging, 1)...)...)
		}, false, []string{"!volume v: fewer than 4 of 6"}},
		"all copies lost": {func(st *metadata.Status) {
			st.Volumes[0] = volumeStatus(append(ill(1, metadata.Unreachable, 6), ill(2, metadata.Unreachable, 6)...)...)
		}, false, []string{"!volume v: no copy of 2 groups can be reached"}},
		"worst first": {func(st *metadata.Status) {
			st.Nodes[0].Address, st.Nodes[5].Health.Unmended = "", 1
		}, false, []string{"!node c2: has 1 damaged", "node a1: has no address"}},
	} {
		st := metadata.Status{Nodes: healthyNodes(), Volumes: []metadata.VolumeStatus{volumeStatus()}}
		c.spoil(&st)
		got := Problems(st, c.young)
		if len(got) != len(c.want) {
			t.Errorf("%s: told %+v", name, got)
			continue
		}
		for _, want := range c.want {
			if !slices.ContainsFunc(got, func(p metadata.Problem) bool { return strings.HasPrefix(line(p), want) }) {
				t.Errorf("%s: %q is missing in %+v", name, want, got)
			}
		}
		for i, p := range got {
			if i > 0 && p.Severe && !got[i-1].Severe {
				t.Errorf("%s: the severe ones do not come first", name)
			}
			if p.Do == "" {
				t.Errorf("%s: %s says nothing of what to do", name, line(p))
			}
		}
	}
}

func line(p metadata.Problem) string {
	text := fmt.Sprintf("%s: %s", p.Subject, p.What)
	if p.Severe {
		text = "!" + text
	}
	return text
}

// The whole way: what daemons and gateways report comes back in Status.
func TestStatusGathersEverything(t *testing.T) {
	hand, n, c := leased(t)
	daemons := sixDaemons(t, c)
	v := create(t, c, "v", 100*block.MiB)
	o := open(t, c, "v", "g1")
	pg, err := c.EnsurePG(within(t), v.ID, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	seg := pg.Segments[2]
	many := []metadata.SegmentHealth{{Segment: pg.Segments[3].ID, State: metadata.CatchingUp, ETA: metadata.ETAUnknown}}
	for range 2 * statusUnhealthyMax {
		many = append(many, metadata.SegmentHealth{Segment: seg.ID, State: metadata.Lagging, SCL: 5, Lag: 4096, ETA: metadata.ETAUnknown})
	}
	if _, err := c.RenewLease(within(t), metadata.LeaseReport{
		Volume: v.ID, Epoch: 1, Gateway: "g1", Unhealthy: many, Counters: map[string]uint64{"reads": 7},
	}); err != nil {
		t.Fatal(err)
	}
	for _, d := range daemons {
		d.beat(func(h *metadata.Heartbeat) {
			h.Used, h.Live, h.Log = 3*block.GiB, block.GiB, 2*block.GiB
			if d.reg.Node == seg.Node {
				h.Segments = []metadata.SegmentReport{{SegmentRef: metadata.SegmentRef{Volume: v.ID, Segment: seg.ID}, State: "scrubbing", Damaged: 4, Rate: 2048}}
			}
		})
	}
	hand.Advance(time.Second)
	st, err := c.Status(within(t))
	if err != nil {
		t.Fatal(err)
	}
	vs := st.Volumes[0]
	switch {
	case st.Cluster != n.Cluster() || len(st.Members) != 1 || !st.Members[0].Leader || !st.Members[0].Voter:
		t.Errorf("cluster %v, members %+v", st.Cluster, st.Members)
	case len(st.Nodes) != 6 || st.Nodes[0].Log != 2*block.GiB || st.Nodes[0].Silent != time.Second || !st.Nodes[0].Up:
		t.Errorf("nodes %+v", st.Nodes)
	case vs.Volume.PGs != 1 || !vs.Volume.Leased || vs.Volume.LeaseAge != time.Second || vs.Counters["reads"] != 7:
		t.Errorf("volume %+v", vs)
	case vs.UnhealthyTotal != len(many) || len(vs.Unhealthy) != statusUnhealthyMax:
		t.Errorf("%d of %d unhealthy segments", len(vs.Unhealthy), vs.UnhealthyTotal)
	case vs.Unhealthy[0].ETA != metadata.ETAUnknown: // its daemon says nothing of it
		t.Errorf("unhealthy %+v", vs.Unhealthy[0])
	case vs.Unhealthy[1].Node != seg.Node || vs.Unhealthy[1].State != metadata.Lagging || vs.Unhealthy[1].ETA != 2*time.Second:
		t.Errorf("unhealthy %+v", vs.Unhealthy[1])
	case len(st.Damage) != 1 || st.Damage[0].Node != seg.Node || st.Damage[0].Segment.State != "scrubbing":
		t.Errorf("damage %+v", st.Damage)
	case len(st.Problems) == 0 || st.Problems[0].Subject == "":
		t.Errorf("problems %+v", st.Problems)
	}
	if o.Volume.Description != "a test" {
		t.Errorf("opened %+v", o.Volume)
	}
}
