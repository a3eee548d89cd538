package nbd

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/boxcar"
)

// task is a request on its way: born when its header was read, handed to the
// device, then part of the reply, and pooled when that is with the kernel.
//
//	reader ──Submit──► device ──Complete──► boxcar ──Release──► pool
//
// It has one holder at a time, so it needs no lock.
type task struct {
	req    Request
	conn   *conn
	cookie uint64
	flags  uint16
	charge int64 // what the budget lends for req.Data
	began  time.Time
	live   atomic.Bool // with the device, or about to be

	// Scratch for replies of several pieces.
	head   []byte
	holes  []run
	pieces []boxcar.Piece
}

var tasks = sync.Pool{New: func() any { return new(task) }}

// scratchMax bounds what a pooled task keeps, in extents.
const scratchMax = 1024

func takeTask(c *conn, h header, op Op) *task {
	t := tasks.Get().(*task)
	t.conn, t.cookie, t.flags = c, h.cookie, h.flags
	t.req.Op = op
	t.req.Offset = h.offset
	t.req.Length = block.ByteCount(h.length)
	t.req.FUA = h.flags&cmdFlagFUA != 0
	t.req.NoHole = h.flags&cmdFlagNoHole != 0
	t.req.owner = t
	t.live.Store(true)
	if c.srv.cfg.Metrics != nil {
		t.began = time.Now()
	}
	return t
}

// complete implements completer. The task belongs to the reply as soon as
// that is queued, and must not be touched any more then.
func (t *task) complete(_ *Request, err error, later bool) {
	c := t.conn
	if severs(err) {
		t.observe(EIO, true)
		c.sever(err)
		t.Release()
		c.leave()
		return
	}
	e := errnoOf(err)
	t.observe(e, false)
	if e == EIO {
		c.complain(&t.req, err)
	}
	c.reply(t, e, err)
	if !later {
		c.w.Flush()
	}
	c.leave()
}

// answer is complete for what the server decides without the device; the
// reply goes out with the next kick.
func (t *task) answer(e Errno) {
	c := t.conn
	t.observe(e, false)
	c.reply(t, e, nil)
	c.leave()
}

// observe marks the end of the request and tells Metrics.
func (t *task) observe(e Errno, severed bool) {
	if !t.live.Swap(false) {
		panic("nbd: a request was completed twice")
	}
	if m := t.conn.srv.cfg.Metrics; m != nil {
		m.RequestDone(t.req.Op, t.req.Length, time.Since(t.began), e, severed)
	}
}

func (t *task) flusher() Flusher { return t.conn }

// dropData gives the payload back before the reply is out.
func (t *task) dropData() {
	if t.req.Data == nil {
		return
	}
	t.req.Data.Release()
	t.req.Data = nil
	t.conn.budget.giveBytes(t.charge)
	t.charge = 0
}

// Release implements boxcar.Releaser: the reply is out or given up.
func (t *task) Release() {
	c := t.conn
	if t.req.Data != nil {
		t.req.Data.Release()
	}
	charge := t.charge
	if cap(t.req.Extents) > scratchMax {
		t.req.Extents, t.head = nil, nil
	}
	clear(t.pieces)
	t.req = Request{Extents: t.req.Extents[:0]}
	t.conn, t.charge = nil, 0
	t.live.Store(false)
	tasks.Put(t)
	c.budget.giveRequest(charge)
}

// complaintEvery is how often one connection logs failed requests.
const complaintEvery = time.Second

// complain logs a failed request, not too often.
func (c *conn) complain(r *Request, err error) {
	now := int64(time.Since(c.accepted))
	last := c.lastComplaint.Load()
	if last != 0 && now-last < int64(complaintEvery) || !c.lastComplaint.CompareAndSwap(last, now) {
		return
	}
	c.srv.cfg.Log.Warn("request failed; further failures within a second are not logged",
		"export", c.export.Name, "client", c.client(), "op", r.Op.String(),
		"offset", uint64(r.Offset), "length", uint64(r.Length), "err", err)
}
