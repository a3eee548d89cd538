package sim

import (
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/volume/pg"
	"github.com/sextantdisk/sextant/volume/quorum"
	"github.com/sextantdisk/sextant/wire"
)

// gateway is a writer of the one protection group.
type gateway struct {
	w       *World
	epoch   block.VolumeEpoch
	machine *pg.Machine
	conns   []*conn
	seq     block.Seq
	dead    bool

	asleepUntil time.Duration
	confirmed   pg.Time
}

// conn is the connection between a gateway and a segment: what is sent comes
// in order, or not at all.
type conn struct {
	g    *gateway
	n    *node
	life int // counts connections; messages of older ones are lost
	up   bool

	apartUntil time.Duration // no connection before

	out  time.Duration // when the last message to the segment arrives
	back time.Duration // when the last message to the gateway arrives
}

func newGateway(w *World, e block.VolumeEpoch) *gateway {
	g := &gateway{w: w, epoch: e, confirmed: -time.Hour}
	g.machine = pg.New(pg.Config{
		Epoch: e, Quorum: &w.config, Fresh: e == 1, Hold: w.faults.Hold,
		Next: func() block.LSN { g.seq++; return block.MakeLSN(e, g.seq) },
	})
	for _, n := range w.segments {
		g.conns = append(g.conns, &conn{g: g, n: n})
	}
	return g
}

func (g *gateway) open() {
	g.w.note("gateway %d opens", g.epoch)
	g.step(pg.Input{Kind: pg.Start})
	for _, c := range g.conns {
		c.dial()
	}
	g.loop(20*time.Millisecond, func() { g.step(pg.Input{Kind: pg.Tick}) })
	g.loop(g.w.upTo(20*time.Millisecond)+time.Millisecond, g.write)
	g.loop(g.w.upTo(20*time.Millisecond)+time.Millisecond, g.read)
	g.loop(500*time.Millisecond, g.confirm)
}

// loop does something again and again while the gateway lives and is awake.
func (g *gateway) loop(pace time.Duration, do func()) {
	g.w.after(g.w.upTo(2*pace), func() {
		if g.dead {
			return
		}
		g.awake(do)
		g.loop(pace, do)
	})
}

// awake does something now, or when the gateway wakes up: a process that was
// stopped finds all that came meanwhile.
func (g *gateway) awake(do func()) {
	if g.asleepUntil > g.w.now {
		g.w.at(g.asleepUntil, func() { g.awake(do) })
		return
	}
	if !g.dead {
		do()
	}
}

func (g *gateway) kill() {
	g.dead = true
	for _, c := range g.conns {
		c.life++
		c.up = false
	}
	g.w.note("gateway %d is killed", g.epoch)
}

// confirm asks the metadata service whether the epoch is still the newest.
func (g *gateway) confirm() {
	sent := g.w.now
	g.w.after(g.w.upTo(g.w.faults.Delay), func() {
		current := g.w.epoch == g.epoch
		g.w.after(g.w.upTo(g.w.faults.Delay), func() {
			g.awake(func() {
				if current {
					g.confirmed = max(g.confirmed, sent)
				}
			})
		})
	})
}

func (g *gateway) identity(m quorum.Member) wire.Identity {
	return wire.Identity{Segment: g.w.config.Segments[m], Epoch: g.epoch, Member: g.w.config.Epoch}
}

func (g *gateway) step(in pg.Input) { g.carryOut(g.machine.Step(g.w.now, in)) }

func (g *gateway) carryOut(fx *pg.Effects) {
	for i := range fx.Sends {
		s := &fx.Sends[i]
		id := g.identity(s.Member)
		c := g.conns[s.Member]
		switch s.Kind {
		case pg.SendJoin:
			c.send(&wire.Join{Identity: id, Progress: s.Progress})
		case pg.SendPing:
			c.send(&wire.Ping{Identity: id, Progress: s.Progress})
		case pg.SendCatchUp:
			c.send(&wire.CatchUp{Identity: id, UpTo: s.UpTo, DonorSegment: g.w.config.Segments[s.Donor]})
		case pg.SendRecords:
			m := &wire.Write{Identity: id, Progress: s.Progress}
			for _, r := range s.Records {
				m.Records = append(m.Records, r.Record)
			}
			c.send(m)
		}
	}
	for _, r := range fx.Done {
		g.w.oracle.acked(g.w, g, r)
	}
	if fx.Opened {
		g.w.oracle.opened(g.w, g)
	}
	if fx.Fenced != 0 || fx.Stuck {
		g.w.note("gateway %d ends: fenced by %d, stuck %v", g.epoch, fx.Fenced, fx.Stuck)
		g.kill()
	}
}

// write issues a record or a few.
func (g *gateway) write() {
	if g.machine.Phase() != pg.Open {
		return
	}
	if n, _ := g.machine.Pending(); n > 8 {
		return
	}
	for range 1 + g.w.rng.IntN(3) {
		r := &pg.Record{Record: wire.Record{Type: wire.RecordWrite, Block: block.Index(g.w.rng.IntN(g.w.faults.Blocks)), Count: 1}}
		g.step(pg.Input{Kind: pg.Issue, Record: r})
	}
	g.step(pg.Input{Kind: pg.Collect})
}

// read reads a block from a random member that may serve it.
func (g *gateway) read() {
	at, fx, ok := g.machine.BeginRead(g.w.now, g.confirmed)
	g.carryOut(fx)
	if !ok || g.dead {
		return
	}
	b := block.Index(g.w.rng.IntN(g.w.faults.Blocks))
	var can []quorum.Member
	for m := range quorum.Member(members) {
		if g.machine.Serves(m, at) {
			can = append(can, m)
		}
	}
	began := g.w.oracle.beginRead(b)
	over := false
	end := func() {
		if !over {
			over = true
			g.machine.EndRead(at)
		}
	}
	g.w.after(10*time.Second, func() { g.awake(end) })
	if len(can) == 0 {
		return
	}
	m := can[g.w.rng.IntN(len(can))]
	g.conns[m].send(&readMsg{id: g.identity(m), at: at, block: b, then: func(found block.LSN) {
		if !over && g.machine.MayReturn(g.w.now, g.confirmed) {
			g.w.oracle.returned(g.w, g, began, found)
		}
		end()
	}})
}

// dial brings the connection up after a while, again and again.
func (c *conn) dial() {
	c.g.w.after(c.g.w.upTo(c.g.w.faults.Delay)+time.Millisecond, func() {
		if c.g.dead || c.up {
			return
		}
		if c.n.down || c.apartUntil > c.g.w.now {
			c.dial()
			return
		}
		c.life++
		c.up = true
		life := c.life
		c.g.awake(func() {
			if c.life == life {
				c.g.step(pg.Input{Kind: pg.Up, Member: c.n.me})
			}
		})
	})
}

// cut breaks the connection: what is on the way is lost.
func (c *conn) cut() {
	if !c.up {
		return
	}
	c.up = false
	c.life++
	c.g.awake(func() { c.g.step(pg.Input{Kind: pg.Down, Member: c.n.me}) })
	c.dial()
}

func (c *conn) delay() time.Duration {
	d := c.g.w.upTo(c.g.w.faults.Delay)
	if c.n.slow {
		d *= 10
	}
	return d
}

func (c *conn) send(m any) {
	if !c.up {
		return
	}
	life := c.life
	c.out = max(c.out, c.g.w.now+c.delay())
	c.g.w.at(c.out, func() {
		if c.life == life && !c.n.down {
			c.n.receive(c, m)
		}
	})
}

// reply carries an answer to the gateway: an ack, a refusal, or a function.
func (c *conn) reply(m any) {
	if !c.up {
		return
	}
	life := c.life
	c.back = max(c.back, c.g.w.now+c.delay())
	c.g.w.at(c.back, func() {
		c.g.awake(func() {
			if c.life != life {
				return
			}
			switch m := m.(type) {
			case *wire.Ack:
				c.g.step(pg.Input{Kind: pg.Acked, Member: c.n.me, Ack: m})
			case *wire.Refuse:
				c.g.step(pg.Input{Kind: pg.Refused, Member: c.n.me, Refuse: m})
			case func():
				m()
			}
		})
	})
}
