package logstore

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/sextantdisk/sextant/internal/vfs"
	"github.com/sextantdisk/sextant/internal/vfs/memfs"
)

// tap is a moment at which the power may go.
func (c *crasher) tap(what string) {
	if c.busy {
		return
	}
	c.changes++
	c.busy = true
	r := c.rng()
	for i := range c.cuts() {
		c.crashes++
		c.plan.total.Add(1)
		c.judge(c.cut(r, i), fmt.Sprintf("%s, cut %d", what, i), r)
	}
	c.busy = false
	if enqueue := c.onWrite; enqueue != nil {
		c.onWrite = nil
		enqueue()
	}
}

// cuts is how many cuts are tried now.
func (c *crasher) cuts() int {
	if c.plan.over() {
		return 0
	}
	if n := c.disk.Unsynced(); n < 20 && 1<<n < c.plan.subsets {
		return 1 << n
	}
	return c.plan.subsets
}

// cut is the disk after the power went: one of all that it may be, if they are
// few, else the least, the most, and what chance leaves.
func (c *crasher) cut(r *rand.Rand, i int) *memfs.FS {
	n := c.disk.Unsynced()
	if n < 20 && 1<<n <= c.plan.subsets {
		return c.disk.Crash(func() bool {
			keep := i&1 != 0
			i >>= 1
			return keep
		})
	}
	switch i {
	case 0:
		return c.disk.CrashClone(r, 0)
	case 1:
		return c.disk.CrashClone(r, 1)
	}
	return c.disk.CrashClone(r, r.Float64())
}

// judge opens what a cut has left.
func (c *crasher) judge(disk *memfs.FS, what string, r *rand.Rand) {
	if c.plan.bare > 0 && r.IntN(c.plan.bare) == 0 {
		what += ", without checkpoints"
		withoutCheckpoints(c.t, disk)
		if c.footers() && r.IntN(2) == 0 {
			what += " and footers"
			withoutFooters(c.t, disk)
		}
	}
	var h *harm
	if c.plan.rot > 0 && r.IntN(c.plan.rot) == 0 {
		if h = c.harm(disk, r); h != nil {
			defer h.close()
			what += ", " + h.what
		}
	}
	s, err := Open(disk, "/store", diskA, c.config())
	if err != nil {
		c.fatalf("%s: %v", what, err)
	}
	defer func() { _ = s.Close() }()
	if h != nil {
		c.judgeHarmed(s, h, what)
		return
	}
	if d := s.Damage(); len(d) > 0 {
		c.fatalf("%s: a torn tail was taken for damage: %v", what, d)
	}
	found := c.explain(s)
	if found == nil {
		c.fatalf("%s: the store is no start of what was enqueued\n%s", what, c.differences(s))
	}
	if r.IntN(c.plan.again) == 0 {
		c.again(s, disk, found, what)
	}
}

// explain is the models of what the store may be in: all that was acknowledged,
// and a start of maybe, without what was refused or may have been; nil if it is
// none of them.
func (c *crasher) explain(s *Store) map[int]*modelSegment {
	return c.search(s, c.acked, c.maybe)
}

func (c *crasher) search(s *Store, base map[int]*modelSegment, left []*attempt) map[int]*modelSegment {
	models := cloned(base)
	if c.same(s, models) {
		return models
	}
	if len(left) == 0 {
		return nil
	}
	a := left[0]
	for _, e := range a.effects {
		if a.refused || c.disarm != nil { // perhaps no more came of it, and others went on
			if found := c.search(s, models, left[1:]); found != nil {
				return found
			}
		}
		e.do(models)
		if c.same(s, models) {
			return models
		}
	}
	return c.search(s, models, left[1:])
}

func cloned(models map[int]*modelSegment) map[int]*modelSegment {
	c := map[int]*modelSegment{}
	for n, m := range models {
		c[n] = m.clone()
	}
	return c
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

// again goes on with the store that a cut has left, and cuts again: what was
// found must still be there, with what came after it (traps T16, T17). The
// script may go on from there later. Who writes has an epoch of its own, as each
// writer has: a record that the cut has torn off may be found again where the
// header is lost that says where its file ended.
func (c *crasher) again(s *Store, disk *memfs.FS, models map[int]*modelSegment, what string) {
	for _, n := range sortedKeys(models) {
		m := models[n]
		g, _ := s.Segment(segID(n))
		open := epochOpen(lsn(c.author[n].newEpoch(), 1), g.SCL()) // what is pending here may be nowhere else
		recs := []Record{open, write(open.LSN+1, open.LSN, 3, 2)}
		if err := g.Enqueue(recs).Wait(); err != nil {
			c.fatalf("%s: writing after the crash: %v", what, err)
		}
		for _, r := range recs {
			m.recs[r.LSN] = r
		}
	}
	again := disk.CrashClone(c.rng(), 0)
	s, err := Open(again, "/store", diskA, c.config())
	if err != nil {
		c.fatalf("%s: opening after a second crash: %v", what, err)
	}
	defer func() { _ = s.Close() }()
	if d := s.Damage(); len(d) > 0 {
		c.fatalf("%s: second crash: a torn tail was taken for damage: %v", what, d)
	}
	if !c.same(s, models) {
		c.fatalf("%s: a second crash lost what was there after the first", what)
	}
	c.left = &survivor{disk: again, models: models}
}

func sortedKeys(models map[int]*modelSegment) (keys []int) {
	for n := range models {
		keys = append(keys, n)
	}
	slices.Sort(keys)
	return keys
}

// withoutFooters leaves the batches alone to tell what is in the log.
func withoutFooters(t testing.TB, disk *memfs.FS) {
	t.Helper()
	names, err := disk.List("/store")
	must(t, err)
	for _, name := range names {
		if _, ok := parseName(logPrefix, name); !ok {
			continue
		}
		f, err := disk.OpenFile("/store/"+name, vfs.ReadOnly)
		must(t, err)
		size, err := f.Size()
		must(t, err)
		magic, at := make([]byte, len(footerMagic)), int(size)-pageSize
		if _, err := f.ReadAt(magic, vfs.Offset(max(at, 0))); err == nil && string(magic) == footerMagic {
			disk.Damage("/store/"+name, at+17, 0xff)
		}
		must(t, f.Close())
	}
}
