package logstore

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/slab"
	"github.com/sextantdisk/sextant/internal/vfs"
	"github.com/sextantdisk/sextant/internal/vfs/memfs"
)

// `make bench-clean` sets these; without them the show is a small test in
// memory.
var (
	showSize   = flag.Uint64("clean.size", 0, "MiB of the store of the cleaning show; 0: a small one in memory")
	showFile   = flag.Uint64("clean.file", 0, "MiB of its log files; 0: as a store of that capacity has by itself")
	showFactor = flag.Float64("clean.factor", 10, "how many times its size is written")
	showLoad   = flag.Int("clean.load", 25, "percent of what it can do while it cleans: the even load at which appends are timed")
	showLive   = flag.Int("clean.live", 80, "percent of it that is live")
)

const (
	showWriters = 8
	showRecords = 32 // of one block each, in a ticket
)

// show is a store under writers that overwrite 10 % of it with 90 % of their
// writes, and what each block must hold.
type show struct {
	t       *testing.T
	store   *Store
	writers []*showWriter
}

func newShow(t *testing.T, s *Store, live block.ByteCount) *show {
	w := &show{t: t, store: s}
	each := int(live / block.Size / showWriters)
	for i := range showWriters {
		w.writers = append(w.writers, &showWriter{
			g: create(t, s, i+1), n: i, rng: rng(uint64(i) + 77), blocks: each, versions: make([]uint32, each),
		})
	}
	return w
}

// all runs fn for each writer, side by side.
func (s *show) all(fn func(w *showWriter, buf []byte) error) {
	s.t.Helper()
	var wg sync.WaitGroup
	errs := make([]error, len(s.writers))
	for i, w := range s.writers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			buf := slab.Get(showRecords * block.Size)
			defer buf.Release()
			clear(buf.Bytes())
			errs[i] = fn(w, buf.Bytes())
		}()
	}
	wg.Wait()
	for _, err := range errs {
		must(s.t, err)
	}
}

func (s *show) fill() {
	s.t.Helper()
	s.all(func(w *showWriter, buf []byte) error {
		for b := 0; b < w.blocks; b += showRecords {
			var blocks []int
			for k := b; k < min(b+showRecords, w.blocks); k++ {
				blocks = append(blocks, k)
			}
			if err := w.write(blocks, buf); err != nil {
				return err
			}
		}
		return nil
	})
}

// verify reads each block of each writer.
func (s *show) verify() {
	s.t.Helper()
	s.all(func(w *showWriter, buf []byte) error {
		r := ReadResult{Buf: make([]byte, showRecords*block.Size)}
		want := make([]byte, block.Size)
		for b := 0; b < w.blocks; b += showRecords {
			n := min(showRecords, w.blocks-b)
			if err := w.g.ReadAt(w.g.SCL(), block.Index(b), block.Count(n), &r); err != nil {
				return err
			}
			if len(r.Sums) != n {
				return block.Errorf(block.Corrupt, "segment %d holds %d of %d blocks from %d", w.n, len(r.Sums), n, b)
			}
			for i := range n {
				w.stamp(want, b+i, w.versions[b+i])
				if got := r.block(i); string(got[:12]) != string(want[:12]) {
					return block.Errorf(block.Corrupt, "block %d of segment %d holds % x, want % x", b+i, w.n, got[:12], want[:12])
				}
			}
		}
		return nil
	})
}

// blocks is how many blocks were written.
func (s *show) blocks() (n int) {
	for _, w := range s.writers {
		n += w.blocks
	}
	return n
}

// amplification is what was written to the disk between two Stats for each
// byte that clients gave.
func amplification(from, to Stats) float64 {
	wrote := to.Bytes - from.Bytes + to.ColdBytes - from.ColdBytes + to.CheckpointBytes - from.CheckpointBytes
	return float64(wrote) / float64(to.ClientBytes-from.ClientBytes)
}

// shares are the parts of it.
func shares(from, to Stats) string {
	client := float64(to.ClientBytes - from.ClientBytes)
	return fmt.Sprintf("log %.3f, cleaning %.3f, checkpoints %.3f; zero-written in advance %.3f; of %v written",
		float64(to.Bytes-from.Bytes)/client, float64(to.ColdBytes-from.ColdBytes)/client,
		float64(to.CheckpointBytes-from.CheckpointBytes)/client, float64(to.ZeroedBytes-from.ZeroedBytes)/client, to.ClientBytes-from.ClientBytes)
}

// TestCleaningShow is what cleaning promises: a store that is 80 % live is
// overwritten for ten times its size, 90 % of the writes to 10 % of it, at a
// bounded write amplification and without losing a write; at an even load below
// what it can do while it cleans, appends take hardly longer than in a store as
// full that need not clean. Then it is filled until writes are refused, reads go
// on, and when a quarter of it is deleted writes go on, without restart.
func TestCleaningShow(t *testing.T) {
	cfg, factor := Config{FileSize: block.MiB, Capacity: 96 * block.MiB}, 1.0
	if *showSize > 0 {
		cfg.Capacity, cfg.FileSize, factor = block.ByteCount(*showSize)*block.MiB, block.ByteCount(*showFile)*block.MiB, *showFactor
	}
	freely, even, with := showCleaning(t, cfg, factor)
	s, w := filledShow(t, cfg) // a second one, that has room
	before := s.Stats()
	without := w.overwrite(cfg.Capacity/20, even)
	if busy := s.Stats(); busy.ColdBytes != before.ColdBytes {
		t.Errorf("cleaning began before there was need: %v moved", busy.ColdBytes-before.ColdBytes)
	}
	ratio := with.quantile(0.99).Seconds() / without.quantile(0.99).Seconds()
	t.Logf("as fast as it goes without cleaning: %v/s", freely)
	t.Logf("appends at %v/s: without cleaning %v", even, without)
	t.Logf("appends at %v/s: with cleaning    %v; p99 %.2f times as long", even, with, ratio)
	if *showSize > 0 && ratio > mostSlowed {
		t.Errorf("missed: p99 %.2f times that without cleaning (at most %v)", ratio, mostSlowed)
	}
}

// filledShow is a store that is filled to what is to be live, until the test
// ends.
func filledShow(t *testing.T, cfg Config) (*Store, *show) {
	t.Helper()
	fs, dir := vfs.FS(memfs.New(0)), "/store"
	if *showSize > 0 {
		root, err := os.MkdirTemp(os.Getenv("SEXTANT_BENCH_DIR"), "clean-show-") //nolint:usetesting // a disk that is to be measured
		must(t, err)
		t.Cleanup(func() { _ = os.RemoveAll(root) })
		fs, dir = vfs.OS(), filepath.Join(root, "store")
	}
	s, err := Open(fs, dir, diskA, cfg)
	must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	w := newShow(t, s, cfg.Capacity*block.ByteCount(*showLive)/100)
	w.fill()
	return s, w
}

// showCleaning is the part with cleaning, in a store of its own that is gone
// when it returns: how fast it was before it cleaned, and an even load and how
// appends fared under it.
func showCleaning(t *testing.T, cfg Config, factor float64) (freely, even block.ByteCount, with *measured) {
	t.Helper()
	t.Run("cleaning", func(t *testing.T) {
		s, w := filledShow(t, cfg)
		t.Logf("%v store in files of %v, %d %% live, %d writers with tickets of %d blocks", cfg.Capacity, s.cfg.FileSize, *showLive, showWriters, showRecords)
		freely = w.overwrite(cfg.Capacity/20, 0).rate()
		w.overwrite(cfg.Capacity/2, 0) // until it is as it will stay
		from := s.Stats()
		cleaning := w.overwrite(block.ByteCount(float64(cfg.Capacity)*factor), 0).rate()
		even = max(cleaning*block.ByteCount(*showLoad)/100/block.MiB, 1) * block.MiB
		with = w.overwrite(cfg.Capacity/4, even)
		to := s.Stats()
		wa := amplification(from, to)
		t.Logf("as fast as it goes while it cleans: %v/s", cleaning)
		t.Logf("write amplification %.2f: %s", wa, shares(from, to))
		t.Logf("%d stalls; %d files recycled; %+v", to.Stalls, to.Recycled, s.Space())
		if to.Recycled == 0 || to.ColdBytes == 0 {
			t.Fatal("nothing was cleaned")
		}
		if *showSize > 0 && wa > mostAmplified {
			t.Errorf("missed: write amplification %.2f (at most %v)", wa, mostAmplified)
		}
		w.verify()
		w.full(t)
		w.verify()
		t.Logf("lost: none of %d blocks", w.blocks())
	})
	return freely, even, with
}

// What is promised.
const (
	mostAmplified = 2.0
	mostSlowed    = 1.5
)

// full writes new blocks until there is no room, drops a quarter, and goes on.
func (s *show) full(t *testing.T) {
	t.Helper()
	w := s.writers[0]
	buf := slab.Get(showRecords * block.Size)
	defer buf.Release()
	clear(buf.Bytes())
	var err error
	for err == nil && (*showSize == 0 || s.store.Space().Level < SpaceFull) {
		var blocks []int
		for range showRecords {
			blocks = append(blocks, w.blocks)
			w.blocks, w.versions = w.blocks+1, append(w.versions, 0)
		}
		err = w.write(blocks, buf.Bytes())
	}
	if *showSize == 0 {
		wantKind(t, err, block.NoSpace)
	}
	sp := s.store.Space()
	if sp.Level != SpaceFull {
		t.Fatalf("writes are refused, but the store is %v: %+v", sp.Level, sp)
	}
	if err != nil {
		w.blocks -= showRecords // the last ones were refused
	}
	s.verify()
	if err != nil {
		w.blocks += showRecords
	}
	for _, gone := range s.writers[len(s.writers)-showWriters/4:] {
		must(t, s.store.DropSegment(gone.g.ID()))
	}
	s.writers = s.writers[:len(s.writers)-showWriters/4]
	deadline := time.Now().Add(30 * time.Second)
	for err != nil && w.send() != nil {
		if time.Now().After(deadline) {
			t.Fatalf("no room 30 s after a quarter was dropped: %+v", s.store.Space())
		}
	}
	s.overwrite(4*block.MiB, 0)
}
