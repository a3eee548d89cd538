package pg

import (
	"slices"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/volume/quorum"
	"github.com/sextantdisk/sextant/wire"
)

// sets is a configuration of seven segments, of whom those in no set are not
// there. In these tests segment 5 gives way to segment 6: both sets are in
// force, then the new one is marked hydrated.
func sets(m block.MembershipEpoch, sets ...[]quorum.Member) *quorum.Config {
	c := &quorum.Config{Epoch: m, Segments: make([]block.SegmentID, 7)}
	for _, members := range sets {
		c.Sets = append(c.Sets, ofSix(members))
	}
	for i := range c.Segments {
		if c.Members().Has(quorum.Member(i)) {
			c.Segments[i] = block.SegmentID{byte(i + 1)}
		}
	}
	return c
}

var newSix = []quorum.Member{0, 1, 2, 3, 4, 6}

func both() *quorum.Config {
	c := sets(2, everyone, newSix)
	c.Unhydrated = map[quorum.Member]bool{6: true}
	return c
}

func marked() *quorum.Config { return sets(2, everyone, newSix) }

// changing is a world whose group is open and in which both sets are in force;
// the new segment was JOINed and is empty.
func changing(t *testing.T) *world {
	w := newWorld(t, func(c *Config) { c.Quorum = sets(1, everyone); c.Quorum.Segments = c.Quorum.Segments[:6] })
	w.open()
	w.write(1)
	w.collect()
	w.ack(at(2), everyone...)
	w.forget()
	w.step(Input{Kind: Reconfigure, Config: both()})
	w.up(6)
	return w
}

// installed has members answer that they have the change on disk.
func (w *world) installed(scl block.LSN, members ...quorum.Member) { w.installedAs(2, scl, members...) }

// installedAs is installed for any membership epoch.
func (w *world) installedAs(m block.MembershipEpoch, scl block.LSN, members ...quorum.Member) {
	for _, i := range members {
		w.say(i, wire.Ack{SCL: scl, Identity: wire.Identity{Member: m}})
	}
}

func (w *world) wantChange(point block.LSN, caught, mayFinish bool) {
	w.t.Helper()
	if c := w.m.Change(); c.Point != point || c.Caught != caught || c.MayFinish != mayFinish {
		w.t.Fatalf("change %+v, want sync point %v, caught %v, may finish %v", c, point, caught, mayFinish)
	}
}

// TestR25BothSetsAcknowledge: as soon as both sets are in force.
func TestR25BothSetsAcknowledge(t *testing.T) {
	w := changing(t)
	w.write(1)
	w.collect()
	if got := w.sent(5); !slices.Equal(got, []block.LSN{at(3)}) {
		t.Errorf("the segment that leaves was sent %v", got)
	}
	w.ack(at(3), 1, 2, 3, 5) // four of the old set, three of the new one
	w.wantDone()
	w.ack(at(3), 0)
	w.wantDone(at(3))
}

// TestR26InstalledBeforeTheSyncPoint (trap T11): members are told at once, also
// when nothing is written; the sync point is known when three of the old set
// have it on disk, and not by acks of before.
func TestR26InstalledBeforeTheSyncPoint(t *testing.T) {
	w := changing(t)
	for _, i := range everyone {
		if got := w.kinds(i); !slices.Equal(got, []SendKind{SendPing}) {
			t.Errorf("member %d was sent %v", i, got)
		}
	}
	w.ack(at(2), everyone...) // acks that quote the membership epoch before
	w.wantChange(0, false, false)
	w.installed(at(2), 0, 1)
	w.installed(0, 6)
	w.wantChange(0, false, false) // the new one is none of the old set
	w.installed(at(2), 5)
	w.wantChange(at(2), false, false)
	w.forget()
	w.wait(2 * PingEvery)
	if got := w.kinds(2); len(got) == 0 || got[0] != SendPing {
		t.Errorf("a member that has not said that it installed the change was sent %v", got)
	}
}

// TestR26ProofToFinish: the new segment at the sync point may be marked; then
// four of the new set at the sync point let it stay alone.
func TestR26ProofToFinish(t *testing.T) {
	w := changing(t)
	w.write(1)
	w.collect()
	w.installed(at(3), 5)
	w.installed(at(2), 0, 1) // P* is what member 5 has
	w.wantChange(at(3), false, false)
	w.installed(at(2), 6)
	w.wantChange(at(3), false, false)
	w.installed(at(3), 6)
	w.wantChange(at(3), true, false)
	w.step(Input{Kind: Reconfigure, Config: marked()})
	w.wantChange(at(3), false, false) // 5 leaves; of the others only 6 has it
	w.installed(at(3), 0, 1)
	w.wantChange(at(3), false, false)
	w.installed(at(3), 2)
	w.wantChange(at(3), false, true)
}

// TestR26AfterTheEnd: the segment that left is nobody any more: it is sent
// nothing, keeps nothing in the ring, and does not count.
func TestR26AfterTheEnd(t *testing.T) {
	w := changing(t)
	w.installed(at(2), everyone...)
	w.installed(at(2), 6)
	w.step(Input{Kind: Reconfigure, Config: marked()})
	w.wantChange(at(2), false, true)
	w.down(5)
	w.forget()
	w.step(Input{Kind: Reconfigure, Config: sets(3, newSix)})
	if c := w.m.Change(); c.Joint {
		t.Errorf("change %+v", c)
	}
	w.write(1)
	w.collect()
	if got := w.sent(5); got != nil {
		t.Errorf("the segment that left was sent %v", got)
	}
	w.ack(at(3), newSix...)
	w.wantDone(at(3))
	if len(w.freed) == 0 || w.m.RingBytes() != 0 {
		t.Errorf("the ring keeps %v for a segment that left", w.m.RingBytes())
	}
}

// TestR26CancelDropsTheNewOne: with whatever it has.
func TestR26CancelDropsTheNewOne(t *testing.T) {
	w := changing(t)
	w.installed(at(2), everyone...)
	w.forget()
	w.step(Input{Kind: Reconfigure, Config: sets(3, everyone)})
	w.write(1)
	w.collect()
	w.ack(at(3), 2, 3, 4, 5)
	w.wantDone(at(3))
	if got := w.sent(6); got != nil {
		t.Errorf("the segment that was dropped was sent %v", got)
	}
}

// TestR27CommittedStays: under the new sets less may have a quorum than was
// committed; that is never taken back, and nothing is answered twice.
func TestR27CommittedStays(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Quorum = sets(1, everyone); c.Quorum.Segments = c.Quorum.Segments[:6] })
	w.open()
	w.write(1)
	w.collect()
	w.ack(at(2), 2, 3, 4, 5)
	w.wantDone(at(2))
	w.forget()
	w.step(Input{Kind: Reconfigure, Config: both()}) // of the new set three have it
	if got := w.m.Committed(); got != at(2) {
		t.Fatalf("committed went from %v to %v", at(2), got)
	}
	w.write(1)
	w.collect()
	w.ack(at(3), 2, 3, 4, 5)
	w.wantDone()
	w.ack(at(3), 0)
	w.wantDone(at(3))
}

// TestR27StaleRefusalHasTheConfigurationReread: and an older one does not undo
// what is in force.
func TestR27StaleRefusalHasTheConfigurationReread(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Quorum = sets(1, everyone); c.Quorum.Segments = c.Quorum.Segments[:6] })
	w.open()
	fx := w.step(Input{Kind: Refused, Member: 1, Refuse: &wire.Refuse{Kind: block.Stale, Member: 2, Message: "knows 2"}})
	if !fx.Outdated {
		t.Fatal("a refusal for a lower membership epoch passes unnoticed")
	}
	w.forget()
	w.step(Input{Kind: Reconfigure, Config: both()})
	if got := w.kinds(1); !slices.Equal(got, []SendKind{SendJoin}) {
		t.Errorf("the member that refused was sent %v, want a JOIN at once", got)
	}
	w.step(Input{Kind: Reconfigure, Config: sets(1, everyone)})
	if !w.m.Change().Joint {
		t.Error("an older configuration is taken")
	}
	if fx := w.step(Input{Kind: Refused, Member: 1, Refuse: &wire.Refuse{Kind: block.Stale, Member: 2, Message: "knows 2"}}); fx.Outdated {
		t.Error("a refusal of one's own membership epoch has it read anew")
	}
}

// TestR23ConfigurationIsFrozenDuringTheOpening (trap T12): and as long as a
// former writer may read: a segment that leaves might serve it unfenced.
func TestR23ConfigurationIsFrozenDuringTheOpening(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Quorum = sets(1, everyone); c.Quorum.Segments = c.Quorum.Segments[:6] })
	change := func() bool {
		w.step(Input{Kind: Reconfigure, Config: both()})
		return w.m.Change().Joint
	}
	if change() {
		t.Fatal("changed before the opening")
	}
	w.start(0, 1, 2, 3, 4)
	w.ack(0, 0, 1, 2, 3, 4)
	w.wait(FenceGrace)
	if w.wantPhase(Opening); change() {
		t.Fatal("changed during the opening")
	}
	w.ack(at(1), 0, 1, 2, 3, 4)
	if w.wantPhase(Open); change() {
		t.Fatal("changed while a former writer may read from a segment that is not fenced")
	}
	w.wait(quorum.LeaseWait)
	if !change() {
		t.Fatal("not changed when it could be")
	}
}

// TestR14SegmentThatLeftMayServeAFormerWriter: one that does not know of the
// change may read there, whoever of the members is fenced; only a goodbye or the
// end of its lease helps.
func TestR14SegmentThatLeftMayServeAFormerWriter(t *testing.T) {
	for name, clean := range map[string]bool{"after a goodbye": true, "after a crash": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(c *Config) { c.Departed, c.Clean = true, clean })
			w.open()
			w.write(1)
			w.collect()
			w.ack(at(2), everyone...)
			if _, ok := w.beginRead(); ok != clean || (len(w.done) == 1) != clean {
				t.Fatalf("with all fenced: read %v, answered %v", ok, w.done)
			}
			w.wait(quorum.LeaseWait)
			if !w.m.LeaseSettled() {
				t.Error("the former lease is waited for without end")
			}
			w.wantDone(at(2))
		})
	}
}

// TestR25OpeningWithBothSets: the fence and EPOCH_OPEN need both; the writer
// goes on with the change.
func TestR25OpeningWithBothSets(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Quorum = both() })
	join := func(scl block.LSN, members ...quorum.Member) { w.installed(scl, members...) }
	w.start(0, 1, 5, 6)
	join(old(7), 0, 1, 5)
	w.wait(2 * FenceGrace)
	w.wantPhase(Fencing) // the new set lacks a third
	join(0, 6)
	w.wait(2 * FenceGrace)
	w.wantPhase(Opening)
	w.up(2, 3)
	join(old(7), 2, 3)
	join(at(1), 0, 1, 5, 2) // four of the old set, three of the new one
	w.wantPhase(Opening)
	join(at(1), 3)
	w.wantPhase(Open)
	w.wait(quorum.LeaseWait)
	w.wantChange(at(1), false, false)
	join(at(1), 6)
	w.wantChange(at(1), true, false)
}
