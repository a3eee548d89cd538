package logstore

import (
	"syscall"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs/faultfs"
)

// scrubAll reads the whole log in steps and sums up what they have done.
func scrubAll(t *testing.T, s *Store, step block.ByteCount) (steps int, sum Scrubbed) {
	t.Helper()
	last := s.ScrubEnd()
	total := s.ScrubLeft(ScrubAt{}, last)
	for !sum.Done {
		r, err := s.Scrub(sum.Next, last, step)
		must(t, err)
		if steps++; steps > 10000 {
			t.Fatalf("it does not come to an end: %+v", r)
		}
		sum.Next, sum.Done = r.Next, r.Done
		sum.Bytes, sum.Found = sum.Bytes+r.Bytes, sum.Found+r.Found
		if left := s.ScrubLeft(sum.Next, last); sum.Bytes+left > total {
			t.Fatalf("%d bytes read and %d left of %d", sum.Bytes, left, total)
		}
	}
	return steps, sum
}

// TestS1ScrubFindsWhatNobodyReads: every checksum of the log is checked, in
// any steps, and what is damaged and still counts is noted, once; overwritten
// blocks do not count.
func TestS1ScrubFindsWhatNobodyReads(t *testing.T) {
	fs := newDisk()
	s := open(t, fs, small())
	g := create(t, s, 1)
	for n := block.Seq(1); n <= 40; n++ { // over several files
		put(t, g, write(lsn(1, n), prevOf(n), block.Index(4*n), 4))
	}
	put(t, g, write(lsn(1, 41), lsn(1, 40), 8, 4)) // over those of 2
	must(t, s.mark())
	steps, sum := scrubAll(t, s, block.MiB)
	if sum.Found != 0 || steps < 3 || sum.Bytes < 41*4*block.Size {
		t.Fatalf("a sound log: %d steps, %+v", steps, sum)
	}
	all, _ := batches(t, crash(fs))
	dead, live := all[2], all[7]
	rot(t, fs, dead.File, dead.Offset+dead.Header+7)
	rot(t, fs, live.File, live.Offset+live.Header+2*pageSize+7)
	for _, step := range []block.ByteCount{block.MiB, pageSize} {
		if _, sum = scrubAll(t, s, step); sum.Found != 1 {
			t.Fatalf("in steps of %d: %+v", step, sum)
		}
	}
	if bad := g.Bad(); len(bad) != 1 || bad[0].Block != 4*7+2 {
		t.Fatalf("bad blocks %v", bad)
	}
	if d := s.Damage(); len(d) != 1 || d[0].File != live.File || d[0].Block != 4*7+2 {
		t.Fatalf("damage %v", d)
	}
	must(t, g.Mend(4*7+2, stamp(lsn(1, 7), 4*7, 4)[2*block.Size:3*block.Size]))
	if _, sum = scrubAll(t, s, block.MiB); sum.Found != 0 || len(g.Bad()) != 0 {
		t.Fatalf("after mending: %+v, bad blocks %v", sum, g.Bad())
	}
}

// TestS1ScrubGoesOnBehindADamagedHeader.
func TestS1ScrubGoesOnBehindADamagedHeader(t *testing.T) {
	fs := newDisk()
	s := open(t, fs, small())
	g := create(t, s, 1)
	for n := block.Seq(1); n <= 5; n++ {
		put(t, g, write(lsn(1, n), prevOf(n), block.Index(n), 1))
	}
	all, _ := batches(t, crash(fs))
	rot(t, fs, all[2].File, all[2].Offset+40)
	rot(t, fs, all[4].File, all[4].Offset+all[4].Header+7)
	for range 2 {
		if _, sum := scrubAll(t, s, block.MiB); sum.Found != 2 {
			t.Fatalf("%+v", sum)
		}
	}
	if n := s.BrokenBatches(); n != 1 || s.Stats().Damages != 2 || len(g.Bad()) != 1 {
		t.Fatalf("%d batches are broken, %d damages, bad blocks %v", n, s.Stats().Damages, g.Bad())
	}
}

// TestS1ScrubMeetsUnreadableSectors: a read of many pages that fails is tried
// again in smaller ones, and what the disk really does not give is found.
func TestS1ScrubMeetsUnreadableSectors(t *testing.T) {
	fs := faultfs.Wrap(newDisk())
	s := open(t, fs, small())
	g := create(t, s, 1)
	put(t, g, write(lsn(1, 1), 0, 4, 8))
	fail := func(skip int) { fs.Add(faultfs.Rule{Ops: faultfs.Read, Skip: skip, Times: 1, Err: syscall.EIO}) }
	fail(0) // all at once; then the first header alone
	fail(1) // the second batch; then its header and the first block
	fail(2) // the other blocks
	fail(3) // of these one by one, the second: block 6
	if _, sum := scrubAll(t, s, block.MiB); sum.Found != 1 {
		t.Errorf("%+v", sum)
	}
	if bad := g.Bad(); len(bad) != 1 || bad[0].Block != 6 || s.Damage()[0].Kind != DamageUnreadable || s.BrokenBatches() != 0 {
		t.Errorf("bad blocks %v, damage %v, %d broken batches", bad, s.Damage(), s.BrokenBatches())
	}
}

// S1: a store that was opened anew has its files in the order in which they are
// read, also where those of its two logs lie between each other: none is passed
// over.
func TestS1ScrubReadsBothLogsOfAReopenedStore(t *testing.T) {
	fs := newDisk()
	s := open(t, fs, small())
	g := create(t, s, 1)
	for range 3 { // hot files, then a cold one, and so on
		chainOf(t, g, 30)
		must(t, g.SetFloor(g.SCL()))
		f := s.files.Load().all[0]
		for f.header.kind != fileHot || f.live.Load() == 0 {
			f = s.files.Load().find(f.header.seq + 1)
		}
		_, err := s.clean(f, nil)
		must(t, err)
		must(t, s.rollCold())
	}
	chainOf(t, g, 30)
	must(t, s.mark())
	must(t, s.Close())
	s = open(t, fs, small())
	g = segment(t, s, 1)
	seen := map[fileKind]int{}
	for _, f := range s.files.Load().all {
		seen[f.header.kind]++
	}
	if seen[fileHot] < 6 || seen[fileCold] < 3 {
		t.Fatalf("%v files: the test proves little", seen)
	}
	if last := s.ScrubEnd(); last != uint32(s.filer.newest()) {
		t.Fatalf("a scrub ends with file %d of %d", last, s.filer.newest())
	}
	damaged := 0
	for b := range block.Index(120) { // the newest block of each file
		l := g.newest(b + 1).loc
		if f := s.files.Load().find(l.file); f != nil && len(g.Bad()) == 0 && b%10 == 0 {
			rot(t, fs, f.name, pageNo(l.page).bytes()+99)
			damaged++
		}
	}
	if _, sum := scrubAll(t, s, 64*block.KiB); sum.Found != damaged || damaged < 10 {
		t.Fatalf("%d of %d damaged blocks were found", sum.Found, damaged)
	}
}
