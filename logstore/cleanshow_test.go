package logstore

import (
	"encoding/binary"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
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
	showFile   = flag.Uint64("clean.file", 64, "MiB of its log files")
	showFactor = flag.Float64("clean.factor", 10, "how many times its size is written")
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

// showWriter writes one segment; versions are those of acknowledged writes.
type showWriter struct {
	g        *Segment
	n        int
	rng      *rand.Rand
	blocks   int
	versions []uint32
	last     uint32
	prev     block.LSN
	took     []time.Duration
	// recs of the last ticket are for these blocks; it is sent again, the
	// same, if it was refused.
	recs   []Record
	placed []int
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

// pick is a block to overwrite: the first tenth is hot.
func (w *showWriter) pick() int {
	hot := max(w.blocks/10, 1)
	if w.rng.IntN(10) < 9 {
		return w.rng.IntN(hot)
	}
	return hot + w.rng.IntN(w.blocks-hot)
}

// write makes one ticket of records for these blocks and waits for it.
func (w *showWriter) write(blocks []int, buf []byte) error {
	recs := make([]Record, 0, len(blocks))
	w.placed = blocks
	version := w.last + 1
	l := w.prev
	for i, b := range blocks {
		p := buf[i*block.Size : (i+1)*block.Size]
		w.stamp(p, b, version)
		prev := l
		l = max(l+1, lsn(1, 1))
		recs = append(recs, Record{Type: TypeWrite, LSN: l, Prev: prev, Block: block.Index(b), Count: 1, Sums: []block.Sum{block.Checksum(p)}, Payload: p})
	}
	w.recs = recs
	return w.send()
}

// send writes the last ticket.
func (w *showWriter) send() error {
	start := time.Now()
	if err := w.g.Enqueue(w.recs).Wait(); err != nil {
		return err
	}
	w.took = append(w.took, time.Since(start))
	w.last++
	w.prev = w.recs[len(w.recs)-1].LSN
	for _, b := range w.placed {
		w.versions[b] = w.last
	}
	return w.g.SetFloor(w.prev)
}

func (w *showWriter) stamp(p []byte, b int, version uint32) {
	binary.LittleEndian.PutUint32(p, uint32(w.n))
	binary.LittleEndian.PutUint32(p[4:], uint32(b))
	binary.LittleEndian.PutUint32(p[8:], version)
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

// overwrite writes so many bytes, all writers together.
func (s *show) overwrite(n block.ByteCount) {
	s.t.Helper()
	tickets := int(n / block.Size / showRecords / showWriters)
	s.all(func(w *showWriter, buf []byte) error {
		w.took = w.took[:0]
		blocks := make([]int, showRecords)
		for range tickets {
			for i := range blocks {
				blocks[i] = w.pick()
			}
			slices.Sort(blocks)
			if err := w.write(slices.Compact(slices.Clone(blocks)), buf); err != nil {
				return err
			}
		}
		return nil
	})
}

// p99 is of the appends since the last overwrite began.
func (s *show) p99() time.Duration {
	var all []time.Duration
	for _, w := range s.writers {
		all = append(all, w.took...)
	}
	slices.Sort(all)
	return all[len(all)*99/100]
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

// amplification is what was written to the disk between two Stats for each
// byte that clients gave.
func amplification(from, to Stats) float64 {
	wrote := to.Bytes - from.Bytes + to.ColdBytes - from.ColdBytes + to.CheckpointBytes - from.CheckpointBytes
	return float64(wrote) / float64(to.ClientBytes-from.ClientBytes)
}

// TestCleaningShow is what cleaning promises: a store that is 80 % live is
// overwritten for ten times its size, 90 % of the writes to 10 % of it, at a
// bounded write amplification and without losing a write; then it is filled
// until writes are refused, reads go on, and when a quarter of it is deleted
// writes go on, without restart.
func TestCleaningShow(t *testing.T) {
	cfg := Config{FileSize: block.MiB, Capacity: 96 * block.MiB}
	factor := 1.0
	fs, dir := vfs.FS(memfs.New(0)), "/store"
	if *showSize > 0 {
		cfg.Capacity, cfg.FileSize, factor = block.ByteCount(*showSize)*block.MiB, block.ByteCount(*showFile)*block.MiB, *showFactor
		root, err := os.MkdirTemp(os.Getenv("SEXTANT_BENCH_DIR"), "clean-show-") //nolint:usetesting // a disk that is to be measured
		must(t, err)
		defer os.RemoveAll(root)
		fs, dir = vfs.OS(), filepath.Join(root, "store")
	}
	s, err := Open(fs, dir, diskA, cfg)
	must(t, err)
	defer func() { _ = s.Close() }()
	w := newShow(t, s, cfg.Capacity*block.ByteCount(*showLive)/100)
	w.fill()
	idle := s.Stats()
	w.overwrite(cfg.Capacity / 16)
	without := w.p99()
	if busy := s.Stats(); busy.ColdBytes != idle.ColdBytes {
		t.Logf("cleaning began early: %v moved", busy.ColdBytes)
	}
	w.overwrite(cfg.Capacity / 2) // until it is as it will stay
	from, start := s.Stats(), time.Now()
	w.overwrite(block.ByteCount(float64(cfg.Capacity) * factor))
	took := time.Since(start)
	to := s.Stats()
	wa, with := amplification(from, to), w.p99()
	wrote := to.ClientBytes - from.ClientBytes
	t.Logf("%v store in files of %v, %d %% live, %v written at %.0f MB/s: write amplification %.2f (hot %.3f, cold %.3f, checkpoints %.3f; zero-written %.3f)",
		cfg.Capacity, cfg.FileSize, *showLive, wrote, float64(wrote)/took.Seconds()/1e6, wa,
		float64(to.Bytes-from.Bytes)/float64(wrote), float64(to.ColdBytes-from.ColdBytes)/float64(wrote),
		float64(to.CheckpointBytes-from.CheckpointBytes)/float64(wrote), float64(to.ZeroedBytes-from.ZeroedBytes)/float64(wrote))
	t.Logf("p99 of appends: %v without cleaning, %v with it; %d stalls; %d files recycled; %+v", without, with, to.Stalls, to.Recycled, s.Space())
	if to.Recycled == 0 || to.ColdBytes == 0 {
		t.Fatal("nothing was cleaned")
	}
	if *showSize > 0 && (wa > 2 || float64(with) > 1.5*float64(without)) {
		t.Errorf("missed: write amplification %.2f (at most 2), p99 %.2f times that without cleaning (at most 1.5)", wa, float64(with)/float64(without))
	}
	w.verify()
	w.full(t)
	w.verify()
}

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
	s.overwrite(4 * block.MiB)
}
