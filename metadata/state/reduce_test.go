package state_test

import (
	"bytes"
	"os"
	"slices"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
	"github.com/sextantdisk/sextant/metadata/state"
)

// reduce has a group go on without a zone, restore has it take that back.
func reduce(g *pb.GroupChange, zone string) *pb.Command {
	return &pb.Command{Body: &pb.Command_BeginReduce{BeginReduce: &pb.BeginReduce{Group: g, Zone: zone}}}
}

func restore(g *pb.GroupChange) *pb.Command {
	return &pb.Command{Body: &pb.Command_BeginRestore{BeginRestore: &pb.BeginRestore{Group: g}}}
}

var (
	allSix  = []int{0, 1, 2, 3, 4, 5}
	without = map[string][]int{"a": {2, 3, 4, 5}, "b": {0, 1, 4, 5}, "c": {0, 1, 2, 3}}
)

// withoutZone is withGroup, whose group 0 goes on without a zone, at membership
// epoch 3.
func withoutZone(t testing.TB, zone string) *log {
	l := withGroup(t)
	l.ok(reduce(about(1, 1, 0, 1), zone))
	l.ok(finish(about(1, 1, 0, 2)))
	return l
}

// wantSets checks what is in force.
func (l *log) wantSets(m block.MembershipEpoch, sets ...[]int) {
	l.t.Helper()
	if pg := l.group(); pg.Membership != m || !slices.EqualFunc(pg.Sets, sets, slices.Equal) {
		l.t.Fatalf("sets %v at membership epoch %d, want %v at %d", pg.Sets, pg.Membership, sets, m)
	}
}

func (l *log) wantHydrated(want ...bool) {
	l.t.Helper()
	var got []bool
	for _, s := range l.group().Segments {
		got = append(got, s.Hydrated)
	}
	if !slices.Equal(got, want) {
		l.t.Fatalf("hydrated %v, want %v", got, want)
	}
}

// TestR29ZoneIsGivenUpAndTakenBack: step by step, for each zone. The four that
// stay are two in each of two zones. Who is out is not hydrated when it comes
// back; a repeated request is recognised.
func TestR29ZoneIsGivenUpAndTakenBack(t *testing.T) {
	for zone, rest := range without {
		l := withGroup(t)
		l.ok(reduce(about(1, 1, 0, 1), zone))
		l.wantSets(2, allSix, rest)
		l.ok(reduce(about(1, 1, 0, 1), zone)) // again
		if pg := l.group(); !pg.Reducing() || pg.Restoring() || pg.Reduced() || pg.Departed != 0 {
			t.Fatalf("about to go on without zone %s: %+v", zone, pg)
		}
		if got, _ := l.s.Changes(volumeID(1), 9); len(got) != 1 || string(got[0].Zone) != zone || got[0].Back || !got[0].Leaving.IsZero() {
			t.Fatalf("under way: %+v", got)
		}
		l.ok(finish(about(1, 1, 0, 2)))
		l.wantSets(3, rest)
		pg := l.group()
		if z, ok := pg.Without(); !ok || string(z) != zone || !pg.Reduced() || pg.Departed != 2 || len(pg.Segments) != 6 {
			t.Fatalf("without zone %s: %+v", zone, pg)
		}
		if got, n := l.s.Reduced(volumeID(1), 9); n != 1 || got[0] != (metadata.ReducedPG{PG: 0, Zone: block.Zone(zone), Copies: 4}) {
			t.Fatalf("without zone %s: told %+v", zone, got)
		}
		if d := l.s.Doomed(block.NodeID(zone+"1"), 9); len(d) != 0 {
			t.Fatalf("who is out is to be dropped: %v", d)
		}
		l.ok(reduce(about(1, 1, 0, 2), zone)) // again
		l.ok(restore(about(1, 1, 0, 3)))
		l.wantSets(4, rest, allSix)
		l.ok(restore(about(1, 1, 0, 3))) // again
		if pg := l.group(); !pg.Restoring() || pg.Departed != 0 {
			t.Fatalf("about to take zone %s back: %+v", zone, pg)
		}
		l.refuses(block.Behind, finish(about(1, 1, 0, 4)))
		l.ok(hydrated(about(1, 1, 0, 4)))
		l.ok(finish(about(1, 1, 0, 4)))
		l.wantSets(5, allSix)
		l.wantHydrated(true, true, true, true, true, true)
		l.ok(restore(about(1, 1, 0, 1))) // is whole: nothing to do
		l.wantSets(5, allSix)
		if got, n := l.s.Reduced(volumeID(1), 9); n != 0 {
			t.Fatalf("whole, and told %+v", got)
		}
	}
}

// TestR29WhoIsOutDoesNotCountForData: whoever comes back has missed what was
// written, also when it was marked hydrated before and the change was cancelled.
func TestR29WhoIsOutDoesNotCountForData(t *testing.T) {
	l := withoutZone(t, "b")
	out := []bool{true, true, false, false, true, true}
	l.wantHydrated(out...)
	l.ok(restore(about(1, 1, 0, 3)))
	l.wantHydrated(out...)
	l.ok(hydrated(about(1, 1, 0, 4)))
	l.wantHydrated(true, true, true, true, true, true)
	l.ok(cancel(about(1, 1, 0, 4)))
	l.wantSets(5, without["b"])
	l.wantHydrated(out...)
	l.ok(restore(about(1, 1, 0, 5)))
	l.refuses(block.Behind, finish(about(1, 1, 0, 6)))
}

// TestR29CancelKeepsTheZone: nothing was given up yet.
func TestR29CancelKeepsTheZone(t *testing.T) {
	l := withGroup(t)
	before := l.group()
	l.ok(reduce(about(1, 1, 0, 1), "c"))
	after := l.ok(cancel(about(1, 1, 0, 2))).PG
	if after.Membership != 3 || after.Departed != 0 || !slices.Equal(after.Segments, before.Segments) {
		t.Errorf("after the end: %+v", after)
	}
	l.wantSets(3, allSix)
}

// TestR29OneChangeAtATime (R23): a group that goes on without a zone has none of
// the others replaced and gives up no other zone, and a group that changes begins
// no other change.
func TestR29OneChangeAtATime(t *testing.T) {
	l := withGroup(t)
	l.refuses(block.NotFound, reduce(about(1, 1, 0, 1), "d"))
	l.refuses(block.NotFound, reduce(about(1, 1, 7, 1), "a"))
	l.refuses(block.Stale, reduce(about(1, 1, 0, 2), "a"))
	l.ok(begin(about(1, 1, 0, 1), 2, 50, "a3"))
	l.refuses(block.Held, reduce(about(1, 1, 0, 2), "a"))
	l.ok(restore(about(1, 1, 0, 2))) // lacks no zone: nothing to do
	l.ok(cancel(about(1, 1, 0, 2)))
	l.ok(reduce(about(1, 1, 0, 3), "a"))
	for _, c := range []*pb.Command{begin(about(1, 1, 0, 4), 3, 51, "b3"), reduce(about(1, 1, 0, 4), "b"), restore(about(1, 1, 0, 4))} {
		l.refuses(block.Held, c)
	}
	l.ok(finish(about(1, 1, 0, 4)))
	l.refuses(block.Held, reduce(about(1, 1, 0, 5), "b"))
	l.refuses(block.Held, begin(about(1, 1, 0, 5), 3, 51, "b3"))
	l.ok(restore(about(1, 1, 0, 5)))
	for _, c := range []*pb.Command{begin(about(1, 1, 0, 6), 3, 51, "b3"), reduce(about(1, 1, 0, 6), "a")} {
		l.refuses(block.Held, c)
	}
}

// TestR29NothingChangesDuringRecovery (R23, trap T12).
func TestR29NothingChangesDuringRecovery(t *testing.T) {
	l := withoutZone(t, "a")
	l.ok(place(1, 1, 1, 11, six...))
	l.ok(open(1, 1, "g2"))
	l.refuses(block.Unavailable, restore(about(1, 2, 0, 3)))
	l.refuses(block.Unavailable, reduce(about(1, 2, 1, 1), "a"))
	l.refuses(block.Fenced, finish(about(1, 1, 0, 3))) // the writer before
	l.ok(done(1, 2))
	l.ok(restore(about(1, 2, 0, 3)))
	l.ok(reduce(about(1, 2, 1, 1), "a"))
}

// TestR29NothingIsGainedByFewCopies: two of three copies must take each write,
// with the third or without.
func TestR29NothingIsGainedByFewCopies(t *testing.T) {
	l := withSix(t)
	c := create(1, "v", 8*block.MiB)
	v := c.GetCreateVolume()
	v.Copies, v.WriteQuorum, v.ReadQuorum = 3, 2, 2
	l.ok(c)
	l.ok(open(1, 0, "g"))
	l.ok(place(1, 1, 0, 1, "a1", "b1", "c1"))
	l.ok(done(1, 1))
	l.refuses(block.Invalid, reduce(about(1, 1, 0, 1), "a"))
}

// TestR29WhoIsOutIsReplaced: a copy that is lost for good is replaced before its
// zone is taken back. The new one is born with the volume's epoch, the old one is
// dropped, the sets stay as they are.
func TestR29WhoIsOutIsReplaced(t *testing.T) {
	l := withoutZone(t, "a")
	l.refuses(block.Invalid, begin(about(1, 1, 0, 3), 2, 50, "b3"))
	pg := l.ok(begin(about(1, 1, 0, 3), 2, 50, "a3")).PG
	l.wantSets(4, without["a"])
	if !slices.Equal(nodesOf(pg), []string{"a1", "a3", "b1", "b2", "c1", "c2"}) || pg.Segments[1].Hydrated || pg.Departed != 3 {
		t.Fatalf("after the replacement: %+v", pg)
	}
	l.ok(begin(about(1, 1, 0, 3), 2, 50, "a3")) // again
	l.wantSets(4, without["a"])
	if d := l.s.Doomed("a2", 9); len(d) != 1 || d[0].Segment != block.SegmentID(id(2)) || l.segmentsOf("a3") != 1 {
		t.Fatalf("a2 has to drop %v, a3 holds %d", d, l.segmentsOf("a3"))
	}
	l.ok(forget("a2", 1, 0, 2))
	if l.segmentsOf("a2") != 0 {
		t.Errorf("a2 holds %d segments", l.segmentsOf("a2"))
	}
	l.ok(restore(about(1, 1, 0, 4)))
	l.ok(hydrated(about(1, 1, 0, 5)))
	l.ok(finish(about(1, 1, 0, 5)))
	l.wantSets(6, allSix)
}

// TestR29DeletedVolumeForgetsItsZone: all six are dropped.
func TestR29DeletedVolumeForgetsItsZone(t *testing.T) {
	l := withoutZone(t, "a")
	l.ok(goodbye(1, 1, true))
	l.ok(remove(1, 1))
	for i, n := range six {
		l.ok(forget(n, 1, 0, uint64(i+1)))
	}
	if _, err := l.s.Volume(volumeID(1).String()); err == nil {
		t.Error("the volume is still there")
	}
}

// TestR29SnapshotKeepsTheSets: in each phase, and the lists that are derived.
func TestR29SnapshotKeepsTheSets(t *testing.T) {
	l := withGroup(t)
	for _, c := range []*pb.Command{
		reduce(about(1, 1, 0, 1), "c"), finish(about(1, 1, 0, 2)), restore(about(1, 1, 0, 3)), hydrated(about(1, 1, 0, 4)),
	} {
		l.ok(c)
		s, err := state.Restore(bytes.NewReader(l.snapshot()))
		if err != nil || !bytes.Equal(snapshotOf(t, s), l.snapshot()) {
			t.Fatalf("after %v: %v", c, err)
		}
		_, before := l.s.Reduced(volumeID(1), 0)
		_, after := s.Reduced(volumeID(1), 0)
		_, changesBefore := l.s.Changes(volumeID(1), 0)
		_, changesAfter := s.Changes(volumeID(1), 0)
		if before != after || changesBefore != changesAfter {
			t.Fatalf("after %v: %d reduced and %d changing, restored %d and %d", c, before, changesBefore, after, changesAfter)
		}
	}
}

// TestSnapshotOfVersion2IsRead: one that a member of before R29 wrote, with a
// segment being replaced, one departed, and a volume that cannot open a group.
func TestSnapshotOfVersion2IsRead(t *testing.T) {
	old, err := os.ReadFile("testdata/snapshot-v2")
	if err != nil {
		t.Fatal(err)
	}
	s, err := state.Restore(bytes.NewReader(old))
	if err != nil {
		t.Fatal(err)
	}
	l := &log{t: t, s: s, next: s.Applied() + 1}
	l.wantSets(4, allSix, []int{6, 1, 2, 3, 4, 5})
	if _, n := s.Reduced(volumeID(1), 0); n != 0 || l.group().Departed != 1 {
		t.Errorf("%d groups go on without a zone, %d departed", n, l.group().Departed)
	}
	if got := l.bytesWithoutIndex(); !bytes.Equal(got, withoutHeader(old)) {
		t.Error("the same state gives other records than before")
	}
	l.ok(hydrated(about(1, 1, 0, 4)))
	l.ok(finish(about(1, 1, 0, 4)))
	l.ok(reduce(about(1, 1, 0, 5), "b"))
}
