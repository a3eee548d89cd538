package pg

import (
	"testing"
	"time"

	"github.com/sextantdisk/sextant/wire"
)

// TestS2DamagedMemberOfAnIdleGroupIsTold: a member whose log lost a part learns
// what is committed, which ends its doubt, also when nobody uses the group.
func TestS2DamagedMemberOfAnIdleGroupIsTold(t *testing.T) {
	w := newWorld(t)
	w.open()
	w.wait(ActiveFor + 2*RetryEvery) // nobody uses the group any more
	w.ack(at(1), everyone...)
	w.say(5, wire.Ack{SCL: at(1), Damaged: true})
	w.forget()
	if !w.m.NeedsTick() {
		t.Fatal("the clock of a group with a damaged member stands still")
	}
	w.wait(2 * RetryEvery)
	if n := len(w.kinds(5)); n == 0 || n > 3 || w.kinds(5)[0] != SendPing || w.sends[0].Progress.Committed != at(1) {
		t.Fatalf("the damaged member was sent %v", w.kinds(5))
	}
	w.say(5, wire.Ack{SCL: at(1)})
	if w.m.NeedsTick() {
		t.Error("the clock goes on, although all is well")
	}
}

// TestS2DamagedDonorIsNone: who alone has the recovery point, and comes back
// damaged, gives it to nobody, though it has linked EPOCH_OPEN: the opening cannot
// come to an end, and says so.
func TestS2DamagedDonorIsNone(t *testing.T) {
	w := newWorld(t)
	w.start(0, 1, 2)
	w.ack(old(3), 0, 1)
	w.ack(old(5), 2)
	w.wait(FenceGrace)
	w.wantPhase(Opening)
	w.down(2)
	w.up(2)
	w.say(2, wire.Ack{SCL: old(5), Damaged: true})
	w.say(2, wire.Ack{SCL: at(1), Damaged: true})
	w.wait(StuckAfter - 50*time.Millisecond)
	if w.stuck {
		t.Fatal("gave up early")
	}
	if w.wait(100 * time.Millisecond); !w.stuck {
		t.Fatal("an opening waits for ever for what a damaged member may not give")
	}
}
