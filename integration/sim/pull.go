package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
	"github.com/sextantdisk/sextant/segmentd/pull"
	"github.com/sextantdisk/sextant/wire"
)

// puller carries out what a pull.Machine asks for, for one segment: what
// segmentd/pull.go does with goroutines.
type puller struct {
	r     *replica
	on    bool
	m     pull.Machine
	ident wire.Identity // the segment's own, when it began
	// conn, of that life, is whose order it is; nil: nobody's.
	conn    *conn
	life    uint32
	epoch   block.VolumeEpoch // of the order's writer
	told    time.Duration     // when that one was told last
	sources []*source
	due     []pull.Input // what the machine is to be told, in this order
	busy    bool         // with that
}

const (
	// fetchTimeout is after which a peer that does not answer is given up.
	fetchTimeout = 5 * time.Second
	// progressEvery is how often a segment that pulls tells its writer.
	progressEvery = 250 * time.Millisecond
)

// catchUp takes a writer's order.
func (r *replica) catchUp(m *message) {
	if refuse := r.core.AdmitJoined(&m.id); refuse != nil {
		r.n.refuse(m, refuse)
		return
	}
	if r.pulling() {
		return
	}
	r.n.w.Count.CatchUps++
	p := r.newPuller()
	p.conn, p.life, p.epoch = m.conn, m.life, m.id.Epoch
	p.add(m.to, m.segment)
	p.begin(m.upTo)
}

// pulling tells whether a pull is under way.
func (r *replica) pulling() bool { return r.catching != nil && r.catching.on }

func (r *replica) newPuller() *puller {
	m := r.core.Meta()
	r.catching = &puller{r: r, on: true, told: r.n.w.now, ident: wire.Identity{
		Cluster: m.Cluster, Volume: m.Volume, Segment: r.id, PG: m.PG, Epoch: r.core.Promised(), Member: m.Member,
	}}
	return r.catching
}

// begin pulls from where the segment stands; sources are those that are known.
func (p *puller) begin(upTo block.LSN) {
	r := p.r
	if w := r.n.w; w.trace.keep {
		w.note(r.group, "node %d catches up from %v to %v, hydrating %v, %d donors known", r.n.no, r.chain.SCL(), upTo, r.hydration.On, len(p.sources))
	}
	p.step(pull.Input{Kind: pull.Begin, Peers: len(p.sources), UpTo: upTo, SCL: r.chain.SCL(), Floor: r.chain.Floor(), Mixed: r.hydration.On})
}

// step tells the machine of something, and does what it asks for, until there
// is nothing more to tell.
func (p *puller) step(in pull.Input) {
	p.due = append(p.due, in)
	if p.busy {
		return
	}
	p.busy = true
	for len(p.due) > 0 && p.on && p.r.n.w.oracle.violation == nil {
		in, p.due = p.due[0], p.due[1:]
		for _, e := range p.m.Step(in) {
			p.do(&e)
		}
		if ph := p.m.Phase(); ph == pull.Done || ph == pull.Failed {
			p.end()
		}
	}
	p.busy = false
}

func (p *puller) do(e *pull.Effect) {
	switch e.Kind {
	case pull.Discover:
		p.discover()
	case pull.BeginHydration:
		p.r.beginHydration(p)
	case pull.Hydrate:
		p.r.hydrate(p, e.Cut)
	default:
		s := p.sources[e.Peer]
		if s.dead {
			p.r.n.w.oracle.fail(p.r.group, "node %d asks node %d again, which has failed (R20): %s", p.r.n.no, s.node.no, p.m.Describe())
		}
		s.ask(*e)
	}
}

// end ends the pull, with a word to the writer.
func (p *puller) end() {
	r := p.r
	p.on = false
	if w := r.n.w; w.trace.keep {
		w.note(r.group, "node %d has pulled up to %v: %v", r.n.no, r.chain.SCL(), p.m.Err())
	}
	if p.conn != nil {
		r.say(p.conn, p.life, p.epoch, 0)
	}
}

// progress tells the writer now and then.
func (p *puller) progress() {
	if w := p.r.n.w; p.on && p.conn != nil && w.now-p.told >= progressEvery {
		p.told = w.now
		p.r.say(p.conn, p.life, p.epoch, 0)
	}
}

// stop gives the pull up.
func (p *puller) stop(err error) { p.step(pull.Input{Kind: pull.Stop, Err: err}) }

// discover asks the metadata service for the other copies, and these where they
// stand.
func (p *puller) discover() {
	r, w := p.r, p.r.n.w
	life := r.n.life
	w.after(w.meta.trip(r.n.zone), func() {
		cfg, _ := w.meta.config(r.group)
		r.n.after(life, w.upTo(w.faults.Delay), func() {
			if p.on {
				p.found(cfg)
			}
		})
	})
}

// found adds the copies that are not known yet.
func (p *puller) found(cfg metadata.PGConfig) {
	for _, s := range cfg.Segments {
		known := s.ID == p.r.id || slices.ContainsFunc(p.sources, func(o *source) bool { return o.segment == s.ID })
		if !known {
			p.add(p.r.n.w.nodeOf(s), s.ID)
		}
	}
	p.step(pull.Input{Kind: pull.Found, Peers: len(p.sources)})
	for _, s := range p.sources {
		s.ask(pull.Effect{})
	}
}

// source is one peer of a pull, on a connection of its own: questions and
// answers keep their order. After a failure it counts as lost, with whatever it
// is asked for.
type source struct {
	p       *puller
	i       pull.Peer
	node    *node
	segment block.SegmentID
	member  block.MembershipEpoch // as the peer has told it
	asked   []pull.Effect         // and not answered
	answers uint32                // so far
	dead    bool
	life    uint32        // of the daemon at the other end, plus one; 0: none has answered yet
	apart   bool          // the network has lost something on the way: nothing more comes
	out     time.Duration // when the last question gets there
	back    time.Duration // when the last answer does
	// of the leaf that is coming: blocks that came, and the lowest of their cuts
	came block.Count
	cut  block.LSN
}

func (p *puller) add(n *node, id block.SegmentID) {
	p.sources = append(p.sources, &source{p: p, i: pull.Peer(len(p.sources)), node: n, segment: id})
}

// ask sends a question; Kind 0: where do you stand?
func (s *source) ask(e pull.Effect) {
	if s.dead {
		s.lost(&e)
		return
	}
	s.asked = append(s.asked, e)
	n := s.p.r.n
	due := s.answers + uint32(len(s.asked))
	n.after(n.life, fetchTimeout, func() {
		if s.p.on && !s.dead && s.answers < due {
			s.lose()
		}
	})
	if e.Kind != pull.AskLeaf {
		s.question(&e, int(e.Block))
		return
	}
	first := int(e.Block) // a leaf comes in parts, each as of its own moment
	for b := range n.w.leafSize(first) {
		s.question(&e, first+b)
	}
}

// reaches tells whether the connection is to a daemon's present life.
func (s *source) reaches(n *node) bool {
	if s.life == 0 {
		s.life = n.life + 1
	}
	return s.life == n.life+1
}

// question sends one frame.
func (s *source) question(e *pull.Effect, b int) {
	r := s.p.r
	w := r.n.w
	m := w.newMessage(msgAsk)
	m.from, m.to, m.life, m.group, m.source, m.id = r.n, s.node, r.n.life, r.group, s, s.p.ident
	m.id.Segment, m.id.Member = s.segment, max(m.id.Member, s.member)
	m.at, m.upTo, m.ask, m.block = e.After, e.UpTo, e.Kind, b
	s.out = max(s.out, w.now+w.delay(w.faults.Delay, r.n.slow))
	w.put(s.out, event{kind: evArrive, a: m.no})
}

// lose ends the connection: nothing comes of what was asked, nor of what will
// be.
func (s *source) lose() {
	s.dead = true
	asked := s.asked
	s.asked = nil
	for i := range asked {
		s.lost(&asked[i])
	}
}

func (s *source) lost(e *pull.Effect) {
	in := pull.LostPeer(s.i)
	if e.Kind == pull.AskLeaf {
		in.Block = e.Block
	}
	s.p.step(in)
}

// answer takes what a peer has sent: nothing if the pull is over, or the
// daemon has crashed since it asked.
func (s *source) answer(m *message) {
	p := s.p
	r := p.r
	if r.n.life != m.life || r.n.down || r.dropped || !p.on || s.dead {
		return
	}
	if !m.ok {
		s.lose()
		p.progress()
		return
	}
	last := true
	switch m.ask {
	case 0:
		s.member = m.id.Member
		p.step(pull.Input{Kind: pull.Stands, Peer: s.i, Stand: m.stand})
	case pull.AskRecords:
		s.page(m)
	case pull.AskMarks:
		s.marks(m)
	case pull.AskLeaf:
		last = s.run(m)
	}
	if last && !s.dead && len(s.asked) > 0 {
		s.asked = s.asked[1:]
		s.answers++
	}
	p.progress()
}

// page logs what a peer gave, unless a newer writer has come meanwhile (T4).
func (s *source) page(m *message) {
	p := s.p
	r := p.r
	in := pull.Input{Kind: pull.Page, Peer: s.i}
	switch {
	case m.gone:
		in.Kind = pull.Gone
	case len(m.records) == 0:
	case !r.core.Takes(p.ident.Epoch):
		p.stop(block.Errorf(block.Fenced, "a newer writer has come"))
		return
	case r.n.full == 2 && hasData(m.records):
		p.stop(block.Errorf(block.NoSpace, "the disk is full"))
		return
	default:
		in.Prev, in.Last = m.records[0].Prev, m.records[len(m.records)-1].LSN
		p.save(op{r: r, records: r.n.w.takeRecords(m)}, func() pull.Input { return pull.Input{Kind: pull.Saved, SCL: r.chain.SCL()} })
	}
	p.step(in)
}

// save has a step of the log made durable, and then the machine told.
func (p *puller) save(o op, then func() pull.Input) {
	o.owed = owed{then: func() {
		if p.on {
			p.step(then())
			p.progress()
		}
	}}
	p.r.n.enqueue(o)
}

// pullState tells of a pull that is under way.
func (r *replica) pullState() string {
	if !r.pulling() {
		return "pulls nothing"
	}
	text := r.catching.m.Describe()
	for _, s := range r.catching.sources {
		text += fmt.Sprintf("; node %d, dead %v, apart %v, %d questions", s.node.no, s.dead, s.apart, len(s.asked))
	}
	return text
}
