package logstore

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs"
	"github.com/sextantdisk/sextant/internal/vfs/vfstest"
)

// checkpoint takes one, on this goroutine.
func checkpoint(t testing.TB, s *Store) generation {
	t.Helper()
	must(t, s.ckpt.now())
	return s.ckpt.durable()
}

// describeIndex is all that a segment knows, but where nothing is to be read.
func describeIndex(g *Segment) string {
	g.mu.RLock()
	defer g.mu.RUnlock()
	x := &g.mu.index
	var b strings.Builder
	fmt.Fprintf(&b, "%d %v promised %d config %q health %+v\n", g.idx, g.id, g.mu.promised, g.mu.config, g.mu.health)
	fmt.Fprintf(&b, "%s, head %v, opens %v, %d data\n", x.chain.Describe(), x.chain.Head(), x.opens, x.base.data)
	for i := range x.base.slots {
		s := &x.base.slots[i]
		fmt.Fprintf(&b, "slot %d max %v", i, s.maxLSN)
		if s.leaf == nil {
			fmt.Fprintf(&b, " %v\n", s.kind)
			continue
		}
		for k := range s.leaf.locs {
			if l := s.leaf.locs[k]; l.flags != locNone {
				fmt.Fprintf(&b, " %d:%v/%x", k, l, s.leaf.sums[k])
			}
		}
		b.WriteByte('\n')
	}
	for i := range x.hot.leaves {
		for k := range leafBlocks {
			at := block.Index(i*leafBlocks + k)
			for n := x.hot.newest(at); n != 0; n = x.hot.nodes[n].older {
				v := &x.hot.nodes[n]
				fmt.Fprintf(&b, "hot %d %v %v/%x\n", at, v.lsn, v.loc, v.sum)
			}
		}
	}
	fmt.Fprintf(&b, "wide %v\n", x.hot.wide)
	return b.String()
}

// describeStore is all that a store knows of segments and files.
func describeStore(s *Store) string {
	var b strings.Builder
	for _, g := range s.Segments() {
		b.WriteString(describeIndex(g))
	}
	for _, f := range s.files.Load().all {
		f.mu.RLock()
		fmt.Fprintf(&b, "%s end %d gaps %v", f.name, f.end.Load(), f.mu.gaps)
		for _, seg := range slices.Sorted(maps.Keys(f.mu.spans)) {
			fmt.Fprintf(&b, " %d:%v", seg, f.mu.spans[seg])
		}
		f.mu.RUnlock()
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "next segment %d, next batch %d, head %d at %d\n", s.mu.nextSeg, s.nextBatch, s.lastSeq, s.head.next)
	return b.String()
}

// readOnly opens a disk to look at it.
func readOnly(t testing.TB, fs vfs.FS) *Store {
	t.Helper()
	cfg := small()
	cfg.ReadOnly = true
	return open(t, fs, cfg)
}

// withoutCheckpoints removes all checkpoints of a disk.
func withoutCheckpoints(t testing.TB, fs vfs.FS) {
	t.Helper()
	names, err := fs.List("/store")
	must(t, err)
	for _, name := range names {
		_, manifest := parseName(manifestPrefix, name)
		if manifest || isContents(name) {
			must(t, fs.Remove("/store/"+name))
		}
	}
}

// level gives the segments of both stores the same floors: those are told
// lazily, and a checkpoint may tell them earlier than a STATUS.
func level(t testing.TB, a, b *Store) {
	t.Helper()
	for _, g := range a.Segments() {
		h, ok := b.Segment(g.ID())
		if !ok {
			continue
		}
		floor := max(g.State().Floor, h.State().Floor)
		must(t, g.SetFloor(floor))
		must(t, h.SetFloor(floor))
	}
}

// sameByReplay checks that opening a disk from its checkpoint and replaying
// all of its log give the same.
func sameByReplay(t testing.TB, disk vfstest.Disk, what string) {
	t.Helper()
	bare := disk.CrashClone(rng(1), 1)
	withoutCheckpoints(t, bare)
	quick, slow := readOnly(t, disk), readOnly(t, bare)
	defer quick.Close()
	defer slow.Close()
	level(t, quick, slow)
	got, want := strings.Split(describeStore(quick), "\n"), strings.Split(describeStore(slow), "\n")
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("%s: with the checkpoint\n%s\nby replay\n%s", what, got[i], want[i])
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%s: with the checkpoint %d lines, by replay %d", what, len(got), len(want))
	}
	if len(quick.Damage())+len(slow.Damage()) > 0 {
		t.Fatalf("%s: damage %v, by replay %v", what, quick.Damage(), slow.Damage())
	}
}

// actor runs random operations on a store.
type actor struct {
	t       testing.TB
	rng     *rand.Rand
	store   *Store
	authors map[int]*author
	made    int
}

func (a *actor) step() {
	n := 1 + a.rng.IntN(3)
	g, ok := a.store.Segment(segID(n))
	if !ok {
		create(a.t, a.store, n)
		a.made++
		a.authors[n] = newAuthor(a.rng, 2*leafBlocks)
		return
	}
	w := a.authors[n]
	switch k := a.rng.IntN(40); {
	case k < 5:
		w.floor = pathPoint(a.rng, g)
		must(a.t, g.SetFloor(w.floor))
	case k == 5:
		must(a.t, g.EnqueuePromise(w.epoch).Wait())
	case k == 6:
		must(a.t, g.EnqueueConfig([]byte(fmt.Sprint("config ", a.rng.IntN(100)))).Wait())
	case k == 7 && a.rng.IntN(4) == 0:
		must(a.t, a.store.DropSegment(g.ID()))
	case k == 8:
		must(a.t, a.store.mark())
	default:
		if recs := w.next(g.SCL()); len(recs) > 0 {
			must(a.t, g.Enqueue(recs).Wait())
		}
	}
}

// pathPoint is a place on the chain of g that a floor may be raised to.
func pathPoint(r *rand.Rand, g *Segment) block.LSN {
	g.mu.RLock()
	defer g.mu.RUnlock()
	c := &g.mu.index.chain
	if p := c.Path(); len(p) > 0 {
		return p[r.IntN(len(p))].LSN
	}
	return c.Floor()
}

// What a checkpoint and the log behind it say is what all of the log says.
func TestCheckpointAndTailAreTheWholeLog(t *testing.T) {
	for seed := range uint64(20) {
		disk := newDisk()
		a := &actor{t: t, rng: rng(seed), store: open(t, disk, small()), authors: map[int]*author{}}
		for i := range 250 {
			a.step()
			if a.rng.IntN(25) == 0 {
				checkpoint(t, a.store)
			}
			if a.rng.IntN(60) == 0 {
				must(t, a.store.Close())
				a.store = open(t, disk, small())
			}
			if i%50 == 49 {
				sameByReplay(t, crash(disk), fmt.Sprintf("seed %d, step %d", seed, i))
			}
		}
		must(t, a.store.Close())
	}
}

// A checkpoint is taken while the log goes on, on other goroutines, and power
// goes at any moment.
func TestCrashCheckpointUnderLoad(t *testing.T) {
	disk := newDisk()
	cfg := small()
	cfg.FileSize = 4 * block.MiB
	s := open(t, disk, cfg)
	for n := 1; n <= 3; n++ {
		create(t, s, n)
	}
	for round := range 8 {
		var load sync.WaitGroup
		for n := 1; n <= 3; n++ {
			load.Go(func() { scatter(t, segment(t, s, n), rng(uint64(round<<8+n)), 400) })
		}
		for i := range 3 {
			checkpoint(t, s)
			sameByReplay(t, crash(disk), fmt.Sprintf("round %d, checkpoint %d", round, i))
		}
		load.Wait()
		sameByReplay(t, crash(disk), fmt.Sprintf("round %d, at rest", round))
	}
	must(t, s.Close())
}

// scatter overwrites random blocks of g, settling them as it goes.
func scatter(t testing.TB, g *Segment, r *rand.Rand, n int) {
	for i := range n {
		prev := g.SCL()
		l := max(prev+1, lsn(1, 1))
		if err := g.Enqueue([]Record{write(l, prev, block.Index(r.IntN(20*leafBlocks)), 1)}).Wait(); err != nil {
			t.Error(err)
			return
		}
		if i%16 == 0 {
			_ = g.SetFloor(l) // it is on the chain
		}
	}
}

// A checkpoint that is asked for is taken, and who asked is told which it is.
func TestCheckpointIsTakenWhenAsked(t *testing.T) {
	cfg := small()
	cfg.byHand = false
	disk := newDisk()
	s := open(t, disk, cfg)
	told := make(chan struct{}, 1)
	s.ckpt.onDurable = func() { told <- struct{}{} }
	chainOf(t, create(t, s, 1), 5)
	for range 3 {
		g := s.ckpt.request()
		<-told
		if s.ckpt.durable() < g {
			t.Fatalf("checkpoint %d is durable, %d was asked for", s.ckpt.durable(), g)
		}
	}
	sameByReplay(t, crash(disk), "after three")
}
