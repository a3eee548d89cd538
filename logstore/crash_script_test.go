package logstore

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs/memfs"
)

// effect is a record as it changes a model; the log has them in this order.
type effect func(models map[int]*modelSegment)

// crasher runs a script of random operations on a small store, and cuts the
// power at each change of the disk, many times over: a judge (crash_judge)
// looks at what each cut leaves. Everything is drawn from the seed.
//
// It models each segment as a set of records. acked is what was acknowledged,
// maybe what is enqueued beyond that, in the order of the log: a crash leaves
// acked and a start of maybe.
type crasher struct {
	t     *testing.T
	seed  uint64
	plan  crashPlan
	disk  *tapFS
	store *Store

	author map[int]*author
	acked  map[int]*modelSegment
	maybe  []effect
	steps  []string
	// onWrite is called once, at the next write: it may enqueue.
	onWrite func()
	// left is a disk that a cut left, with what was found there: the script
	// may go on with it.
	left *survivor
	busy bool // a judge is at work: what it does to its disk is no cut

	changes, crashes int
}

// crashPlan is how a script is crashed.
type crashPlan struct {
	// subsets bounds how many cuts are tried at each change of the disk: all
	// there are, if that is no more, else as many drawn at random.
	subsets int
	// again: one of so many cuts is gone on with and cut again.
	again int
	// rot: one of so many cuts also flips a bit of what had been proven.
	rot int
	// bare: one of so many cuts also loses all checkpoints.
	bare int
	// over tells that there were enough crashes: the script may end early.
	over func() bool
	// total counts the crashes of all scripts.
	total *atomic.Int64
}

// survivor is a disk after a cut.
type survivor struct {
	disk   *memfs.FS
	models map[int]*modelSegment
}

const (
	crashBlocks   = 48
	crashSegments = 3
)

func (c *crasher) fatalf(format string, args ...any) {
	c.t.Helper()
	c.t.Fatalf("%s\nseed %d, crash %d: after %q, change %d of the disk: %s\nagain: go test ./logstore -run 'TestCrash' -crash.seed %d",
		"the store does not survive a crash", c.seed, c.crashes, c.steps, c.changes, fmt.Sprintf(format, args...), c.seed)
}

func (c *crasher) rng() *rand.Rand { return rng(c.seed<<24 + uint64(c.changes)) }

// run does one script of n operations.
func (c *crasher) run(n int) {
	r := rng(c.seed)
	c.acked, c.author = map[int]*modelSegment{}, map[int]*author{}
	c.start(memfs.New(0))
	for i := 0; i < n && !c.plan.over(); i++ {
		c.op(r.IntN(24), 1+r.IntN(crashSegments))
		c.tap("nothing")
	}
	must(c.t, c.store.Close())
}

// config is a store of small files whose cleaner works when it is told.
func (c *crasher) config() Config {
	cfg := small()
	cfg.forgetful = true
	if c.seed%2 == 0 {
		cfg.FileSize = MinFileSize
	}
	return cfg
}

// start opens the store on a disk.
func (c *crasher) start(disk *memfs.FS) {
	c.disk = &tapFS{FS: disk, tap: c.tap}
	must(c.t, c.disk.MkdirAll("/store"))
	c.store = nil
	var err error
	if c.store, err = Open(c.disk, "/store", diskA, c.config()); err != nil {
		c.fatalf("opening: %v", err)
	}
}

func (c *crasher) step(format string, args ...any) {
	c.steps = append(c.steps, fmt.Sprintf(format, args...))
}

// done makes all of maybe acknowledged.
func (c *crasher) done(err error) {
	c.t.Helper()
	if err != nil {
		c.fatalf("%v", err)
	}
	for _, e := range c.maybe {
		e(c.acked)
	}
	c.maybe = nil
}

func (c *crasher) op(kind, n int) {
	g, ok := c.store.Segment(segID(n))
	if !ok {
		c.create(n)
		return
	}
	switch kind {
	case 0:
		c.step("mark")
		c.done(c.store.mark())
	case 1:
		c.step("reopen")
		must(c.t, c.store.Close())
		c.start(c.disk.FS)
		if !c.same(c.store, c.acked) {
			c.fatalf("reopening changed the state (replay is not deterministic)\n%s", c.differences(c.store))
		}
	case 2, 3:
		c.floor(g, n)
	case 4:
		c.relive()
	case 8, 9:
		c.checkpoint(g, n)
	case 6, 7:
		c.clean(g, n)
	case 5:
		if len(c.steps)%5 == 0 {
			c.drop(n)
			return
		}
		c.write(kind, g, n)
	default:
		c.write(kind, g, n)
	}
}

func (c *crasher) create(n int) {
	config := fmt.Sprintf("segment %d, %d", n, len(c.steps))
	c.step("create %d", n)
	c.author[n] = newAuthor(rng(c.seed+uint64(len(c.steps))<<32), crashBlocks-8)
	c.maybe = append(c.maybe, func(ms map[int]*modelSegment) {
		m := newModel()
		m.promised, m.config = 1, config
		ms[n] = m
	})
	_, err := c.store.CreateSegment(segID(n), 1, []byte(config))
	c.done(err)
}

func (c *crasher) drop(n int) {
	c.step("drop %d", n)
	c.maybe = append(c.maybe, func(ms map[int]*modelSegment) { delete(ms, n) })
	c.done(c.store.DropSegment(segID(n)))
}

func (c *crasher) floor(g *Segment, n int) {
	path := c.acked[n].chain()
	if len(path) == 0 {
		return
	}
	l := path[len(path)/2].LSN
	c.step("floor %d %v", n, l)
	if g.State().Floor < l {
		must(c.t, g.SetFloor(l))
	}
	c.author[n].floor = max(l, c.author[n].floor)
}

// clean empties a file that nobody appends to, and lets the cleaner free what
// is empty: nobody notices, also who writes meanwhile.
func (c *crasher) clean(g *Segment, n int) {
	sealed := slices.DeleteFunc(slices.Clone(c.store.files.Load().all), func(f *logFile) bool { return !f.sealed.Load() })
	if len(sealed) == 0 {
		return
	}
	f := sealed[len(c.steps)%len(sealed)]
	c.step("clean %s", f.name)
	c.onWrite = func() { c.meanwhile(g, n) }
	if _, err := c.store.clean(f, nil); err != nil {
		c.fatalf("cleaning: %v", err)
	}
	c.onWrite = nil
	c.store.cleaner.step(nil)
}

// checkpoint takes one, while somebody writes.
func (c *crasher) checkpoint(g *Segment, n int) {
	c.step("checkpoint")
	c.onWrite = func() { c.meanwhile(g, n) }
	if err := c.store.ckpt.now(); err != nil {
		c.fatalf("checkpoint: %v", err)
	}
	c.onWrite = nil
	c.store.cleaner.step(nil) // what may be freed now
}

// meanwhile is what a client does while the store works for itself.
func (c *crasher) meanwhile(g *Segment, n int) {
	c.write(8, g, n)
	c.floor(g, n)
}

// relive goes on with a disk that a cut has left, as a daemon does that starts
// again: a new writer takes over what it finds.
func (c *crasher) relive() {
	if c.left == nil {
		return
	}
	c.step("relive")
	_ = c.store.Close()
	c.acked, c.maybe = c.left.models, nil
	c.start(c.left.disk)
	c.left = nil
	for n := range c.acked {
		g, ok := c.store.Segment(segID(n))
		if !ok {
			c.fatalf("segment %d was there at the last look", n)
		}
		c.author[n].takeOver(g.SCL())
	}
}

// takeOver makes a the next writer: it has seen scl, what is above may come
// back or not. It sends nothing again of what was sent before the cut: what of
// that was lost has given its LSN to what again wrote after the cut.
func (a *author) takeOver(scl block.LSN) {
	a.epoch++
	a.tail, a.held, a.old = scl, nil, nil
}

// write enqueues tickets for one or two segments, and waits. Some are enqueued
// while others are being written.
func (c *crasher) write(kind int, g *Segment, n int) {
	c.step("write %d", n)
	var tickets []*Ticket
	for range 1 + kind%2 {
		tickets = append(tickets, c.enqueue(kind, g, n))
	}
	if kind%3 == 0 {
		c.onWrite = func() { tickets = append(tickets, c.enqueue(kind, g, n)) }
	}
	var err error
	for i := 0; i < len(tickets); i++ { // it grows
		if werr := tickets[i].Wait(); err == nil {
			err = werr
		}
	}
	c.onWrite = nil
	c.done(err)
}

func (c *crasher) enqueue(kind int, g *Segment, n int) *Ticket {
	recs := c.author[n].next(g.SCL())
	ops := []Op{{Segment: g, Records: recs}}
	c.mayWrite(n, recs)
	if kind == 5 {
		e := block.VolumeEpoch(len(c.steps))
		config := fmt.Sprintf("config %d", e)
		ops = append(ops, Op{Segment: g, Promise: e}, Op{Segment: g, Config: []byte(config)})
		c.maybe = append(c.maybe,
			func(ms map[int]*modelSegment) { ms[n].promised = max(e, ms[n].promised) },
			func(ms map[int]*modelSegment) { ms[n].config = config })
	}
	o := n%crashSegments + 1
	if other, ok := c.store.Segment(segID(o)); ok && kind > 18 {
		recs := c.author[o].next(other.SCL())
		ops = append(ops, Op{Segment: other, Records: recs})
		c.mayWrite(o, recs)
	}
	return c.store.Enqueue(ops)
}

func (c *crasher) mayWrite(n int, recs []Record) {
	for _, r := range recs {
		c.maybe = append(c.maybe, func(ms map[int]*modelSegment) { ms[n].recs[r.LSN] = r })
	}
}
