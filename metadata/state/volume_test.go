package state_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
	"github.com/sextantdisk/sextant/metadata/state"
)

func TestR4EpochGoesUpByOneWithEachOpeningOnly(t *testing.T) {
	l := withSix(t)
	l.ok(create(1, "v", 4*block.MiB))
	for want := range uint32(5) {
		r := l.ok(open(1, want, "g"))
		if r.Volume.Epoch != block.VolumeEpoch(want+1) || r.Volume.State != metadata.Recovering {
			t.Fatalf("opening %d gave epoch %d, %v", want+1, r.Volume.Epoch, r.Volume.State)
		}
		l.refuses(block.Stale, open(1, want, "late")) // decided on what is not so any more
		l.ok(done(1, want+1))
		l.ok(place(1, want+1, min(want, 3), uint64(10*want+1), six...))
		l.ok(resize(1, 4*block.MiB))
		if v, _ := l.s.Volume("v"); v.Epoch != block.VolumeEpoch(want+1) {
			t.Fatalf("the epoch moved to %d without an opening", v.Epoch)
		}
	}
}

func TestEpochsEndWithAnError(t *testing.T) {
	l := newLog(t)
	l.ok(create(1, "v", block.MiB))
	snap := l.snapshot()
	s := mutateVolume(t, snap, func(v *pb.VolumeRecord) { v.Epoch = uint32(block.MaxVolumeEpoch) })
	l.s = s
	l.refuses(block.NoSpace, open(1, uint32(block.MaxVolumeEpoch), "g"))
}

// R3: an epoch that is over does nothing any more.
func TestR3OldEpochIsFenced(t *testing.T) {
	l := withSix(t)
	l.ok(create(1, "v", block.MiB))
	l.refuses(block.Fenced, done(1, 0))
	l.ok(open(1, 0, "g1"))
	l.ok(open(1, 1, "g2"))
	for _, c := range []*pb.Command{done(1, 1), goodbye(1, 1, true), place(1, 1, 0, 1, six...)} {
		l.refuses(block.Fenced, c)
	}
	l.refuses(block.Invalid, done(1, 3))
	l.ok(goodbye(1, 2, true))
	l.refuses(block.Fenced, place(1, 2, 0, 1, six...)) // said goodbye
	if err := l.s.CheckOwner(volumeID(1), 2); !errors.Is(err, block.Fenced) {
		t.Fatalf("an owner that said goodbye is still one: %v", err)
	}
}

// R14: only a goodbye after which nobody can serve reads any more lets the
// next owner skip its wait.
func TestR14CleanHandover(t *testing.T) {
	l := newLog(t)
	l.ok(create(1, "v", block.MiB))
	cases := []struct {
		name string
		end  func(epoch uint32)
		want bool
	}{
		{"never opened", func(uint32) {}, true},
		{"crashed in recovery", func(uint32) {}, false},
		{"crashed after recovery", func(e uint32) { l.ok(done(1, e)) }, false},
		{"closed before the wait was over", func(e uint32) { l.ok(done(1, e)); l.ok(goodbye(1, e, false)) }, false},
		{"closed in recovery, wait over", func(e uint32) { l.ok(goodbye(1, e, true)) }, true},
		{"closed", func(e uint32) { l.ok(done(1, e)); l.ok(goodbye(1, e, true)) }, true},
		{"closed twice", func(e uint32) { l.ok(done(1, e)); l.ok(goodbye(1, e, true)); l.ok(goodbye(1, e, false)) }, true},
	}
	for epoch, c := range cases {
		c.end(uint32(epoch))
		if got := l.ok(open(1, uint32(epoch), "g")).CleanHandover; got != c.want {
			t.Errorf("%s: clean handover is %v", c.name, got)
		}
	}
}

// R23: a configuration is decided once, here: of two placements of one group
// the first counts, and only the current owner places.
func TestR23GroupIsPlacedOnce(t *testing.T) {
	l := withSix(t)
	l.ok(create(1, "v", 2*block.MiB))
	l.ok(open(1, 0, "g"))
	first := l.ok(place(1, 1, 1, 1, six...)).PG
	again := l.ok(place(1, 1, 1, 50, six...)).PG
	if len(first.Segments) != 6 || first.Segments[0].ID != again.Segments[0].ID || first.Membership != 1 {
		t.Fatalf("placed %+v, then %+v", first, again)
	}
	if len(first.Sets) != 1 || len(first.Sets[0]) != 6 {
		t.Fatalf("a fresh group has quorum sets %v", first.Sets)
	}
	if n, _ := l.s.Node("a1"); n.Segments != 1 {
		t.Fatalf("node a1 counts %d segments", n.Segments)
	}
}

func TestPlacementRulesAreCheckedAgain(t *testing.T) {
	l := withSix(t)
	for i := range 3 {
		l.ok(register(fmt.Sprint("a", i+3), "a", uint64(300+i), 1, 1))
	}
	l.ok(create(1, "v", block.MiB))
	l.ok(open(1, 0, "g"))
	l.refuses(block.Invalid, place(1, 1, 1, 1, six...))                               // the volume has one group
	l.refuses(block.Invalid, place(1, 1, 0, 1, six[:5]...))                           // too few
	l.refuses(block.Invalid, place(1, 1, 0, 1, "a1", "a1", "b1", "b2", "c1", "c2"))   // one node twice
	l.refuses(block.Stale, place(1, 1, 0, 1, "a1", "a2", "a3", "b2", "c1", "c2"))     // three in a zone
	l.refuses(block.Stale, place(1, 1, 0, 1, "a1", "a2", "b1", "b2", "c1", "nobody")) // unknown node
	same := place(1, 1, 0, 1, six...)
	same.GetPlacePg().Segments[3].Id = same.GetPlacePg().Segments[0].Id
	l.refuses(block.Invalid, same)
	l.refuses(block.NotFound, place(9, 1, 0, 1, six...))
	l.ok(place(1, 1, 0, 1, six...))
}

func TestCreateIsRepeatable(t *testing.T) {
	l := newLog(t)
	l.ok(create(1, "v", block.MiB))
	l.ok(create(1, "v", block.MiB))
	l.refuses(block.Exists, create(2, "v", block.MiB))
	l.refuses(block.Exists, create(1, "w", block.MiB))
	if len(l.s.Volumes()) != 1 {
		t.Fatal("a repeated creation made another volume")
	}
}

func TestCreateRefusesBadShapes(t *testing.T) {
	l := newLog(t)
	for name, spoil := range map[string]func(*pb.CreateVolume){
		"no id":             func(c *pb.CreateVolume) { c.Id = nil },
		"short id":          func(c *pb.CreateVolume) { c.Id = c.Id[:3] },
		"no size":           func(c *pb.CreateVolume) { c.Size = 0 },
		"odd size":          func(c *pb.CreateVolume) { c.Size = 5000 },
		"huge":              func(c *pb.CreateVolume) { c.Size = uint64(256 * block.TiB) },
		"name":              func(c *pb.CreateVolume) { c.Name = "a/b" },
		"name like an id":   func(c *pb.CreateVolume) { c.Name = volumeID(3).String() },
		"seven copies":      func(c *pb.CreateVolume) { c.Copies = 7 },
		"no copies":         func(c *pb.CreateVolume) { c.Copies, c.WriteQuorum, c.ReadQuorum = 0, 0, 0 },
		"W+R=N":             func(c *pb.CreateVolume) { c.ReadQuorum = 2 },
		"2W=N":              func(c *pb.CreateVolume) { c.WriteQuorum, c.ReadQuorum = 3, 6 },
		"W>N":               func(c *pb.CreateVolume) { c.WriteQuorum = 7 },
		"quorum from space": func(c *pb.CreateVolume) { c.WriteQuorum = 1 << 31 },
	} {
		c := create(1, "v", block.MiB)
		spoil(c.GetCreateVolume())
		if r := l.try(c); !errors.Is(r.Err, block.Invalid) {
			t.Errorf("%s: %v", name, r.Err)
		}
	}
}

func TestResizeOnlyGrows(t *testing.T) {
	l := withSix(t)
	l.ok(create(1, "v", block.MiB+block.Size))
	before := l.ok(resize(1, block.MiB+block.Size)).Volume.Version
	grown := l.ok(resize(1, 2*block.MiB)).Volume // the short last group grows in place
	if grown.Geometry.Size != 2*block.MiB || grown.Version <= before {
		t.Fatalf("after growing: %+v", grown)
	}
	l.refuses(block.Invalid, resize(1, block.MiB))
	l.refuses(block.Invalid, resize(1, 2*block.MiB+1))
	l.refuses(block.NotFound, resize(2, 2*block.MiB))
}

func TestDeleteForgetsSegmentsThenTheVolume(t *testing.T) {
	l := withSix(t)
	l.ok(create(1, "v", 2*block.MiB))
	l.refuses(block.NotFound, forget("nobody", 1, 0, 1))
	l.ok(open(1, 0, "g"))
	l.ok(place(1, 1, 0, 1, six...))
	l.ok(place(1, 1, 1, 11, six...))
	if d := l.s.Doomed("a1", 10); d != nil {
		t.Fatalf("segments of a live volume are to be dropped: %v", d)
	}
	l.ok(forget("a1", 1, 0, 1)) // not doomed: passed over
	l.refuses(block.Stale, remove(1, 0))
	l.ok(remove(1, 1))
	l.ok(remove(1, 1))
	l.ok(create(2, "v", block.MiB)) // the name is free at once
	l.refuses(block.NotFound, open(1, 1, "g"))
	if d := l.s.Doomed("a1", 10); len(d) != 2 {
		t.Fatalf("node a1 is to drop %v, not two segments", d)
	}
	if d := l.s.Doomed("a1", 1); len(d) != 1 {
		t.Fatalf("the bound of one gave %v", d)
	}
	l.ok(forget("a1", 1, 0, 2)) // segment 2 is on a2, not a1
	for i, n := range six {
		l.ok(forget(n, 1, 0, uint64(1+i), uint64(11+i)))
		l.ok(forget(n, 1, 0, uint64(1+i)))
	}
	if vs := l.s.Volumes(); len(vs) != 1 || vs[0].ID != volumeID(2) {
		t.Fatalf("left: %+v", vs)
	}
	for _, n := range l.s.Nodes() {
		if n.Segments != 0 {
			t.Errorf("node %s still counts %d segments", n.ID, n.Segments)
		}
	}
}

func TestNewerCommandStopsTheMember(t *testing.T) {
	s := state.New()
	for name, c := range map[string]struct {
		entry []byte
		kind  block.Kind
	}{
		"version 2":    {[]byte{0x08, 0x02}, block.Version},
		"unknown body": {[]byte{0x08, 0x01, 0xfa, 0x07, 0x00}, block.Version},
		"no version":   {[]byte{}, block.Corrupt},
		"no protobuf":  {[]byte{0xff, 0xff}, block.Corrupt},
	} {
		if r := s.Apply(1, c.entry); !errors.Is(r.Err, c.kind) || s.Applied() != 0 {
			t.Errorf("%s: %v, applied %d", name, r.Err, s.Applied())
		}
	}
}

func TestCommandIsAppliedOnce(t *testing.T) {
	l := newLog(t)
	b, _ := state.Encode(create(1, "v", block.MiB))
	if r := l.s.Apply(1, b); !errors.Is(r.Err, block.Stale) {
		t.Fatalf("index 1 was applied twice: %v", r.Err)
	}
}

func TestMembers(t *testing.T) {
	l := newLog(t)
	member := func(name string, instance uint64) *pb.Command {
		return &pb.Command{Body: &pb.Command_UpsertMember{UpsertMember: &pb.UpsertMember{
			Id: name, Address: "127.0.0.1:1", RaftAddress: "127.0.0.1:2", Instance: id(instance)}}}
	}
	for i := range uint64(metadata.MaxMembers) {
		l.ok(member(fmt.Sprint("m", i), i))
	}
	l.ok(member("m1", 1))
	l.refuses(block.Exists, member("m9", 9))
	l.refuses(block.Mismatch, member("m1", 7)) // came back with another folder
	gone := &pb.Command{Body: &pb.Command_DeleteMember{DeleteMember: &pb.DeleteMember{Id: "m1"}}}
	l.ok(gone)
	l.refuses(block.NotFound, gone)
	l.ok(member("m1", 7))
	if ms := l.s.Members(); len(ms) != metadata.MaxMembers || ms[1].ID != "m1" {
		t.Fatalf("members: %+v", ms)
	}
}
