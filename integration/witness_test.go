package integration

import (
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/slab"
	"github.com/sextantdisk/sextant/internal/vfs"
)

const (
	// witnessRest is how long a witness leaves the disk alone between two writes.
	witnessRest = 5 * time.Millisecond
	// witnessSlow is from when on a write tells that the disk stood still: many
	// times what it takes.
	witnessSlow = 10 * time.Millisecond
)

// witness writes a block to a file of its own, and flushes it, all the while: it
// tells when the disk under the cluster answered nobody.
type witness struct {
	stop  chan struct{}
	ended sync.WaitGroup
	slow  []span // good when it has ended
}

// span is a time from one moment to another.
type span struct{ from, to time.Time }

// newWitness begins to watch the disk of a folder.
func newWitness(t *testing.T, dir string) *witness {
	t.Helper()
	f, err := vfs.OS().OpenFile(filepath.Join(dir, "witness"), vfs.Create|vfs.Direct)
	if err != nil {
		t.Fatal(err)
	}
	buf := slab.Get(block.Size)
	clear(buf.Bytes())
	write := func() {
		if err := f.WritevAt([][]byte{buf.Bytes()}, 0); err != nil {
			t.Error(err)
		}
		if err := f.Sync(); err != nil {
			t.Error(err)
		}
	}
	write()
	w := &witness{stop: make(chan struct{})}
	w.ended.Go(func() {
		defer buf.Release()
		defer f.Close()
		tick := time.NewTicker(witnessRest)
		defer tick.Stop()
		for {
			select {
			case <-w.stop:
				return
			case <-tick.C:
			}
			began := time.Now()
			write()
			if now := time.Now(); now.Sub(began) >= witnessSlow {
				w.slow = append(w.slow, span{began, now})
			}
		}
	})
	return w
}

// end stops watching.
func (w *witness) end() {
	close(w.stop)
	w.ended.Wait()
}

// still is for how long of a time the disk answered nobody.
func (w *witness) still(during span) (sum time.Duration) {
	for _, s := range w.slow {
		from, to := s.from, s.to
		if from.Before(during.from) {
			from = during.from
		}
		if to.After(during.to) {
			to = during.to
		}
		sum += max(0, to.Sub(from))
	}
	return sum
}

// TestWitness: what counts of a silence is what the disk does not explain.
func TestWitness(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(1, 0).Add(time.Duration(ms) * time.Millisecond) }
	w := &witness{slow: []span{{at(10), at(30)}, {at(50), at(90)}}}
	for _, c := range []struct{ from, to, want int }{{0, 10, 0}, {0, 100, 60}, {20, 60, 20}, {60, 70, 10}, {90, 200, 0}} {
		if got := w.still(span{at(c.from), at(c.to)}); got != time.Duration(c.want)*time.Millisecond {
			t.Errorf("from %d to %d it stood still for %v, not %d ms", c.from, c.to, got, c.want)
		}
	}
	l := latencies{at: []time.Time{at(0), at(8), at(100)}}
	if all, ours := l.stall(w); all != 92*time.Millisecond || ours != 32*time.Millisecond {
		t.Errorf("silent for %v, %v of it not explained", all, ours)
	}
	newWitness(t, t.TempDir()).end()
}
