package logstore

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

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

// benchStore is a store on a real disk whose first file is zero-written, as all
// are after the first lap; addSpare makes more of them.
func benchStore(b *testing.B, dir string, o Observer) *Store {
	s, err := Open(vfs.OS(), filepath.Join(dir, "store"), diskA, Config{FileSize: MaxFileSize, Spares: -1, Observer: o})
	must(b, err)
	b.Cleanup(func() { must(b, s.Close()) })
	head := s.head.file
	must(b, s.filer.wipe(s.head.writer, head.name, s.head.next, head.header.pages))
	must(b, s.head.writer.SyncMeta())
	head.claims.mu.Lock()
	head.claims.mu.filled = head.header.pages // nothing is left for the filler
	head.claims.mu.Unlock()
	return s
}

// addSpare gives a store a file for its log that was written before, unless it
// has one.
func addSpare(b *testing.B, s *Store) {
	r := s.filer
	if r.spares() > 0 {
		return
	}
	r.mu.Lock()
	r.mu.nextNew++
	n := r.mu.nextNew
	r.mu.Unlock()
	name := fileName(sparePrefix, n)
	must(b, r.edit(name, vfs.Create|r.mode, func(w vfs.File) error {
		must(b, w.Allocate(r.fileSize))
		must(b, r.wipe(w, name, 0, pageNo(r.fileSize/pageSize)))
		return w.SyncMeta()
	}))
	r.adoptSpare(name, n, r.fileSize)
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
	appendMany(b, g, b.N)
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
	s := benchStore(b, benchDir(b), nil)
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

// BenchmarkOpen opens a log of 1 GiB of 4 KiB records, as one writer at a
// queue depth of one (a batch a record) and of 16 leaves it: by reading it all,
// or from a checkpoint behind it.
func BenchmarkOpen(b *testing.B) {
	for _, c := range []struct {
		depth      int
		checkpoint bool
	}{{1, false}, {16, false}, {16, true}} {
		b.Run(fmt.Sprintf("depth=%d,checkpoint=%v", c.depth, c.checkpoint), func(b *testing.B) {
			dir := filepath.Join(benchDir(b), "store")
			fs := unsynced{vfs.OS()}
			bytes := fillLog(b, fs, dir, c.depth, c.checkpoint, 1*block.GiB)
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

func fillLog(b testing.TB, fs vfs.FS, dir string, depth int, checkpoint bool, size block.ByteCount) block.ByteCount {
	s, err := Open(fs, dir, diskA, Config{Spares: -1, Direct: DirectOff, CheckpointEvery: NoCheckpoints, byHand: true})
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
	if checkpoint {
		must(b, s.ckpt.now())
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
