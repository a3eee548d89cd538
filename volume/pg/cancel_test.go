package pg

import (
	"slices"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/volume/quorum"
)

// opening is a world whose group is changing already when it is to be opened:
// segment 5 gives way to segment 6.
func opening(t *testing.T) *world { return newWorld(t, func(c *Config) { c.Quorum = both() }) }

// cancelled is the configuration after that was cancelled.
func cancelled() *quorum.Config { return sets(3, everyone) }

// TestR23CancelledChangeOpensTheGroup: of the old set four are there, of the new
// one three. With both in force no write quorum comes; with the old one it is there
// already.
func TestR23CancelledChangeOpensTheGroup(t *testing.T) {
	w := opening(t)
	w.start(0, 1, 2, 5)
	w.ack(old(9), 0, 1, 2, 5)
	w.wait(FenceGrace)
	w.wantPhase(Opening)
	w.ack(at(1), 0, 1, 2, 5)
	w.wantPhase(Opening)
	w.step(Input{Kind: Reconfigure, Config: cancelled()})
	w.wantPhase(Open)
	if c := w.m.Change(); c.Joint || w.m.Committed() != at(1) {
		t.Errorf("%+v, committed up to %v", c, w.m.Committed())
	}
}

// TestR23CancelledChangeFindsTheEnd: of the new set too few answer the fence; of the
// old one enough have.
func TestR23CancelledChangeFindsTheEnd(t *testing.T) {
	w := opening(t)
	w.start(0, 4, 5)
	w.ack(old(9), 0, 4)
	w.ack(old(8), 5)
	w.wait(time.Minute)
	w.wantPhase(Fencing)
	w.step(Input{Kind: Reconfigure, Config: cancelled()})
	w.wait(FenceGrace)
	w.wantPhase(Opening)
	if w.m.point != old(9) {
		t.Errorf("the log's end is taken for %v", w.m.point)
	}
	w.up(1)
	w.ack(old(9), 1)
	w.ack(at(1), 0, 1, 4)
	w.wantPhase(Opening)
	w.ack(at(1), 5)
	w.wantPhase(Open)
}

// TestR23CancelledChangeOpensNothingByItself: until the log's end is found nothing is
// committed.
func TestR23CancelledChangeOpensNothingByItself(t *testing.T) {
	w := opening(t)
	w.start(0, 1, 4, 5)
	w.ack(old(9), 0, 1, 4, 5)
	w.step(Input{Kind: Reconfigure, Config: cancelled()})
	w.wantPhase(Fencing)
	if w.m.Committed() != 0 {
		t.Errorf("committed up to %v before the log's end is found", w.m.Committed())
	}
}

// TestR27MembersAreToldOfACancelledChange: before anything is sent that who does not
// know of it refuses; also who is just answering the fence.
func TestR27MembersAreToldOfACancelledChange(t *testing.T) {
	w := opening(t)
	w.start(0, 1, 3, 4, 5)
	w.ack(old(9), 0, 1, 4)
	w.ack(old(2), 5) // it lags
	w.wait(FenceGrace - 1)
	w.forget()
	w.step(Input{Kind: Reconfigure, Config: cancelled()})
	w.wait(1)
	w.wantPhase(Opening)
	for i, want := range map[quorum.Member]SendKind{0: SendPing, 3: SendJoin, 5: SendPing} {
		if got := w.kinds(i); len(got) == 0 || got[0] != want {
			t.Errorf("member %d was sent %v", i, got)
		}
	}
	if got := w.kinds(5); !slices.Contains(got, SendCatchUp) {
		t.Errorf("who lags was sent %v: the test proves nothing", got)
	}
}

// TestR23WhoLeavesDuringTheOpeningIsNoDonor: what a segment said that has left since
// does not count any more.
func TestR23WhoLeavesDuringTheOpeningIsNoDonor(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Quorum = marked() })
	w.start(0, 1, 6)
	w.ack(old(8), 0, 1)
	w.ack(old(9), 6)
	w.wantPhase(Fencing) // of the old set two have answered
	w.step(Input{Kind: Reconfigure, Config: cancelled()})
	w.wait(time.Minute)
	w.wantPhase(Fencing)
	w.up(2)
	w.ack(old(8), 2)
	w.wait(FenceGrace)
	w.wantPhase(Opening)
	if w.m.point != old(8) || w.m.donors.Has(6) {
		t.Errorf("the log's end is taken for %v, had by %b", w.m.point, w.m.donors)
	}
}

// TestR14WhoLeavesDuringTheOpeningIsWaitedFor: a former writer may read from it,
// and no fence ends that; also if all that stay are fenced.
func TestR14WhoLeavesDuringTheOpeningIsWaitedFor(t *testing.T) {
	for what, when := range map[string]Phase{"idle": Idle, "while fencing": Fencing, "while opening": Opening} {
		w := opening(t)
		if when != Idle {
			w.start(everyone...)
		}
		if when == Opening {
			w.ack(old(9), everyone...)
			w.wait(FenceGrace)
		}
		w.wantPhase(when)
		w.step(Input{Kind: Reconfigure, Config: cancelled()})
		if when == Idle {
			w.start(everyone...)
		}
		if when != Opening {
			w.ack(old(9), everyone...)
			w.wait(FenceGrace)
		}
		w.ack(at(1), everyone...)
		w.wantPhase(Open)
		w.write(1)
		w.collect()
		w.ack(at(2), everyone...)
		w.wantDone()
		if _, ok := w.beginRead(); ok {
			t.Errorf("%s: a read begins while a former writer may read from who has left", what)
		}
		w.wait(quorum.LeaseWait)
		w.wantDone(at(2))
	}
}

// TestR23OnlyTheOldSetIsTakenDuringTheOpening: nothing else is decided then, and
// with nothing else is it sure that what was acknowledged is found.
func TestR23OnlyTheOldSetIsTakenDuringTheOpening(t *testing.T) {
	other := cancelled()
	other.Segments[5] = block.SegmentID{99}
	for what, next := range map[string]*quorum.Config{
		"the new set":           sets(3, newSix),
		"another segment":       other,
		"an older one":          sets(1, everyone),
		"a smaller old set":     sets(3, everyone[:5]),
		"both, marked hydrated": marked(),
	} {
		w := opening(t)
		w.start(0, 1, 2, 3)
		w.step(Input{Kind: Reconfigure, Config: next})
		if w.m.cfg.Quorum.Epoch != 2 || len(w.m.cfg.Quorum.Unhydrated) == 0 {
			t.Errorf("%s is taken", what)
		}
	}
}
