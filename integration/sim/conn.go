package sim

import (
	"time"

	"github.com/sextantdisk/sextant/wire"
)

// conn is the connection between a gateway and a node: what is sent comes in
// order, or the connection breaks.
type conn struct {
	g *gateway
	n *node
	// life counts connections. What was under way on the one before may
	// still reach the node until lateUntil, beside what comes by the new one:
	// the old socket's goroutine may be behind. The gateway reads old ones no more.
	life      uint32
	lateLife  uint32
	lateUntil time.Duration
	up        bool // the gateway thinks so
	broken    bool // and is wrong

	apartUntil time.Duration // no connection before
	heldOut    time.Duration // what is sent to the node stands still until then
	heldBack   time.Duration

	out  time.Duration // when the last message to the node arrives
	back time.Duration // when the last message to the gateway arrives
}

// alive tells whether a message of this life still reaches the node.
func (c *conn) alive(life uint32) bool {
	return life == c.life && !c.broken || life == c.lateLife && c.g.w.now < c.lateUntil
}

// reachable tells whether a connection can be made, and by whom: a daemon is
// what it says that it is, or is left alone (R1).
func (c *conn) reachable() bool {
	return !c.n.down && !c.n.failed && c.apartUntil <= c.g.w.now && c.g.w.near(c.g.zone, c.n.zone) && c.g.knows(c.n)
}

func (c *conn) dial() {
	w := c.g.w
	w.put(w.now+w.upTo(w.faults.Delay)+time.Millisecond, event{kind: evDial, a: int32(c.g.no), b: int32(c.n.no)})
}

// dialled makes the connection, or tries later.
func (c *conn) dialled() {
	w := c.g.w
	if c.up {
		return
	}
	if !c.reachable() {
		w.put(w.now+10*time.Millisecond+w.upTo(100*time.Millisecond), event{kind: evDial, a: int32(c.g.no), b: int32(c.n.no)})
		return
	}
	c.life++
	c.up, c.broken = true, false
	c.out, c.back = w.now, w.now
	if w.trace.keep {
		w.note(nobody, "gateway %d is connected to node %d", c.g.epoch, c.n.no)
	}
	c.g.allGroups(c.n, upInput)
}

// cut breaks the connection: what is on the way to the gateway is lost, what is
// on the way to the node may still arrive, up to some moment.
func (c *conn) cut() {
	w := c.g.w
	if !c.up || c.broken || c.g.dead {
		return
	}
	c.broken = true
	c.lateLife, c.lateUntil = c.life, w.now+w.lateness()
	c.life++ // answers to what was sent before go nowhere
	w.put(w.now+w.upTo(w.faults.Delay), event{kind: evDown, a: int32(c.g.no), b: int32(c.n.no), c: c.life})
}

// lateness is how long what was under way may still arrive.
func (w *World) lateness() time.Duration {
	switch w.rng.IntN(4) {
	case 0:
		return 20 * w.faults.Delay
	case 1:
		return w.upTo(2 * w.faults.Delay)
	}
	return 0
}

// send puts a message on its way to the node.
func (c *conn) send(m *message) {
	w := c.g.w
	if !c.up || c.broken {
		w.freeMessage(m)
		return
	}
	m.conn, m.life = c, c.life
	c.out = max(c.out, c.heldOut, w.now+w.delay(w.faults.Delay, c.n.slow))
	w.put(c.out, event{kind: evArrive, a: m.no})
}

// reply puts a message on its way to the gateway, over the connection of that
// life.
func (c *conn) reply(life uint32, m *message) {
	w := c.g.w
	if c.g.dead || life != c.life || c.broken {
		w.freeMessage(m)
		return
	}
	m.conn, m.life = c, life
	c.back = max(c.back, c.heldBack, w.now+w.delay(w.faults.Delay, c.n.slow))
	w.put(c.back, event{kind: evArrive, a: m.no})
}

// knows tells whether a node is the one whose disk the metadata service has
// told of (R1, R28).
func (g *gateway) knows(n *node) bool {
	hello := wire.Hello{Cluster: cluster, Disk: n.placed, Node: n.name}
	return hello.IsFor(cluster, n.disk, n.name)
}
