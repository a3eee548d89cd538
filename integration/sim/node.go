package sim

import (
	"fmt"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/wire"
)

// node is a segment daemon with its disk, on which all its segments share one
// log.
type node struct {
	w    *World
	no   int
	name block.NodeID
	zone int
	slow bool
	// placed is the disk that the metadata service knows this node by, disk
	// what it has: when that is lost the node comes back with another one.
	placed, disk block.DiskID

	life        uint32 // counts crashes: what was under way before is void
	down        bool
	failed      bool // its disk has reported an error: it answers nothing (S3)
	asleepUntil time.Duration
	stallUntil  time.Duration
	full        int // 1: it says that it is full; 2: it takes no data
	gone        bool

	replicas []*replica
	queue    []op
	inFlight int // of queue, on their way to the disk
}

func newNode(w *World, no int) *node {
	disk := block.DiskID{15: byte(no + 1)}
	return &node{w: w, no: no, name: block.NodeID(fmt.Sprintf("n%d", no)), zone: zoneOf(no), placed: disk, disk: disk}
}

// zoneOf gives two of the first six nodes to each zone, and the others in turn.
func zoneOf(no int) int {
	if no < members {
		return no / 2
	}
	return no % zones
}

// awake tells whether the process runs; if not, the event comes when it does.
func (n *node) awake(e *event) bool {
	if n.asleepUntil > n.w.now && !n.down {
		n.w.put(n.asleepUntil, *e)
		return false
	}
	return true
}

func (n *node) replica(id block.SegmentID) *replica {
	for _, r := range n.replicas {
		if r.id == id {
			return r
		}
	}
	return nil
}

// receive takes a gateway's message, as segmentd does.
func (n *node) receive(m *message) {
	c := m.conn
	if m.sort == msgMend {
		n.mend(m)
		return
	}
	if n.failed {
		n.refuse(m, &wire.Refuse{Kind: block.Unavailable, Message: "the disk has failed"})
		return
	}
	r := n.replica(m.id.Segment)
	if m.sort == msgJoin && (r == nil || r.core == nil) {
		n.bear(m)
		return
	}
	if r == nil || r.core == nil {
		n.refuse(m, &wire.Refuse{Kind: block.NotFound, Message: "not here"})
		return
	}
	before := r.core.Promised()
	switch m.sort {
	case msgJoin, msgPing:
		r.bare(m)
	case msgWrite:
		r.write(m)
	case msgCatchUp:
		r.catchUp(m)
	case msgRead:
		r.read(m)
	}
	if now := r.core.Promised(); now < before {
		n.w.oracle.fail(r.group, "node %d: the promise went back from %d to %d (I2), by a message of gateway %d", n.no, before, now, c.g.epoch)
	}
}

// refuse answers that there is no answer.
func (n *node) refuse(m *message, refusal *wire.Refuse) {
	if n.w.trace.keep {
		n.w.note(m.group, "node %d refuses gateway %d: %s", n.no, m.conn.g.epoch, refusal.Message)
	}
	sort := msgAck
	if m.sort == msgRead {
		sort = msgData
	}
	a := n.w.newMessage(sort)
	a.group, a.id, a.refuse, a.slot, a.gen = m.group, m.id, refusal, m.slot, m.gen
	m.conn.reply(m.life, a)
}

// fromPeer takes a message of another node.
func (n *node) fromPeer(m *message) {
	switch m.sort {
	case msgAsk:
		n.give(m)
	case msgAnswer:
		m.source.answer(m)
	}
}

// after has the process, in a life, do something later: when it runs.
func (n *node) after(life uint32, d time.Duration, do func()) {
	n.w.after(d, func() {
		switch {
		case n.life != life || n.down:
		case n.asleepUntil > n.w.now:
			n.after(life, n.asleepUntil-n.w.now, do)
		default:
			do()
		}
	})
}

// crash ends the process: what was not flushed is lost, but for a part of what
// was on its way to the disk.
func (n *node) crash(downFor time.Duration) {
	if n.down || n.gone {
		return
	}
	w := n.w
	n.life++
	n.down = true
	survive := 0
	if n.inFlight > 0 {
		survive = w.rng.IntN(n.inFlight + 1)
	}
	for i := range n.queue[:survive] {
		n.persist(&n.queue[i])
	}
	if w.trace.keep {
		w.note(nobody, "node %d crashes, %d of %d unflushed steps survive", n.no, survive, len(n.queue))
	}
	for i := range n.queue {
		w.freeRecords(n.queue[i].records)
	}
	clear(n.queue)
	n.queue, n.inFlight = n.queue[:0], 0
	n.asleepUntil = 0
	n.cutAll()
	life := n.life
	w.after(downFor, func() {
		if n.life == life && !n.gone {
			n.restart()
		}
	})
}

// cutAll ends the node's connections; nothing more of them arrives.
func (n *node) cutAll() {
	for _, g := range n.w.gateways {
		if c := g.conns[n.no]; !g.dead {
			c.cut()
			c.lateUntil = 0
		}
	}
}

// restart makes the daemon again from its disk.
func (n *node) restart() {
	n.down, n.failed = false, false
	n.obeySoon()
	for _, r := range n.replicas {
		r.load()
	}
	if n.w.trace.keep {
		n.w.note(nobody, "node %d is back", n.no)
	}
}
