package logstore

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/slab"
	"github.com/sextantdisk/sextant/internal/vfs"
)

// BenchmarkClean empties files of 16 MiB that have 12 MiB of data, of which that
// share is live. One operation is one file.
//
//	moved-MB/s   live bytes copied
//	freed-MB/s   dead bytes won
//	of-raw       the rate of copying as a part of the raw disk's, which reads
//	             the whole file and writes the live bytes in batches of the
//	             cold head's length, in turn with the cleaner
func BenchmarkClean(b *testing.B) {
	for _, live := range []int{60, 80, 90} {
		b.Run(fmt.Sprintf("live=%d%%", live), func(b *testing.B) {
			dir := benchDir(b)
			raw := newRawDisk(b, dir)
			s, err := Open(vfs.OS(), filepath.Join(dir, "store"), diskA,
				Config{FileSize: 16 * block.MiB, Spares: -1, CheckpointEvery: NoCheckpoints, byHand: true})
			must(b, err)
			b.Cleanup(func() { must(b, s.Close()) })
			var took, rawTook time.Duration
			var moved, freed block.ByteCount
			b.ResetTimer()
			for i := range b.N {
				b.StopTimer()
				f := partlyLive(b, s, i, live)
				n := block.ByteCount(f.live.Load()) * block.Size
				b.StartTimer()
				start := time.Now()
				_, err := s.clean(f, nil)
				took += time.Since(start)
				b.StopTimer()
				must(b, err)
				if f.live.Load() != 0 {
					b.Fatalf("%d blocks are left", f.live.Load())
				}
				moved, freed = moved+n, freed+f.header.pages.bytes()-n
				rawTook += raw.copy(f.header.pages.bytes(), n)
				b.StartTimer()
			}
			b.StopTimer()
			b.ReportMetric(float64(moved)/1e6/took.Seconds(), "moved-MB/s")
			b.ReportMetric(float64(freed)/1e6/took.Seconds(), "freed-MB/s")
			b.ReportMetric(rawTook.Seconds()/took.Seconds(), "of-raw")
		})
	}
}

// partlyLive fills a file and trims single blocks of it until that share of it
// is live; another file is the head then. Round n begins with a new segment.
func partlyLive(b *testing.B, s *Store, n, live int) *logFile {
	pad, ok := s.Segment(segID(2))
	if !ok {
		pad = create(b, s, 2)
	}
	if n > 0 {
		must(b, s.DropSegment(segID(1)))
		s.cleaner.settleDead()
	}
	g := create(b, s, 1)
	const blocks = 3072 // 12 MiB
	for s.head.room() < blocks+400 {
		fillSegment(b, pad, 256, 16)
	}
	f := s.head.file
	fillSegment(b, g, blocks, 16)
	r := rand.New(rand.NewPCG(1, uint64(n)))
	var trims []Record
	for i := range blocks {
		if r.IntN(100) >= live {
			prev := max(g.SCL(), lastOf(trims))
			trims = append(trims, trim(prev+1, prev, block.Index(i), 1))
		}
	}
	must(b, g.Enqueue(trims).Wait())
	must(b, g.SetFloor(g.SCL()))
	for s.head.file == f {
		fillSegment(b, pad, 256, 16)
	}
	return f
}

func lastOf(recs []Record) block.LSN {
	if len(recs) == 0 {
		return 0
	}
	return recs[len(recs)-1].LSN
}

// copy reads that many bytes past the page cache and writes n of them, with a
// flush for each batch.
func (r *rawDisk) copy(read, n block.ByteCount) time.Duration {
	start := time.Now()
	for at := block.ByteCount(0); at < read; at += moveSpan * pageSize {
		_, err := r.file.ReadAt(r.p[:moveSpan*pageSize], vfs.Offset(at))
		must(r.b, err)
	}
	d := time.Since(start)
	var sizes []block.ByteCount
	for ; n > 0; n -= min(n, coldBatch) {
		sizes = append(sizes, min(n, coldBatch)+pageSize)
	}
	w, _ := r.write(sizes)
	return d + w
}

// BenchmarkIndex is the index alone: the disk is in memory and forgets all.
// lookup finds a settled block among a full protection group's.
func BenchmarkIndex(b *testing.B) {
	const blocks = 1 << 20 // 4 GiB
	s, err := Open(nullFS{newDisk()}, "/store", diskA, Config{FileSize: MaxFileSize, Spares: -1, CheckpointEvery: NoCheckpoints, byHand: true})
	must(b, err)
	defer s.Close()
	g := create(b, s, 1)
	fillSegment(b, g, blocks, 16)
	rng := rand.New(rand.NewPCG(1, 1))
	b.Run("lookup", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if f := g.newest(block.Index(rng.IntN(blocks))); f.loc.flags != locData {
				b.Fatal("a block is gone")
			}
		}
	})
	b.Run("overwrite", func(b *testing.B) {
		p := slab.Get(block.Size).Bytes()
		clear(p)
		sums := []block.Sum{block.Checksum(p)}
		recs := make([]Record, 64)
		for done := 0; done < b.N; done += len(recs) {
			prev := g.SCL()
			for i := range recs {
				recs[i] = Record{Type: TypeWrite, LSN: prev + 1, Prev: prev, Block: block.Index(rng.IntN(blocks)), Count: 1, Sums: sums, Payload: p}
				prev++
			}
			must(b, g.Enqueue(recs).Wait())
			must(b, g.SetFloor(prev))
		}
	})
}
