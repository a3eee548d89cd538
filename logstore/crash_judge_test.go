package logstore

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/sextantdisk/sextant/internal/block"
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
	}
	rotten := c.plan.rot > 0 && r.IntN(c.plan.rot) == 0 && c.rot(disk, r, &what)
	s, err := Open(disk, "/store", diskA, c.config())
	if err != nil {
		c.fatalf("%s: %v", what, err)
	}
	defer func() { _ = s.Close() }()
	if rotten {
		c.judgeRotten(s, what)
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

// explain is the models of the start of maybe that the store is in, or nil.
func (c *crasher) explain(s *Store) map[int]*modelSegment {
	models := c.known()
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

// known is a copy of what was acknowledged.
func (c *crasher) known() map[int]*modelSegment {
	models := map[int]*modelSegment{}
	for n, m := range c.acked {
		models[n] = m.clone()
	}
	return models
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
// script may go on from there later.
func (c *crasher) again(s *Store, disk *memfs.FS, models map[int]*modelSegment, what string) {
	for _, n := range sortedKeys(models) {
		m := models[n]
		g, _ := s.Segment(segID(n))
		st := g.State()
		open := epochOpen(lsn(max(st.Head, st.SCL).Epoch()+1, 1), st.SCL) // what is pending here may be nowhere else
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

// rot flips a bit of a batch that another one, or a next file, proves. It tells
// whether there was one.
func (c *crasher) rot(disk *memfs.FS, r *rand.Rand, what *string) bool {
	if c.store == nil { // being opened
		return false
	}
	all := c.store.files.Load().all
	if len(all) == 0 {
		return false
	}
	f := all[r.IntN(len(all))]
	end := pageNo(f.end.Load())
	for _, h := range []*head{&c.store.head, &c.store.cleaner.cold.head} {
		if h.file == f {
			end = h.lastPage // what the head wrote last is not proven
		}
	}
	if end <= headerCopies {
		return false
	}
	at := (headerCopies + r.IntN(int(end-headerCopies))) * pageSize
	if r.IntN(2) == 0 {
		at += r.IntN(256) // where headers are dense
	} else {
		at += r.IntN(pageSize)
	}
	mask := byte(1) << r.IntN(8)
	*what += fmt.Sprintf(", rot of %02x at %d of %s", mask, at, f.name)
	return disk.Damage("/store/"+f.name, at, mask)
}

// judgeRotten looks at a store of which a proven part has rotten: either that
// is told, or nothing is missing. What is shown is true in any case.
func (c *crasher) judgeRotten(s *Store, what string) {
	all := c.known()
	for _, e := range c.maybe {
		e(all) // what may be there at most
	}
	told := len(s.Damage()) > 0
	for n, m := range c.acked {
		g, ok := s.Segment(segID(n))
		if !ok {
			if !told && all[n] != nil { // nobody drops it
				c.fatalf("%s: segment %d is gone, and no damage is told", what, n)
			}
			continue
		}
		st := g.State()
		if !st.Damaged && (st.SCL < m.scl() || st.Promised < m.promised) {
			c.fatalf("%s: damage was taken for a torn tail: segment %d is complete up to %v with promise %d, was %v, %d; told %v",
				what, n, st.SCL, st.Promised, m.scl(), m.promised, s.Damage())
		}
		c.judgeImage(s, g, n, all[n], what)
	}
}

// judgeImage compares what a segment shows at its SCL with the chain that leads
// there; blocks that are refused as corrupt are left out.
func (c *crasher) judgeImage(s *Store, g *Segment, n int, m *modelSegment, what string) {
	st := g.State()
	if m == nil { // being dropped
		return
	}
	chain := m.chainTo(st.SCL)
	if chain == nil && st.SCL != 0 {
		c.fatalf("%s: segment %d says that it is complete up to %v, which nobody wrote", what, n, st.SCL)
	}
	want := imageAlong(chain, st.SCL, crashBlocks)
	r := ReadResult{Buf: make([]byte, block.Size)}
	for b := range block.Index(crashBlocks) {
		err := g.ReadAt(st.SCL, b, 1, &r)
		if block.KindOf(err) == block.Corrupt && len(s.Damage()) > 0 {
			continue
		}
		if err != nil {
			c.fatalf("%s: reading block %d of segment %d: %v", what, b, n, err)
		}
		if got := ownerOf(c.t, &r, b); got != want[b] {
			c.fatalf("%s: block %d of segment %d at %v is of %v, want %v", what, b, n, st.SCL, got, want[b])
		}
	}
}
