package sim

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/volume/quorum"
)

// Faults is how unkind the world is. Each run draws its own.
type Faults struct {
	Delay       time.Duration // longest way of a message
	Flush       time.Duration // longest fdatasync
	BreakEvery  time.Duration // mean time between broken connections; 0 never
	CrashEvery  time.Duration // mean time between crashes of segments
	TakeEvery   time.Duration // mean time between takeovers
	SleepEvery  time.Duration // mean time between gateways falling asleep
	SleepFor    time.Duration // longest sleep
	PartEvery   time.Duration // mean time between partitions: a gateway and some segments
	PartFor     time.Duration // longest partition
	SlowMembers int           // so many members take ten times as long
	Blocks      int
	Hold        time.Duration
}

// DrawFaults makes a mix of faults for a seed.
func DrawFaults(rng *rand.Rand) Faults {
	ms := func(n int) time.Duration { return time.Duration(1+rng.IntN(n)) * time.Millisecond }
	often := func(n int) time.Duration {
		if rng.IntN(4) == 0 {
			return 0
		}
		return ms(n)
	}
	return Faults{
		Delay: ms(30), Flush: ms(20), BreakEvery: often(3000), CrashEvery: often(4000),
		TakeEvery: 200*time.Millisecond + ms(5000), SleepEvery: often(6000), SleepFor: ms(6000),
		PartEvery: often(1500), PartFor: ms(8000),
		SlowMembers: rng.IntN(3), Blocks: 1 + rng.IntN(8), Hold: time.Minute,
	}
}

// World is one run.
type World struct {
	rng    *rand.Rand
	faults Faults
	now    time.Duration
	events eventQueue
	seq    int
	// Events counts what happened.
	Events int

	segments []*node
	gateways []*gateway
	config   quorum.Config
	epoch    block.VolumeEpoch
	oracle   oracle
	trace    []string
	keep     bool
}

const members = 6

// New makes a world. With keep the trace is remembered, for printing.
func New(seed uint64, keep bool) *World {
	rng := rand.New(rand.NewPCG(seed, 7))
	w := &World{rng: rng, faults: DrawFaults(rng), keep: keep}
	w.config = quorum.Config{Epoch: 1, Write: 4, Read: 3}
	set := []quorum.Member{}
	for i := range members {
		id := block.SegmentID{byte(i + 1)}
		w.config.Segments = append(w.config.Segments, id)
		set = append(set, quorum.Member(i))
		n := newNode(w, quorum.Member(i), id)
		n.slow = i < w.faults.SlowMembers
		w.segments = append(w.segments, n)
	}
	w.config.Sets = [][]quorum.Member{set}
	w.oracle.init()
	w.takeover()
	w.every(w.faults.TakeEvery, w.takeover)
	w.every(w.faults.BreakEvery, w.breakOne)
	w.every(w.faults.CrashEvery, w.crashOne)
	w.every(w.faults.SleepEvery, w.sleepOne)
	w.every(w.faults.PartEvery, w.partitionOne)
	return w
}

// Run lets time pass; it ends early at a violation, which it returns.
func (w *World) Run(until time.Duration) error {
	for len(w.events) > 0 && w.oracle.violation == nil {
		e := heap.Pop(&w.events).(event)
		if e.at > until {
			break
		}
		w.now = e.at
		w.Events++
		e.do()
	}
	return w.oracle.violation
}

// Trace is what happened, if it was kept.
func (w *World) Trace() []string { return w.trace }

func (w *World) note(format string, args ...any) {
	if w.keep {
		w.trace = append(w.trace, fmt.Sprintf("%12v  ", w.now)+fmt.Sprintf(format, args...))
	}
}

// event is something that will happen.
type event struct {
	at  time.Duration
	seq int // ties happen in the order in which they were planned
	do  func()
}

type eventQueue []event

func (q eventQueue) Len() int { return len(q) }
func (q eventQueue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *eventQueue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *eventQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	*q = old[:len(old)-1]
	return e
}

func (w *World) at(t time.Duration, do func()) {
	w.seq++
	heap.Push(&w.events, event{at: max(t, w.now), seq: w.seq, do: do})
}

func (w *World) after(d time.Duration, do func()) { w.at(w.now+d, do) }

// upTo is a random time of at most d.
func (w *World) upTo(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(w.rng.Int64N(int64(d)))
}

// every does something at random times with this mean.
func (w *World) every(mean time.Duration, do func()) {
	if mean == 0 {
		return
	}
	w.after(w.upTo(2*mean), func() {
		do()
		w.every(mean, do)
	})
}

func (w *World) breakOne() {
	g := w.gateways[w.rng.IntN(len(w.gateways))]
	g.conns[w.rng.IntN(members)].cut()
}

// partitionOne keeps a gateway and a random set of segments apart.
func (w *World) partitionOne() {
	g := w.gateways[w.rng.IntN(len(w.gateways))]
	until := w.now + w.upTo(w.faults.PartFor)
	which := w.rng.IntN(1 << members)
	w.note("gateway %d and segments %06b are apart until %v", g.epoch, which, until)
	for i, c := range g.conns {
		if which&(1<<i) != 0 {
			c.apartUntil = max(c.apartUntil, until)
			c.cut()
		}
	}
}

func (w *World) crashOne() { w.segments[w.rng.IntN(members)].crash() }

func (w *World) sleepOne() {
	g := w.gateways[w.rng.IntN(len(w.gateways))]
	g.asleepUntil = max(g.asleepUntil, w.now+w.upTo(w.faults.SleepFor))
	w.note("gateway %d sleeps until %v", g.epoch, g.asleepUntil)
}

// takeover opens the volume with a new gateway; the old ones are not told.
func (w *World) takeover() {
	if len(w.gateways) > 0 && w.rng.IntN(4) == 0 {
		w.gateways[len(w.gateways)-1].kill()
	}
	if len(w.gateways) > 4 {
		w.gateways[0].kill()
		w.gateways = w.gateways[1:]
	}
	w.epoch++
	g := newGateway(w, w.epoch)
	w.gateways = append(w.gateways, g)
	if w.faults.PartEvery != 0 && w.rng.IntN(2) == 0 { // it does not reach all from the start
		for range w.rng.IntN(3) {
			g.conns[w.rng.IntN(members)].apartUntil = w.now + w.upTo(w.faults.PartFor)
		}
	}
	g.open()
}
