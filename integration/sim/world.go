package sim

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// World is one run.
type World struct {
	seed   uint64
	rng    *rand.Rand
	faults Faults
	now    time.Duration
	events queue
	seq    uint32
	calls  []func()
	free   []int32 // of calls

	messages []*message
	spare    []int32
	slices   [][]entry
	payload  []byte // of every record

	nodes    []*node
	gateways []*gateway
	meta     *service
	oracle   oracle
	trace    trace
	// healed: nothing goes wrong any more.
	healed  bool
	quietAt time.Duration        // when clients want nothing more
	cut     [zones]time.Duration // until when a zone is cut off
	Count   Count
}

// Count is what happened in a run.
type Count struct {
	Events, Acks, Reads, Opens, Commits, Failed, Takeovers, CatchUps, Gossips, Chaos int
	// Reduced is how often a group went on without a zone, Restored how often it
	// took one back.
	Reduced, Restored int
	// Hydrations were begun, Copied blocks came in leaves, Rotten ones were
	// damaged, Mended ones written again.
	Hydrations, Copied, Rotten, Mended int
	Edits                              int // of parts of blocks
}

// String tells what happened.
func (c Count) String() string {
	return fmt.Sprintf("%d events, %d commits, %d acks, %d reads, %d openings of %d takeovers, %d catch-ups by order and %d without, %d writes failed, %d edits, %d zones given up, %d taken back, %d hydrations with %d blocks, %d of %d rotten blocks mended, %d times chaos",
		c.Events, c.Commits, c.Acks, c.Reads, c.Opens, c.Takeovers, c.CatchUps, c.Gossips, c.Failed, c.Edits, c.Reduced, c.Restored, c.Hydrations, c.Copied, c.Mended, c.Rotten, c.Chaos)
}

// Add sums up runs.
func (c *Count) Add(o Count) {
	c.Events += o.Events
	c.Acks += o.Acks
	c.Reads += o.Reads
	c.Opens += o.Opens
	c.Commits += o.Commits
	c.Failed += o.Failed
	c.Takeovers += o.Takeovers
	c.CatchUps += o.CatchUps
	c.Gossips += o.Gossips
	c.Chaos += o.Chaos
	c.Reduced += o.Reduced
	c.Restored += o.Restored
	c.Hydrations += o.Hydrations
	c.Copied += o.Copied
	c.Rotten += o.Rotten
	c.Mended += o.Mended
	c.Edits += o.Edits
}

const (
	zones       = 3
	members     = 6
	writeQuorum = 4
	readQuorum  = 3
	maxNodes    = 12
	// healWithin is how long a world that is healed may take until all is
	// well, in virtual time: leases, held openings and the daemons' patience
	// with each other need some of it.
	healWithin = 90 * time.Second
	// healCheck is how often that is looked at.
	healCheck = 500 * time.Millisecond
)

// New makes a world. With keep the trace is remembered, for printing.
func New(seed uint64, keep bool) *World {
	rng := rand.New(rand.NewPCG(seed, 7))
	w := &World{seed: seed, rng: rng, faults: DrawFaults(rng)}
	w.trace.keep = keep
	w.payload = make([]byte, w.faults.Payload)
	w.oracle.init(w)
	for i := range members {
		w.nodes = append(w.nodes, newNode(w, i))
	}
	for range rng.IntN(4) {
		w.nodes = append(w.nodes, newNode(w, len(w.nodes)))
	}
	for _, i := range rng.Perm(members)[:w.faults.Slow] {
		w.nodes[i].slow = true
	}
	w.meta = newService(w)
	w.takeover()
	for _, n := range w.nodes {
		n.gossip()
		n.scrub()
	}
	for k := range chaosKinds {
		w.plan(k)
	}
	return w
}

// Run lets everything go wrong for a while, heals it, and waits until all is
// well. It returns what was violated.
func (w *World) Run() error {
	w.until(w.faults.Run)
	if w.oracle.violation == nil {
		w.heal()
		w.settle()
	}
	return w.oracle.violation
}

// until lets time pass; it ends early at a violation.
func (w *World) until(end time.Duration) {
	for len(w.events) > 0 && w.oracle.violation == nil && w.events[0].at <= end {
		e := w.events.pop()
		w.now = e.at
		w.Count.Events++
		w.dispatch(&e)
	}
	w.now = max(w.now, end)
}

// settle waits until all is well after everything was healed.
func (w *World) settle() {
	why := "nothing was looked at"
	for end := w.now + healWithin; w.now < end && w.oracle.violation == nil; {
		w.until(w.now + healCheck)
		if why = w.unwell(); why == "" {
			return
		}
	}
	w.oracle.fail(nobody, "liveness: %v after everything was healed %s", healWithin, why)
}

func (w *World) dispatch(e *event) {
	switch e.kind {
	case evArrive:
		w.arrive(e, w.messages[e.a])
	case evFlushed:
		if n := w.nodes[e.a]; n.awake(e) {
			n.flushed(uint32(e.b))
		}
	case evCall:
		f := w.calls[e.a]
		w.calls[e.a] = nil
		w.free = append(w.free, e.a)
		f()
	default:
		g := w.gateways[e.a]
		if g.dead {
			return
		}
		if g.asleepUntil > w.now {
			w.put(g.asleepUntil, *e)
			return
		}
		g.happens(e)
	}
}

// arrive brings a message to whom it is for. A process that stands still finds
// it later.
func (w *World) arrive(e *event, m *message) {
	switch {
	case m.conn == nil:
		if m.to.awake(e) {
			m.to.fromPeer(m)
			w.freeMessage(m)
		}
		return
	case m.sort < fromNodes:
		if !m.conn.n.awake(e) {
			return
		}
		if m.conn.alive(m.life) && !m.conn.n.down {
			m.conn.n.receive(m)
		}
	default:
		g := m.conn.g
		if g.asleepUntil > w.now && !g.dead {
			w.put(g.asleepUntil, *e)
			return
		}
		if !g.dead && m.conn.life == m.life {
			g.receive(m)
		}
	}
	w.freeMessage(m)
}

// put plans an event.
func (w *World) put(at time.Duration, e event) {
	w.seq++
	e.at, e.seq = max(at, w.now), w.seq
	w.events.push(e)
}

// after does something later. It is for what is rare.
func (w *World) after(d time.Duration, do func()) {
	var i int32
	if k := len(w.free) - 1; k >= 0 {
		i, w.free = w.free[k], w.free[:k]
		w.calls[i] = do
	} else {
		i = int32(len(w.calls))
		w.calls = append(w.calls, do)
	}
	w.put(w.now+d, event{kind: evCall, a: i})
}

// upTo is a random time of at most d.
func (w *World) upTo(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(w.rng.Int64N(int64(d)))
}

// delay is how long something takes whose usual time is at most d.
func (w *World) delay(d time.Duration, slow bool) time.Duration {
	t := w.upTo(d)
	if slow {
		t *= 10
	}
	if w.faults.Late != 0 && w.rng.IntN(w.faults.Late) == 0 {
		t *= 10
	}
	return t
}

// oneIn is true once in n times; never for 0.
func (w *World) oneIn(n int) bool { return n != 0 && w.rng.IntN(n) == 0 }

// near tells whether what is in two zones can speak.
func (w *World) near(a, b int) bool {
	return a == b || w.cut[a] <= w.now && w.cut[b] <= w.now
}

const nobody = -1

// trace is what happened, if it is kept.
type trace struct {
	keep  bool
	lines []line
}

type line struct {
	group int
	text  string
}

// note remembers something about a group, or about nobody in particular. Whoever
// calls it asks trace.keep before, so that runs that keep nothing pay nothing.
func (w *World) note(group int, format string, args ...any) {
	w.trace.lines = append(w.trace.lines, line{group, fmt.Sprintf("%12v  ", w.now) + fmt.Sprintf(format, args...)})
}

// Trace is the last n things that happened to the group in question, oldest
// first.
func (w *World) Trace(n int) (lines []string) {
	all := w.trace.lines
	for i := len(all) - 1; i >= 0 && len(lines) < n; i-- {
		if g := all[i].group; g == nobody || w.oracle.group == nobody || g == w.oracle.group {
			lines = append(lines, all[i].text)
		}
	}
	for i, j := 0, len(lines)-1; i < j; i, j = i+1, j-1 {
		lines[i], lines[j] = lines[j], lines[i]
	}
	return lines
}
