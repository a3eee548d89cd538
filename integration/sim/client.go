package sim

import (
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/volume/pg"
	"github.com/sextantdisk/sextant/volume/quorum"
	"github.com/sextantdisk/sextant/volume/rmw"
	"github.com/sextantdisk/sextant/wire"
)

// reading is a read of one block under way.
type reading struct {
	gen     uint32
	active  bool
	group   int
	block   int
	edit    *rmw.Item // that it is for; nil: a client's
	at      block.LSN
	atLeast block.LSN // what was acknowledged or returned when it began
	tried   quorum.Votes
	corrupt quorum.Votes // whose copy turned out damaged
	asked   int
}

const (
	// readPatience is how long a read may go unanswered before it is given
	// up, in looks of lateAfter.
	lateAfter  = 200 * time.Millisecond
	readLooks  = 20
	burst      = 4 // most writes that a client issues at a time
	unplacedIn = 8 // one request in so many may place a group
)

// client has a client of the gateway read or write.
func (g *gateway) client() {
	w := g.w
	if w.healed && (w.now >= w.quietAt || g != w.newest()) {
		return
	}
	i := w.rng.IntN(len(g.group))
	x := g.group[i]
	switch read := w.rng.IntN(10) < w.faults.Reads; {
	case x == nil && (read || w.rng.IntN(unplacedIn) > 0):
		g.readNothing(i)
	case x == nil:
		g.place(i)
	case read:
		x.start()
		x.read(w.rng.IntN(w.faults.Blocks), nil)
	default:
		x.start()
		x.write()
	}
}

// readNothing reads, or trims, where the gateway knows of no group: all is
// zero there, if the metadata service has confirmed the epoch lately (R14).
func (g *gateway) readNothing(i int) {
	if quorum.Confirmed(g.now(), g.confirmed) {
		g.w.oracle.empty(g, i, g.w.rng.IntN(g.w.faults.Blocks))
	}
}

// place has a group placed.
func (g *gateway) place(i int) {
	g.w.meta.ask(g, true, func() func() {
		r := g.w.meta.place(g, block.PGIndex(i))
		return func() {
			if r.Err != nil {
				g.end("it may place nothing")
				return
			}
			g.know(r.PG)
		}
	})
}

// write issues a few records.
func (x *group) write() {
	g, w := x.g, x.g.w
	if n, _ := x.machine.Pending(); n+x.edits.Len() >= w.faults.Depth {
		return
	}
	for range 1 + w.rng.IntN(burst) {
		if w.oneIn(w.faults.Edits) {
			x.edit(w.rng.IntN(w.faults.Blocks))
			continue
		}
		r := g.newRecord()
		r.Type = wire.RecordWrite
		if w.oneIn(8) {
			r.Type = wire.RecordZero + wire.RecordType(w.rng.IntN(2))
		} else {
			r.Payload = w.payload
		}
		first := w.rng.IntN(w.faults.Blocks)
		r.Block, r.Count = block.Index(first), block.Count(1+w.rng.IntN(min(3, w.faults.Blocks-first)))
		x.issue(r)
		if g.dead {
			return
		}
	}
	x.step(pg.Input{Kind: pg.Collect})
}

func (g *gateway) newRecord() *pg.Record {
	if k := len(g.freed) - 1; k >= 0 {
		r := g.freed[k]
		g.freed = g.freed[:k]
		*r = pg.Record{}
		return r
	}
	return &pg.Record{}
}

// read reads a block from a member that may serve it, for a client or an edit; it
// tells whether it could begin.
func (x *group) read(b int, edit *rmw.Item) bool {
	g, w := x.g, x.g.w
	at, fx, ok := x.machine.BeginRead(g.now(), g.confirmed)
	x.carryOut(fx)
	if !ok || g.dead {
		return false
	}
	var slot uint32
	if k := len(g.idle) - 1; k >= 0 {
		slot, g.idle = g.idle[k], g.idle[:k]
	} else {
		slot = uint32(len(g.reads))
		g.reads = append(g.reads, reading{})
	}
	r := &g.reads[slot]
	*r = reading{gen: r.gen + 1, active: true, group: x.index, block: b, edit: edit, at: at, atLeast: w.oracle.newest(x.index, b)}
	x.ask(slot)
	if w.oneIn(16) { // a hedge: two are asked, the first answer counts
		x.ask(slot)
	}
	w.put(w.now+lateAfter, event{kind: evLate, a: int32(g.no), b: int32(slot), c: r.gen})
	return true
}

// ask sends a read to a random member that can serve it and was not asked yet.
func (x *group) ask(slot uint32) {
	w, r := x.g.w, &x.g.reads[slot]
	var can [quorum.MaxMembers]quorum.Member
	n := 0
	for m := range x.nodes {
		if q := quorum.Member(m); x.nodes[m] != nil && !r.tried.Has(q) && x.machine.Serves(q, r.at) {
			can[n] = q
			n++
		}
	}
	if n == 0 {
		return
	}
	q := can[w.rng.IntN(n)]
	r.tried = r.tried.Add(q)
	m := w.newMessage(msgRead)
	m.group, m.id, m.at, m.block, m.slot, m.gen = x.index, x.identity(q), r.at, r.block, slot, r.gen
	x.g.conns[x.nodes[q].no].send(m)
}

// answered takes the answer to a read.
func (g *gateway) answered(m *message) {
	r := &g.reads[m.slot]
	if !r.active || r.gen != m.gen {
		return
	}
	x := g.group[r.group]
	if m.refuse != nil && m.refuse.Epoch > g.epoch {
		g.end("a read was refused") // R3
		return
	}
	if m.refuse != nil {
		if q, ok := x.memberOf(m.id.Segment); ok && m.refuse.Kind == block.Corrupt {
			r.corrupt = r.corrupt.Add(q)
		}
		x.ask(m.slot)
		return
	}
	if x.machine.MayReturn(g.now(), g.confirmed) {
		g.w.oracle.returned(x, r, m.found)
		if r.corrupt != 0 {
			x.sendMend(m, r)
		}
		if i := r.edit; i != nil {
			r.edit = nil
			g.endRead(m.slot)
			x.modify(i, m.found)
			return
		}
	}
	g.endRead(m.slot)
}

// endRead ends a read; an edit that it has brought nothing tries again.
func (g *gateway) endRead(slot uint32) {
	r := &g.reads[slot]
	x := g.group[r.group]
	x.machine.EndRead(r.at)
	r.active = false
	g.idle = append(g.idle, slot)
	if r.edit != nil {
		x.unread = append(x.unread, r.edit)
	}
}

// late asks somebody else, and gives up after a while.
func (g *gateway) late(slot, gen uint32) {
	r := &g.reads[slot]
	if !r.active || r.gen != gen {
		return
	}
	if r.asked++; r.asked > readLooks {
		g.endRead(slot)
		return
	}
	g.group[r.group].ask(slot)
	g.w.put(g.w.now+lateAfter, event{kind: evLate, a: int32(g.no), b: int32(slot), c: gen})
}
