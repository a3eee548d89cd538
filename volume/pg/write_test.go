package pg

import (
	"slices"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/volume/quorum"
	"github.com/sextantdisk/sextant/wire"
)

// TestR5EachRecordNamesTheOneBefore: LSNs come in the order of issue, each
// record names its predecessor, and all members get it at once.
func TestR5EachRecordNamesTheOneBefore(t *testing.T) {
	w := newWorld(t)
	w.open()
	a, b, c := w.write(1), w.write(2), w.write(1)
	w.collect()
	prev := at(1)
	for _, r := range []*Record{a, b, c} {
		if r.Prev != prev || r.LSN <= prev {
			t.Errorf("record %v names %v, want %v", r.LSN, r.Prev, prev)
		}
		prev = r.LSN
	}
	for _, i := range everyone {
		w.wantSent(i, at(2), at(3), at(4))
	}
	if w.m.Tail() != at(4) || w.m.OldestPending() != at(2) {
		t.Errorf("tail %v, oldest pending %v", w.m.Tail(), w.m.OldestPending())
	}
	if n, bytes := w.m.Pending(); n != 3 || bytes != 4*block.Size+3*perRecord {
		t.Errorf("%d records of %d bytes are pending", n, bytes)
	}
}

// TestR5KeptUntilAllHaveIt: a record stays at hand until the last member has
// acknowledged it.
func TestR5KeptUntilAllHaveIt(t *testing.T) {
	w := newWorld(t)
	w.open()
	r := w.write(1)
	w.collect()
	w.ack(at(2), 0, 1, 2, 3, 4)
	w.wantDone(at(2))
	if slices.Contains(w.freed, r) {
		t.Fatal("let go though member 5 lacks it")
	}
	w.ack(at(2), 5)
	if !slices.Contains(w.freed, r) || w.m.RingBytes() != 0 {
		t.Fatalf("still held, %d bytes, though all have it", w.m.RingBytes())
	}
}

// TestR5RingIsBounded: beyond its limit the ring lets go what is committed,
// never what is not.
func TestR5RingIsBounded(t *testing.T) {
	w := newWorld(t)
	w.open()
	w.m.SetRingLimit(8 * block.Size)
	for range 20 {
		w.write(1)
	}
	w.collect()
	w.ack(at(21-4), 0, 1, 2, 3) // four are not committed
	if got := w.m.RingBytes(); got > 8*block.Size || got < 4*block.Size {
		t.Fatalf("the ring holds %d bytes, its limit is %d", got, 8*block.Size)
	}
	w.m.SetRingLimit(0)
	w.wait(time.Millisecond)
	if n, _ := w.m.Pending(); n != 4 || w.m.RingBytes() != 4*(block.Size+perRecord) {
		t.Fatalf("%d records pending, the ring holds %d bytes", n, w.m.RingBytes())
	}
	if w.ack(at(21), 0, 1, 2, 3); w.m.RingBytes() != 0 || len(w.freed) != 20 {
		t.Fatalf("%d records let go of 20", len(w.freed))
	}
}

// TestR7FourOfSix: a write is answered when the fourth of six has it, not by
// the third, and PGCL never goes back.
func TestR7FourOfSix(t *testing.T) {
	w := newWorld(t)
	w.open()
	w.write(1)
	w.write(1)
	w.collect()
	w.ack(at(3), 0, 1)
	w.ack(at(2), 2)
	w.wantDone()
	w.ack(at(2), 3)
	w.wantDone(at(2))
	if w.m.Committed() != at(2) {
		t.Errorf("PGCL is %v", w.m.Committed())
	}
	w.ack(at(3), 4, 5)
	w.wantDone(at(2), at(3))
	// A member that comes back damaged lowers what it counts for itself,
	// never what is committed.
	w.down(0)
	w.up(0)
	w.say(0, wire.Ack{SCL: at(1), Damaged: true})
	if w.m.Committed() != at(3) || w.m.Member(0).SCL != at(1) || !w.m.Member(0).Damaged {
		t.Errorf("PGCL is %v, member %+v", w.m.Committed(), w.m.Member(0))
	}
}

// TestR7CumulativeNotPerRecord: two records on four members each are not
// committed while no four members have the chain up to the second (trap T3).
func TestR7CumulativeNotPerRecord(t *testing.T) {
	w := newWorld(t)
	w.open()
	w.write(1) // 2
	w.write(1) // 3
	w.collect()
	// Members 3, 4 and 5 hold record 3 with a gap before it: their SCL says
	// so.
	w.ack(at(3), 0, 1, 2)
	for _, i := range []quorum.Member{3, 4, 5} {
		w.say(i, wire.Ack{SCL: at(1), Gap: true})
	}
	w.wantDone()
	if w.m.Committed() != at(1) {
		t.Fatalf("PGCL is %v", w.m.Committed())
	}
}

// TestR7EverySetCounts: with two quorum sets in force a write needs a quorum
// of each (R25).
func TestR7EverySetCounts(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.Quorum = &quorum.Config{Epoch: 2, Segments: make([]block.SegmentID, 7),
			Sets: []quorum.Set{ofSix(everyone), ofSix([]quorum.Member{0, 1, 2, 6, 4, 5})}}
	})
	all := append(slices.Clone(everyone), 6)
	w.start(all...)
	w.ack(0, all...)
	w.ack(at(1), all...)
	w.write(1)
	w.collect()
	w.ack(at(2), 0, 1, 2, 3)
	w.wantDone()
	w.ack(at(2), 6)
	w.wantDone(at(2))
}

// TestR8ResendsFromWhatTheMemberHas: after a reconnect the member says where
// it stands and gets exactly what follows.
func TestR8ResendsFromWhatTheMemberHas(t *testing.T) {
	w := newWorld(t)
	w.open()
	w.down(5)
	w.wantState(5, Unreachable)
	for range 3 {
		w.write(1)
	}
	w.collect()
	w.ack(at(4), 0, 1, 2, 3, 4)
	w.wantDone(at(2), at(3), at(4))
	w.up(5)
	w.wantState(5, Joining)
	if got := w.kinds(5); !slices.Equal(got, []SendKind{SendJoin}) {
		t.Fatalf("member 5 was sent %v before it said where it stands", got)
	}
	w.ack(at(2), 5) // it had taken one before the connection went
	w.wantState(5, Streaming)
	w.wantSent(5, at(3), at(4))
	w.ack(at(4), 5)
	if s := w.m.Member(5); s.SCL != at(4) || s.Lag != 0 {
		t.Errorf("member 5 is %+v", s)
	}
}

// TestR8StaleAnswerOfAConnectionBefore: what a member said before it had the
// Join of this connection tells nothing about this connection.
func TestR8StaleAnswerOfAConnectionBefore(t *testing.T) {
	w := newWorld(t)
	w.open()
	w.write(1)
	w.collect()
	before := w.stamps[5]
	w.down(5)
	w.up(5)
	w.step(Input{Kind: Acked, Member: 5, Ack: &wire.Ack{Identity: wire.Identity{Epoch: epoch}, SCL: at(2), Stamp: before}})
	w.wantState(5, Joining)
	if w.m.Member(5).SCL != at(1) {
		t.Errorf("SCL of an answer before the Join was taken: %v", w.m.Member(5).SCL)
	}
}

// TestR8GapIsJoinedAnew: a member that lost something on the way is asked
// where it stands, and gets what it lacks.
func TestR8GapIsJoinedAnew(t *testing.T) {
	w := newWorld(t)
	w.open()
	w.write(1)
	w.write(1)
	w.collect()
	w.forget()
	w.say(5, wire.Ack{SCL: at(1), Gap: true})
	w.wantState(5, Joining)
	w.ack(at(1), 5)
	w.wantSent(5, at(2), at(3))
}

// lagging is a world in which member 5 lacks what the ring no longer has.
func lagging(t *testing.T) *world {
	w := newWorld(t)
	w.open()
	w.down(5)
	w.m.SetRingLimit(0)
	for range 4 {
		w.write(1)
	}
	w.collect()
	w.ack(at(4), 0, 1, 2, 3)
	w.ack(at(5), 4)
	w.forget()
	w.up(5)
	w.ack(at(1), 5)
	return w
}

// TestR8BeyondTheRingItCatchesUp: a member whose place the ring has passed is
// sent to a peer that has what it lacks, the most complete one.
func TestR8BeyondTheRingItCatchesUp(t *testing.T) {
	w := lagging(t)
	w.wantState(5, CatchingUp)
	w.wantSent(5)
	orders := w.catchUps()
	if len(orders) != 1 || orders[0].Member != 5 || orders[0].Donor != 4 || orders[0].UpTo != at(4) {
		t.Fatalf("orders: %+v", orders)
	}
	// It lives and goes on: it is left alone.
	w.forget()
	for range 6 {
		w.wait(RetryEvery / 2)
		w.say(5, wire.Ack{SCL: at(2), CatchingUp: true})
	}
	if len(w.catchUps()) != 0 {
		t.Fatalf("orders while it is at it: %+v", w.catchUps())
	}
	// It falls silent: it is sent once more.
	w.wait(2 * RetryEvery)
	if got := w.catchUps(); len(got) != 1 {
		t.Fatalf("%d orders after it fell silent", len(got))
	}
	// It has arrived: the stream goes on from there.
	w.forget()
	w.ack(at(4), 5)
	w.wantState(5, Streaming)
	w.wantSent(5, at(5))
}

// TestR8CatchUpGoesOnAtOnce: as long as a round brings something, the next
// one follows without a pause; one that brings nothing is followed by one.
func TestR8CatchUpGoesOnAtOnce(t *testing.T) {
	w := lagging(t)
	w.forget()
	w.ack(at(2), 5)
	if len(w.catchUps()) != 1 {
		t.Fatalf("orders after progress: %+v", w.catchUps())
	}
	w.forget()
	w.ack(at(2), 5)
	if w.wantState(5, Lagging); len(w.catchUps()) != 0 {
		t.Fatalf("orders without progress: %+v", w.catchUps())
	}
	if w.wait(RetryEvery); len(w.catchUps()) != 1 {
		t.Fatalf("orders after a pause: %+v", w.catchUps())
	}
}

// TestR8NoDonorNoOrder: who is damaged, or lacks the point itself, is no
// donor; when one comes the member is sent to it.
func TestR8NoDonorNoOrder(t *testing.T) {
	w := newWorld(t)
	w.open()
	w.down(5)
	w.m.SetRingLimit(0)
	w.write(1)
	w.collect()
	w.ack(at(2), 0, 1, 2, 3)
	w.down(0, 1, 2)
	w.say(3, wire.Ack{SCL: at(2), Damaged: true})
	w.forget()
	w.up(5)
	w.ack(at(1), 5)
	w.wantState(5, Lagging)
	if w.wait(3 * RetryEvery); len(w.catchUps()) != 0 {
		t.Fatalf("sent to %+v", w.catchUps())
	}
	w.up(1)
	w.ack(at(2), 1)
	w.wait(RetryEvery)
	if got := w.catchUps(); len(got) != 1 || got[0].Donor != 1 {
		t.Fatalf("orders %+v, want member 1 as the donor", got)
	}
}

// TestR9CaughtUpCountsLikeSent: an SCL that a peer has advanced counts for
// PGCL like any other, if it is reported under the present epoch.
func TestR9CaughtUpCountsLikeSent(t *testing.T) {
	w := newWorld(t)
	w.open()
	w.write(1)
	w.collect()
	w.ack(at(2), 0, 1, 2)
	// A word under another epoch does not count (I5) ...
	for _, e := range []block.VolumeEpoch{epoch - 1, epoch + 1} {
		w.step(Input{Kind: Acked, Member: 3, Ack: &wire.Ack{Identity: wire.Identity{Epoch: e}, SCL: at(2), Stamp: w.stamps[3]}})
	}
	w.wantDone()
	// ... one that nobody asked for, from a catch-up, does.
	w.step(Input{Kind: Acked, Member: 3, Ack: &wire.Ack{Identity: wire.Identity{Epoch: epoch}, SCL: at(2), CatchingUp: true}})
	w.wantDone(at(2))
}

// TestB5WritesAreHeldThenFail: with three of six a write waits, for the hold
// time and no longer; one that waits for the opening, too.
func TestB5WritesAreHeldThenFail(t *testing.T) {
	w := newWorld(t)
	w.openWith(0, 1, 2, 3)
	w.down(3)
	a := w.write(1)
	w.collect()
	w.ack(at(2), 0, 1, 2)
	w.wait(hold - time.Second)
	b := w.write(1)
	if len(w.failed) != 0 || len(w.done) != 0 {
		t.Fatalf("failed %v, done %v within the hold time", w.failed, w.done)
	}
	w.wait(time.Second)
	if !slices.Equal(w.failed, []*Record{a}) {
		t.Fatalf("failed %v, want the first write", w.failed)
	}
	if w.wait(hold); !slices.Equal(w.failed, []*Record{a, b}) {
		t.Fatalf("failed %v, want both, each once", w.failed)
	}
	if slices.Contains(w.freed, a) {
		t.Error("a failed write that is on three disks was let go: its successors need it in the chain")
	}
}

func TestB5WaitingForTheOpeningIsHeldToo(t *testing.T) {
	w := newWorld(t)
	w.start(0, 1)
	w.ack(0, 0, 1)
	r := w.write(1)
	if n, bytes := w.m.Pending(); n != 1 || bytes != block.Size+perRecord {
		t.Errorf("%d records of %d bytes pending", n, bytes)
	}
	if w.wait(hold - time.Second); len(w.failed) != 0 {
		t.Fatal("failed within the hold time")
	}
	if w.wait(time.Second); !slices.Equal(w.failed, []*Record{r}) || !slices.Equal(w.freed, []*Record{r}) {
		t.Fatalf("failed %v, let go %v", w.failed, w.freed)
	}
	// The quorum comes back: nothing of the failed write is left.
	w.up(2, 3)
	w.ack(0, 2, 3)
	w.wait(FenceGrace)
	w.ack(at(1), 0, 1, 2, 3)
	w.wantPhase(Open)
	w.wantDone()
	if w.m.Tail() != at(1) {
		t.Errorf("tail %v", w.m.Tail())
	}
}

// TestB5HoldBeginsWhenTheWriteComes: the time that a write has waited for the
// opening counts.
func TestB5HoldBeginsWhenTheWriteComes(t *testing.T) {
	w := newWorld(t)
	w.start(0, 1)
	r := w.write(1)
	w.wait(hold - 5*time.Second)
	w.up(2, 3)
	w.ack(0, 0, 1, 2, 3)
	w.wait(FenceGrace)
	w.ack(at(1), 0, 1, 2, 3)
	w.wantPhase(Open)
	if w.wait(5 * time.Second); !slices.Equal(w.failed, []*Record{r}) {
		t.Fatalf("failed %v, a minute after it came", w.failed)
	}
}

// TestB5HeldThenAnswered: a member that comes back in time ends the wait.
func TestB5HeldThenAnswered(t *testing.T) {
	w := newWorld(t)
	w.openWith(0, 1, 2, 3)
	w.down(3)
	w.write(1)
	w.collect()
	w.ack(at(2), 0, 1, 2)
	w.wait(hold / 2)
	w.up(3)
	w.ack(at(1), 3)
	w.ack(at(2), 3)
	w.wantDone(at(2))
	if len(w.failed) != 0 {
		t.Errorf("failed %v", w.failed)
	}
}

// TestB6WindowOfASlowMember: a member that acknowledges nothing is sent so
// much and no more; the others go on.
func TestB6WindowOfASlowMember(t *testing.T) {
	w := newWorld(t)
	w.open()
	const blocks = 64
	var total block.ByteCount
	for total < 3*SendWindow {
		r := w.write(blocks)
		w.collect()
		total += r.size()
		w.ack(r.LSN, 0, 1, 2, 3)
	}
	sent := block.ByteCount(len(w.sent(5))) * (blocks*block.Size + perRecord)
	if sent > SendWindow || sent < SendWindow/2 {
		t.Fatalf("a member that takes nothing was sent %v", sent)
	}
	if len(w.done) != int(w.m.Tail().Seq())-1 {
		t.Fatalf("%d of %d writes answered: the slow member holds them up", len(w.done), w.m.Tail().Seq()-1)
	}
	if lag := w.m.Member(5).Lag; lag != total {
		t.Errorf("lag %d, want %d", lag, total)
	}
	// Its first ack opens the window again.
	w.forget()
	w.ack(at(2), 5)
	if len(w.sent(5)) != 1 {
		t.Errorf("sent %v after one record was acknowledged", w.sent(5))
	}
}

// TestB6LagCostsNoMemory: what a dead member lacks is let go beyond the
// ring's limit, whatever it lags.
func TestB6LagCostsNoMemory(t *testing.T) {
	w := newWorld(t)
	w.open()
	w.down(5)
	w.m.SetRingLimit(block.MiB)
	for range 100 {
		r := w.write(16)
		w.collect()
		w.ack(r.LSN, 0, 1, 2, 3, 4)
		if w.m.RingBytes() > block.MiB+r.size() {
			t.Fatalf("the ring has grown to %v", w.m.RingBytes())
		}
	}
	if len(w.done) != 100 {
		t.Fatalf("%d writes answered", len(w.done))
	}
}

// TestB6RecordsAreBounded: many small records are let go, too.
func TestB6RecordsAreBounded(t *testing.T) {
	w := newWorld(t)
	w.open()
	w.down(5)
	for range RingRecords + 10 {
		w.step(Input{Kind: Issue, Record: &Record{Record: wire.Record{Type: wire.RecordZero, Count: 1}}})
	}
	w.collect()
	w.ack(w.m.Tail(), 0, 1, 2, 3, 4)
	if n := w.m.ring.len(); n > RingRecords {
		t.Fatalf("the ring holds %d records", n)
	}
	w.up(5)
	w.ack(at(1), 5)
	w.wantState(5, CatchingUp)
}

// TestB6WindowHoldsWhereTheRingHasPassed: the window counts from what the
// member has acknowledged, also when the ring no longer knows that place.
func TestB6WindowHoldsWhereTheRingHasPassed(t *testing.T) {
	w := newWorld(t)
	w.open()
	w.m.SetRingLimit(SendWindow / 2)
	var total block.ByteCount
	for total < 3*SendWindow {
		r := w.write(64)
		total += r.size()
		w.collect()
		w.ack(r.LSN, 0, 1, 2, 3, 4)
	}
	sent := block.ByteCount(len(w.sent(5))) * (64*block.Size + perRecord)
	if sent > SendWindow {
		t.Fatalf("a member that acknowledges nothing was sent %v", sent)
	}
	w.wantState(5, CatchingUp)
}

// TestB6StreamThatTheRingHasPassedIsCut: a member in mid-stream whose next
// record the ring has let go catches up from a peer at once, also when the
// ring is empty and nothing more is written.
func TestB6StreamThatTheRingHasPassedIsCut(t *testing.T) {
	w := newWorld(t)
	w.open()
	w.m.SetRingLimit(0)
	for bytes := block.ByteCount(0); bytes < 2*SendWindow; {
		bytes += w.write(64).size()
	}
	w.collect()
	w.ack(w.m.Tail(), 0, 1, 2, 3, 4)
	if w.m.RingBytes() != 0 {
		t.Fatalf("the ring holds %v", w.m.RingBytes())
	}
	w.wantState(5, Streaming)
	w.forget()
	w.ack(at(2), 5)
	w.wantState(5, CatchingUp)
	w.wantSent(5)
}

// TestB7FailedMayStillAppear: a write that was held too long was told as
// failed; when its quorum comes it is committed, is read, and is not told
// again.
func TestB7FailedMayStillAppear(t *testing.T) {
	w := newWorld(t)
	w.openWith(0, 1, 2, 3)
	w.down(3)
	w.write(1)
	w.collect()
	w.ack(at(2), 0, 1, 2)
	w.wait(hold)
	if len(w.failed) != 1 {
		t.Fatalf("%d writes failed", len(w.failed))
	}
	w.up(3)
	w.ack(at(1), 3)
	w.wantSent(3, at(2))
	w.ack(at(2), 3)
	w.wantDone()
	if w.m.Committed() != at(2) {
		t.Fatalf("PGCL is %v", w.m.Committed())
	}
	w.beginRead() // asks for the lease
	w.ack(at(2), 0, 1, 2)
	if p, ok := w.beginRead(); !ok || p != at(2) {
		t.Fatalf("read-point %v, %v", p, ok)
	}
}
