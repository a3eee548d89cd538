package logstore

import (
	"syscall"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs/faultfs"
	"github.com/sextantdisk/sextant/internal/vfs/vfstest"
)

// dead is a store of which all but the last files are empty and behind a
// checkpoint: the next steps of its cleaner free them.
func dead(t *testing.T) (*faultfs.FS, *Store, *Segment) {
	t.Helper()
	faults := faultfs.Wrap(newDisk())
	s := open(t, faults, cleaning())
	g := create(t, s, 1)
	chainOf(t, g, 80)
	put(t, g, trim(g.SCL()+1, g.SCL(), 0, 4096))
	must(t, g.SetFloor(g.SCL()))
	must(t, s.ckpt.now())
	return faults, s, g
}

// A folder on a full disk may have no room for the new name of a file that was
// cleaned: then the file goes, and the log goes on.
func TestFullDiskHasNoRoomForASparesName(t *testing.T) {
	faults, s, g := dead(t)
	files := len(s.files.Load().all)
	remove := faults.Add(faultfs.Rule{Ops: faultfs.Rename, Err: syscall.ENOSPC})
	s.cleaner.step(nil) // lets them go
	s.cleaner.step(nil) // would make spares of them
	remove()
	must(t, s.Failed())
	left := s.files.Load().all
	if len(left) >= files-1 || s.filer.spares() != 0 {
		t.Fatalf("%d files of %d are left, %d spares", len(left), files, s.filer.spares())
	}
	if want := block.ByteCount(len(left)) * s.cfg.FileSize; s.filer.mu.planned != want {
		t.Fatalf("%v are planned for files of %v", s.filer.mu.planned, want)
	}
	chainOf(t, g, 20)
}

// A spare that a full disk does not let begin a new life waits on.
func TestFullDiskLosesNoSpare(t *testing.T) {
	faults, s, g := dead(t)
	s.cleaner.step(nil)
	s.cleaner.step(nil)
	for _, op := range []faultfs.Op{faultfs.Write, faultfs.SyncMeta, faultfs.Rename} {
		spares := s.filer.spares()
		if spares == 0 {
			t.Fatal("no spares")
		}
		pattern := "spare-*"
		if op == faultfs.Rename {
			pattern = "log-*"
		}
		remove := faults.Add(faultfs.Rule{Ops: op, Pattern: pattern, Err: syscall.ENOSPC})
		var err error
		for i := 0; i < 100 && err == nil; i++ {
			err = g.Enqueue([]Record{write(g.SCL()+1, g.SCL(), 5, 1)}).Wait()
		}
		wantKind(t, err, block.NoSpace)
		if n := s.filer.spares(); n != spares {
			t.Fatalf("%d spares became %d", spares, n)
		}
		remove()
		chainOf(t, g, 1)
		if n := s.filer.spares(); n != spares-1 {
			t.Fatalf("%d spares became %d, one is used", spares, n)
		}
	}
}

// A footer is never needed: a disk that has no room for one does not end the
// log.
func TestFullDiskHasNoRoomForAFooter(t *testing.T) {
	disk := newDisk()
	faults := faultfs.Wrap(disk)
	cfg := small()
	cfg.footerFrom = 1
	s := open(t, faults, cfg)
	g := create(t, s, 1)
	for len(s.files.Load().all) < 3 {
		chainOf(t, g, 1)
	}
	remove := faults.Add(faultfs.Rule{Ops: faultfs.Write, Err: syscall.ENOSPC})
	s.sealer.work(nil)
	remove()
	must(t, s.Failed())
	first := s.files.Load().all[0]
	if readFooter(first, first.reader) != nil {
		t.Fatal("it has a footer: the test proves nothing")
	}
	for len(s.files.Load().all) < 5 {
		chainOf(t, g, 1)
	}
	sealed := s.files.Load().all[3]
	s.sealer.work(nil)
	if readFooter(sealed, sealed.reader) == nil {
		t.Fatal("the next one got no footer")
	}
}

// A manifest may be whole on the disk though writing it has failed: it names
// what is there, until another one takes its place.
func TestManifestThatMayBeThereNamesWhatIsThere(t *testing.T) {
	disk := vfstest.Memory(0) // one that can lose what was not synced
	faults := faultfs.Wrap(disk)
	s := open(t, faults, small())
	g := create(t, s, 1)
	for range 3 {
		chainOf(t, g, 20)
		must(t, g.SetFloor(g.SCL()))
		checkpoint(t, s)
	}
	remove := faults.Add(faultfs.Rule{Ops: faultfs.SyncMeta, Pattern: manifestPrefix + "*", Times: 1, Err: syscall.ENOSPC})
	chainOf(t, g, 1)
	wantKind(t, s.ckpt.now(), block.NoSpace)
	remove()
	for keep, want := range map[float64]generation{0: 3, 1: 4} {
		r := open(t, disk.CrashClone(rng(1), keep), small())
		if r.ckpt.durable() != want || len(r.Damage()) > 0 || segment(t, r, 1).SCL() != g.SCL() {
			t.Fatalf("keep %v: checkpoint %d, damage %v", keep, r.ckpt.durable(), r.Damage())
		}
		must(t, r.Close())
	}
	checkpoint(t, s)
	names, err := disk.List("/store")
	must(t, err)
	for _, name := range names {
		if name == stateName(4) || name == leavesName(4) {
			t.Fatalf("%s is left behind", name)
		}
	}
}

// A full disk refuses what is to be saved of an empty file. What is cleaned next
// is moved whole all the same, and nothing of the first attempt goes with it.
func TestT29RefusedMarksAreNotMovedWithTheNextBlocks(t *testing.T) {
	faults := faultfs.Wrap(newDisk())
	s := open(t, faults, cleaning())
	g := create(t, s, 1)
	put(t, g, epochOpen(lsn(1, 1), 0))
	for first := s.head.file; s.head.file == first; { // of nothing but marks
		put(t, g, trim(g.SCL()+1, g.SCL(), 100, 1))
	}
	for s.head.file.header.seq < 4 {
		put(t, g, write(g.SCL()+1, g.SCL(), block.Index(g.SCL().Seq()), 1))
	}
	checkpoint(t, s)
	if _, err := s.clean(s.files.Load().find(2), nil); err != nil { // begins a cold file
		t.Fatal(err)
	}
	remove := faults.Add(faultfs.Rule{Ops: faultfs.Write, Err: syscall.ENOSPC})
	s.cleaner.step(nil)
	remove()
	must(t, s.Failed())
	third := s.files.Load().find(3)
	if s.files.Load().find(1) == nil || third.live.Load() == 0 || !s.freeable(third) {
		t.Fatal("file 1 is gone, or file 3 is not to be cleaned: the test proves nothing")
	}
	if _, err := s.clean(third, nil); err != nil {
		t.Fatal(err)
	}
	for _, e := range g.mu.index.chain.Path() {
		if e.Value.typ == TypeWrite {
			if got := owner(t, g, g.SCL(), e.Value.block); got != e.LSN {
				t.Fatalf("block %d is of %v, want %v", e.Value.block, got, e.LSN)
			}
		}
	}
}
