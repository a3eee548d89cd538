package volume

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
	"github.com/sextantdisk/sextant/volume/quorum"
)

// carryOnly lets the relays carry n pieces of the conversation, all together;
// then all connections break, and new ones too.
func (s *system) carryOnly(n int64) (left *atomic.Int64) {
	left = new(atomic.Int64)
	left.Store(n)
	s.spend(left)
	return left
}

// carryAll ends that.
func (s *system) carryAll() { s.spend(nil) }

func (s *system) spend(left *atomic.Int64) {
	for _, n := range s.nodes {
		n.relay.left.Store(left)
	}
}

// TestB7OpeningInterruptedAtEachStep: a gateway dies after each step of opening and
// of its first write; another one opens, and dies a step later; and so on until one
// comes through. Nothing that was acknowledged is lost, a write that was not is there
// or not, and what was read once stays (R4, B7).
func TestB7OpeningInterruptedAtEachStep(t *testing.T) {
	const every = 3
	s := newSystem(t)
	g := s.open()
	g.write(0, fill(1, block.Size))
	g.write(block.Size, fill(1, block.Size)) // nobody overwrites it
	g.complete(0, all...)
	g.stop()

	possible, last := []byte{1}, byte(1) // what the first block may hold
	look := func() {
		t.Helper()
		g := s.open()
		defer g.stop()
		got := g.read(0, block.Size)
		if differ(got, fill(got[0], block.Size)) >= 0 || !slices.Contains(possible, got[0]) {
			t.Fatalf("the block holds %d, possible is %v", got[0], possible)
		}
		possible = []byte{got[0]} // and it stays so
		g.wantBytes(block.Size, fill(1, block.Size))
	}
	for n, done := int64(0), false; !done; n += every {
		left := s.carryOnly(n)
		g := s.open()
		last++
		w := g.h.startWrite(0, fill(last, block.Size))
		eventually(t, "the end of what is carried, or of the write", func() bool { return left.Load() < 0 || !w.pending() })
		done = !w.pending()
		if done {
			if err := w.err(t); err != nil {
				t.Fatal(err)
			}
			possible = []byte{last}
		} else {
			possible = append(possible, last)
		}
		g.stop()
		s.carryAll()
		if done || n%(5*every) == 0 { // most die without anybody having got through in between
			look()
			look()
		}
	}
	t.Logf("%d gateways opened the volume", s.meta.volume.Epoch)
	if last < 10 {
		t.Errorf("only %d were interrupted", last)
	}
}

// TestR14LeaseIsKeptWithoutMetadata: reads and writes of an open volume go on for
// longer than any lease while the metadata service answers nothing.
func TestR14LeaseIsKeptWithoutMetadata(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	g.write(0, fill('a', block.Size))
	s.cutOffMetadata()
	for end := time.Now().Add(quorum.LeaseTerm + time.Second); time.Now().Before(end); {
		g.write(block.Size, fill('b', block.Size))
		g.wantBytes(0, fill('a', block.Size))
		<-clock.Real().After(50 * time.Millisecond)
	}
}
