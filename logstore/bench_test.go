package logstore

import (
	"fmt"
	"io"
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
)

// benchDir is a folder on a real disk: SEXTANT_BENCH_DIR or a temporary one.
func benchDir(b *testing.B) string {
	root := os.Getenv("SEXTANT_BENCH_DIR")
	if root == "" {
		return b.TempDir()
	}
	//nolint:usetesting // a folder on the disk that is to be measured
	dir, err := os.MkdirTemp(root, "logstore-bench-")
	must(b, err)
	b.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func benchStore(b *testing.B) *Store {
	s, err := Open(vfs.OS(), filepath.Join(benchDir(b), "store"), diskA, Config{FileSize: MaxFileSize, Spares: -1})
	must(b, err)
	b.Cleanup(func() { must(b, s.Close()) })
	head := s.head.file
	must(b, s.filer.wipe(s.head.writer, head.name, s.head.next, head.header.pages)) // as after the first lap
	must(b, s.head.writer.SyncMeta())
	return s
}

// BenchmarkRawDisk is what appends are to be compared with: one pwritev of 8
// KiB with O_DIRECT to a zero-written file, and one fdatasync.
func BenchmarkRawDisk(b *testing.B) {
	fs, size := vfs.OS(), 64*block.MiB
	f, err := fs.OpenFile(filepath.Join(benchDir(b), "raw"), vfs.Create|vfs.Direct)
	must(b, err)
	defer f.Close()
	for at := block.ByteCount(0); at < size; at += growStep.bytes() {
		must(b, f.WritevAt([][]byte{zeroes()}, vfs.Offset(at)))
	}
	must(b, f.SyncMeta())
	p := slab.Get(8192).Bytes()
	at := vfs.Offset(0)
	l := newLatencies(b)
	for b.Loop() {
		start := time.Now()
		must(b, f.WritevAt([][]byte{p[:4096], p[4096:]}, at))
		must(b, f.Sync())
		l.add(time.Since(start))
		at = (at + 8192) % vfs.Offset(size)
	}
	l.report()
}

type latencies struct {
	b   *testing.B
	all []time.Duration
}

func newLatencies(b *testing.B) *latencies { return &latencies{b: b} }

func (l *latencies) add(d time.Duration) { l.all = append(l.all, d) }

func (l *latencies) report() {
	slices.Sort(l.all)
	if n := len(l.all); n > 0 {
		l.b.ReportMetric(float64(l.all[n/2].Nanoseconds())/1e3, "p50-µs")
		l.b.ReportMetric(float64(l.all[n*99/100].Nanoseconds())/1e3, "p99-µs")
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, writers := range []int{1, 6, 32} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s := benchStore(b)
			var wg sync.WaitGroup
			each := make([]*latencies, writers)
			b.ResetTimer()
			for w := range writers {
				g := create(b, s, w+1)
				n := b.N / writers
				if w < b.N%writers {
					n++
				}
				each[w] = newLatencies(b)
				wg.Add(1)
				go func() {
					defer wg.Done()
					appendMany(b, g, n, each[w])
				}()
			}
			wg.Wait()
			b.StopTimer()
			st := s.Stats()
			all := newLatencies(b)
			for _, l := range each {
				all.all = append(all.all, l.all...)
			}
			all.report()
			b.ReportMetric(float64(st.Records)/float64(st.Batches), "records/batch")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
		})
	}
}

// appendMany writes n records of 4 KiB, one after the other.
func appendMany(b *testing.B, g *Segment, n int, l *latencies) {
	p := slab.Get(block.Size).Bytes()
	clear(p)
	sums := []block.Sum{block.Checksum(p)}
	rec := make([]Record, 1)
	prev := g.SCL()
	for i := range n {
		next := prev + 1
		if prev == 0 {
			next = lsn(1, 1)
		}
		rec[0] = Record{Type: TypeWrite, LSN: next, Prev: prev, Block: block.Index(i % 100_000), Count: 1, Sums: sums, Payload: p}
		start := time.Now()
		must(b, g.Enqueue(rec).Wait())
		l.add(time.Since(start))
		prev = next
		if i%64 == 63 {
			must(b, g.SetFloor(prev))
		}
	}
}

// BenchmarkAppendCost is what the store itself costs: the disk is in memory
// and takes no time worth mentioning.
func BenchmarkAppendCost(b *testing.B) {
	s, err := Open(nullFS{newDisk()}, "/store", diskA, Config{FileSize: MaxFileSize, Spares: -1})
	must(b, err)
	defer s.Close()
	g := create(b, s, 1)
	b.ReportAllocs()
	b.ResetTimer()
	appendMany(b, g, b.N, newLatencies(b))
}

// nullFS is a file system that forgets all that is written to its log.
type nullFS struct{ vfs.FS }

func (n nullFS) OpenFile(name string, mode vfs.Mode) (vfs.File, error) {
	f, err := n.FS.OpenFile(name, mode)
	return nullFile{f}, err
}

type nullFile struct{ vfs.File }

func (nullFile) WritevAt(bufs [][]byte, off vfs.Offset) error { return nil }
func (nullFile) Sync() error                                  { return nil }
func (nullFile) SyncMeta() error                              { return nil }
func (nullFile) ReadAt(p []byte, off vfs.Offset) (int, error) { return 0, io.EOF }

func BenchmarkRead4K(b *testing.B) {
	s := benchStore(b)
	g := create(b, s, 1)
	const blocks = 16384 // 64 MiB
	fillSegment(b, g, blocks, 16)
	at := g.SCL()
	for _, settled := range []bool{false, true} {
		b.Run(fmt.Sprintf("settled=%v", settled), func(b *testing.B) {
			if settled {
				must(b, g.SetFloor(at))
			}
			r := ReadResult{Buf: slab.Get(block.Size).Bytes()}
			rng := rand.New(rand.NewPCG(1, 1))
			b.ReportAllocs()
			for b.Loop() {
				must(b, g.ReadAt(at, block.Index(rng.IntN(blocks)), 1, &r))
			}
		})
	}
	b.Run("64KiB", func(b *testing.B) {
		r := ReadResult{Buf: slab.Get(16 * block.Size).Bytes()}
		rng := rand.New(rand.NewPCG(1, 1))
		b.SetBytes(16 * block.Size)
		for b.Loop() {
			must(b, g.ReadAt(at, block.Index(rng.IntN(blocks/16)*16), 16, &r))
		}
	})
}

// fillSegment writes that many blocks, count to a record, 32 records a
// ticket.
func fillSegment(b testing.TB, g *Segment, blocks, count int) {
	prev := g.SCL()
	var recs []Record
	p := slab.Get(count * block.Size).Bytes()
	clear(p)
	var sums []block.Sum
	for range count {
		sums = append(sums, block.Checksum(p[:block.Size]))
	}
	for at := 0; at < blocks; at += count {
		next := prev + 1
		if prev == 0 {
			next = lsn(1, 1)
		}
		recs = append(recs, Record{Type: TypeWrite, LSN: next, Prev: prev, Block: block.Index(at), Count: block.Count(count), Sums: sums, Payload: p})
		prev = next
		if len(recs) == 32 || at+count >= blocks {
			must(b, g.Enqueue(recs).Wait())
			must(b, g.SetFloor(prev))
			recs = nil
		}
	}
}

// BenchmarkOpen replays a log of 1 GiB of 4 KiB records, as one writer at a
// queue depth of one (a batch a record) and of 16 leaves it.
func BenchmarkOpen(b *testing.B) {
	for _, depth := range []int{1, 16} {
		b.Run(fmt.Sprintf("depth=%d", depth), func(b *testing.B) {
			dir := filepath.Join(benchDir(b), "store")
			fs := unsynced{vfs.OS()}
			bytes := fillLog(b, fs, dir, depth, 1*block.GiB)
			b.SetBytes(int64(bytes))
			for b.Loop() {
				s, err := Open(vfs.OS(), dir, diskA, Config{ReadOnly: true})
				must(b, err)
				if n := len(s.Damage()); n > 0 {
					b.Fatalf("%d damages", n)
				}
				must(b, s.Close())
			}
		})
	}
}

func fillLog(b testing.TB, fs vfs.FS, dir string, depth int, size block.ByteCount) block.ByteCount {
	s, err := Open(fs, dir, diskA, Config{Spares: -1, Direct: DirectOff})
	must(b, err)
	defer s.Close()
	g := create(b, s, 1)
	p := slab.Get(block.Size).Bytes()
	clear(p)
	sums := []block.Sum{block.Checksum(p)}
	recs := make([]Record, depth)
	prev := block.LSN(0)
	for i := 0; s.Stats().Bytes < size; i++ {
		for j := range recs {
			next := max(prev+1, lsn(1, 1))
			recs[j] = Record{Type: TypeWrite, LSN: next, Prev: prev, Block: block.Index((i*depth + j) % 1_000_000), Count: 1, Sums: sums, Payload: p}
			prev = next
		}
		must(b, g.Enqueue(recs).Wait())
		must(b, g.SetFloor(prev))
	}
	return s.Stats().Bytes
}

// unsynced is a file system that does not wait for the disk: to make a large
// log quickly.
type unsynced struct{ vfs.FS }

func (u unsynced) OpenFile(name string, mode vfs.Mode) (vfs.File, error) {
	f, err := u.FS.OpenFile(name, mode)
	if err != nil {
		return nil, err
	}
	return unsyncedFile{f}, nil
}

type unsyncedFile struct{ vfs.File }

func (unsyncedFile) Sync() error     { return nil }
func (unsyncedFile) SyncMeta() error { return nil }
