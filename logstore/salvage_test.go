package logstore

import (
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs/vfstest"
)

// broken is a store with a checkpoint, of whose first file the header of a
// batch has rotted: that of record 6. A scrub has found it.
func broken(t *testing.T) (vfstest.Disk, *Store, *Segment) {
	t.Helper()
	disk := newDisk()
	s := open(t, disk, cleaning())
	g := create(t, s, 1)
	chainOf(t, g, 9)
	must(t, g.SetFloor(g.SCL()-7)) // some settled, some not
	chainOf(t, g, 31)
	checkpoint(t, s)
	all, _ := batches(t, crash(disk))
	if b := all[6]; b.File == logName(1) && b.Payload == pageSize {
		rot(t, disk, b.File, b.Offset+70)
	} else {
		t.Fatalf("batch %+v", b)
	}
	must(t, g.SetFloor(g.SCL()-5))
	if _, sum := scrubAll(t, s, block.MiB); sum.Found != 1 || s.BrokenBatches() != 1 {
		t.Fatalf("%+v, %d broken batches", sum, s.BrokenBatches())
	}
	return disk, s, g
}

// S2: a batch whose header rots under a checkpoint is mended by moving what
// counts of its file: nothing of it is lost, and when that is done, nobody
// speaks of it any more.
func TestS2BrokenBatchIsSalvaged(t *testing.T) {
	disk, s, _ := broken(t)
	for range 3 {
		s.cleaner.step(nil)
	}
	must(t, s.Failed())
	if s.files.Load().find(1) != nil || s.BrokenBatches() != 0 {
		t.Fatalf("file 1 is there still, %d broken batches", s.BrokenBatches())
	}
	if n := s.files.Load().find(2).live.Load(); n == 0 {
		t.Fatal("it has cleaned more than was asked for")
	}
	for _, d := range s.Damage() {
		if d.Kind != DamageBatch {
			t.Fatalf("damage %v", s.Damage())
		}
	}
	for when, fs := range map[string]vfstest.Disk{"by the checkpoint": crash(disk), "closed": disk} {
		if when == "closed" {
			checkpoint(t, s)
			must(t, s.Close())
		}
		r := open(t, fs, cleaning())
		if segment(t, r, 1).State().Damaged {
			t.Fatalf("%s: damaged", when)
		}
		intact(t, r)
		must(t, r.Close())
	}
}

// T14: what the broken batch held is not known to who makes the index from the
// log alone. The segment begins again, and says so.
func TestT14SalvagedSegmentIsNotMadeAnewFromTheLog(t *testing.T) {
	disk, s, _ := broken(t)
	for range 3 {
		s.cleaner.step(nil)
	}
	r := open(t, bare(t, disk), cleaning())
	if st := segment(t, r, 1).State(); !st.Damaged {
		t.Fatalf("%+v", st)
	}
}

// T20: a TRIM was in the broken batch, and nothing else that counts. What it
// hides from who makes the index from the log alone does not come back when its
// file is gone.
func TestT20SalvagedTrimHidesForEver(t *testing.T) {
	disk := newDisk()
	s := open(t, disk, cleaning())
	g := create(t, s, 1)
	for len(s.files.Load().all) < 2 {
		chainOf(t, g, 1)
	}
	put(t, g, trim(g.SCL()+1, g.SCL(), 1, 4))
	for len(s.files.Load().all) < 3 {
		chainOf(t, g, 1)
	}
	must(t, g.SetFloor(g.SCL()))
	checkpoint(t, s)
	all, _ := batches(t, crash(disk))
	for _, b := range all {
		if b.Payload == 0 && b.File == logName(2) {
			rot(t, disk, b.File, b.Offset+70)
		}
	}
	if _, sum := scrubAll(t, s, block.MiB); sum.Found != 1 {
		t.Fatalf("%+v", sum)
	}
	for range 3 {
		s.cleaner.step(nil)
	}
	if s.files.Load().find(1) == nil || s.files.Load().find(2) != nil {
		t.Fatal("the TRIM's file is not gone, or what it hides is: the test proves nothing")
	}
	r := open(t, bare(t, disk), cleaning())
	h := segment(t, r, 1)
	if !h.State().Damaged {
		t.Fatalf("who has lost a TRIM says that nothing is wrong, and shows %v", imageOf(t, h, h.SCL(), 5))
	}
}

// A file with such a batch waits for a checkpoint behind it, and asks for one.
func TestBrokenFileWaitsForACheckpoint(t *testing.T) {
	disk := newDisk()
	s := open(t, disk, cleaning())
	g := create(t, s, 1)
	chainOf(t, g, 40)
	all, _ := batches(t, crash(disk))
	rot(t, disk, all[3].File, all[3].Offset+70)
	scrubAll(t, s, block.MiB)
	s.cleaner.step(nil)
	if s.files.Load().find(1) == nil || !s.ckpt.wanted() {
		t.Fatal("the file is gone before a checkpoint lies behind it, or nobody has asked for one")
	}
	checkpoint(t, s)
	for range 3 {
		s.cleaner.step(nil)
	}
	if s.files.Load().find(1) != nil {
		t.Fatal("it is there still")
	}
	for b := range block.Index(40) {
		if got := owner(t, g, g.SCL(), b+1); got != lsn(1, block.Seq(b+1)) {
			t.Fatalf("block %d is of %v", b+1, got)
		}
	}
}
