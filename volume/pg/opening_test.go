package pg

import (
	"slices"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/wire"
)

// TestOpeningFencesFirst: nothing but Join goes out before a read quorum has
// answered (protocol §2.5 steps 2 and 3).
func TestOpeningFencesFirst(t *testing.T) {
	w := newWorld(t)
	w.up(0, 1)
	if len(w.sends) != 0 {
		t.Fatalf("an idle group sends %+v", w.sends)
	}
	w.wantPhase(Idle)
	if w.m.NeedsTick() {
		t.Error("an idle group wants ticks")
	}
	w.start(2, 3, 4, 5)
	w.step(Input{Kind: Start}) // once is enough
	for _, i := range everyone {
		if got := w.kinds(i); !slices.Equal(got, []SendKind{SendJoin}) {
			t.Fatalf("member %d was sent %v", i, got)
		}
	}
	w.collect()
	w.ack(old(5), 0, 1)
	w.wait(time.Second)
	w.wantPhase(Fencing)
	w.wantSent(0)
	if !w.m.NeedsTick() {
		t.Error("a group that is being opened wants no ticks")
	}
}

// TestOpeningTakesTheHighest: the recovery point is the highest SCL of those
// who may be counted, after a grace for more answers (§2.5 steps 3 and 4).
func TestOpeningTakesTheHighest(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.ack(old(4), 0)
	w.say(1, wire.Ack{SCL: old(9), Damaged: true}) // counts for the fence only
	w.ack(old(6), 2)
	w.wait(time.Second)
	w.wantPhase(Fencing)
	w.ack(old(5), 3)
	w.wait(FenceGrace - time.Millisecond)
	w.wantPhase(Fencing)
	w.ack(old(7), 4) // within the grace
	w.wait(time.Millisecond)
	w.wantPhase(Opening)
	if got := w.m.ring.at(0); got.Prev != old(7) || got.LSN != at(1) || got.Type != wire.RecordOpen {
		t.Fatalf("EPOCH_OPEN is %v after %v", got.LSN, got.Prev)
	}
	// Only who has the point gets it in the stream; the others catch up
	// from that member.
	w.wantSent(4, at(1))
	for _, s := range w.catchUps() {
		if s.Donor != 4 || s.UpTo != old(7) {
			t.Errorf("member %d is sent to member %d up to %v", s.Member, s.Donor, s.UpTo)
		}
	}
	w.wantState(0, CatchingUp)
	w.wantState(2, CatchingUp)
}

// TestOpeningServesOnAWriteQuorum: Opened comes with the fourth copy of
// EPOCH_OPEN, not with the third (trap T7); then what waited is issued, in
// its order.
func TestOpeningServesOnAWriteQuorum(t *testing.T) {
	w := newWorld(t)
	w.start()
	a, b := w.write(1), w.write(1)
	w.ack(old(3), everyone...)
	w.ack(at(1), 0, 1, 2)
	if w.opened || a.LSN != 0 {
		t.Fatal("opened with three copies")
	}
	w.forget()
	w.ack(at(1), 3)
	if !w.opened || a.LSN != at(2) || b.LSN != at(3) || a.Prev != at(1) {
		t.Fatalf("opened %v, waiting writes got %v and %v", w.opened, a.LSN, b.LSN)
	}
	w.wantSent(0, at(2), at(3))
	w.ack(at(3), everyone...)
	w.wantDone(at(2), at(3))
}

// TestOpeningOtherBranch: a member that stands above the recovery point, on a
// branch that was not chosen, is offered EPOCH_OPEN; when it does not link it
// is sent to a peer.
func TestOpeningOtherBranch(t *testing.T) {
	w := newWorld(t)
	w.start(everyone[:5]...)
	w.ack(old(3), everyone[:5]...)
	w.wait(FenceGrace)
	w.wantPhase(Opening)
	w.up(5)
	w.ack(old(8), 5)
	w.wantState(5, Streaming)
	w.wantSent(5, at(1))
	if w.m.Serves(5, old(8)) {
		t.Error("a member on another branch serves reads")
	}
	w.ack(at(1), everyone[:4]...)
	if w.m.Committed() != at(1) {
		t.Fatalf("PGCL %v: a branch that was not chosen counts", w.m.Committed())
	}
	w.forget()
	w.say(5, wire.Ack{SCL: old(8), Gap: true})
	w.wantState(5, Joining)
	w.ack(old(8), 5) // after the ring has let EPOCH_OPEN go, or with it: no link
	w.say(5, wire.Ack{SCL: old(8), Gap: true})
	if s := w.m.Member(5); s.State == Unreachable || s.SCL != old(8) {
		t.Errorf("member 5 is %+v", s)
	}
}

// TestOpeningBranchDoesNotCount: SCLs of other branches never count for PGCL
// (only what lies on our own chain).
func TestOpeningBranchDoesNotCount(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.ack(old(9), everyone...)
	w.ack(old(9), everyone...)
	w.wantPhase(Opening)
	if w.m.Committed() != 0 {
		t.Fatalf("PGCL is %v before EPOCH_OPEN is anywhere", w.m.Committed())
	}
}

// TestOpeningIsStuck: when all who have the recovery point are gone, this
// epoch cannot choose another one: it says so, after a while.
func TestOpeningIsStuck(t *testing.T) {
	w := newWorld(t)
	w.start(0, 1, 2)
	w.ack(old(3), 0, 1)
	w.ack(old(5), 2)
	w.wait(FenceGrace)
	w.wantPhase(Opening)
	w.down(2)
	w.up(3)
	w.ack(old(3), 3)
	w.wait(StuckAfter - 50*time.Millisecond)
	if w.stuck {
		t.Fatal("gave up early")
	}
	// The donor shows up for a moment: time begins anew.
	w.up(2)
	w.ack(old(5), 2)
	w.wait(50 * time.Millisecond)
	w.down(2)
	w.wait(StuckAfter - 50*time.Millisecond)
	if w.stuck {
		t.Fatal("did not begin to count anew")
	}
	if w.wait(100 * time.Millisecond); !w.stuck {
		t.Fatal("an opening that cannot end goes on for ever")
	}
}

// TestR3HigherEpochIsTheEnd: whoever refuses with a higher epoch ends the
// machine: nothing is answered, nothing fails, nothing is sent any more
// (trap T32).
func TestR3HigherEpochIsTheEnd(t *testing.T) {
	w := newWorld(t)
	w.open()
	r := w.write(1)
	w.collect()
	w.ack(at(2), 0, 1, 2)
	w.forget()
	w.refuse(3, wire.Refuse{Kind: block.Fenced, Epoch: epoch + 1})
	if w.fenced != epoch+1 {
		t.Fatalf("fenced by %d", w.fenced)
	}
	w.wantPhase(Dead)
	w.ack(at(2), 3, 4, 5)
	w.step(Input{Kind: Issue, Record: write(block.Size)})
	w.collect()
	w.wait(2 * hold)
	w.up(3)
	if len(w.done)+len(w.failed)+len(w.sends)+len(w.freed) != 0 {
		t.Fatalf("done %v, failed %v, sent %v after the end", w.done, w.failed, w.sends)
	}
	if _, ok := w.beginRead(); ok || w.m.MayReturn(w.now, w.now) || w.m.NeedsTick() {
		t.Error("a dead machine serves")
	}
	unanswered, all := w.m.Abandon()
	if !slices.Equal(unanswered, []*Record{r}) || !slices.Equal(all, []*Record{r}) {
		t.Errorf("abandoned %v of %v", unanswered, all)
	}
}

// TestR3LowerEpochIsNone: a refusal that names our epoch or a lower one does
// not end us: the member is asked again after a while.
func TestR3LowerEpochIsNone(t *testing.T) {
	w := newWorld(t)
	w.open()
	w.refuse(5, wire.Refuse{Kind: block.Unavailable, Epoch: epoch, Message: "disk is ill"})
	w.wantState(5, Refusing)
	if got := w.m.Member(5).Reason; got != "disk is ill" {
		t.Errorf("reason %q", got)
	}
	w.ack(at(1), 5) // a late word does not make it stream
	w.wantState(5, Refusing)
	if w.wait(RetryEvery / 2); len(w.kinds(5)) != 0 {
		t.Fatalf("asked again at once: %v", w.kinds(5))
	}
	if w.wait(RetryEvery / 2); !slices.Equal(w.kinds(5), []SendKind{SendJoin}) {
		t.Fatalf("member 5 was sent %v after a while", w.kinds(5))
	}
	w.ack(at(1), 5)
	w.wantState(5, Streaming)
	w.down(4)
	w.refuse(4, wire.Refuse{Kind: block.Unavailable}) // from a connection that is gone
	w.wantState(4, Unreachable)
}

// TestB7AbandonTellsApart: at the end, records whose owners were told are
// only let go; the others are handed back to be told neither way.
func TestB7AbandonTellsApart(t *testing.T) {
	w := newWorld(t)
	w.open()
	a, b := w.write(1), w.write(1)
	w.collect()
	w.ack(at(2), 0, 1, 2, 3)
	w.wantDone(at(2))
	unanswered, all := w.m.Abandon()
	if !slices.Equal(unanswered, []*Record{b}) || !slices.Equal(all, []*Record{a, b}) {
		t.Fatalf("unanswered %v of %v", unanswered, all)
	}
	// While a former lease may last nothing was answered, committed or not.
	w = newWorld(t)
	w.start(0, 1, 2, 3)
	w.ack(0, 0, 1, 2, 3)
	w.wait(FenceGrace)
	c := w.write(1)
	w.ack(at(1), 0, 1, 2, 3)
	w.ack(at(2), 0, 1, 2, 3)
	if unanswered, _ = w.m.Abandon(); !slices.Equal(unanswered, []*Record{c}) {
		t.Fatalf("unanswered %v", unanswered)
	}
	// Nothing was opened at all.
	w = newWorld(t)
	w.start(0)
	d := w.write(1)
	if unanswered, all = w.m.Abandon(); !slices.Equal(unanswered, []*Record{d}) || !slices.Equal(all, unanswered) {
		t.Fatalf("unanswered %v of %v", unanswered, all)
	}
}

// TestNames pins what people and scripts read.
func TestNames(t *testing.T) {
	for p, want := range map[Phase]string{Idle: "idle", Fencing: "fencing", Opening: "opening", Open: "open", Dead: "dead"} {
		if p.String() != want {
			t.Errorf("phase %d is %q", p, p)
		}
	}
	for s, want := range map[State]string{Unreachable: "unreachable", Joining: "joining", Streaming: "streaming",
		Lagging: "lagging", CatchingUp: "catching-up", Refusing: "refusing"} {
		if s.String() != want {
			t.Errorf("state %d is %q", s, s)
		}
	}
}

// TestNeedsTick: a group wants ticks as long as time can make a difference.
func TestNeedsTick(t *testing.T) {
	for name, spoil := range map[string]func(w *world){
		"a former lease":    func(w *world) { w.m.holdUntil = w.now + 1 },
		"a pending write":   func(w *world) { w.write(1) },
		"a read":            func(w *world) { w.beginRead() },
		"a member refusing": func(w *world) { w.refuse(3, wire.Refuse{Kind: block.Stale}) },
	} {
		w := newWorld(t)
		w.open()
		w.wait(ActiveFor)
		w.ack(at(1), everyone...)
		w.wait(ActiveFor)
		w.down(5) // nothing can be done about it
		if w.m.NeedsTick() {
			t.Fatalf("%s: ticks are wanted before it", name)
		}
		spoil(w)
		if !w.m.NeedsTick() {
			t.Errorf("%s: no ticks are wanted", name)
		}
	}
}
