package logstore

import (
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs/vfstest"
)

// One of two copies of a header rots: the next start writes it again, so that
// it does not take the other one to be lost one day.
func TestHeaderCopyIsWrittenAgain(t *testing.T) {
	fs := logOf(t, 40)
	for copies := range 4 { // one, the other, the first again
		rot(t, fs, logName(2), block.ByteCount(copies%headerCopies*pageSize+50))
		s := open(t, fs, small())
		if d := s.Damage(); len(d) != 1 || d[0].Kind != DamageHeader || d[0].File != logName(2) {
			t.Fatalf("damage %v", d)
		}
		must(t, s.Close())
		r := readOnly(t, crash(fs))
		if d := r.Damage(); len(d) != 0 {
			t.Fatalf("it was not mended: %v", d)
		}
		must(t, r.Close())
	}
}

// keptBehind is a store whose first 40 blocks lie before a checkpoint, closed.
func keptBehind(t *testing.T) vfstest.Disk {
	t.Helper()
	disk := newDisk()
	s := open(t, disk, small())
	g := create(t, s, 1)
	chainOf(t, g, 36)
	must(t, g.SetFloor(g.SCL()))
	chainOf(t, g, 4)
	checkpoint(t, s)
	must(t, s.Close())
	return disk
}

// S2: the blocks of a log file that is lost are to be mended like those that a
// scrub finds damaged, though nobody can read there: also when the store is
// opened again half-way. When none is left there, nobody speaks of the file any
// more.
func TestS2BlocksOfALostFileAreMended(t *testing.T) {
	for what, lose := range map[string]func(disk vfstest.Disk){
		"gone": func(disk vfstest.Disk) { must(t, disk.Remove("/store/"+logName(1))) },
		"without a header": func(disk vfstest.Disk) {
			rot(t, disk, logName(1), 20)
			rot(t, disk, logName(1), pageSize+20)
		},
	} {
		disk := keptBehind(t)
		lose(disk)
		s := open(t, disk, small())
		g := segment(t, s, 1)
		if st := g.State(); st.Damaged || st.BadBlocks == 0 {
			t.Fatalf("%s: %+v", what, st)
		}
		bad := g.Bad()
		if len(bad) < 5 || bad[0].Block != 1 {
			t.Fatalf("%s: to be mended are %v", what, bad)
		}
		for i, b := range bad {
			if i == len(bad)/2 {
				must(t, s.Close())
				s = open(t, disk, small())
				if g = segment(t, s, 1); len(g.Bad()) != len(bad)-i {
					t.Fatalf("%s: half-way %d are to be mended, want %d", what, len(g.Bad()), len(bad)-i)
				}
			}
			must(t, g.Mend(b.Block, stamp(lsn(1, block.Seq(b.Block)), b.Block, 1)))
		}
		if left := g.Bad(); len(left) > 0 || g.State().BadBlocks != 0 {
			t.Fatalf("%s: %v are left", what, left)
		}
		checkpoint(t, s)
		must(t, s.Close())
		s = open(t, disk, small()) // it looks for the last time
		must(t, s.Close())
		s = open(t, disk, small())
		if d := s.Damage(); len(d) > 0 {
			t.Fatalf("%s: all is mended, but told is %v", what, d)
		}
		intact(t, s)
		if want := block.ByteCount(len(s.files.Load().all)) * s.cfg.FileSize; s.filer.mu.planned != want {
			t.Fatalf("%s: %v are planned for files of %v", what, s.filer.mu.planned, want)
		}
		must(t, s.Close())
	}
}

// T14: the power goes after a file was begun and before the one before it has
// its footer. The next start writes that: so the loss of the last file is seen
// all the same, from then on.
func TestT14LastFileIsMissedAfterACrashBeforeTheFooter(t *testing.T) {
	cfg := small()
	cfg.footerFrom = 1
	disk := newDisk()
	s := open(t, disk, cfg)
	g := create(t, s, 1)
	for len(s.files.Load().all) < 3 {
		chainOf(t, g, 1)
	}
	disk = crash(disk)
	s = open(t, disk, cfg)
	last := s.head.file.name
	s.sealer.work(nil)
	s.sealer.work(nil) // which has one
	disk = crash(disk)
	must(t, disk.Remove("/store/"+last))
	s = open(t, disk, cfg)
	if d := s.Damage(); len(d) != 1 || d[0].Kind != DamageFile || !segment(t, s, 1).State().Damaged {
		t.Fatalf("the last file is gone, told is %v, %+v", d, segment(t, s, 1).State())
	}
}
