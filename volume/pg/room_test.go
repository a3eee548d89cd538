package pg

import (
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/volume/quorum"
	"github.com/sextantdisk/sextant/wire"
)

// tellFull has members acknowledge all up to scl and tell that their disks are
// full.
func (w *world) tellFull(scl block.LSN, members ...quorum.Member) {
	for _, i := range members {
		w.say(i, wire.Ack{SCL: scl, Full: true})
	}
}

// trim issues a record without payload.
func (w *world) trim() *Record {
	r := &Record{Record: wire.Record{Type: wire.RecordTrim, Count: 1}}
	w.step(Input{Kind: Issue, Record: r})
	return r
}

// TestS3FullMemberGetsNoData: a member whose disk is full is sent no more
// data, serves reads, and goes on by itself when it has room again.
func TestS3FullMemberGetsNoData(t *testing.T) {
	w := newWorld(t)
	w.open()
	w.tellFull(at(1), 5)
	w.wantState(5, Full)
	w.write(1)
	w.collect()
	w.wantSent(4, at(2))
	w.wantSent(5)
	w.ack(at(2), 0, 1, 2, 3, 4)
	w.wantDone(at(2))
	if !w.m.HasRoom() || w.m.WantsRoom() {
		t.Error("five members with room are not enough")
	}
	if !w.m.Serves(5, at(1)) || w.m.Serves(5, at(2)) {
		t.Error("a full member must serve what it has, and nothing else")
	}
	w.forget()
	w.wait(ActiveFor + 2*RetryEvery) // also of a group that nobody uses
	if n := len(w.kinds(5)); n == 0 || w.kinds(5)[n-1] != SendPing || !w.m.NeedsTick() {
		t.Fatalf("a full member was sent %v", w.kinds(5))
	}
	w.ack(at(1), 5)
	w.wantState(5, Streaming)
	w.wantSent(5, at(2))
}

// TestS3FullMemberThatLagsCatchesUpLater: not before it has room.
func TestS3FullMemberThatLagsCatchesUpLater(t *testing.T) {
	w := newWorld(t)
	w.open()
	w.m.SetRingLimit(0)
	w.tellFull(at(1), 5)
	for range 3 {
		w.write(1)
	}
	w.collect()
	w.ack(at(4), 0, 1, 2, 3, 4)
	w.wait(3 * RetryEvery)
	w.wantState(5, Full)
	if c := w.catchUps(); len(c) != 0 {
		t.Fatalf("told to catch up: %+v", c)
	}
	w.ack(at(1), 5)
	w.wait(RetryEvery)
	if c := w.catchUps(); len(c) != 1 || c[0].Member != 5 || c[0].UpTo != at(4) {
		t.Fatalf("with room it is told %+v", c)
	}
}

// TestB5WithoutRoomDataFailsAtOnce: with three of six disks full new data
// gets no place in the chain, what has one is brought to an end, also by
// the full ones, and a TRIM gets through.
func TestB5WithoutRoomDataFailsAtOnce(t *testing.T) {
	w := newWorld(t)
	w.open()
	w.write(1) // 2, on its way everywhere
	w.collect()
	w.write(1) // 3, not sent yet
	w.tellFull(at(1), 3, 4)
	if !w.m.HasRoom() {
		t.Fatal("four members have room")
	}
	w.tellFull(at(1), 5)
	if w.m.HasRoom() || !w.m.WantsRoom() {
		t.Fatal("three members with room are enough")
	}
	refused := w.write(1)
	if len(w.failed) != 1 || w.failed[0] != refused || len(w.freed) != 1 || w.m.Tail() != at(3) {
		t.Fatalf("failed %v, let go %v, tail %v", w.failed, w.freed, w.m.Tail())
	}
	trim := w.trim()
	w.collect()
	w.wantSent(0, at(2), at(3), at(4))
	w.wantSent(5, at(2), at(3), at(4)) // needed for a write quorum
	w.ack(at(4), 0, 1, 2)
	w.tellFull(at(4), 3)
	w.wantDone(at(2), at(3), at(4))
	if trim.LSN != at(4) {
		t.Fatalf("the trim is %v", trim.LSN)
	}
	w.forget()
	w.ack(at(4), 3) // it gave space back
	w.write(1)
	w.collect()
	w.wantSent(3, at(5))
	w.wantSent(4)
	if len(w.failed) != 0 {
		t.Fatal("a write fails though four members have room")
	}
}

// TestB5FullAndDownIsHeld: where the members that are down would have room
// data waits for them, as ever, and then fails for want of room.
func TestB5FullAndDownIsHeld(t *testing.T) {
	w := newWorld(t)
	w.open()
	w.down(0, 1)
	w.tellFull(at(1), 5)
	if !w.m.HasRoom() || !w.m.WantsRoom() {
		t.Fatalf("has room: %v, wants room: %v", w.m.HasRoom(), w.m.WantsRoom())
	}
	r := w.write(1)
	w.collect()
	w.wantSent(5)
	w.wait(hold - time.Second)
	if len(w.failed) != 0 {
		t.Fatal("failed before the hold time")
	}
	w.wait(2 * time.Second)
	if len(w.failed) != 1 || w.failed[0] != r {
		t.Fatalf("failed: %v", w.failed)
	}
	w.down(5)
	if w.m.WantsRoom() {
		t.Error("with three members down it is not room that is wanted")
	}
}

// TestS3RefusedForSpaceIsLeftAlone: a full member that must refuse data is not
// sent it again at once, is asked where it stands, and still serves reads.
func TestS3RefusedForSpaceIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	w.open()
	w.tellFull(at(1), 3, 4, 5) // so that it is needed
	w.m.append(w.now, write(block.Size))
	w.collect()
	w.forget()
	w.refuse(5, wire.Refuse{Kind: block.NoSpace, Message: "full"})
	w.wantState(5, Full)
	w.refuse(0, wire.Refuse{Kind: block.NoSpace, Message: "cleaning is behind"})
	w.wantState(0, Lagging) // not full before it says so
	if !w.m.Serves(5, at(1)) {
		t.Error("it does not serve reads")
	}
	w.tellFull(at(1), 5) // an answer that was on its way
	w.wantSent(5)
	w.wait(RetryEvery + 100*time.Millisecond)
	w.tellFull(at(1), 5)
	w.wantSent(5, at(2))
}

// TestB4OpensOnFullDisks: a volume opens and is read when all disks are full:
// EPOCH_OPEN needs no room. What waited for the opening fails if it is data.
func TestB4OpensOnFullDisks(t *testing.T) {
	w := newWorld(t)
	w.start()
	data, trim := w.write(1), w.trim()
	w.tellFull(0, everyone...)
	w.tellFull(at(1), everyone...)
	w.wantPhase(Open)
	if len(w.failed) != 1 || w.failed[0] != data || trim.LSN != at(2) {
		t.Fatalf("failed %v, the trim is %v", w.failed, trim.LSN)
	}
	if lsn, ok := w.beginRead(); !ok || lsn != at(1) {
		t.Fatalf("read-point %v, %v", lsn, ok)
	}
}

// TestB5RoomIsRememberedWhileDown: a full member that goes and comes is full
// until it says otherwise; one that could not be made for want of room, too.
func TestB5RoomIsRememberedWhileDown(t *testing.T) {
	w := newWorld(t)
	w.open()
	w.tellFull(at(1), 3, 4)
	w.down(5)
	w.up(5)
	w.refuse(5, wire.Refuse{Kind: block.NoSpace, Message: "no new segments"})
	w.wantState(5, Refusing)
	if w.m.HasRoom() {
		t.Error("a segment that could not be made counts as room")
	}
	w.down(3)
	w.up(3)
	if w.m.HasRoom() {
		t.Error("room came from a new connection")
	}
	w.ack(at(1), 3)
	if !w.m.HasRoom() {
		t.Error("four members have room")
	}
}
