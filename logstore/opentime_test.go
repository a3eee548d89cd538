package logstore

import (
	"flag"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/slab"
	"github.com/sextantdisk/sextant/internal/vfs"
)

var (
	openGiB    = flag.String("open.gib", "", "sizes of live data in GiB, such as 10,20,50, for TestOpenTimes")
	openDir    = flag.String("open.dir", "", "where TestOpenTimes writes; by default where temporary files go")
	openBlocks = flag.Int("open.blocks", 1, "blocks a record for TestOpenTimes")
)

// TestOpenTimes prints how long stores take to open, and what they take in
// memory then: make bench-open. The page cache is warm, as after kill -9.
func TestOpenTimes(t *testing.T) {
	if *openGiB == "" {
		openTimes(t, 64*block.MiB)
		return
	}
	for _, n := range strings.Split(*openGiB, ",") {
		gib, err := strconv.Atoi(n)
		must(t, err)
		openTimes(t, block.ByteCount(gib)*block.GiB)
	}
}

func openTimes(t *testing.T, live block.ByteCount) {
	dir := *openDir
	if dir == "" {
		dir = t.TempDir()
	}
	dir += "/store"
	fs := vfs.OS()
	s, err := Open(fs, dir, diskA, Config{CheckpointEvery: NoCheckpoints, Spares: -1})
	must(t, err)
	fill(t, s, live)
	was := time.Now()
	must(t, s.ckpt.now())
	took := time.Since(was)
	wrote := block.ByteCount(s.stats.checkpoint.Load())
	settleTail(t, s)
	kill(t, s)
	with, heap := timedOpen(t, dir)
	for slot := range 2 {
		_ = fs.Remove(dir + "/" + manifestName(slot)) // one of them may not be there
	}
	without, _ := timedOpen(t, dir)
	blocks := uint64(live / block.Size)
	t.Logf("%v live: checkpoint of %d MiB in %v; open with it %v, from footers %v; heap %d MiB = 12 B a block + %d MiB",
		live, wrote/block.MiB, took.Round(time.Millisecond), with.Round(time.Millisecond), without.Round(time.Millisecond),
		heap>>20, (int64(heap)-int64(12*blocks))>>20)
}

// fill writes live bytes, and settles them.
func fill(t *testing.T, s *Store, live block.ByteCount) {
	n := *openBlocks
	buf := slab.Get(n * block.Size)
	defer buf.Release()
	sums := make([]block.Sum, n)
	for i := range sums {
		sums[i] = block.Checksum(buf.Bytes()[i*block.Size : (i+1)*block.Size])
	}
	const pg = 10 * block.GiB
	for at := block.ByteCount(0); at < live; at += pg {
		create(t, s, int(at/pg)+1) // all first: a disk that fills up takes none
	}
	for at := block.ByteCount(0); at < live; at += pg {
		g := segment(t, s, int(at/pg)+1)
		part := min(pg, live-at)
		for b, prev := block.Index(0), block.LSN(0); block.ByteCount(b)*block.Size < part; {
			var recs []Record
			for range 512 {
				l := max(prev+1, lsn(1, 1))
				recs = append(recs, Record{Type: TypeWrite, LSN: l, Prev: prev, Block: b, Count: block.Count(n), Sums: sums, Payload: buf.Bytes()})
				prev, b = l, b+block.Index(n)
			}
			put(t, g, recs...)
			must(t, g.SetFloor(prev))
		}
	}
	must(t, s.mark())
}

// settleTail writes 100 MiB behind a checkpoint.
func settleTail(t *testing.T, s *Store) {
	for range 400 {
		g := segment(t, s, 1)
		prev := g.SCL()
		put(t, g, write(prev+1, prev, 0, int(block.MaxRecordBlocks)))
	}
}

// kill ends a store as the end of its process does.
func kill(t *testing.T, s *Store) {
	s.mu.Lock()
	s.mu.closing = true
	s.mu.Unlock()
	close(s.stop)
	s.tasks.Wait()
	s.quiesce()
	must(t, s.release())
}

func timedOpen(t *testing.T, dir string) (took time.Duration, heap uint64) {
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	was := time.Now()
	s, err := Open(vfs.OS(), dir, diskA, Config{CheckpointEvery: NoCheckpoints, Spares: -1})
	took = time.Since(was)
	must(t, err)
	if d := s.Damage(); len(d) > 0 {
		t.Fatalf("damage %v", d)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	kill(t, s)
	return took, after.HeapAlloc - min(before.HeapAlloc, after.HeapAlloc)
}
