package volume

import (
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/volume/quorum"
)

// reader is a gateway that was cut off and does not know a group. seesEmpty says
// whether it still reads zeroes there.
func (g *gateway) seesEmpty() bool {
	w, _ := g.h.startRead(0, block.Size)
	return !w.pending() && w.err(g.t) == nil
}

// ackedWhileEmpty writes through next, and checks that no gateway of others still
// saw zeroes after that was acknowledged.
func ackedWhileEmpty(t *testing.T, next *gateway, others ...*gateway) {
	t.Helper()
	w := next.h.startWrite(0, fill('a', block.Size))
	for w.pending() {
		<-next.pool.cfg.Clock.After(5 * time.Millisecond)
	}
	for i, g := range others {
		if g.v.now() < g.v.confirmedAt()+quorum.LeaseTerm || g.seesEmpty() {
			t.Errorf("gateway %d reads zeroes where a write was acknowledged", i)
		}
	}
	if err := w.err(t); err != nil {
		t.Fatal(err)
	}
}

// cutOff keeps the gateway from hearing of its end, from now on; what it was told
// last was told just now.
func (g *gateway) cutOff() {
	g.s.meta.set(func() { g.s.meta.deaf = g.v.epoch })
	g.v.confirmed.Store(int64(g.v.now()))
}

// TestR14GroupOfAShortLivedOwner: the group is placed by a gateway that loses the
// volume before the one before it can no longer take the group for empty.
func TestR14GroupOfAShortLivedOwner(t *testing.T) {
	s := newSystem(t)
	first := s.open()
	first.cutOff()
	second := s.open()
	unanswered := second.h.startWrite(0, fill('b', block.Size))
	second.opened1(t)
	if !unanswered.pending() {
		t.Fatal("the owner that placed the group did not wait")
	}
	s.meta.set(func() { s.meta.former = 100 * time.Millisecond }) // that is how long it had the volume
	ackedWhileEmpty(t, s.open(), first)
}

// TestR14GroupWhoseOwnerDoesNotKnowIt: the group is placed, but its owner never
// hears of it. It takes it for empty itself, however long it had the volume.
func TestR14GroupWhoseOwnerDoesNotKnowIt(t *testing.T) {
	s := newSystem(t)
	first := s.open()
	s.meta.set(func() { s.meta.lose = true })
	first.h.startWrite(0, fill('b', block.Size))
	eventually(t, "the group to be placed", func() (done bool) {
		s.meta.set(func() { done = s.meta.ensure > 0 })
		return done
	})
	first.cutOff()
	s.meta.set(func() { s.meta.lose = false })
	if !first.seesEmpty() {
		t.Fatal("it knows the group")
	}
	ackedWhileEmpty(t, s.open(), first)
}

// opened1 waits until four segments have EPOCH_OPEN of group 0.
func (g *gateway) opened1(t *testing.T) {
	t.Helper()
	eventually(t, "the group to be opened", func() bool {
		x := g.v.group(0)
		if x == nil {
			return false
		}
		x.mu.Lock()
		defer x.mu.Unlock()
		return x.mu.machine.Committed() != 0
	})
}
