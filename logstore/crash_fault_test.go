package logstore

import (
	"math/rand/v2"
	"slices"
	"syscall"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs/faultfs"
)

// effect is what a record of the log changes in a model.
type effect struct {
	do func(models map[int]*modelSegment)
	// there tells whether a store has it.
	there func(s *Store) bool
	// rec is a change to segment n, if it is one: who was refused sends it
	// again.
	n   int
	rec *Record
}

// of changes the model of segment n, unless that was dropped.
func of(n int, do func(m *modelSegment)) func(ms map[int]*modelSegment) {
	return func(ms map[int]*modelSegment) {
		if m := ms[n]; m != nil {
			do(m)
		}
	}
}

// changes are the effects of records of segment n.
func changes(n int, recs []Record) (all []effect) {
	for _, r := range recs {
		all = append(all, effect{
			do: of(n, func(m *modelSegment) { m.recs[r.LSN] = r }),
			there: func(s *Store) bool {
				g, ok := s.Segment(segID(n))
				return ok && g.knows(r.LSN)
			},
			n: n, rec: &r,
		})
	}
	return all
}

// knows tells whether a record was taken in, or lies at or below the floor.
func (g *Segment) knows(l block.LSN) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	c := &g.mu.index.chain
	_, ok := c.Get(l)
	return ok || l <= c.Floor()
}

func promise(n int, e block.VolumeEpoch) effect {
	return effect{
		do: of(n, func(m *modelSegment) { m.promised = max(e, m.promised) }),
		there: func(s *Store) bool {
			g, ok := s.Segment(segID(n))
			return ok && g.State().Promised >= e
		},
	}
}

func configure(n int, config string) effect {
	return effect{
		do: of(n, func(m *modelSegment) { m.config = config }),
		there: func(s *Store) bool {
			g, ok := s.Segment(segID(n))
			return ok && string(g.State().Config) == config
		},
	}
}

// attempt is a ticket that is not acknowledged.
type attempt struct {
	effects []effect
	err     error // how it ended
	// refused: the disk was full. A crash may bring back what of it was written,
	// until something else lies there.
	refused bool
}

// sentRecord is a change to a segment that was asked for once.
type sentRecord struct {
	n   int
	lsn block.LSN
}

// try notes what is asked for.
func (c *crasher) try(effects ...effect) *attempt {
	for _, e := range effects {
		if e.rec != nil {
			c.sent[sentRecord{e.n, e.rec.LSN}] = true
		}
	}
	a := &attempt{effects: effects}
	c.maybe = append(c.maybe, a)
	return a
}

// settle looks at how all ended that was asked for: what was acknowledged is
// there for good. Of what failed with the disk nobody knows.
func (c *crasher) settle() {
	wrote := c.store.nextBatch != c.next
	c.next = c.store.nextBatch
	var left []*attempt
	for _, a := range c.maybe {
		if !a.refused {
			c.bear(a.err)
		}
		switch {
		case a.refused && wrote: // something else lies in its place
		case a.refused:
			left = append(left, a)
		case a.err == nil:
			for _, e := range a.effects {
				e.do(c.acked)
			}
		case block.KindOf(a.err) == block.NoSpace:
			c.refuse(a)
			left = append(left, a)
		default:
			left = append(left, a)
		}
	}
	c.maybe = left
}

// refuse takes back what of a was not done: of a ticket of several batches the
// first ones may be. Its writer sends the rest again.
func (c *crasher) refuse(a *attempt) {
	a.refused = true
	a.effects = slices.DeleteFunc(a.effects, func(e effect) bool {
		if e.there(c.store) {
			e.do(c.acked)
			return true
		}
		if e.rec != nil {
			c.author[e.n].held = append(c.author[e.n].held, *e.rec)
		}
		return false
	})
}

// bear stops the test at an error that no fault explains.
func (c *crasher) bear(err error) {
	c.t.Helper()
	full := block.KindOf(err) == block.NoSpace
	if err != nil && (c.disarm == nil || !full && c.store.Failed() == nil) {
		c.fatalf("%v", err)
	}
}

// full are the operations that a full disk may refuse; failing those that a
// failing disk may fail.
var (
	full = []faultfs.Op{
		faultfs.Write, faultfs.Allocate, faultfs.Create, faultfs.Rename,
		faultfs.Write | faultfs.Allocate | faultfs.Create | faultfs.Rename | faultfs.SyncMeta,
	}
	failing = []faultfs.Op{
		faultfs.Write, faultfs.Sync, faultfs.SyncMeta, faultfs.SyncDir, faultfs.Rename,
		faultfs.Write | faultfs.Sync | faultfs.SyncMeta | faultfs.SyncDir | faultfs.Allocate | faultfs.Create | faultfs.Rename | faultfs.Remove,
	}
)

// arm makes the disk full, or break, in one of four operations: from some call
// on, for some calls or until it is mended. Writes that fail may be done in part.
func (c *crasher) arm(r *rand.Rand) {
	if r.IntN(4) > 0 {
		return
	}
	rule := faultfs.Rule{Ops: full[r.IntN(len(full))], Err: syscall.ENOSPC, Skip: r.IntN(6), Times: r.IntN(4), Short: r.IntN(4) * pageSize}
	if r.IntN(4) == 0 {
		rule.Ops, rule.Err, c.broke = failing[r.IntN(len(failing))], syscall.EIO, true
	}
	c.step("%v from %x, %d later, %d times, after %d bytes:", rule.Err, rule.Ops, rule.Skip, rule.Times, rule.Short)
	c.disarm = c.faults.Add(rule)
}

func (c *crasher) endFault() {
	if c.disarm != nil {
		c.disarm()
		c.disarm = nil
	}
}

// mend mends the disk. If the log has ended meanwhile, the daemon is started
// again: what it finds is what had been acknowledged, and perhaps a start of the
// rest (rule S3).
func (c *crasher) mend() {
	c.endFault()
	if c.store.Failed() == nil {
		c.checkFiles()
		return
	}
	c.step("restart")
	_ = c.store.Close()
	c.start(c.disk.FS)
	c.find("started again after its disk had failed, the store is no start of what was asked for")
	c.takeOver()
}

// find takes what the store has for all there is.
func (c *crasher) find(complaint string) {
	found := c.explain(c.store)
	if found == nil {
		c.fatalf("%s\n%s", complaint, c.differences(c.store))
	}
	c.acked, c.maybe = found, nil
}

// checkFiles compares the files that the store knows of with those on the disk:
// none is forgotten when the disk was full. (One that a failing disk did not
// remove is found at the next opening; one that still has readers is nobody's
// until they leave.)
func (c *crasher) checkFiles() {
	s := c.store
	want := map[string]bool{}
	for _, f := range s.files.Load().all {
		want[f.name] = true
	}
	s.cleaner.mu.Lock()
	for _, f := range s.cleaner.mu.left {
		want[f.name] = true
	}
	read := s.cleaner.mu.returning - len(s.cleaner.mu.left)
	s.cleaner.mu.Unlock()
	if c.broke || read > 0 {
		c.broke = false
		return
	}
	s.filer.mu.Lock()
	for _, name := range s.filer.mu.spares {
		want[name] = true
	}
	if b := s.filer.mu.next; b != nil {
		want[b.name] = true
	}
	planned := s.filer.mu.planned
	s.filer.mu.Unlock()
	if n := block.ByteCount(len(want)) * s.cfg.FileSize; n != planned {
		c.fatalf("%d files take %v, but the store has planned %v", len(want), n, planned)
	}
	names, err := c.disk.List("/store")
	must(c.t, err)
	for _, name := range names {
		_, manifest := parseName(manifestPrefix, name)
		if !want[name] && !manifest && !isContents(name) {
			c.fatalf("the store has forgotten %s", name)
		}
		delete(want, name)
	}
	if len(want) > 0 {
		c.fatalf("files are missing: %v", want)
	}
}
