package logstore

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
	"github.com/sextantdisk/sextant/internal/vfs"
	"github.com/sextantdisk/sextant/internal/vfs/faultfs"
	"github.com/sextantdisk/sextant/internal/vfs/memfs"
	"github.com/sextantdisk/sextant/logstore/hydration"
)

// hydrationBlocks is what the tests of hydration write to: some leaves.
const hydrationBlocks = 5 * leafBlocks

// donorOf is a store with one segment that has n records and is settled up to
// all but the last few.
func donorOf(t testing.TB, seed uint64, n int) *Segment {
	g := create(t, open(t, newDisk(), small()), 1)
	writeOn(t, g, rng(seed), n, hydrationBlocks)
	return g
}

// writeOn adds n records to the first blocks of a segment and settles most of
// them.
func writeOn(t testing.TB, g *Segment, r *rand.Rand, n, blocks int) {
	t.Helper()
	for range n {
		l, prev := g.SCL()+1, g.SCL()
		if prev == 0 {
			l = lsn(1, 1)
		}
		first := block.Index(r.IntN(blocks - 40))
		switch r.IntN(24) {
		case 0, 1, 2, 3, 4, 5, 6:
			put(t, g, trim(l, prev, first, 1+block.Count(r.IntN(40))))
		case 7:
			put(t, g, zero(l, prev, first/leafBlocks*leafBlocks, leafBlocks))
		default:
			put(t, g, write(l, prev, first, 1+r.IntN(4)))
		}
	}
	must(t, g.SetFloor(g.mu.index.chain.AtOrBelow(g.SCL()-3)))
}

// copyRuns are the runs of blocks [first, first+n) as the donor has settled
// them.
func copyRuns(t testing.TB, donor *Segment, first block.Index, n block.Count) (runs []CopyRun) {
	t.Helper()
	res := ReadResult{Buf: make([]byte, int(n)*block.Size)}
	cut, maxLSN, err := donor.ReadSettled(first, n, &res)
	must(t, err)
	sums, data := res.Sums, res.Data()
	for _, r := range res.Runs {
		for r.Count > 0 {
			k := r.Count
			run := CopyRun{Block: first, Kind: r.Kind, Cut: cut, MaxLSN: maxLSN}
			if r.Kind == RunData {
				k = min(k, block.MaxRecordBlocks)
				run.Sums, run.Payload = sums[:k], data[:int(k)*block.Size]
				sums, data = sums[k:], data[int(k)*block.Size:]
			}
			run.Count = k
			runs = append(runs, run)
			first += block.Index(k)
			r.Count -= k
		}
	}
	return runs
}

// hydrate brings g to where the donor is, by leaves and then by records, up to
// stop leaves; between is called before each leaf. It tells whether it came to
// the end.
func hydrate(t testing.TB, g, donor *Segment, stop int, between func()) (moved int, done bool) {
	t.Helper()
	must(t, g.BeginHydration())
	high := block.LSN(0)
	cut, marks, err := donor.Leaves(g.Hydration().After, 0, 1000)
	must(t, err)
	for _, m := range marks {
		if g.LeafMax(m.Block) >= m.MaxLSN {
			continue
		}
		if moved == stop {
			return moved, false
		}
		between()
		for half := range block.Count(2) { // each half as of its own moment
			runs := copyRuns(t, donor, m.Block+block.Index(half*leafBlocks/2), leafBlocks/2)
			must(t, g.EnqueueCopy(runs).Wait())
			high = max(high, runs[0].Cut)
		}
		moved++
	}
	must(t, g.Hydrate(cut))
	st := g.State()
	if st.Readable < high || st.SCL < cut {
		t.Fatalf("blocks are as of %v, the cut is %v, the state %+v", high, cut, st)
	}
	if st.SCL < st.Readable {
		_, err := g.Digest(st.SCL, 0, 1)
		wantKind(t, err, block.Stale)
	}
	catchUp(t, g, donor)
	return moved, true
}

func catchUp(t testing.TB, g, donor *Segment) {
	t.Helper()
	for g.SCL() < donor.SCL() {
		must(t, donor.Scan(g.SCL(), donor.SCL(), block.MiB, func(r Record) error {
			r.Payload, r.Sums = slices.Clone(r.Payload), slices.Clone(r.Sums)
			return g.Enqueue([]Record{r}).Wait()
		}))
	}
}

// sameDigests fails unless both have the same data as of the donor's SCL, and
// each block can be read.
func sameDigests(t testing.TB, g, donor *Segment) {
	t.Helper()
	at := donor.SCL()
	want, err := donor.Digest(at, 0, hydrationBlocks/leafBlocks+1)
	must(t, err)
	got, err := g.Digest(at, 0, hydrationBlocks/leafBlocks+1)
	must(t, err)
	if !slices.Equal(got, want) {
		t.Fatalf("at %v the digests are %x, the donor's %x", at, got, want)
	}
	for b := block.Index(0); b < hydrationBlocks; b += 97 {
		if a, d := owner(t, g, at, b), owner(t, donor, at, b); a != d {
			t.Fatalf("block %d was written by %v, the donor has it from %v", b, a, d)
		}
	}
}

// R21: a segment that lags takes over the leaves that have changed, tombstones
// included, jumps to the cut, and goes on by records. The donor is written to
// meanwhile, so each leaf is of another moment.
func TestR21LeavesOfSeveralMoments(t *testing.T) {
	for seed := range uint64(20) {
		r := rng(seed)
		donor := donorOf(t, seed, 60)
		fs := newDisk()
		g := create(t, open(t, fs, small()), 1)
		old := 0
		if seed%3 > 0 { // it has a beginning
			old = 20 + r.IntN(20)
			if seed%3 == 2 {
				old = 57 // all that is settled there
			}
			var first []Record
			must(t, donor.Scan(0, donor.SCL(), block.GiB, func(rec Record) error {
				rec.Payload, rec.Sums = slices.Clone(rec.Payload), slices.Clone(rec.Sums)
				if len(first) < old {
					first = append(first, rec)
				}
				return nil
			}))
			put(t, g, first...)
			must(t, g.SetFloor(first[old-1-r.IntN(10)].LSN))
			writeOn(t, donor, r, 60, leafBlocks*(1+r.IntN(5))) // some leaves stay as they were
		}
		scl := g.SCL()
		_, done := hydrate(t, g, donor, 1000, func() {
			if g.SCL() != scl {
				t.Fatalf("SCL went from %v to %v before all was in", scl, g.SCL())
			}
			wantKind(t, g.ReadAt(scl, 0, 1, &ReadResult{Buf: make([]byte, block.Size)}), block.Unavailable)
			must(t, g.SetFloor(scl)) // its writer may say so; it must not settle over what was copied
			writeOn(t, donor, r, r.IntN(8), hydrationBlocks)
		})
		if !done {
			t.Fatal("not done")
		}
		sameDigests(t, g, donor)
		// T20: what was wiped does not come back with records that come late.
		put(t, g, write(lsn(1, 3), lsn(1, 2), 0, 4))
		sameDigests(t, g, donor)
		sameDigests(t, segment(t, open(t, crash(fs), small()), 1), donor)
	}
}

// R16: who was on a branch that was annulled tells nobody of it when it has been
// hydrated beyond.
func TestR21ADeadBranchIsNotGivenOn(t *testing.T) {
	donor := create(t, open(t, newDisk(), small()), 1)
	put(t, donor, write(lsn(1, 1), 0, 1, 1), epochOpen(lsn(2, 1), lsn(1, 1)), write(lsn(2, 2), lsn(2, 1), 2, 1))
	must(t, donor.SetFloor(lsn(2, 2)))
	g := create(t, open(t, newDisk(), small()), 1)
	put(t, g, write(lsn(1, 1), 0, 1, 1), write(lsn(1, 2), lsn(1, 1), 3, 1))
	hydrate(t, g, donor, 1000, func() {})
	sameDigests(t, g, donor)
	wantKind(t, g.Scan(lsn(1, 1), lsn(1, 2), block.MiB, func(r Record) error {
		return fmt.Errorf("record %v was given", r.LSN)
	}), block.NotFound)
}

// A half-way copy is neither read nor given on, and its log begins with the
// cut: it has nothing to tell of before.
func TestR21WhoIsHydratedGivesNothing(t *testing.T) {
	donor := donorOf(t, 1, 80)
	g := create(t, open(t, newDisk(), small()), 1)
	must(t, g.BeginHydration())
	_, _, err := g.Leaves(0, 0, 10)
	wantKind(t, err, block.Unavailable)
	_, _, err = g.ReadSettled(0, 1, &ReadResult{Buf: make([]byte, block.Size)})
	wantKind(t, err, block.Unavailable)
	must(t, g.Hydrate(0)) // nothing was copied: it may end where it is
	hydrate(t, g, donor, 1000, func() {})
	fn := func(Record) error { return nil }
	wantKind(t, g.Scan(0, g.SCL(), block.MiB, fn), block.NotFound)
	must(t, g.Scan(g.State().Floor, g.SCL(), block.MiB, fn))
}

// What is not right is refused before it is logged.
func TestR21CopiesAreChecked(t *testing.T) {
	donor := donorOf(t, 1, 80)
	g := create(t, open(t, newDisk(), small()), 1)
	run := copyRuns(t, donor, 0, 1)[0]
	wantKind(t, g.EnqueueCopy([]CopyRun{run}).Wait(), block.Invalid) // not begun
	wantKind(t, g.Hydrate(donor.SCL()), block.Invalid)
	must(t, g.BeginHydration())
	for name, spoil := range map[string]func(r *CopyRun){
		"over the end of a leaf": func(r *CopyRun) { r.Block, r.Count, r.Kind, r.Sums, r.Payload = 511, 2, RunHole, nil, nil },
		"no blocks":              func(r *CopyRun) { r.Count = 0 },
		"too few sums":           func(r *CopyRun) { r.Kind, r.Sums = RunData, nil },
		"payload of a hole":      func(r *CopyRun) { r.Kind, r.Payload = RunHole, make([]byte, block.Size) },
		"newer than its cut":     func(r *CopyRun) { r.MaxLSN = r.Cut + 1 },
	} {
		bad := run
		spoil(&bad)
		if err := g.EnqueueCopy([]CopyRun{bad}).Wait(); block.KindOf(err) != block.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, g.EnqueueCopy([]CopyRun{{Count: 1, Kind: RunHole, Cut: 5}}).Wait())
	wantKind(t, g.Hydrate(donor.SCL()), block.Unavailable) // a leaf has only begun
}

// R22: killed at each change of the disk, a hydration goes on where it was: no
// leaf that was whole is copied again, nothing counts before all is in, and in
// the end both copies are equal.
func TestR22HydrationSurvivesEachCrash(t *testing.T) {
	donor := donorOf(t, 7, 100)
	r := rng(8)
	var cuts []*memfs.FS
	mem := memfs.New(0)
	disk := &tapFS{FS: mem, tap: func(string) {}}
	must(t, disk.MkdirAll("/store"))
	cfg := small()
	cfg.forgetful = true
	s := open(t, disk, cfg)
	g := create(t, s, 1)
	disk.tap = func(string) { cuts = append(cuts, disk.CrashClone(r, r.Float64())) }
	half := 0
	hydrate(t, g, donor, 1000, func() {
		if half++; half == 3 {
			must(t, s.ckpt.take(nil))
		}
	})
	disk.tap = func(string) {}
	ends := map[bool]int{}
	for i, fs := range cuts {
		s := open(t, fs, cfg)
		g := segment(t, s, 1)
		if d := s.Damage(); len(d) > 0 || g.State().Damaged {
			t.Fatalf("cut %d: damage %v", i, d)
		}
		scl, whole := g.SCL(), 0
		h := g.Hydration()
		if (h.On || scl == 0) && scl != 0 {
			t.Fatalf("cut %d: SCL %v while it is being hydrated", i, scl)
		}
		if scl == 0 {
			for b := block.Index(0); b < hydrationBlocks; b += leafBlocks {
				if g.LeafMax(b) > 0 {
					whole++
				}
			}
			moved, _ := hydrate(t, g, donor, 1000, func() {})
			if moved+whole > 6 {
				t.Fatalf("cut %d: %d leaves were whole, and %d were copied", i, whole, moved)
			}
			ends[whole > 0]++
		}
		catchUp(t, g, donor)
		sameDigests(t, g, donor)
		must(t, s.Close())
	}
	s = open(t, mem.CrashClone(r, 0), cfg)
	if g := segment(t, s, 1); g.SCL() < donor.State().Floor || g.Hydration().On {
		t.Fatalf("what was hydrated is not, after a restart: %+v", g.State())
	}
	if ends[true] == 0 || ends[false] == 0 || len(cuts) < 20 {
		t.Fatalf("%d cuts, of which %v went on: the test tests nothing", len(cuts), ends)
	}
}

// R22: what a segment settles while a hydration's first record is on its way to the
// disk is not there for who replays the log, and would not be copied: the floor
// stands still from where the record was made on.
func TestR22NothingSettlesWhileAHydrationBegins(t *testing.T) {
	disk := newDisk()
	faults := faultfs.Wrap(disk)
	s := open(t, faults, small())
	g, donor := create(t, s, 1), create(t, open(t, newDisk(), small()), 1)
	prev := block.LSN(0)
	for i := range 6 {
		rec := write(lsn(1, block.Seq(i+1)), prev, block.Index(i*leafBlocks/2), 3)
		put(t, g, rec)
		put(t, donor, rec)
		prev = rec.LSN
	}
	must(t, donor.SetFloor(donor.SCL()))
	gate, begun := make(chan struct{}), make(chan error, 1)
	release := sync.OnceFunc(func() { close(gate) })
	t.Cleanup(release)
	before := faults.Calls(faultfs.Sync)
	faults.Add(faultfs.Rule{Ops: faultfs.Sync, Stall: gate, Times: 1})
	go func() { begun <- g.BeginHydration() }()
	for faults.Calls(faultfs.Sync) == before {
		<-clock.Real().After(time.Millisecond)
	}
	must(t, g.SetFloor(g.SCL()))
	release()
	must(t, <-begun)
	hydrate(t, g, donor, 1000, func() {})
	sameDigests(t, g, donor)
	sameDigests(t, segment(t, open(t, crash(disk), small()), 1), donor)
	// One that could not be begun holds nothing back.
	faults.Add(faultfs.Rule{Ops: faultfs.Write, Err: syscall.EIO})
	if err := g.BeginHydration(); err == nil {
		t.Fatal("it has begun without a record")
	}
	if g.Hydration().On || g.mu.index.hydration.Still() {
		t.Fatal("the floor stands still for ever")
	}
}

// Cleaning moves what was copied, also half-way.
func TestR22CopiesAreCleaned(t *testing.T) {
	donor := donorOf(t, 3, 120)
	fs := newDisk()
	s := open(t, fs, cleaning())
	g := create(t, s, 1)
	clean := func() {
		for _, f := range s.files.Load().all {
			if f.sealed.Load() && f.header.kind == fileHot {
				_, err := s.clean(f, nil)
				must(t, err)
				if n := f.live.Load(); n > 0 {
					t.Fatalf("%d blocks of %s were not moved", n, f.name)
				}
			}
		}
	}
	hydrate(t, g, donor, 1000, clean)
	clean()
	sameDigests(t, g, donor)
	checkLedger(t, s)
	must(t, s.Close())
	s = open(t, fs, cleaning())
	sameDigests(t, segment(t, s, 1), donor)
	checkLedger(t, s)
}

// A COPY that is lost to damage is missed: what was copied does not count, the
// segment says that it is damaged, and all is copied anew; also if the segment
// had settled something before.
func TestR22LostCopiesAreMissed(t *testing.T) {
	for _, before := range []int{0, 40} {
		for lost := range 8 {
			t.Run(fmt.Sprintf("%d of 8, %d records before", lost, before), func(t *testing.T) { loseCopy(t, before, lost) })
		}
	}
}

func loseCopy(t *testing.T, before, lost int) {
	fs := newDisk()
	s := open(t, fs, small())
	g := create(t, s, 1)
	donor := donorOf(t, 5, before)
	catchUp(t, g, donor)
	must(t, g.SetFloor(donor.mu.index.chain.Floor()))
	writeOn(t, donor, rng(6), 100, hydrationBlocks)
	hydrate(t, g, donor, 1000, func() {})
	must(t, s.Close())
	var copies []BatchInfo
	all, _ := batches(t, fs)
	for _, b := range all {
		if b.Payload > 4*block.Size {
			copies = append(copies, b)
		}
	}
	b := copies[lost*(len(copies)-1)/7]
	rot(t, fs, b.File, b.Offset+8)
	s = open(t, fs, small())
	g = segment(t, s, 1)
	if !g.State().Damaged || !g.Hydration().On {
		t.Fatalf("batch %+v is lost, the state is %+v", b, g.State())
	}
	for b := block.Index(0); b < hydrationBlocks; b += leafBlocks {
		if g.LeafMax(b) != 0 {
			t.Fatalf("leaf of block %d counts still", b)
		}
	}
	hydrate(t, g, donor, 1000, func() {})
	sameDigests(t, g, donor)
	must(t, s.Close())
	s = open(t, fs, small())
	sameDigests(t, segment(t, s, 1), donor)
}

// I4: digests differ where data does, and only there.
func TestI4DigestsDiffer(t *testing.T) {
	var fs vfs.FS = newDisk()
	s := open(t, fs, small())
	a, b := create(t, s, 1), create(t, s, 2)
	put(t, a, write(lsn(1, 1), 0, 5, 2), trim(lsn(1, 2), lsn(1, 1), 600, 10))
	put(t, b, write(lsn(1, 1), 0, 5, 2), zero(lsn(1, 2), lsn(1, 1), 600, 10))
	digest := func(g *Segment) []LeafDigest {
		d, err := g.Digest(g.SCL(), 0, 3)
		must(t, err)
		return d
	}
	if !slices.Equal(digest(a), digest(b)) || digest(a)[0] == 0 || digest(a)[1] != 0 {
		t.Fatalf("digests %x and %x", digest(a), digest(b))
	}
	put(t, a, write(lsn(1, 3), lsn(1, 2), 6, 1))
	if d := digest(a); d[0] == digest(b)[0] {
		t.Fatalf("another block, the same digest %x", d)
	}
	_, err := a.Digest(lsn(9, 9), 0, 1)
	wantKind(t, err, block.Behind)
}

// A checkpoint of format 1 ends each segment with its slots, and knows of no
// hydration.
func TestCheckpointFormat1IsRead(t *testing.T) {
	s := &segmentState{idx: 1, id: segID(1), config: []byte("c"), slots: make([]savedSlot, 2), since: 3, hydration: hydration.State{Round: 7, First: 4, Solid: 5}}
	p := encodeState(nil, []*segmentState{s})
	_, segs, err := decodeState(p[:len(p)-29], 1)
	must(t, err)
	if g := segs[0]; g.id != s.id || len(g.slots) != 2 || g.since != 0 || g.hydration.Solid != 0 || g.hydration.On {
		t.Fatalf("read %+v", g)
	}
	_, _, err = decodeState(p, 1)
	wantKind(t, err, block.Corrupt)
	_, segs, err = decodeState(append(append([]byte{}, p[:len(p)-5]...), p[len(p)-1]), 2)
	must(t, err)
	if g := segs[0]; g.since != 3 || g.hydration.Round != 0 || g.hydration.Solid != 5 {
		t.Fatalf("read %+v of format 2", g)
	}
	m := manifest{version: checkpointVersion + 1, generation: 1}
	page := m.encode()
	page[8] = checkpointVersion + 1
	copy(page[12:], []byte{0, 0, 0, 0})
	sum := uint32(sumWithout(page, 12))
	page[12], page[13], page[14], page[15] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
	_, err = decodeManifest(page)
	wantKind(t, err, block.Version)
}
