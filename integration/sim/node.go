package sim

import (
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/logstore/chain"
	"github.com/sextantdisk/sextant/segmentd/segment"
	"github.com/sextantdisk/sextant/volume/quorum"
	"github.com/sextantdisk/sextant/wire"
)

// entry is a record on a simulated disk.
type entry struct {
	lsn, prev block.LSN
	typ       wire.RecordType
	block     block.Index
}

// durable is what a crash leaves.
type durable struct {
	exists   bool
	meta     segment.Meta
	promised block.VolumeEpoch
	entries  []entry
	floor    block.LSN
}

// diskOp is a step of the log, and what is to be done when it is durable.
type diskOp struct {
	promise block.VolumeEpoch
	meta    *segment.Meta
	entries []entry
	then    func()
}

// node is a segment with its daemon and its disk.
type node struct {
	w    *World
	me   quorum.Member
	id   block.SegmentID
	slow bool

	disk durable
	life int // counts crashes: what was under way before is void

	// lost in a crash:
	down     bool
	core     *segment.Core
	chain    chain.Chain[entry]
	path     []entry // all that is visible, settled records included
	queue    []diskOp
	flushing bool
	catching bool
}

func newNode(w *World, me quorum.Member, id block.SegmentID) *node {
	return &node{w: w, me: me, id: id}
}

// Join, Leave, Settle and Drop follow the chain's path.
func (n *node) Join(e chain.Entry[entry])   { n.path = append(n.path, e.Value) }
func (n *node) Leave(chain.Entry[entry])    { n.path = n.path[:len(n.path)-1] }
func (n *node) Settle(_ chain.Entry[entry]) {}
func (n *node) Drop(_ chain.Entry[entry])   {}

func (n *node) apply(es []entry) {
	for _, e := range es {
		n.chain.Add(chain.Entry[entry]{LSN: e.lsn, Prev: e.prev, Value: e}, n)
	}
}

// crash loses what was not flushed, but for a part of it that may be there all
// the same.
func (n *node) crash() {
	if n.down {
		return
	}
	n.down = true
	n.life++
	survive := 0
	if len(n.queue) > 0 {
		survive = n.w.rng.IntN(len(n.queue) + 1)
	}
	for _, op := range n.queue[:survive] {
		n.persist(op)
	}
	n.w.note("segment %d crashes, %d of %d unflushed steps survive", n.me, survive, len(n.queue))
	n.queue, n.flushing, n.catching = nil, false, false
	for _, g := range n.w.gateways {
		g.conns[n.me].cut()
	}
	n.w.after(n.w.upTo(2*time.Second), n.restart)
}

// restart makes the daemon again from its disk.
func (n *node) restart() {
	n.down = false
	n.chain, n.path, n.core = chain.Chain[entry]{}, nil, nil
	if n.disk.exists {
		n.core = segment.New(n.id, n.disk.meta, n.disk.promised, false)
		n.apply(n.disk.entries)
		n.chain.SetFloor(n.disk.floor, n)
	}
	n.w.note("segment %d is back at %v, promised %d", n.me, n.chain.SCL(), n.disk.promised)
}

func (n *node) persist(op diskOp) {
	n.disk.promised = max(n.disk.promised, op.promise)
	if op.meta != nil {
		n.disk.meta, n.disk.exists = *op.meta, true
	}
	n.disk.entries = append(n.disk.entries, op.entries...)
}

// enqueue gives a step its place in the log.
func (n *node) enqueue(op diskOp) {
	n.queue = append(n.queue, op)
	n.flush()
}

// flush writes all that is queued now; one flush is in flight at a time.
func (n *node) flush() {
	if n.flushing || len(n.queue) == 0 {
		return
	}
	n.flushing = true
	count, life, d := len(n.queue), n.life, n.w.upTo(n.w.faults.Flush)
	if n.slow {
		d *= 10
	}
	n.w.after(d, func() {
		if n.life != life {
			return
		}
		batch := n.queue[:count]
		n.queue = append([]diskOp(nil), n.queue[count:]...)
		n.flushing = false
		for _, op := range batch {
			n.persist(op)
			n.apply(op.entries)
		}
		for _, op := range batch {
			op.then()
		}
		n.flush()
	})
}

// receive takes a message of a connection, as segmentd does.
func (n *node) receive(c *conn, m any) {
	switch m := m.(type) {
	case *wire.Join:
		if n.core == nil {
			meta := segment.NewMeta(&m.Identity)
			n.core = segment.New(n.id, meta, m.Epoch, false)
			n.enqueue(diskOp{promise: m.Epoch, meta: &meta, then: func() {}})
		}
		n.admit(c, &m.Identity, m.Progress, nil)
	case *wire.Ping:
		n.admit(c, &m.Identity, m.Progress, nil)
	case *wire.Write:
		es := make([]entry, len(m.Records))
		for i, r := range m.Records {
			es[i] = entry{r.LSN, r.Prev, r.Type, r.Block}
		}
		n.admit(c, &m.Identity, m.Progress, es)
	case *wire.CatchUp:
		n.catchUp(c, m)
	case *readMsg:
		n.read(c, m)
	}
}

func (n *node) admit(c *conn, id *wire.Identity, p wire.Progress, es []entry) {
	if n.core == nil {
		c.reply(&wire.Refuse{Kind: block.NotFound, Message: "not here"})
		return
	}
	v := n.core.AdmitBare(id, n.disk.promised)
	if v.Refuse != nil {
		c.reply(v.Refuse)
		return
	}
	done := func() {
		n.settled(id.Epoch, p)
		c.reply(n.answer(id.Epoch, p.Stamp))
	}
	if v.Promise == 0 && v.Meta == nil && len(es) == 0 {
		done()
		return
	}
	n.enqueue(diskOp{promise: v.Promise, meta: v.Meta, entries: es, then: done})
}

func (n *node) answer(to block.VolumeEpoch, stamp wire.Stamp) any {
	a, refuse := n.core.Answer(to, segment.Log{SCL: n.chain.SCL(), Floor: n.chain.Floor(), Head: n.chain.Head(), Unlinked: n.chain.Pending(), Member: n.disk.meta.Member}, stamp, n.catching)
	if refuse != nil {
		return refuse
	}
	return &a
}

func (n *node) settled(epoch block.VolumeEpoch, p wire.Progress) {
	f := segment.FloorFor(epoch, p.Floor, n.chain.SCL())
	if f == 0 {
		return
	}
	if !n.chain.SetFloor(f, n) {
		n.w.oracle.fail(n.w, "segment %d: floor %v is not on its path %s", n.me, f, n.chain.Describe())
	}
	if n.w.rng.IntN(4) == 0 {
		n.disk.floor = n.chain.Floor() // floors become durable lazily
	}
}

// catchUp follows segmentd: pages from the donor's complete chain, first from
// the SCL, and from the floor if that does not link.
func (n *node) catchUp(c *conn, m *wire.CatchUp) {
	if n.core == nil || n.catching {
		return
	}
	if v := n.core.Admit(&m.Identity); v.Refuse != nil {
		c.reply(v.Refuse)
		return
	}
	n.catching = true
	n.w.note("segment %d catches up from %v to %v", n.me, n.chain.SCL(), m.UpTo)
	n.fetch(c, m, n.chain.SCL(), true)
}

func (n *node) fetch(c *conn, m *wire.CatchUp, after block.LSN, first bool) {
	life := n.life
	stop := func() {
		n.catching = false
		c.reply(n.answer(m.Epoch, 0))
	}
	n.w.after(n.w.upTo(n.w.faults.Delay), func() {
		if n.life != life {
			return
		}
		page, ok := n.w.donor(m).page(m, after)
		if !ok || n.core.Promised() != m.Epoch {
			stop()
			return
		}
		if len(page) == 0 || first && page[0].prev != after {
			if floor := n.chain.Floor(); first && floor < after {
				n.fetch(c, m, floor, false)
				return
			}
			stop()
			return
		}
		n.enqueue(diskOp{entries: page, then: func() {
			last := page[len(page)-1].lsn
			if last >= m.UpTo {
				stop()
				return
			}
			n.fetch(c, m, last, false)
		}})
	})
}

// donor finds the node that a catch-up names.
func (w *World) donor(m *wire.CatchUp) *node {
	for _, n := range w.segments {
		if n.id == m.DonorSegment {
			return n
		}
	}
	return nil
}

// page is what a donor gives: a few records of its path in (after, upTo].
func (n *node) page(m *wire.CatchUp, after block.LSN) ([]entry, bool) {
	if n.down || n.core == nil || n.chain.SCL() < m.UpTo {
		return nil, false
	}
	id := m.Identity
	id.Segment = n.id
	if n.core.AdmitFetch(&id) != nil {
		return nil, false
	}
	var out []entry
	for _, e := range n.path {
		if e.lsn > after && e.lsn <= m.UpTo && len(out) < 5 {
			out = append(out, e)
		}
	}
	return out, true
}

// readMsg is a READ of one block.
type readMsg struct {
	id    wire.Identity
	at    block.LSN
	block block.Index
	then  func(block.LSN) // the LSN of the version found, 0 for none
}

func (n *node) read(c *conn, m *readMsg) {
	if n.core == nil {
		return
	}
	if r := n.core.AdmitRead(&m.id); r != nil {
		c.reply(r)
		return
	}
	if m.at > n.chain.SCL() || m.at < n.chain.Floor() {
		return // Behind or Stale: the reader asks elsewhere
	}
	for i := len(n.path) - 1; i >= 0; i-- {
		if e := n.path[i]; e.lsn <= m.at && e.typ == wire.RecordWrite && e.block == m.block {
			c.reply(func() { m.then(e.lsn) })
			return
		}
	}
	c.reply(func() { m.then(0) })
}
