package sim

import (
	"slices"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/mutant"
	"github.com/sextantdisk/sextant/volume/quorum"
)

// plan has a sort of chaos come at random times, with its mean.
func (w *World) plan(k chaos) {
	p := w.faults.Chaos[k]
	if p.every == 0 {
		return
	}
	w.after(w.upTo(2*p.every), func() {
		if w.healed {
			return
		}
		w.Count.Chaos++
		w.wreak(k, w.now+w.upTo(p.lasts))
		w.plan(k)
	})
}

// wreak lets one thing go wrong, until a time if it lasts.
func (w *World) wreak(k chaos, until time.Duration) {
	n := w.nodes[w.rng.IntN(len(w.nodes))]
	g := w.gateways[len(w.gateways)-1-w.rng.IntN(min(maxGateways, len(w.gateways)))]
	c := g.conns[n.no]
	if w.trace.keep && k != takeOver {
		w.note(nobody, "chaos: %s, gateway %d, node %d, until %v", chaosNames[k], g.epoch, n.no, until)
	}
	switch k {
	case takeOver:
		w.takeover()
	case breakConn:
		c.cut()
	case holdConn:
		if w.rng.IntN(2) == 0 {
			c.heldOut = max(c.heldOut, until)
		} else {
			c.heldBack = max(c.heldBack, until)
		}
	case partition:
		g.part(w.rng.IntN(1<<len(w.nodes)), until)
	case cutZone:
		w.cutZone(w.rng.IntN(zones), until)
	case crashNode:
		n.crash(until - w.now)
	case crashZone:
		for _, other := range w.nodes {
			if other.zone == n.zone {
				other.crash(until - w.now)
			}
		}
	case crashAll:
		for _, other := range w.nodes {
			other.crash(w.upTo(until - w.now))
		}
	case freezeNode:
		n.asleepUntil = max(n.asleepUntil, until)
	case freezeGateway:
		g.asleepUntil = max(g.asleepUntil, until)
	case stallDisk:
		n.stallUntil = max(n.stallUntil, until)
	case failDisk:
		n.fail(until)
	case fillDisk:
		n.fill(until)
	case damageLog:
		if h := w.hydrated(); h != nil && w.rng.IntN(2) == 0 {
			n = h
		}
		n.damage(until)
	case loseDisk:
		n.loseDisk()
	case metaAway:
		w.meta.away = max(w.meta.away, until)
	case replaceCopy:
		w.replaceCopy()
	case reduceGroup:
		w.reduceGroup()
	case split:
		w.split(until + quorum.LeaseTerm)
	case cleanLog:
		w.cleanLogs(pick[*node](w.rng, nil, n))
	case rotBlock:
		w.rotBlock(n)
	case killDonor:
		if d := w.donor(); d != nil {
			d.crash(until - w.now)
		}
	}
}

// split leaves the present gateway with two nodes, and has another one take
// over with the other four. It is what leases are for: the former one does not
// hear of it, and two segments still serve it (R14).
func (w *World) split(until time.Duration) {
	old := w.newest()
	if old == nil {
		return
	}
	w.leaveWith(old, w.rng.IntN(len(w.nodes)), until)
}

// leaveWith is split, for that gateway, with a node and another one.
func (w *World) leaveWith(old *gateway, first int, until time.Duration) {
	second := (first + 1 + w.rng.IntN(len(w.nodes)-1)) % len(w.nodes)
	mine := 1<<first | 1<<second
	old.part((1<<len(w.nodes)-1)&^mine, until)
	old.metaApart = max(old.metaApart, until)
	w.newcomer().part(mine, until)
}

// takeover opens the volume with a new gateway; the old ones are not told, as a
// rule.
func (w *World) takeover() {
	if old := w.newest(); old != nil {
		switch {
		case w.oneIn(w.faults.Kill):
			if w.trace.keep {
				w.note(nobody, "gateway %d is killed", old.epoch)
			}
			old.kill()
		case w.oneIn(w.faults.Clean):
			old.close()
		}
	}
	alive := 0
	for i := len(w.gateways) - 1; i >= 0; i-- {
		if g := w.gateways[i]; !g.dead {
			if alive++; alive >= maxGateways {
				g.kill()
			}
		}
	}
	g := w.newcomer()
	if w.faults.Chaos[partition].every != 0 && w.rng.IntN(2) == 0 { // it does not reach all from the start
		first, second := w.rng.IntN(len(w.nodes)), w.rng.IntN(len(w.nodes))
		g.part(1<<first|1<<second, w.now+w.upTo(w.faults.Chaos[partition].lasts))
	}
}

// newcomer is a gateway that begins to open the volume.
func (w *World) newcomer() *gateway {
	w.Count.Takeovers++
	g := w.newGateway()
	g.open()
	return g
}

// newest is the gateway of the highest epoch that is there; nil if there is
// none.
func (w *World) newest() *gateway {
	for i := len(w.gateways) - 1; i >= 0; i-- {
		if g := w.gateways[i]; !g.dead {
			return g
		}
	}
	return nil
}

// gatewayDied has clients look for another gateway when none is left.
func (w *World) gatewayDied() {
	w.after(w.upTo(500*time.Millisecond), func() {
		if w.newest() == nil {
			w.takeover()
		}
	})
}

// part keeps a gateway and some nodes apart.
func (g *gateway) part(nodes int, until time.Duration) {
	for i, c := range g.conns {
		if nodes&(1<<i) != 0 {
			c.apartUntil = max(c.apartUntil, until)
			c.cut()
		}
	}
}

func (w *World) cutZone(z int, until time.Duration) {
	w.cut[z] = max(w.cut[z], until)
	for _, g := range w.gateways {
		for _, c := range g.conns {
			if !w.near(g.zone, c.n.zone) {
				c.cut()
			}
		}
	}
}

// fail ends the log of a node's disk: what it has acknowledged is there, but it
// answers nothing before it was started anew.
func (n *node) fail(until time.Duration) {
	if n.down || n.gone {
		return
	}
	n.failed = true
	n.cutAll()
	life := n.life
	n.w.after(until-n.w.now, func() {
		if n.life == life {
			n.crash(0)
		}
	})
}

// fill makes a disk full: at first it says so, later it takes no data.
func (n *node) fill(until time.Duration) {
	n.full = 1
	n.w.after((until-n.w.now)/2, func() { n.full = min(2, 2*n.full) })
	n.w.after(until-n.w.now, func() { n.full = 0 })
}

// halfWay tells whether a segment of the node takes leaves over: nobody can have
// anything of it meanwhile.
func (n *node) halfWay() bool {
	return slices.ContainsFunc(n.replicas, func(r *replica) bool { return r.core != nil && r.hydration.On })
}

// hurt tells whether a segment of the node does not count for data, or has lost
// a block.
func (n *node) hurt() bool {
	for _, r := range n.replicas {
		if r.disk.damaged || r.decays() {
			return true
		}
	}
	return false
}

// owes tells whether a segment of the node has lost a record that others may have to
// fetch, should they be damaged.
func (n *node) owes() bool { return slices.ContainsFunc(n.replicas, (*replica).owes) }

// damage crashes a node; it finds a part of its log lost.
func (n *node) damage(until time.Duration) {
	if n.down || n.gone || !n.hurt() && !n.w.bears(n) {
		return
	}
	n.crash(until - n.w.now)
	for _, r := range n.replicas {
		r.lose()
	}
}

// loseDisk takes a node's disk away for good. Nothing may come back empty under
// its name (R28); so it is gone.
func (n *node) loseDisk() {
	if n.down || n.gone || !n.w.bears(n) {
		return
	}
	n.crash(0)
	n.disk = block.DiskID{14: 1, 15: byte(n.no + 1)}
	for _, r := range n.replicas {
		r.dropped = true
	}
	n.replicas = nil
	if !mutant.On(mutant.RejoinEmpty) {
		n.gone = true
	}
}
