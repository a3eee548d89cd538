package state_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
	"github.com/sextantdisk/sextant/metadata/state"
)

// withGroup is an open volume with group 0 (segments 1 to 6 on six nodes), and
// a spare node in zones a and b.
func withGroup(t testing.TB) *log {
	l := withSix(t)
	l.ok(register("a3", "a", 110, 1, 210))
	l.ok(register("b3", "b", 111, 1, 211))
	l.ok(create(1, "v", 8*block.MiB))
	l.ok(open(1, 0, "g"))
	l.ok(place(1, 1, 0, 1, six...))
	l.ok(done(1, 1))
	return l
}

// group is group 0 as the state has it.
func (l *log) group() metadata.PGConfig {
	l.t.Helper()
	pg, placed, err := l.s.Group(volumeID(1), 0)
	if err != nil || !placed {
		l.t.Fatalf("group 0: placed %v, %v", placed, err)
	}
	return pg
}

func (l *log) segmentsOf(node string) int {
	l.t.Helper()
	n, err := l.s.Node(block.NodeID(node))
	if err != nil {
		l.t.Fatal(err)
	}
	return n.Segments
}

func nodesOf(pg metadata.PGConfig) (names []string) {
	for _, s := range pg.Segments {
		names = append(names, string(s.Node))
	}
	return names
}

// TestR23ChangesAreDecidedOneByOne: a replacement goes from one set to two and
// to the new one; each step raises the membership epoch; what quotes other
// epochs, or comes while a change is under way, is refused.
func TestR23ChangesAreDecidedOneByOne(t *testing.T) {
	l := withGroup(t)
	pg := l.ok(begin(about(1, 1, 0, 1), 2, 50, "a3")).PG // 2 is on a2
	if pg.Membership != 2 || !pg.Joint() || len(pg.Segments) != 7 {
		t.Fatalf("after begin: %+v", pg)
	}
	out, _ := pg.Leaving()
	in, _ := pg.Joining()
	if out.Node != "a2" || in.Node != "a3" || in.Hydrated || !slices.Equal(pg.Sets[0], []int{0, 1, 2, 3, 4, 5}) || !slices.Equal(pg.Sets[1], []int{0, 6, 2, 3, 4, 5}) {
		t.Fatalf("sets %v, %s leaves, %s joins", pg.Sets, out.Node, in.Node)
	}
	if again := l.ok(begin(about(1, 1, 0, 1), 2, 50, "a3")).PG; again.Membership != 2 {
		t.Errorf("the same request again: %+v", again)
	}
	l.refuses(block.Held, begin(about(1, 1, 0, 2), 3, 51, "b3"))
	for _, c := range []*pb.Command{finish(about(1, 1, 0, 1)), cancel(about(1, 1, 0, 3)), hydrated(about(1, 1, 0, 1))} {
		l.refuses(block.Stale, c)
	}
	l.refuses(block.Stale, cancel(about(1, 2, 0, 2)))
	l.refuses(block.NotFound, cancel(about(1, 1, 7, 1)))
	if got, _ := l.s.Changes(volumeID(1), 9); len(got) != 1 || got[0].LeavingNode != "a2" || got[0].JoiningNode != "a3" {
		t.Errorf("under way: %+v", got)
	}
	l.ok(hydrated(about(1, 1, 0, 2)))
	pg = l.ok(finish(about(1, 1, 0, 2))).PG
	if pg.Membership != 3 || pg.Joint() || !slices.Equal(nodesOf(pg), []string{"a1", "a3", "b1", "b2", "c1", "c2"}) {
		t.Fatalf("after finish: %+v", pg)
	}
	l.refuses(block.NotFound, finish(about(1, 1, 0, 3)))
}

// TestR23NothingChangesDuringRecovery (trap T12): an opening counts with the
// configuration that it read.
func TestR23NothingChangesDuringRecovery(t *testing.T) {
	l := withGroup(t)
	l.ok(open(1, 1, "g2"))
	l.refuses(block.Unavailable, begin(about(1, 2, 0, 1), 2, 50, "a3"))
	l.ok(done(1, 2))
	l.ok(begin(about(1, 2, 0, 1), 2, 50, "a3"))
	l.ok(hydrated(about(1, 2, 0, 2)))
	l.ok(open(1, 2, "g"))
	for _, c := range []*pb.Command{hydrated(about(1, 3, 0, 2)), finish(about(1, 3, 0, 2))} {
		l.refuses(block.Unavailable, c)
	}
	l.refuses(block.Fenced, finish(about(1, 2, 0, 2))) // the writer before
	l.ok(done(1, 3))
	l.ok(finish(about(1, 3, 0, 2)))
}

// TestR23ChangeIsCancelledDuringRecovery: who counts with both sets asks more than
// the old one does. Nothing else begins before the opening is done.
func TestR23ChangeIsCancelledDuringRecovery(t *testing.T) {
	l := withGroup(t)
	l.ok(begin(about(1, 1, 0, 1), 2, 50, "a3"))
	l.ok(open(1, 1, "g2"))
	if pg := l.ok(cancel(about(1, 2, 0, 2))).PG; pg.Membership != 3 || pg.Joint() || pg.Departed != 1 {
		t.Errorf("after cancel: %+v", pg)
	}
	l.refuses(block.NotFound, cancel(about(1, 2, 0, 3)))
	l.refuses(block.Unavailable, begin(about(1, 2, 0, 3), 2, 51, "a3"))
	l.refuses(block.Stale, cancel(about(1, 1, 0, 3)))
}

// TestR23CancelOfAnOlderBuildStaysRefused: the log is replayed by newer builds, and
// members of both apply the same entries.
func TestR23CancelOfAnOlderBuildStaysRefused(t *testing.T) {
	l := withGroup(t)
	l.ok(begin(about(1, 1, 0, 1), 2, 50, "a3"))
	l.ok(open(1, 1, "g2"))
	before := l.group()
	c := cancel(about(1, 2, 0, 2))
	c.Version = 3
	entry, err := proto.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	l.next++
	if r := l.s.Apply(l.next-1, entry); !errors.Is(r.Err, block.Unavailable) || l.group().Membership != before.Membership {
		t.Fatalf("%v, the group is %+v", r.Err, l.group())
	}
	l.ok(done(1, 2))
	l.next++
	r := l.s.Apply(l.next-1, entry)
	if now := l.group(); r.Err != nil || now.Joint() {
		t.Fatalf("%v, the group is %+v", r.Err, now)
	}
}

// TestR23ClosedVolumeWaits: without a gateway a change may begin and be
// cancelled, but nobody can prove that it may be finished.
func TestR23ClosedVolumeWaits(t *testing.T) {
	l := withGroup(t)
	l.ok(goodbye(1, 1, true))
	l.ok(begin(about(1, 1, 0, 1), 2, 50, "a3"))
	l.refuses(block.Fenced, hydrated(about(1, 1, 0, 2)))
	l.refuses(block.Fenced, finish(about(1, 1, 0, 2)))
	if pg := l.ok(cancel(about(1, 1, 0, 2))).PG; pg.Membership != 3 || pg.Joint() {
		t.Errorf("after cancel: %+v", pg)
	}
}

// TestR24NewSegmentIsBornInTheEpoch (trap T8): its record says with which
// epoch it has to be born fenced, and that it does not count for data yet.
func TestR24NewSegmentIsBornInTheEpoch(t *testing.T) {
	l := withGroup(t)
	l.ok(open(1, 1, "g2"))
	l.ok(done(1, 2))
	pg := l.ok(begin(about(1, 2, 0, 1), 2, 50, "a3")).PG
	in, ok := pg.Joining()
	if !ok || in.Born != 2 || in.Hydrated {
		t.Errorf("the new segment: %+v", in)
	}
}

// TestR24PlaceOfANewSegment: the copies stay on distinct nodes and spread over
// zones.
func TestR24PlaceOfANewSegment(t *testing.T) {
	l := withGroup(t)
	g := about(1, 1, 0, 1)
	l.refuses(block.Invalid, begin(g, 2, 50, "b3"))  // three in zone b
	l.refuses(block.Invalid, begin(g, 2, 50, "a1"))  // has one
	l.refuses(block.Invalid, begin(g, 2, 50, "a2"))  // the very node
	l.refuses(block.Stale, begin(g, 2, 50, "a9"))    // does not exist
	l.refuses(block.NotFound, begin(g, 9, 50, "a3")) // no such segment
	l.ok(nodeState("a3", metadata.NodeDraining))
	l.refuses(block.Stale, begin(g, 2, 50, "a3"))
}

// TestR26FinishNeedsAHydratedSegment: and the owner's word.
func TestR26FinishNeedsAHydratedSegment(t *testing.T) {
	l := withGroup(t)
	l.ok(begin(about(1, 1, 0, 1), 2, 50, "a3"))
	l.refuses(block.Behind, finish(about(1, 1, 0, 2)))
	l.ok(hydrated(about(1, 1, 0, 2)))
	l.ok(hydrated(about(1, 1, 0, 2))) // again
	if pg := l.group(); pg.Membership != 2 || !pg.Segments[6].Hydrated {
		t.Fatalf("after the mark: %+v", pg)
	}
	l.ok(finish(about(1, 1, 0, 2)))
}

// TestR26CancelIsAlwaysPossible: hydrated or not, the old set stays as it was.
func TestR26CancelIsAlwaysPossible(t *testing.T) {
	for _, marked := range []bool{false, true} {
		l := withGroup(t)
		before := l.group()
		l.ok(begin(about(1, 1, 0, 1), 2, 50, "a3"))
		if marked {
			l.ok(hydrated(about(1, 1, 0, 2)))
		}
		after := l.ok(cancel(about(1, 1, 0, 2))).PG
		if after.Membership != 3 || after.Joint() || !slices.Equal(after.Segments, before.Segments) {
			t.Errorf("marked %v: %+v", marked, after)
		}
	}
}

// TestR28SegmentThatLeftIsDropped: its node is told until it says so; it never
// comes back. It counts as the node's until then, and goes with the node.
func TestR28SegmentThatLeftIsDropped(t *testing.T) {
	l := withGroup(t)
	l.ok(begin(about(1, 1, 0, 1), 2, 50, "a3"))
	if d := l.s.Doomed("a2", 9); len(d) != 0 {
		t.Fatalf("to be dropped while two sets are in force: %v", d)
	}
	l.ok(hydrated(about(1, 1, 0, 2)))
	l.ok(finish(about(1, 1, 0, 2)))
	want := metadata.SegmentRef{Volume: volumeID(1), PG: 0, Segment: block.SegmentID(id(2))}
	if d := l.s.Doomed("a2", 9); !slices.Equal(d, []metadata.SegmentRef{want}) || l.segmentsOf("a2") != 1 {
		t.Fatalf("a2 has to drop %v, holds %d", d, l.segmentsOf("a2"))
	}
	if n := l.group().Departed; n != 1 {
		t.Errorf("the group tells of %d segments that may still serve a gateway that does not know", n)
	}
	restored, err := state.Restore(bytes.NewReader(l.snapshot()))
	if err != nil || len(restored.Doomed("a2", 9)) != 1 {
		t.Fatalf("a snapshot forgets who departed: %v", err)
	}
	l.ok(forget("a2", 1, 0, 2))
	if n := l.group().Departed; n != 0 {
		t.Errorf("%d departed after the last was dropped", n)
	}
	if d := l.s.Doomed("a2", 9); len(d) != 0 || l.segmentsOf("a2") != 0 {
		t.Fatalf("a2 has dropped it, but: %v, %d", d, l.segmentsOf("a2"))
	}
	l.ok(begin(about(1, 1, 0, 3), 1, 51, "a2"))
	l.ok(cancel(about(1, 1, 0, 4)))
	l.ok(nodeState("a2", metadata.NodeRemoved)) // dead for good, before it dropped anything
	if n := l.segmentsOf("a2"); n != 0 {
		t.Errorf("a node that was removed still counts %d segments", n)
	}
}

// TestDeletedVolumeForgetsItsChange: both sets' segments are dropped, and those
// that departed.
func TestDeletedVolumeForgetsItsChange(t *testing.T) {
	l := withGroup(t)
	l.ok(begin(about(1, 1, 0, 1), 3, 50, "b3"))
	l.ok(cancel(about(1, 1, 0, 2)))
	l.ok(begin(about(1, 1, 0, 3), 2, 51, "a3"))
	l.ok(goodbye(1, 1, true))
	l.ok(remove(1, 1))
	l.ok(forget("a3", 1, 0, 51))
	for i, n := range six {
		l.ok(forget(n, 1, 0, uint64(i+1)))
	}
	if d := l.s.Doomed("b3", 9); len(d) != 1 {
		t.Fatalf("b3 has to drop %v", d)
	}
	l.ok(forget("b3", 1, 0, 50))
	if _, err := l.s.Volume(volumeID(1).String()); err == nil {
		t.Error("the volume is still there")
	}
}

// TestLeaseTellsOfChanges: of those under way, and of those that the writer
// knows under another membership epoch.
func TestLeaseTellsOfChanges(t *testing.T) {
	l := withGroup(t)
	known := func(m block.MembershipEpoch) []metadata.PGMembership {
		return []metadata.PGMembership{{PG: 0, Membership: m}}
	}
	if got := l.s.Changing(volumeID(1), nil); len(got) != 0 {
		t.Errorf("nothing changes, but: %v", got)
	}
	l.ok(begin(about(1, 1, 0, 1), 2, 50, "a3"))
	if got := l.s.Changing(volumeID(1), nil); !slices.Equal(got, known(2)) {
		t.Errorf("under way: %v", got)
	}
	l.ok(cancel(about(1, 1, 0, 2)))
	if got := l.s.Changing(volumeID(1), known(2)); !slices.Equal(got, known(3)) {
		t.Errorf("cancelled: %v", got)
	}
	if got := l.s.Changing(volumeID(1), known(3)); len(got) != 0 {
		t.Errorf("the writer knows, but: %v", got)
	}
}

// TestR23GroupsThatCannotBeOpenedStayFrozen: and only those. Each opening begins
// with all of them frozen.
func TestR23GroupsThatCannotBeOpenedStayFrozen(t *testing.T) {
	l := withGroup(t)
	l.ok(place(1, 1, 1, 11, six...))
	without := func(epoch uint32, groups ...uint32) *pb.Command {
		return &pb.Command{Body: &pb.Command_OpenDone{OpenDone: &pb.OpenDone{Id: id(1), Epoch: epoch, Unopened: groups}}}
	}
	l.ok(open(1, 1, "g2"))
	l.ok(without(2, 1, 1, 0))
	l.refuses(block.Unavailable, begin(about(1, 2, 0, 1), 2, 50, "a3"))
	l.ok(without(2, 1))
	l.ok(begin(about(1, 2, 0, 1), 2, 50, "a3"))
	l.refuses(block.Unavailable, begin(about(1, 2, 1, 1), 12, 51, "a3"))
	restored, err := state.Restore(bytes.NewReader(l.snapshot()))
	if err != nil || !bytes.Equal(snapshotOf(t, restored), l.snapshot()) {
		t.Fatalf("a snapshot forgets which groups are frozen: %v", err)
	}
	l.ok(without(2))
	l.ok(begin(about(1, 2, 1, 1), 12, 51, "a3"))
	l.ok(open(1, 2, "g"))
	l.refuses(block.Unavailable, finish(about(1, 3, 0, 2)))
	l.refuses(block.Invalid, without(3, make([]uint32, metadata.MaxUnopened+1)...))
}
