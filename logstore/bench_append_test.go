package logstore

import (
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/slab"
	"github.com/sextantdisk/sextant/internal/vfs"
)

// rawDisk is what appends are compared with: a zero-written file on the same
// disk, O_DIRECT, one pwritev of as many bytes as a batch has and one fdatasync.
type rawDisk struct {
	b    *testing.B
	file vfs.File
	at   vfs.Offset
	p    []byte
}

const rawSize = 128 * block.MiB

func newRawDisk(b *testing.B, dir string) *rawDisk {
	f, err := vfs.OS().OpenFile(filepath.Join(dir, "raw"), vfs.Create|vfs.Direct)
	must(b, err)
	b.Cleanup(func() { must(b, f.Close()) })
	for at := block.ByteCount(0); at < rawSize; at += growStep.bytes() {
		must(b, f.WritevAt([][]byte{zeroes()}, vfs.Offset(at)))
	}
	must(b, f.SyncMeta())
	return &rawDisk{b: b, file: f, p: slab.Get(int(MaxBatch)).Bytes()}
}

// write writes batches of these lengths, one after the other.
func (r *rawDisk) write(sizes []block.ByteCount) (total time.Duration, each []time.Duration) {
	for _, n := range sizes {
		if r.at+vfs.Offset(n) > vfs.Offset(rawSize) {
			r.at = 0
		}
		start := time.Now()
		must(r.b, r.file.WritevAt([][]byte{r.p[:pageSize], r.p[pageSize:n]}, r.at))
		must(r.b, r.file.Sync())
		d := time.Since(start)
		total, each = total+d, append(each, d)
		r.at += vfs.Offset(n)
	}
	return total, each
}

// batchSizes notes how long each batch is.
type batchSizes struct {
	silent
	mu    sync.Mutex
	sizes []block.ByteCount
}

func (o *batchSizes) Flushed(_ int, n block.ByteCount, _ time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sizes = append(o.sizes, n)
}

func (o *batchSizes) take() []block.ByteCount {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := o.sizes
	o.sizes = nil
	return all
}

// quantile is in microseconds.
func quantile(all []time.Duration, q int) float64 {
	slices.Sort(all)
	return float64(all[len(all)*q/100].Nanoseconds()) / 1e3
}

// appendRound is how many records are appended before the raw disk has its
// turn: a disk's pace changes within seconds.
const appendRound = 4096

// BenchmarkAppend appends records of 4 KiB: each of so many segments of one
// store has one writer, which waits for each record. In turn with it, the raw
// disk writes batches of the very same lengths. Log files were written before, as
// the raw disk's, and as all are after the first lap: until then the filler
// zero-writes as much again, beside the writers.
//
//	of-raw      the rate as a part of the raw disk's
//	p50/raw     the median of an append by that of a raw batch
func BenchmarkAppend(b *testing.B) {
	for _, writers := range []int{1, 6, 32} {
		b.Run(fmt.Sprintf("segments=%d", writers), func(b *testing.B) {
			dir := benchDir(b)
			sizes := &batchSizes{}
			s := benchStore(b, dir, sizes)
			raw := newRawDisk(b, dir)
			w := newWriters(b, s, writers)
			addSpare(b, s)
			var lone, rawTotal time.Duration
			var each, rawEach []time.Duration
			batches := 0
			sizes.take()
			b.ResetTimer()
			for left := b.N; left > 0; left -= appendRound {
				start := time.Now()
				each = append(each, w.append(min(left, appendRound))...)
				lone += time.Since(start)
				b.StopTimer()
				addSpare(b, s)
				lengths := sizes.take()
				d, ds := raw.write(lengths)
				batches += len(lengths)
				rawTotal, rawEach = rawTotal+d, append(rawEach, ds...)
				b.StartTimer()
			}
			b.StopTimer()
			p50, rawP50 := quantile(each, 50), quantile(rawEach, 50)
			b.ReportMetric(p50, "p50-µs")
			b.ReportMetric(quantile(each, 99), "p99-µs")
			b.ReportMetric(rawP50, "raw-p50-µs")
			b.ReportMetric(p50/rawP50, "p50/raw")
			b.ReportMetric(float64(b.N)/float64(batches), "records/batch")
			b.ReportMetric(float64(b.N)/lone.Seconds(), "writes/s")
			b.ReportMetric(rawTotal.Seconds()/lone.Seconds(), "of-raw")
		})
	}
}

// writers append records, each to a segment of its own.
type writers struct {
	b    *testing.B
	segs []*Segment
}

func newWriters(b *testing.B, s *Store, n int) *writers {
	w := &writers{b: b}
	for i := range n {
		w.segs = append(w.segs, create(b, s, i+1))
	}
	return w
}

// append writes n records in all and tells how long each took.
func (w *writers) append(n int) (all []time.Duration) {
	each := make([][]time.Duration, len(w.segs))
	var wg sync.WaitGroup
	for i, g := range w.segs {
		k := n / len(w.segs)
		if i < n%len(w.segs) {
			k++
		}
		wg.Go(func() { each[i] = appendMany(w.b, g, k) })
	}
	wg.Wait()
	return slices.Concat(each...)
}

// appendMany writes n records of 4 KiB, one after the other.
func appendMany(b *testing.B, g *Segment, n int) (each []time.Duration) {
	buf := slab.Get(block.Size)
	defer buf.Release()
	p := buf.Bytes()
	clear(p)
	sums := []block.Sum{block.Checksum(p)}
	rec := make([]Record, 1)
	prev := g.SCL()
	each = make([]time.Duration, n)
	for i := range n {
		next := max(prev+1, lsn(1, 1))
		rec[0] = Record{Type: TypeWrite, LSN: next, Prev: prev, Block: block.Index(i % 100_000), Count: 1, Sums: sums, Payload: p}
		start := time.Now()
		err := g.Enqueue(rec).Wait()
		each[i] = time.Since(start)
		prev = next
		if err == nil && i%64 == 63 {
			err = g.SetFloor(prev)
		}
		if err != nil { // must is for tests: it looks at the stack each time
			b.Error(err)
			return each
		}
	}
	return each
}
