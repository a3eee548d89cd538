package volume

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
)

// TestManagerSharesAVolume: clients of one volume share one opening; after the
// last one has gone it is closed, a while later, and opened anew for the next.
func TestManagerSharesAVolume(t *testing.T) {
	s := newSystem(t)
	pool := s.pool()
	defer pool.Close()
	ended := make(chan error, 1)
	m := NewManager(Config{Pool: pool, Metadata: s.meta, Gateway: "g", Hold: s.hold, Logger: silence, Ended: func(err error) { ended <- err }})
	defer m.Close()
	acquire := func() *Volume {
		t.Helper()
		v, err := m.Acquire(t.Context(), "v")
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	a, b := acquire(), acquire()
	if a != b || a.Epoch() != 1 || len(m.Volumes()) != 1 {
		t.Fatalf("two clients got volumes of epoch %d and %d", a.Epoch(), b.Epoch())
	}
	m.Release("v", a)
	m.Release("v", b)
	if c := acquire(); c != a { // within the linger time
		t.Error("opened anew at once")
	}
	m.Release("v", a)
	closed := func() (n int) { s.meta.set(func() { n = len(s.meta.closed) }); return n }
	eventually(t, "the volume to be closed", func() bool { return closed() == 1 })
	c := acquire()
	if c == a || c.Epoch() != 2 {
		t.Fatalf("epoch %d after it was closed", c.Epoch())
	}
	if _, err := m.Acquire(t.Context(), "w"); !errors.Is(err, block.NotFound) {
		t.Errorf("an unknown volume: %v", err)
	}
	// It ends under its client: the next one gets it opened anew.
	s.meta.set(func() { s.meta.volume.Epoch = 5 })
	if err := <-ended; !errors.Is(err, block.Fenced) {
		t.Fatal(err)
	}
	d := acquire()
	if d == c || d.Epoch() != 6 {
		t.Fatalf("epoch %d after the end", d.Epoch())
	}
	m.Release("v", c)
	m.Release("v", d)
	m.Close()
	if _, err := m.Acquire(context.Background(), "v"); !errors.Is(err, block.Closed) {
		t.Errorf("after Close: %v", err)
	}
	if closed() != 2 {
		t.Errorf("%d volumes said goodbye", closed())
	}
}

// TestOpenDoneWhenAllAreOpen: the metadata service hears once, when all groups
// of the opening are open; nobody uses them meanwhile.
func TestOpenDoneWhenAllAreOpen(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	for i := range 4 {
		g.write(block.Offset(i)*block.Offset(testPG), fill('a', block.Size))
	}
	g.close()
	g = s.open()
	done := func() (out []block.VolumeEpoch) { s.meta.set(func() { out = s.meta.done }); return out }
	eventually(t, "word of the opening", func() bool { return len(done()) == 2 && done()[1] == 2 })
	g.v.eachGroup(func(x *group) {
		x.mu.Lock()
		defer x.mu.Unlock()
		if p := x.mu.machine.Phase(); p.String() != "open" {
			t.Errorf("group %d is %v", x.index, p)
		}
	})
}

// TestTakeoverIsDoneOnce: a gateway that may take over, and from which the
// volume was taken, does not take it back by force.
func TestTakeoverIsDoneOnce(t *testing.T) {
	s := newSystem(t)
	pool := s.pool()
	defer pool.Close()
	ended := make(chan error, 1)
	m := NewManager(Config{Pool: pool, Metadata: s.meta, Gateway: "g", Takeover: true, Hold: s.hold, Logger: silence,
		Ended: func(err error) { ended <- err }})
	defer m.Close()
	forced := func() (out []bool) { s.meta.set(func() { out = slices.Clone(s.meta.forced) }); return out }
	for i, want := range []bool{true, true, false} {
		v, err := m.Acquire(t.Context(), "v")
		if err != nil {
			t.Fatal(err)
		}
		if got := forced(); len(got) != i+1 || got[i] != want {
			t.Fatalf("opened by force: %v", got)
		}
		if i == 0 { // it ends for another reason
			v.end(block.Errorf(block.Closed, "the sequence numbers are used up"))
		} else {
			s.meta.set(func() { s.meta.volume.Epoch++ })
		}
		<-ended
		m.Release("v", v)
	}
}
