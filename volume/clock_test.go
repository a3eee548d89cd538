package volume

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
	"github.com/sextantdisk/sextant/volume/quorum"
)

// moody is a machine's clock that counts time for which the machine was
// suspended, or that stands still.
type moody struct {
	clock.Clock
	slept   atomic.Int64
	stopped atomic.Int64 // the time that it shows for good, or 0
}

func newMoody() *moody { return &moody{Clock: clock.Real()} }

func (m *moody) Elapsed() time.Duration {
	if at := m.stopped.Load(); at != 0 {
		return time.Duration(at)
	}
	return m.Clock.Elapsed() + time.Duration(m.slept.Load())
}

// TestR14SuspendedTimeCounts: while a gateway's machine was suspended its lease
// ran on: what it asks for when it wakes up, before any timer has fired or
// anybody has told it anything, is not served.
func TestR14SuspendedTimeCounts(t *testing.T) {
	s := newSystem(t)
	mood := newMoody()
	g := s.openOn(mood)
	g.write(0, fill('a', block.Size))
	g.complete(0, all...)
	s.cutOffMetadata()
	for _, n := range s.nodes { // nothing comes in while it sleeps, nor at first when it wakes
		n.relay.hang.Store(true)
	}
	g.v.confirmed.Store(int64(g.v.now())) // the last word before
	mood.slept.Store(int64(quorum.LeaseTerm))
	placed, b := g.h.startRead(0, block.Size)
	never, _ := g.h.startRead(block.Offset(testPG), block.Size)
	if !placed.pending() || !never.pending() {
		t.Fatal("a read was answered under a lease that has run out in the machine's sleep")
	}
	x := g.v.group(0)
	x.mu.Lock()
	parked := len(x.mu.reads)
	x.mu.Unlock()
	if parked != 1 {
		t.Fatal("a segment was asked under a lease that has run out")
	}
	s.meta.set(func() { s.meta.err = nil })
	for _, n := range s.nodes {
		n.relay.hang.Store(false)
	}
	if err := placed.err(t); err != nil || differ(b.Bytes(), fill('a', block.Size)) >= 0 {
		t.Fatalf("with the lease renewed: %v", err)
	}
	if err := never.err(t); err != nil {
		t.Fatal(err)
	}
}

// TestR14StoppedClockIsFenced: a gateway whose clock stands still takes its
// lease for valid for ever. Where its successor has met all segments none of
// them serves it any more.
func TestR14StoppedClockIsFenced(t *testing.T) {
	s := newSystem(t)
	mood := newMoody()
	former := s.openOn(mood)
	former.write(0, fill('a', block.Size))
	former.complete(0, all...)
	s.cutOffMetadata()
	mood.stopped.Store(int64(mood.Elapsed()))
	s.open().write(0, fill('b', block.Size))
	if !former.v.emptyKnown() {
		t.Fatal("the clock goes on")
	}
	w, _ := former.h.startRead(0, block.Size)
	wantKind(t, w.err(t), block.Fenced)
	wantKind(t, <-former.end, block.Fenced)
}
