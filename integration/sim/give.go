package sim

import (
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/segmentd/pull"
)

const (
	// pageRecords is how many records fit a page, and pageMarks how many leaves
	// are named at a time.
	pageRecords = 5
	pageMarks   = 3
)

// give answers a peer (R20, R21, R22), as segmentd/give.go does. Who cannot be
// reached answers nothing; of who is not there it is known at once.
func (n *node) give(m *message) {
	w, s := n.w, m.source
	if s.apart = s.apart || !w.near(m.from.zone, n.zone); s.apart {
		return
	}
	there := !n.down && !n.failed && s.reaches(n)
	a := w.newMessage(msgAnswer)
	a.to, a.from, a.life, a.group, a.source = m.from, n, m.life, m.group, s
	a.ask, a.at, a.upTo, a.block = m.ask, m.at, m.upTo, m.block
	if there {
		if r := n.replica(m.id.Segment); r != nil && r.core != nil {
			r.answerPeer(m, a)
		} else {
			a.ok = m.ask == 0 // it stands nowhere
		}
	}
	s.back = max(s.back, w.now+w.delay(w.faults.Delay, n.slow))
	w.put(s.back, event{kind: evArrive, a: a.no})
}

// answerPeer makes the answer to a question; not ok is a refusal.
func (r *replica) answerPeer(m, a *message) {
	if m.ask == 0 {
		a.id.Member = r.core.Meta().Member
		a.ok, a.stand = true, pull.Stand{
			Usable: !r.core.Unsure() && !r.core.Damaged() && !r.hydration.On && r.core.Promised() == m.id.Epoch,
			SCL:    r.chain.SCL(), Readable: r.hydration.Lowest(r.chain.Floor()),
		}
		return
	}
	if r.core.AdmitFetch(&m.id) != nil {
		return
	}
	switch m.ask {
	case pull.AskRecords:
		r.giveRecords(a)
	case pull.AskMarks:
		r.giveMarks(a)
	case pull.AskLeaf:
		r.giveBlock(a)
	}
}

// giveRecords gives a page of the complete chain, if the log reaches back.
func (r *replica) giveRecords(a *message) {
	if r.chain.SCL() < a.upTo {
		return
	}
	switch err := r.hydration.Tells(a.at); {
	case block.KindOf(err) == block.NotFound || err == nil && a.at < r.disk.reach:
		a.ok, a.gone = true, true
		return
	case err != nil:
		return
	}
	a.records = r.records(a.records, a.at, a.upTo, pageRecords)
	if a.ok = true; len(r.disk.rot) == 0 {
		return
	}
	for i := range a.records {
		e := &a.records[i]
		for b := range e.Value.blocks() {
			if r.finds(b, e.LSN) {
				a.gone = true // its sums are verified: it goes to nobody (B3)
				return
			}
		}
	}
}

// giveMarks names leaves that have changed.
func (r *replica) giveMarks(a *message) {
	cut := r.chain.Floor()
	if r.hydration.Gives(cut) != nil {
		return
	}
	a.ok, a.found = true, cut
	a.marks = a.marks[:0]
	for i := a.block / leafBlocks; i < len(r.leaves) && len(a.marks) < pageMarks; i++ {
		if l := r.leaves[i]; l > a.at {
			a.marks = append(a.marks, pull.Mark{Block: block.Index(i * leafBlocks), MaxLSN: min(l, cut)})
		}
	}
}

// giveBlock gives a block of a leaf as of the floor.
func (r *replica) giveBlock(a *message) {
	cut := r.chain.Floor()
	if r.hydration.Gives(cut) != nil || r.finds(a.block, r.base[a.block]) {
		return
	}
	a.ok, a.at, a.found, a.upTo = true, cut, r.base[a.block], min(r.leaves[a.block/leafBlocks], cut)
	r.n.w.oracle.given(r, a.block, cut, a.found)
}
