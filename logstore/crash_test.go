package logstore

import (
	"flag"
	"fmt"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/invariant"
	"github.com/sextantdisk/sextant/internal/vfs"
	"github.com/sextantdisk/sextant/internal/vfs/memfs"
)

var (
	crashSeed  = flag.Uint64("crash.seed", 0, "run only this seed of the crash test")
	crashSeeds = flag.Uint64("crash.seeds", 0, "how many seeds the crash test runs; 0: a few")
)

// tapFS calls tap after each change of the disk, durable or not.
type tapFS struct {
	*memfs.FS
	tap func(what string)
}

func (f *tapFS) OpenFile(name string, mode vfs.Mode) (vfs.File, error) {
	file, err := f.FS.OpenFile(name, mode)
	if mode&vfs.Create != 0 {
		f.tap("create " + name)
	}
	return &tapFile{file, f}, err
}

func (f *tapFS) Rename(from, to string) error {
	err := f.FS.Rename(from, to)
	f.tap("rename to " + to)
	return err
}

func (f *tapFS) SyncDir(dir string) error {
	err := f.FS.SyncDir(dir)
	f.tap("sync dir")
	return err
}

type tapFile struct {
	vfs.File
	fs *tapFS
}

func (f *tapFile) WritevAt(bufs [][]byte, off vfs.Offset) error {
	err := f.File.WritevAt(bufs, off)
	f.fs.tap(fmt.Sprintf("write at %d", off))
	return err
}

func (f *tapFile) Sync() error {
	err := f.File.Sync()
	f.fs.tap("sync")
	return err
}

func (f *tapFile) SyncMeta() error {
	err := f.File.SyncMeta()
	f.fs.tap("sync meta")
	return err
}

// effect is a record as it changes a model; the log has them in this order.
type effect func(models map[int]*modelSegment)

// crasher runs a script and crashes after each change of the disk.
type crasher struct {
	t      *testing.T
	author map[int]*author
	disk   *tapFS
	store  *Store
	seed   uint64
	pace   int // crash at one of this many changes

	// acked is what was acknowledged, maybe what is enqueued beyond that,
	// in the order of the log. A crash leaves acked and a start of maybe.
	acked map[int]*modelSegment
	maybe []effect
	steps []string
	count int
}

const crashBlocks = 48

func (c *crasher) fatalf(format string, args ...any) {
	c.t.Helper()
	c.t.Fatalf("go test ./logstore -run TestCrash -crash.seed %d\nafter %q, change %d: %s",
		c.seed, c.steps, c.count, fmt.Sprintf(format, args...))
}

// tap is a moment at which the power may go.
func (c *crasher) tap(what string) {
	c.count++
	r := rng(c.seed<<20 + uint64(c.count))
	if c.count%c.pace != 0 {
		return
	}
	for _, keep := range []float64{0, 1, r.Float64()} {
		c.recover(c.disk.FS.CrashClone(r, keep), what, keep)
	}
}

// recover checks what opening the disk after a crash finds.
func (c *crasher) recover(disk *memfs.FS, what string, keep float64) {
	cfg := small()
	s, err := Open(disk, "/store", diskA, cfg)
	if err != nil {
		c.fatalf("%s, keep %.2f: %v", what, keep, err)
	}
	if d := s.Damage(); len(d) > 0 {
		c.fatalf("%s, keep %.2f: a torn tail was taken for damage: %v", what, keep, d)
	}
	found := c.explain(s)
	if found == nil {
		c.fatalf("%s, keep %.2f: the store is no start of what was enqueued\n%s", what, keep, c.differences(s))
	}
	c.second(s, disk, found, what)
}

// explain is the models of the start of maybe that the store is in, or nil.
func (c *crasher) explain(s *Store) map[int]*modelSegment {
	models := map[int]*modelSegment{}
	for n, m := range c.acked {
		models[n] = m.clone()
	}
	for k := 0; ; k++ {
		if c.same(s, models) {
			return models
		}
		if k == len(c.maybe) {
			return nil
		}
		c.maybe[k](models)
	}
}

func (c *crasher) same(s *Store, models map[int]*modelSegment) bool {
	if len(s.Segments()) != len(models) {
		return false
	}
	for n, m := range models {
		g, ok := s.Segment(segID(n))
		if !ok || g.State().Damaged || differ(c.t, g, m, crashBlocks) != "" {
			return false
		}
	}
	return true
}

func (c *crasher) differences(s *Store) (all string) {
	for n, m := range c.acked {
		if g, ok := s.Segment(segID(n)); ok {
			all += fmt.Sprintf("segment %d: %s\n", n, differ(c.t, g, m, crashBlocks))
		} else {
			all += fmt.Sprintf("segment %d is gone\n", n)
		}
	}
	return all
}

// second goes on with the store that a crash left, and crashes again: what
// was found must still be there, with what came after it (traps T16, T17).
func (c *crasher) second(s *Store, disk *memfs.FS, models map[int]*modelSegment, what string) {
	for n, m := range models {
		g, _ := s.Segment(segID(n))
		rec := write(max(g.State().Head, g.SCL())+lsn(100, 0), g.SCL(), 3, 2)
		if err := g.Enqueue([]Record{rec}).Wait(); err != nil {
			c.fatalf("%s: writing after the crash: %v", what, err)
		}
		m.recs[rec.LSN] = rec
	}
	again := disk.CrashClone(rng(c.seed), 0)
	_ = s.Close()
	s, err := Open(again, "/store", diskA, small())
	if err != nil {
		c.fatalf("%s: opening after a second crash: %v", what, err)
	}
	if d := s.Damage(); len(d) > 0 {
		c.fatalf("%s: second crash: a torn tail was taken for damage: %v", what, d)
	}
	if !c.same(s, models) {
		c.fatalf("%s: a second crash lost what was there after the first", what)
	}
	_ = s.Close()
}

// run does one script of n operations.
func (c *crasher) run(n int) {
	r := rng(c.seed)
	c.disk = &tapFS{FS: memfs.New(0), tap: c.tap}
	c.acked, c.author = map[int]*modelSegment{}, map[int]*author{}
	must(c.t, c.disk.MkdirAll("/store"))
	var err error
	c.store, err = Open(c.disk, "/store", diskA, small())
	must(c.t, err)
	for range n {
		c.op(r.IntN(20), 1+r.IntN(3))
	}
	must(c.t, c.store.Close())
}

func (c *crasher) step(format string, args ...any) {
	c.steps = append(c.steps, fmt.Sprintf(format, args...))
}

// done makes all of maybe acknowledged.
func (c *crasher) done(err error) {
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
		c.step("create %d", n)
		c.author[n] = newAuthor(rng(c.seed+uint64(n)<<32), crashBlocks-8)
		c.maybe = append(c.maybe, func(ms map[int]*modelSegment) {
			m := newModel()
			m.promised, m.config = 1, fmt.Sprintf("segment %d", n)
			ms[n] = m
		})
		_, err := c.store.CreateSegment(segID(n), 1, []byte(fmt.Sprintf("segment %d", n)))
		c.done(err)
		return
	}
	switch kind {
	case 0:
		c.step("mark")
		c.done(c.store.mark())
	case 1:
		c.step("reopen")
		must(c.t, c.store.Close())
		var err error
		c.store, err = Open(c.disk, "/store", diskA, small())
		must(c.t, err)
		if !c.same(c.store, c.acked) {
			c.fatalf("reopening changed the state (replay is not deterministic)\n%s", c.differences(c.store))
		}
	case 2, 3:
		c.floor(g, n)
	default:
		c.write(kind, g, n)
	}
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

// write enqueues one or two tickets, for one or two segments, and waits.
func (c *crasher) write(kind int, g *Segment, n int) {
	c.step("write %d", n)
	var tickets []*Ticket
	for range 1 + kind%2 {
		var ops []Op
		recs := c.author[n].next(g.SCL())
		ops = append(ops, Op{Segment: g, Records: recs})
		c.maybeRecords(n, recs)
		if kind == 5 {
			e := block.VolumeEpoch(len(c.steps))
			ops = append(ops, Op{Segment: g, Promise: e}, Op{Segment: g, Config: fmt.Appendf(nil, "config %d", e)})
			c.maybe = append(c.maybe,
				func(ms map[int]*modelSegment) { ms[n].promised = max(e, ms[n].promised) },
				func(ms map[int]*modelSegment) { ms[n].config = fmt.Sprintf("config %d", e) })
		}
		if other, ok := c.store.Segment(segID(n%3 + 1)); ok && kind > 15 {
			o := n%3 + 1
			recs := c.author[o].next(other.SCL())
			ops = append(ops, Op{Segment: other, Records: recs})
			c.maybeRecords(o, recs)
		}
		tickets = append(tickets, c.store.Enqueue(ops))
	}
	var err error
	for _, t := range tickets {
		if werr := t.Wait(); err == nil {
			err = werr
		}
	}
	c.done(err)
}

func (c *crasher) maybeRecords(n int, recs []Record) {
	for _, r := range recs {
		c.maybe = append(c.maybe, func(ms map[int]*modelSegment) { ms[n].recs[r.LSN] = r })
	}
}

// TestCrashAtEachChangeOfTheDisk is L3 of our testing: after a power cut at
// any moment, with any part of what was not synced on the disk, everything
// acknowledged is there, nothing but what was enqueued appears, and no torn
// tail is taken for damage.
func TestCrashAtEachChangeOfTheDisk(t *testing.T) {
	if *crashSeed != 0 {
		c := &crasher{t: t, seed: *crashSeed, pace: 1}
		c.run(30)
		return
	}
	seeds := *crashSeeds
	if seeds == 0 {
		seeds = 30
		if invariant.Enabled { // the race detector makes it twelve times slower
			seeds = 3
		}
	}
	crashes := 0
	for seed := uint64(1); seed <= seeds; seed++ {
		c := &crasher{t: t, seed: seed, pace: 1}
		c.run(30)
		crashes += 3 * c.count
	}
	t.Logf("%d seeds, %d crashes", seeds, crashes)
}
