package sim

import (
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/wire"
)

// pulling is a segment that fetches from a peer what it lacks, as segmentd does:
// pages of the donor's complete chain, first from the SCL, and from the floor
// if that does not link.
type pulling struct {
	on    bool
	no    uint32 // of the catch-up; never 0
	conn  *conn  // whose order it is; nil: nobody's
	life  uint32
	epoch block.VolumeEpoch
	id    wire.Identity // of the donor's segment
	donor *node
	upTo  block.LSN
	after block.LSN
	first bool
}

const (
	pageRecords = 5
	// fetchTimeout is after which a peer that does not answer is given up.
	fetchTimeout = 5 * time.Second
)

func (r *replica) catchUp(m *message) {
	if refuse := r.core.AdmitJoined(&m.id); refuse != nil {
		r.n.refuse(m, refuse)
		return
	}
	if r.catching.on {
		return
	}
	r.n.w.Count.CatchUps++
	id := m.id
	id.Segment = m.segment
	r.begin(pulling{conn: m.conn, life: m.life, epoch: m.id.Epoch, id: id, donor: m.to, upTo: m.upTo})
}

// begin pulls from where the segment stands.
func (r *replica) begin(p pulling) {
	if w := r.n.w; w.trace.keep {
		w.note(r.group, "node %d catches up from %v to %v, node %d gives", r.n.no, r.chain.SCL(), p.upTo, p.donor.no)
	}
	p.on, p.no, p.after, p.first = true, r.catching.no+1, r.chain.SCL(), true
	r.catching = p
	r.fetch()
}

// fetch asks for the next page.
func (r *replica) fetch() {
	p, w := &r.catching, r.n.w
	if p.after >= p.upTo || !r.core.Takes(p.epoch) {
		r.stopPull()
		return
	}
	no, after, life := p.no, p.after, r.n.life
	w.after(fetchTimeout, func() {
		if r.n.life == life && p.on && p.no == no && p.after == after {
			r.stopPull()
		}
	})
	if p.donor.down || !w.near(r.n.zone, p.donor.zone) {
		return
	}
	m := w.newMessage(msgFetch)
	m.from, m.to, m.life, m.id, m.segment, m.group = r.n, p.donor, life, p.id, r.id, r.group
	m.at, m.upTo, m.slot = after, p.upTo, no
	w.put(w.now+w.delay(w.faults.Delay, r.n.slow), event{kind: evArrive, a: m.no})
}

// give answers a peer with a page of the complete chain.
func (n *node) give(m *message) {
	if n.down || n.failed {
		return
	}
	w := n.w
	a := w.newMessage(msgPage)
	a.to, a.from, a.life, a.segment, a.slot, a.at, a.group = m.from, n, m.life, m.segment, m.slot, m.at, m.group
	r := n.replica(m.id.Segment)
	if r != nil && r.core != nil && r.core.AdmitFetch(&m.id) == nil && r.chain.SCL() >= m.upTo {
		a.ok = true
		a.records = r.records(a.records, m.at, m.upTo, pageRecords)
	}
	w.put(w.now+w.delay(w.faults.Delay, n.slow), event{kind: evArrive, a: a.no})
}

// takePage logs what a peer gave, unless a newer writer has come meanwhile
// (T4).
func (r *replica) takePage(m *message) {
	p := &r.catching
	if !p.on || p.no != m.slot || p.after != m.at {
		return
	}
	switch {
	case !m.ok || !r.core.Takes(p.epoch):
		r.stopPull()
	case len(m.records) == 0 || p.first && m.records[0].Prev != p.after:
		floor := r.chain.Floor()
		if !p.first || floor >= p.after {
			r.stopPull()
			return
		}
		p.after, p.first = floor, false
		r.fetch()
	default:
		p.after, p.first = m.records[len(m.records)-1].LSN, false
		r.n.enqueue(op{r: r, records: r.n.w.takeRecords(m), owed: owed{page: p.no}})
	}
}

// pageDone goes on when a page is durable.
func (r *replica) pageDone(o *op) {
	if p := &r.catching; p.on && p.no == o.owed.page {
		r.fetch()
	}
}

// stopPull ends the catch-up with a word to the writer.
func (r *replica) stopPull() {
	p := &r.catching
	p.on = false
	if p.conn == nil {
		return
	}
	r.say(p.conn, p.life, p.epoch, 0)
}
