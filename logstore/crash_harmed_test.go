package logstore

import (
	"cmp"
	"maps"

	"github.com/sextantdisk/sextant/internal/block"
)

// judgeHarmed looks at a store whose disk was harmed. What is not lost on the
// disk is there; what is lost is told, and never taken for what was not written.
// What is shown is true in any case.
func (c *crasher) judgeHarmed(s *Store, h *harm, what string) {
	if !h.lossy() {
		c.judgeWhole(s, what)
		return
	}
	most, dropping := c.most()
	for _, g := range s.Segments() {
		if was, ok := h.clean.Segment(g.id); (!ok || was.idx != g.idx) && !g.State().Damaged {
			c.fatalf("%s: segment %v was dropped, and is back, and says that nothing is wrong", what, g.id)
		}
	}
	for n, m := range c.acked {
		g, ok := s.Segment(segID(n))
		if was, there := h.clean.Segment(segID(n)); ok && there && was.idx != g.idx {
			continue // the one before it: the record that it was dropped is lost
		}
		if !ok {
			if len(s.Damage()) == 0 && most[n] != nil { // nobody drops it
				c.fatalf("%s: segment %d is gone, and no damage is told", what, n)
			}
			continue
		}
		st := g.State()
		if !st.Damaged && (st.SCL < m.scl() || st.Promised < m.promised) {
			c.fatalf("%s: damage was taken for a torn tail: segment %d is complete up to %v with promise %d, was %v, %d; told %v",
				what, n, st.SCL, st.Promised, m.scl(), m.promised, s.Damage())
		}
		c.judgeImage(s, h, n, cmp.Or(most[n], dropping[n]), what)
	}
	c.judgeRecords(s, h, what)
	if h.payloadOnly() {
		c.judgeStates(s, h, what)
	}
	if len(s.Damage()) == 0 && c.explain(s) == nil {
		c.fatalf("%s: something is missing, and no damage is told\n%s", what, c.differences(s))
	}
}

// most is what may be there at most, and the segments that may be gone, as they
// are if they are not: a DROP that was refused may come back or not, and what was
// asked for behind it is of the same segment, since no other one is made before
// that is gone.
func (c *crasher) most() (most, dropping map[int]*modelSegment) {
	most, dropping = cloned(c.acked), map[int]*modelSegment{}
	for _, a := range c.maybe {
		for _, e := range a.effects {
			before := maps.Clone(most)
			e.do(most)
			e.do(maps.Clone(dropping)) // changes the models, but keeps them
			for n, m := range before {
				if most[n] == nil {
					dropping[n] = m
				}
			}
		}
	}
	return most, dropping
}

// judgeWhole looks at a store that has all twice of what was harmed: of headers,
// footers and checkpoints.
func (c *crasher) judgeWhole(s *Store, what string) {
	for _, d := range s.Damage() {
		if d.Kind != DamageHeader && d.Kind != DamageCheckpoint {
			c.fatalf("%s: the log is whole, but told is %v", what, s.Damage())
		}
	}
	for _, g := range s.Segments() {
		r := ReadResult{Buf: make([]byte, crashBlocks*block.Size)}
		if err := g.ReadAt(g.SCL(), 0, crashBlocks, &r); err != nil {
			c.fatalf("%s: the log is whole, but segment %v is not to be read: %v", what, g.ID(), err)
		}
	}
	if c.explain(s) == nil {
		c.fatalf("%s: the log is whole, but the store is no start of what was asked for\n%s", what, c.differences(s))
	}
}

// judgeImage compares what a segment shows at its SCL with the chain that leads
// there; blocks that lay where harm was done may be refused.
func (c *crasher) judgeImage(s *Store, h *harm, n int, m *modelSegment, what string) {
	g, _ := s.Segment(segID(n))
	st := g.State()
	chain := m.chainTo(st.SCL)
	if chain == nil && st.Damaged && c.sent[sentRecord{n, st.SCL}] {
		return // what annulled it is lost, and it had not been acknowledged: the model knows nothing of it
	}
	if chain == nil && st.SCL != 0 {
		c.fatalf("%s: segment %d says that it is complete up to %v, which nobody wrote", what, n, st.SCL)
	}
	want := imageAlong(chain, st.SCL, crashBlocks)
	r := ReadResult{Buf: make([]byte, block.Size)}
	for b := range block.Index(crashBlocks) {
		err := g.ReadAt(st.SCL, b, 1, &r)
		if block.KindOf(err) == block.Corrupt && len(s.Damage()) > 0 {
			if l := g.newest(b).loc; !h.excuses(s, l) {
				c.fatalf("%s: block %d of segment %d at page %d of file %d is refused, where no harm was done: %v", what, b, n, l.page, l.file, err)
			}
			continue
		}
		if err != nil {
			c.fatalf("%s: reading block %d of segment %d: %v", what, b, n, err)
		}
		if got := ownerOf(c.t, &r, b); got != want[b] {
			c.fatalf("%s: block %d of segment %d at %v is of %v, want %v", what, b, n, st.SCL, got, want[b])
		}
	}
}

// judgeRecords: a record is missing only if all batches are harmed that had it.
// (Where files were cleaned the log alone has too little to go by.)
func (c *crasher) judgeRecords(s *Store, h *harm, what string) {
	if h.clean.ckpt.durable() == 0 && h.cleaned() {
		return
	}
	for _, was := range h.clean.Segments() {
		g, ok := s.Segment(was.id)
		if !ok || h.losesBirth(was.idx) { // what came before the next configuration is nobody's
			continue
		}
		check := func(e chainEntry) {
			if !g.knows(e.LSN) && !h.lost(was.idx, e.LSN) {
				c.fatalf("%s: record %v of segment %v is missing, and no harm was done to it; damage %v", what, e.LSN, was.id, s.Damage())
			}
		}
		for _, e := range was.mu.index.chain.Path() {
			check(e)
		}
		was.mu.index.chain.OffPath(check)
	}
}

// judgeStates: who has lost bytes of blocks only, knows all else, and is no more damaged than
// before.
func (c *crasher) judgeStates(s *Store, h *harm, what string) {
	for _, was := range h.clean.Segments() {
		g, ok := s.Segment(was.id)
		if !ok {
			c.fatalf("%s: only blocks are lost, but segment %v is gone", what, was.id)
		}
		a, b := was.State(), g.State()
		if a.SCL != b.SCL || a.Floor != b.Floor || a.Promised != b.Promised || string(a.Config) != string(b.Config) || b.Damaged && !a.Damaged {
			c.fatalf("%s: only blocks are lost, but segment %v is %+v instead of %+v", what, was.id, b, a)
		}
	}
}
