package pg

import (
	"slices"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/volume/quorum"
	"github.com/sextantdisk/sextant/wire"
)

// TestR11ReadPointIsPGCL: a read sees what a write quorum has, and is served
// by members that have acknowledged it and are connected.
func TestR11ReadPointIsPGCL(t *testing.T) {
	w := newWorld(t)
	w.open()
	w.write(1)
	w.write(1)
	w.collect()
	w.ack(at(2), 0, 1, 2, 3)
	w.ack(at(3), 4)
	p, ok := w.beginRead()
	if !ok || p != at(2) {
		t.Fatalf("read-point %v, %v; PGCL is %v", p, ok, w.m.Committed())
	}
	w.down(0)
	for i, want := range []bool{false, true, true, true, true, false} {
		if got := w.m.Serves(quorum.Member(i), p); got != want {
			t.Errorf("member %d may serve at %v: %v, want %v", i, p, got, want)
		}
	}
	w.refuse(1, wire.Refuse{Kind: block.Unavailable, Message: "no"})
	if w.m.Serves(1, p) {
		t.Error("a member that refuses serves")
	}
}

// TestR11CatchingUpServesWhatItHas: a lagging member serves up to its SCL.
func TestR11CatchingUpServesWhatItHas(t *testing.T) {
	w := lagging(t)
	if !w.m.Serves(5, at(1)) || w.m.Serves(5, at(2)) {
		t.Error("a member at SCL 1 serves otherwise than up to there")
	}
}

// TestR12UnquorumedIsNotRead: a write that three of six have is not read, and
// is read as soon as the fourth has it.
func TestR12UnquorumedIsNotRead(t *testing.T) {
	w := newWorld(t)
	w.open()
	w.write(1)
	w.collect()
	w.ack(at(2), 0, 1, 2)
	if p, ok := w.beginRead(); !ok || p != at(1) {
		t.Fatalf("read-point %v, %v with three acks", p, ok)
	}
	w.ack(at(2), 3)
	if p, ok := w.beginRead(); !ok || p != at(2) {
		t.Fatalf("read-point %v, %v with four acks", p, ok)
	}
}

// TestR12NothingBeforeTheOpening: no read before EPOCH_OPEN is on a write
// quorum (trap T7).
func TestR12NothingBeforeTheOpening(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.ack(old(9), everyone...)
	if _, ok := w.beginRead(); ok {
		t.Fatal("a read before EPOCH_OPEN is anywhere")
	}
	w.ack(at(1), 0, 1, 2)
	if _, ok := w.beginRead(); ok {
		t.Fatal("a read with EPOCH_OPEN on three of six")
	}
	w.ack(at(1), 3)
	if p, ok := w.beginRead(); !ok || p != at(1) {
		t.Fatalf("read-point %v, %v", p, ok)
	}
}

// TestR13FloorIsTheOldestRead: the floor that goes with each message is the
// oldest read-point under way, and never above PGCL.
func TestR13FloorIsTheOldestRead(t *testing.T) {
	w := newWorld(t)
	w.open()
	w.beginRead()
	w.beginRead()
	w.write(1)
	w.collect()
	w.ack(at(2), everyone...)
	w.beginRead()
	w.write(1)
	w.collect()
	w.ack(at(3), everyone...)
	floor := func(want block.LSN) {
		t.Helper()
		w.forget()
		w.write(1)
		w.collect()
		w.ack(w.m.Tail(), everyone...)
		for _, s := range w.sends {
			if s.Progress.Floor != want || s.Progress.Floor > s.Progress.Committed {
				t.Fatalf("floor %v with PGCL %v was sent, want %v", s.Progress.Floor, s.Progress.Committed, want)
			}
		}
		if w.m.Floor() != want && want != w.m.Committed()-1 {
			t.Fatalf("floor %v, want %v", w.m.Floor(), want)
		}
	}
	floor(at(1)) // two reads at 1, one at 2
	w.m.EndRead(at(1))
	floor(at(1))
	w.m.EndRead(at(1))
	floor(at(2))
	w.m.EndRead(at(2))
	floor(w.m.Committed())
}

// TestR13FloorIsToldWhenIdle: members hear of the floor without a write.
func TestR13FloorIsToldWhenIdle(t *testing.T) {
	w := newWorld(t)
	w.open()
	w.write(1)
	w.collect()
	w.ack(at(2), everyone...)
	w.forget()
	if !w.m.NeedsTick() {
		t.Fatal("nobody will tell the floor")
	}
	w.wait(2 * PingEvery)
	for _, i := range everyone {
		if got := w.kinds(i); len(got) == 0 || got[0] != SendPing {
			t.Errorf("member %d was sent %v", i, got)
		}
	}
	if f := w.sends[0].Progress.Floor; f != at(2) {
		t.Errorf("floor %v was told", f)
	}
}

// TestR14LeaseRunsOut: reads need an answer of three of six to something sent
// within the term; pings renew it.
func TestR14LeaseRunsOut(t *testing.T) {
	w := newWorld(t)
	w.open()
	if _, ok := w.beginRead(); !ok {
		t.Fatal("no read right after the opening")
	}
	w.now += quorum.LeaseTerm + time.Microsecond // stamps run ahead by nanoseconds
	if _, ok := w.beginRead(); ok {
		t.Fatal("a read after the term, with no word from anybody")
	}
	if w.m.MayReturn(w.now, longAgo) {
		t.Fatal("bytes may be returned after the term")
	}
	for _, i := range everyone {
		if !slices.Equal(w.kinds(i), []SendKind{SendPing}) {
			t.Fatalf("member %d was sent %v, want a ping", i, w.kinds(i))
		}
	}
	w.forget()
	if w.beginRead(); len(w.sends) != 0 {
		t.Fatal("pinged again before the answer could come")
	}
	w.ack(at(1), 0, 1)
	if _, ok := w.beginRead(); ok {
		t.Fatal("a read with the word of two")
	}
	w.ack(at(1), 2)
	if !w.readable {
		t.Error("nobody was told that reads may be tried again")
	}
	if _, ok := w.beginRead(); !ok {
		t.Fatal("no read with the word of three")
	}
	if !w.m.MayReturn(w.now+quorum.LeaseTerm-time.Microsecond, longAgo) || w.m.MayReturn(w.now+quorum.LeaseTerm+time.Millisecond, longAgo) {
		t.Error("the term is not two seconds from when the pings were sent")
	}
}

// TestR14OldAnswersRenewNothing: the term counts from when the message was
// sent, not from when its answer came.
func TestR14OldAnswersRenewNothing(t *testing.T) {
	w := newWorld(t)
	w.open()
	w.now += quorum.LeaseTerm - 1
	w.beginRead()
	w.now += quorum.LeaseTerm
	w.ack(at(1), everyone...) // they took two seconds
	if _, ok := w.beginRead(); ok {
		t.Fatal("an answer renewed the lease from when it came")
	}
}

// TestR14MetadataIsASecondSource: the metadata service's word that no higher
// epoch had begun is as good (docs/adr/0002), and goes stale as fast.
func TestR14MetadataIsASecondSource(t *testing.T) {
	w := newWorld(t)
	w.open()
	w.now += time.Hour
	if _, _, ok := w.m.BeginRead(w.now, w.now-quorum.LeaseTerm); ok {
		t.Fatal("a read on a confirmation of two seconds ago")
	}
	if _, _, ok := w.m.BeginRead(w.now, w.now-quorum.LeaseTerm+1); !ok {
		t.Fatal("no read on a fresh confirmation")
	}
}

// TestB5ReadsGoOnWithOneOfSix: five of six are gone; the one that is complete
// serves, on the metadata service's word.
func TestB5ReadsGoOnWithOneOfSix(t *testing.T) {
	w := newWorld(t)
	w.open()
	w.down(0, 1, 2, 3, 4)
	w.wait(time.Minute)
	p, _, ok := w.m.BeginRead(w.now, w.now)
	if !ok || !w.m.Serves(5, p) {
		t.Fatalf("read at %v: %v", p, ok)
	}
}

// TestR14NewWriterWaitsForTheOldLease: with one member unfenced, neither
// writes are answered nor reads begun before the former lease has run out
// (docs/adr/0001); after that both are.
func TestR14NewWriterWaitsForTheOldLease(t *testing.T) {
	w := newWorld(t)
	five := everyone[:5]
	w.start(five...)
	w.ack(old(3), five...)
	w.wait(FenceGrace)
	w.write(1)
	w.ack(at(1), five...)
	w.wantPhase(Open)
	opened := w.now
	w.ack(at(2), five...)
	w.wantDone()
	if _, ok := w.beginRead(); ok || w.m.LeaseSettled() {
		t.Fatal("a read within the former writer's lease")
	}
	for w.now < opened+quorum.LeaseWait-50*time.Millisecond {
		w.wait(50 * time.Millisecond)
		w.ack(w.m.Tail(), five...)
	}
	w.wantDone()
	w.readable = false
	w.wait(50 * time.Millisecond)
	w.wantDone(at(2))
	if !w.readable || !w.m.LeaseSettled() {
		t.Error("nobody was told that reads may begin")
	}
	if p, ok := w.beginRead(); !ok || p != at(2) {
		t.Errorf("read-point %v, %v", p, ok)
	}
}

// TestR14AnAckEndsTheWaitToo: after the wait the next ack answers, without
// a tick.
func TestR14AnAckEndsTheWaitToo(t *testing.T) {
	w := newWorld(t)
	five := everyone[:5]
	w.start(five...)
	w.ack(0, five...)
	w.wait(FenceGrace)
	w.write(1)
	w.ack(at(1), five...)
	w.ack(at(2), 0, 1, 2, 3)
	w.now += quorum.LeaseWait
	w.ack(at(2), 4)
	w.wantDone(at(2))
}

// TestR14NoWaitWhenNobodyCanRead: all six fenced, or a goodbye, or a group
// placed in this epoch: nothing to wait for.
func TestR14NoWaitWhenNobodyCanRead(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*Config)
		members []quorum.Member
	}{
		"all fenced": {func(*Config) {}, everyone},
		"goodbye":    {func(c *Config) { c.Clean = true }, everyone[:4]},
		"fresh":      {func(c *Config) { c.Fresh = true }, everyone[:4]},
	} {
		w := newWorld(t, c.change)
		w.start(c.members...)
		w.ack(0, c.members...)
		w.wait(FenceGrace)
		w.write(1)
		w.ack(at(1), c.members...)
		w.ack(at(2), c.members...)
		if len(w.done) != 1 || !w.m.LeaseSettled() {
			t.Errorf("%s: answered %v", name, w.done)
		}
	}
}

// TestR14LastMemberFencedEndsTheWait: the wait ends when the sixth answers.
func TestR14LastMemberFencedEndsTheWait(t *testing.T) {
	w := newWorld(t)
	five := everyone[:5]
	w.start(five...)
	w.ack(0, five...)
	w.wait(FenceGrace)
	w.write(1)
	w.ack(at(1), five...)
	w.ack(at(2), five...)
	w.wantDone()
	w.up(5)
	w.ack(0, 5)
	w.wantDone(at(2))
}

// TestR14ActiveGroupIsPinged: while clients are there the lease does not run
// out between their reads; an idle group is left in peace.
func TestR14ActiveGroupIsPinged(t *testing.T) {
	w := newWorld(t)
	w.open()
	w.beginRead()
	for range 8 {
		w.wait(PingEvery)
		w.ack(at(1), everyone...)
		if _, ok := w.beginRead(); !ok {
			t.Fatal("the lease ran out under a reader")
		}
		w.m.EndRead(at(1))
		w.m.EndRead(at(1))
	}
	w.wait(ActiveFor)
	w.ack(at(1), everyone...)
	w.forget()
	w.wait(ActiveFor)
	if len(w.sends) != 0 || w.m.NeedsTick() {
		t.Errorf("an idle group sends %+v, wants ticks: %v", w.sends, w.m.NeedsTick())
	}
}
