package sim

import (
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
	"github.com/sextantdisk/sextant/metadata/state"
	"github.com/sextantdisk/sextant/volume/pg"
	"github.com/sextantdisk/sextant/volume/quorum"
	"github.com/sextantdisk/sextant/volume/rmw"
	"github.com/sextantdisk/sextant/wire"
)

// gateway is a process that serves the volume: what package volume is with its
// goroutines.
type gateway struct {
	w     *World
	no    int
	zone  int
	epoch block.VolumeEpoch // 0 before the metadata service has answered
	conns []*conn           // by node
	group []*group          // by index; nil: not placed, as far as it knows
	seq   block.Seq
	dead  bool

	asleepUntil time.Duration
	metaApart   time.Duration // it does not reach the metadata service before
	rate        float64       // of its clock
	confirmed   pg.Time       // when what the metadata service confirmed last was sent
	emptyUntil  pg.Time       // when a lease of before this epoch is over
	knownUntil  pg.Time       // and one of before the epoch before
	clean       bool
	told        bool // all groups were open, and the metadata service knows

	reads    []reading
	idle     []uint32     // slots of reads
	freed    []*pg.Record // to be used again
	tickPace time.Duration
}

// group is what the gateway knows of a protection group.
type group struct {
	g         *gateway
	index     int
	cfg       metadata.PGConfig
	quorum    *quorum.Config
	machine   *pg.Machine
	nodes     []*node // by member; nil: the number is free
	committed block.LSN
	opened    bool
	edits     rmw.Edits
	unread    []*rmw.Item // edits that are to be read
}

const (
	tickFast     = 20 * time.Millisecond
	tickSlow     = 100 * time.Millisecond
	confirmEvery = 500 * time.Millisecond
	maxGateways  = 5 // at a time
)

func (w *World) newGateway() *gateway {
	g := &gateway{w: w, no: len(w.gateways), zone: w.rng.IntN(zones), confirmed: -time.Hour, rate: 1, tickPace: tickFast}
	if d := w.faults.Drift; d != 0 {
		g.rate = pick(w.rng, 1-d, 1, 1+d)
	}
	for _, n := range w.nodes {
		g.conns = append(g.conns, &conn{g: g, n: n})
	}
	g.group = make([]*group, w.faults.Groups)
	w.gateways = append(w.gateways, g)
	return g
}

// now is the time on the gateway's own clock.
func (g *gateway) now() pg.Time { return time.Duration(float64(g.w.now) * g.rate) }

// open takes the volume over. Nobody tells the gateway before.
func (g *gateway) open() {
	sent := g.now()
	g.w.meta.ask(g, false, func() func() {
		r, formerFor, placed := g.w.meta.open(g)
		return func() {
			if r.Err != nil {
				g.kill()
				return
			}
			g.begin(r, formerFor, placed, sent)
		}
	})
}

// begin serves under an epoch.
func (g *gateway) begin(r state.Result, formerFor time.Duration, placed []metadata.PGConfig, sent pg.Time) {
	w, e, clean := g.w, r.Volume.Epoch, r.CleanHandover
	g.epoch, g.clean, g.confirmed = e, clean, sent
	if !clean {
		g.emptyUntil = g.now() + quorum.LeaseWait
		g.knownUntil = g.emptyUntil - formerFor
	}
	if w.trace.keep {
		w.note(nobody, "gateway %d begins, %d groups are placed, clean %v, its clock runs at %.3f", e, len(placed), clean, g.rate)
	}
	for _, c := range g.conns {
		c.dial()
	}
	for _, cfg := range placed {
		g.know(cfg)
	}
	for _, x := range g.group {
		if x != nil && w.rng.IntN(3) > 0 {
			x.start()
		}
	}
	g.plan(evTick, g.tickPace)
	g.plan(evClient, w.faults.Pace)
	g.confirm()
}

// plan has something happen again, on average after this time.
func (g *gateway) plan(k kind, every time.Duration) {
	g.w.put(g.w.now+g.w.upTo(2*every), event{kind: k, a: int32(g.no)})
}

// know makes the machine of a placed group.
func (g *gateway) know(cfg metadata.PGConfig) *group {
	i := int(cfg.Index)
	if g.group[i] != nil {
		return g.group[i]
	}
	x := &group{g: g, index: i}
	x.seat(follows(&quorum.Config{}, cfg), cfg)
	e := g.epoch
	empty, unopened := quorum.EmptyWaits(cfg.Born, e, g.emptyUntil, g.knownUntil)
	x.machine = pg.New(pg.Config{
		Epoch: e, Quorum: x.quorum, Fresh: cfg.Born == e, EmptyUntil: empty, UnopenedUntil: unopened,
		Departed: cfg.Departed > 0, Clean: g.clean, Hold: g.w.faults.Hold,
		Next: func() block.LSN { g.seq++; return block.MakeLSN(e, g.seq) },
	})
	x.machine.SetRingLimit(g.w.faults.Ring)
	g.group[i] = x
	for m, n := range x.nodes {
		if n != nil && g.conns[n.no].up {
			x.step(pg.Input{Kind: pg.Up, Member: quorum.Member(m)})
		}
	}
	return x
}

func (x *group) start() {
	if x.machine.Phase() == pg.Idle {
		x.step(pg.Input{Kind: pg.Start})
	}
}

// happens takes an event that is the gateway's own.
func (g *gateway) happens(e *event) {
	switch e.kind {
	case evTick:
		g.tick()
	case evClient:
		g.client()
		g.plan(evClient, g.w.faults.Pace)
	case evDial:
		g.conns[e.b].dialled()
	case evDown:
		if c := g.conns[e.b]; c.up && c.life == e.c {
			c.up = false
			g.allGroups(c.n, downInput)
			c.dial()
		}
	case evLate:
		g.late(uint32(e.b), e.c)
	}
}

// whenAwake does something now, or when the process goes on.
func (g *gateway) whenAwake(do func()) {
	switch {
	case g.dead:
	case g.asleepUntil > g.w.now:
		g.w.after(g.asleepUntil-g.w.now, func() { g.whenAwake(do) })
	default:
		do()
	}
}

const (
	upInput   = pg.Up
	downInput = pg.Down
)

// allGroups tells each group that has a member on a node about its connection.
func (g *gateway) allGroups(n *node, k pg.InputKind) {
	for _, x := range g.group {
		if x == nil {
			continue
		}
		for m, at := range x.nodes {
			if at == n && !g.dead {
				x.step(pg.Input{Kind: k, Member: quorum.Member(m)})
			}
		}
	}
}

func (g *gateway) tick() {
	open := true
	for _, x := range g.group {
		if x == nil {
			continue
		}
		if x.machine.NeedsTick() {
			x.step(pg.Input{Kind: pg.Tick})
			if g.dead {
				return
			}
		}
		if x.tickEdits(); g.dead {
			return
		}
		if x.machine.Phase() == pg.Idle && g.w.rng.IntN(20) == 0 {
			x.start() // groups are opened in the background, too
		}
		open = open && x.machine.Phase() == pg.Open
	}
	if open && !g.told {
		g.told = true
		g.tickPace = tickSlow
		g.w.meta.ask(g, false, func() func() { g.w.meta.opened(g.epoch); return func() {} })
	}
	g.plan(evTick, g.tickPace/2)
}

// confirm asks again and again whether the epoch is still the newest. Who
// learns that it is not ends (R3).
func (g *gateway) confirm() {
	sent, known := g.now(), g.changing()
	g.w.meta.ask(g, false, func() func() {
		err := g.w.meta.state.CheckOwner(volume, g.epoch)
		changing := g.w.meta.state.Changing(volume, known)
		return func() {
			if err != nil {
				g.end("the metadata service says so")
				return
			}
			g.confirmed = max(g.confirmed, sent)
			for _, m := range changing {
				g.carryOn(m)
			}
		}
	})
	g.w.after(confirmEvery/2+g.w.upTo(confirmEvery), func() { g.whenAwake(g.confirm) })
}

// end is what a gateway does that has been fenced: it answers nothing more.
func (g *gateway) end(why string) {
	if g.w.trace.keep {
		g.w.note(nobody, "gateway %d ends: %s", g.epoch, why)
	}
	g.kill()
}

// kill ends the process.
func (g *gateway) kill() {
	if g.dead {
		return
	}
	for _, c := range g.conns {
		if c.up {
			c.lateLife, c.lateUntil = c.life, g.w.now+g.w.lateness()
		}
		c.life++
		c.up, c.broken = false, true
	}
	g.dead = true
	g.w.gatewayDied()
}

// close says goodbye: the next gateway need not wait, if nobody before this one
// can still read.
func (g *gateway) close() {
	settled := g.now() >= g.emptyUntil
	for _, x := range g.group {
		settled = settled && (x == nil || x.machine.LeaseSettled() || x.cfg.Born == g.epoch)
	}
	settled = settled || g.clean
	if g.w.trace.keep {
		g.w.note(nobody, "gateway %d says goodbye, clean %v", g.epoch, settled)
	}
	w, e := g.w, g.epoch
	g.kill()
	w.after(w.meta.trip(g.zone), func() { w.meta.goodbye(e, settled) })
}

func (x *group) identity(m quorum.Member) wire.Identity {
	return wire.Identity{Cluster: cluster, Volume: volume, Segment: x.quorum.Segments[m], PG: block.PGIndex(x.index),
		Epoch: x.g.epoch, Member: x.quorum.Epoch}
}

// step gives the machine an input and carries out what it asks for.
func (x *group) step(in pg.Input) {
	x.carryOut(x.machine.Step(x.g.now(), in))
}

func (x *group) carryOut(fx *pg.Effects) {
	g, w := x.g, x.g.w
	if fx.Fenced != 0 || fx.Stuck {
		why := "nobody has the recovery point"
		if fx.Fenced != 0 {
			why = "fenced"
		}
		g.end(why)
		return
	}
	for i := range fx.Sends {
		x.send(&fx.Sends[i])
	}
	if c := x.machine.Committed(); c != x.committed {
		w.oracle.committed(x, c)
		x.committed = c
	}
	for _, r := range fx.Done {
		w.oracle.acked(x, r)
	}
	for _, r := range fx.Failed {
		w.oracle.failed(x, r)
	}
	for _, r := range fx.Free {
		if r.Type != wire.RecordOpen {
			g.freed = append(g.freed, r)
		}
	}
	if fx.Outdated {
		x.reread()
	}
	if fx.Opened {
		x.opened = true
		w.Count.Opens++
		if w.trace.keep {
			w.note(x.index, "gateway %d is open at %v", g.epoch, x.committed)
		}
	}
	if x.edits.Busy() {
		x.advanceEdits()
	}
}

func (x *group) send(s *pg.Send) {
	w, n := x.g.w, x.nodes[s.Member]
	c := x.g.conns[n.no]
	m := w.newMessage(msgPing)
	m.group, m.id, m.progress = x.index, x.identity(s.Member), s.Progress
	switch s.Kind {
	case pg.SendJoin:
		m.sort = msgJoin
	case pg.SendCatchUp:
		m.sort, m.upTo = msgCatchUp, s.UpTo
		m.to, m.segment = x.nodes[s.Donor], x.quorum.Segments[s.Donor]
	case pg.SendRecords:
		m.sort = msgWrite
		for _, r := range s.Records {
			w.oracle.issued(x, r)
			m.records = append(m.records, entry{LSN: r.LSN, Prev: r.Prev, Value: what{r.Type, uint16(r.Block), uint16(r.Count)}})
		}
	}
	c.send(m)
}

// receive takes a node's message.
func (g *gateway) receive(m *message) {
	if m.sort == msgData {
		g.answered(m)
		return
	}
	x := g.group[m.group]
	member, ok := x.memberOf(m.id.Segment)
	if !ok {
		return
	}
	if m.refuse != nil {
		x.step(pg.Input{Kind: pg.Refused, Member: member, Refuse: m.refuse})
		return
	}
	x.step(pg.Input{Kind: pg.Acked, Member: member, Ack: &m.ack})
}

func (x *group) memberOf(id block.SegmentID) (quorum.Member, bool) {
	for m, s := range x.quorum.Segments {
		if s == id {
			return quorum.Member(m), true
		}
	}
	return 0, false
}
