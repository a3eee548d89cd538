package logstore

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs/faultfs"
	"github.com/sextantdisk/sextant/internal/vfs/memfs"
)

// crasher runs a script of random operations on a small store, and cuts the
// power at each change of the disk, many times over: a judge (crash_judge)
// looks at what each cut leaves. Everything is drawn from the seed.
//
// It models each segment as a set of records. acked is what was acknowledged,
// maybe what was asked for beyond that, in the order of the log: a crash leaves
// acked and a start of maybe.
//
// Four of five scripts have more than writes and crashes: every other one has
// footers, and the disk is full or fails now and then (crash_fault).
type crasher struct {
	t      *testing.T
	seed   uint64
	plan   crashPlan
	disk   *tapFS
	faults *faultfs.FS // over disk
	disarm func()      // takes the fault away that is armed; nil: none is
	broke  bool        // the last fault was no full disk
	store  *Store

	author map[int]*author
	acked  map[int]*modelSegment
	maybe  []*attempt
	sent   map[sentRecord]bool // ever
	next   batchSeq            // of the store, when it was looked at last
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
	c.acked, c.author, c.sent = map[int]*modelSegment{}, map[int]*author{}, map[sentRecord]bool{}
	c.start(memfs.New(0))
	for i := 0; i < n && !c.plan.over(); i++ {
		kind, seg := r.IntN(24), 1+r.IntN(crashSegments)
		if !c.plain() {
			c.arm(r)
		}
		c.op(kind, seg)
		if c.footers() {
			c.behind(r)
		}
		c.mend()
		c.tap("nothing")
	}
	must(c.t, c.store.Close())
}

// behind is what is done behind the writers' backs: footers are written, the next
// log file is made ahead and zero-written.
func (c *crasher) behind(r *rand.Rand) {
	if r.IntN(2) == 0 {
		c.step("seal")
		c.store.sealer.work(nil)
	}
	for range r.IntN(4) {
		head := c.store.filler.head.Load()
		if head == nil || c.store.Failed() != nil {
			return
		}
		c.step("fill")
		if _, _, err := c.store.filler.piece(head); err != nil {
			if block.KindOf(err) != block.NoSpace {
				c.store.fail(err) // as the filler does
			}
			c.bear(err)
		}
	}
}

func (c *crasher) plain() bool   { return c.seed%5 == 0 }
func (c *crasher) footers() bool { return !c.plain() && c.seed%2 == 1 }

// config is a store of small files whose cleaner works when it is told.
func (c *crasher) config() Config {
	cfg := small()
	cfg.forgetful = true
	if c.seed%2 == 0 {
		cfg.FileSize = MinFileSize
	}
	if c.footers() {
		cfg.footerFrom = 1
	}
	return cfg
}

// start opens the store on a disk.
func (c *crasher) start(disk *memfs.FS) {
	if c.disk == nil || c.disk.FS != disk {
		c.disk = &tapFS{FS: disk, tap: c.tap}
		c.faults, c.disarm = faultfs.Wrap(c.disk), nil
	}
	must(c.t, c.disk.MkdirAll("/store"))
	c.store = nil
	var err error
	c.store, err = Open(c.faults, "/store", diskA, c.config())
	if err != nil && c.disarm != nil { // once more on a disk that has room, and is whole
		c.endFault()
		c.store, err = Open(c.faults, "/store", diskA, c.config())
	}
	if err != nil {
		c.fatalf("opening: %v", err)
	}
	if d := c.store.Damage(); len(d) > 0 {
		c.fatalf("opening: a torn tail was taken for damage: %v", d)
	}
	c.next = c.store.nextBatch
}

func (c *crasher) step(format string, args ...any) {
	c.steps = append(c.steps, fmt.Sprintf(format, args...))
}

func (c *crasher) op(kind, n int) {
	g, ok := c.store.Segment(segID(n))
	if !ok {
		c.create(n)
		return
	}
	switch kind {
	case 0:
		if len(c.steps)%3 == 0 {
			c.step("clear %d", n)
			c.bear(g.ClearDamage()) // there is none: it is a proof as others are
			c.settle()
			return
		}
		c.step("mark")
		c.bear(c.store.mark())
		c.settle()
	case 1:
		c.step("reopen")
		must(c.t, c.store.Close())
		c.start(c.disk.FS)
		c.find("reopening changed the state (replay is not deterministic)")
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
	c.author[n] = c.firstAuthor(n)
	a := c.try(effect{
		do: func(ms map[int]*modelSegment) {
			m := newModel()
			m.promised, m.config = 1, config
			ms[n] = m
		},
		there: func(s *Store) bool { _, ok := s.Segment(segID(n)); return ok },
	})
	_, a.err = c.store.CreateSegment(segID(n), 1, []byte(config))
	c.settle()
}

// firstAuthor is the first writer of a segment. If there was one of that number
// before, a cut may bring that back: its writers' epochs are not had again.
func (c *crasher) firstAuthor(n int) *author {
	a := newAuthor(rng(c.seed+uint64(len(c.steps))<<32), crashBlocks-8)
	if before := c.author[n]; before != nil {
		a.top = before.top
		a.epoch = a.newEpoch()
	}
	return a
}

func (c *crasher) drop(n int) {
	c.step("drop %d", n)
	a := c.try(effect{
		do:    func(ms map[int]*modelSegment) { delete(ms, n) },
		there: func(s *Store) bool { _, ok := s.Segment(segID(n)); return !ok },
	})
	a.err = c.store.DropSegment(segID(n))
	c.settle()
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
	_, err := c.store.clean(f, nil)
	c.bear(err)
	c.onWrite = nil
	c.store.cleaner.step(nil)
}

// checkpoint takes one, while somebody writes.
func (c *crasher) checkpoint(g *Segment, n int) {
	c.step("checkpoint")
	c.onWrite = func() { c.meanwhile(g, n) }
	if err := c.store.ckpt.now(); err != nil {
		if block.KindOf(err) != block.NoSpace {
			c.store.fail(err) // as the checkpointer does
		}
		c.bear(err)
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
	left := c.left
	c.acked, c.maybe, c.left = left.models, nil, nil
	c.start(left.disk)
	c.takeOver()
}

// takeOver lets the next writers build on what is there.
func (c *crasher) takeOver() {
	for n := range c.acked {
		g, ok := c.store.Segment(segID(n))
		if !ok {
			c.fatalf("segment %d was there at the last look", n)
		}
		c.author[n].takeOver(g.SCL())
	}
}

// takeOver makes a the next writer: it has seen scl, what is above may come
// back or not. It sends nothing again of what was sent before the cut.
func (a *author) takeOver(scl block.LSN) {
	a.epoch = a.newEpoch()
	a.tail, a.held, a.old = scl, nil, nil
}

// write enqueues tickets for one or two segments, and waits. Some are enqueued
// while others are being written.
func (c *crasher) write(kind int, g *Segment, n int) {
	c.step("write %d", n)
	var sent []sending
	for range 1 + kind%2 {
		sent = append(sent, c.enqueue(kind, g, n))
	}
	if kind%3 == 0 {
		c.onWrite = func() { sent = append(sent, c.enqueue(kind, g, n)) }
	}
	for i := 0; i < len(sent); i++ { // it grows
		sent[i].a.err = sent[i].ticket.Wait()
	}
	c.onWrite = nil
	c.settle()
}

// sending is a ticket, and what it is to do.
type sending struct {
	ticket *Ticket
	a      *attempt
}

func (c *crasher) enqueue(kind int, g *Segment, n int) sending {
	recs := c.author[n].next(g.SCL())
	ops := []Op{{Segment: g, Records: recs}}
	effects := changes(n, recs)
	if kind == 5 {
		e := block.VolumeEpoch(len(c.steps))
		config := fmt.Sprintf("config %d", e)
		ops = append(ops, Op{Segment: g, Promise: e}, Op{Segment: g, Config: []byte(config)})
		effects = append(effects, promise(n, e), configure(n, config))
	}
	o := n%crashSegments + 1
	if other, ok := c.store.Segment(segID(o)); ok && kind > 18 {
		recs := c.author[o].next(other.SCL())
		ops = append(ops, Op{Segment: other, Records: recs})
		effects = append(effects, changes(o, recs)...)
	}
	a := c.try(effects...)
	return sending{c.store.Enqueue(ops), a}
}
