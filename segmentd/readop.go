package segmentd

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/slab"
	"github.com/sextantdisk/sextant/logstore"
	"github.com/sextantdisk/sextant/wire"
)

const (
	// diskReadBytes bounds what goroutines of their own read at a time, all
	// connections together, and so their number, too.
	diskReadBytes = 64 * block.MiB
	// slowDisk is from which time of a disk read on a goroutine for it pays
	// even if nothing else is to be done: what comes next shall not wait.
	slowDisk = 300 * time.Microsecond
)

// diskReads watches over the reads that wait for the disk.
type diskReads struct {
	room *semaphore.Weighted
	mean atomic.Int64 // smoothed time of one, in nanoseconds
}

func newDiskReads() *diskReads {
	return &diskReads{room: semaphore.NewWeighted(int64(diskReadBytes))}
}

func (d *diskReads) enter(n block.Count) bool { return d.room.TryAcquire(int64(n) * block.Size) }
func (d *diskReads) leave(n block.Count)      { d.room.Release(int64(n) * block.Size) }

// busy tells whether any is under way.
func (d *diskReads) busy() bool {
	if !d.room.TryAcquire(int64(diskReadBytes)) {
		return true
	}
	d.room.Release(int64(diskReadBytes))
	return false
}

func (d *diskReads) slow() bool { return d.mean.Load() > int64(slowDisk) }

// took smooths; a value that another one stores at the same time may be lost.
func (d *diskReads) took(t time.Duration) {
	mean := d.mean.Load()
	d.mean.Store(mean + (int64(t)-mean)/16)
}

// readOp is one READ on its way. It belongs to one goroutine at a time.
type readOp struct {
	c    *conn
	host *hosted
	tag  wire.Tag
	buf  *slab.Buffer // nil for a MAP
	res  logstore.ReadResult
	data wire.Data
	head []byte // scratch for encoding
}

var readOps = sync.Pool{New: func() any { return new(readOp) }}

// newReadOp makes one, with a buffer of n blocks.
func newReadOp(c *conn, tag wire.Tag, host *hosted, n block.Count) *readOp {
	o := readOps.Get().(*readOp)
	o.c, o.tag, o.host = c, tag, host
	if n > 0 {
		o.buf = slab.Get(int(n) * block.Size)
		o.res.Buf = o.buf.Bytes()
	}
	return o
}

// recycle ends it; a buffer that it still has goes back.
func (o *readOp) recycle() {
	if o.buf != nil {
		o.buf.Release()
	}
	o.c, o.host, o.buf, o.res.Buf = nil, nil, nil, nil
	readOps.Put(o)
}

// finish reads what memory did not have, and answers.
func (o *readOp) finish() {
	s := o.c.s
	start := s.clock.Now()
	err := o.res.Finish()
	s.diskReads.took(s.clock.Now().Sub(start))
	o.answer(err)
}

// answer queues the answer; err says how the read ended. Checksums were
// verified on the way from the disk, and go with the bytes (B3).
func (o *readOp) answer(err error) {
	c, buf := o.c, o.buf
	defer o.recycle()
	if err != nil {
		if errors.Is(err, block.Corrupt) {
			c.log.Error("damaged block found", "segment", o.host.log.ID(), "err", err)
		}
		m := c.s.refusal(err)
		o.head = m.Append(o.head[:0], o.tag)
		_ = c.w.Queue(o.head, nil, nil) // a broken connection shows at the reader
		return
	}
	o.setData(o.res.Runs, o.res.Sums)
	o.head = o.data.Append(o.head[:0], wire.TypeData, o.tag)
	payload := o.res.Data()
	if len(payload) == 0 {
		_ = c.w.Queue(o.head, nil, nil)
		return
	}
	o.buf = nil // it goes with the answer
	_ = c.w.Queue(o.head, payload, buf)
}

// setData translates a result, joining neighbouring runs of one kind.
func (o *readOp) setData(runs []logstore.Run, sums []block.Sum) {
	o.data.Sums = append(o.data.Sums[:0], sums...)
	out := o.data.Runs[:0]
	for _, r := range runs {
		kind := runKinds[r.Kind]
		if k := len(out) - 1; k >= 0 && out[k].Kind == kind {
			out[k].Count += r.Count
			continue
		}
		out = append(out, wire.Run{Count: r.Count, Kind: kind})
	}
	o.data.Runs = out
}
