package logstore

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
)

// showWriter writes one segment; versions are those of acknowledged writes.
type showWriter struct {
	g        *Segment
	n        int
	rng      *rand.Rand
	blocks   int
	versions []uint32
	last     uint32
	prev     block.LSN
	load     load
	// recs of the last ticket are for these blocks; it is sent again, the
	// same, if it was refused.
	recs   []Record
	placed []int
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
	start := w.load.begin()
	if err := w.g.Enqueue(w.recs).Wait(); err != nil {
		return err
	}
	w.load.took = append(w.load.took, time.Since(start))
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

// load is when a writer's tickets are sent, and how long they took.
type load struct {
	// each is the time from one ticket to the next, 0: as soon as the one
	// before is done. What a ticket took begins when it should have been
	// sent, so that those that had to wait are not forgotten.
	each time.Duration
	next time.Time
	took []time.Duration
}

func (l *load) begin() time.Time {
	if l.each == 0 {
		return time.Now()
	}
	start := l.next
	l.next = start.Add(l.each)
	pause(clock.Real(), time.Until(start), nil)
	return start
}

// measured is what a load came to.
type measured struct {
	bytes block.ByteCount
	in    time.Duration
	took  []time.Duration // of tickets, ascending
}

func (m *measured) rate() block.ByteCount {
	return block.ByteCount(float64(m.bytes)/m.in.Seconds()) / block.MiB * block.MiB
}

func (m *measured) quantile(q float64) time.Duration {
	return m.took[min(int(float64(len(m.took))*q), len(m.took)-1)]
}

func (m *measured) String() string {
	ms := func(q float64) time.Duration { return m.quantile(q).Round(10 * time.Microsecond) }
	return fmt.Sprintf("p50 %v, p99 %v, p99.9 %v, longest %v of %d", ms(0.5), ms(0.99), ms(0.999), ms(1), len(m.took))
}

// overwrite writes so many bytes, all writers together, at so many bytes a
// second; 0: as fast as it goes.
func (s *show) overwrite(n, rate block.ByteCount) *measured {
	s.t.Helper()
	const ticket = showRecords * block.Size
	tickets := int(n / ticket / showWriters)
	start := time.Now()
	s.all(func(w *showWriter, buf []byte) error {
		w.load = load{}
		if rate > 0 {
			w.load.each = time.Duration(float64(ticket*len(s.writers)) / float64(rate) * float64(time.Second))
			w.load.next = start.Add(w.load.each * time.Duration(w.n) / time.Duration(len(s.writers)))
		}
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
	m := &measured{in: time.Since(start)}
	for _, w := range s.writers {
		m.took = append(m.took, w.load.took...)
		w.load = load{}
	}
	m.bytes = block.ByteCount(len(m.took)) * ticket
	slices.Sort(m.took)
	return m
}
