package logstore

import (
	"syscall"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs"
	"github.com/sextantdisk/sextant/internal/vfs/faultfs"
	"github.com/sextantdisk/sextant/internal/vfs/vfstest"
)

// These are what the crash scripts have found, one by one.

// T16: a daemon dies after it has renamed a log file and before the name is
// durable. The next one builds upon it; then the power goes.
func TestT16NamesThatADeadDaemonLeftAreDurable(t *testing.T) {
	disk := newDisk()
	faults := faultfs.Wrap(disk)
	s := open(t, faults, small())
	g := create(t, s, 1)
	chainOf(t, g, 3)
	faults.Add(faultfs.Rule{Ops: faultfs.SyncDir, Err: syscall.EIO})
	scl := g.SCL()
	for err := error(nil); err == nil; scl = g.SCL() {
		err = g.Enqueue([]Record{write(scl+1, scl, block.Index(scl.Seq()+1), 1)}).Wait()
	}
	must(t, s.Close())
	s = open(t, disk, small())
	g = segment(t, s, 1)
	if g.SCL() != scl || s.head.file.header.seq != 2 {
		t.Fatalf("complete up to %v in %s: the test proves nothing", g.SCL(), s.head.file.name)
	}
	chainOf(t, g, 3)
	s = open(t, crash(disk), small())
	if st := segment(t, s, 1).State(); st.SCL != scl+3 || len(s.Damage()) > 0 {
		t.Fatalf("what was acknowledged is gone: %+v, damage %v", st, s.Damage())
	}
}

// T16: the same with a checkpoint, behind which files were freed then.
func TestT16CheckpointThatADeadDaemonLeftIsDurable(t *testing.T) {
	disk := newDisk()
	faults := faultfs.Wrap(disk)
	s := open(t, faults, cleaning())
	g := create(t, s, 1)
	for range 2 {
		chainOf(t, g, 20)
		must(t, g.SetFloor(g.SCL()))
		checkpoint(t, s)
	}
	chainOf(t, g, 20)
	must(t, g.SetFloor(g.SCL()))
	faults.Add(faultfs.Rule{Ops: faultfs.SyncMeta, Pattern: manifestPrefix + "*", Err: syscall.EIO})
	wantKind(t, s.ckpt.now(), block.Unavailable)
	must(t, s.Close())
	s = open(t, disk, cleaning())
	if s.ckpt.durable() != 3 {
		t.Fatalf("checkpoint %d is in force: the test proves nothing", s.ckpt.durable())
	}
	s = open(t, crash(disk), cleaning())
	if s.ckpt.durable() != 3 {
		t.Fatalf("checkpoint %d is in force, 3 was", s.ckpt.durable())
	}
}

// The manifest of the newer checkpoint rots, and log files that it needs no more
// were cleaned: the older one cannot be used without them, the log alone can.
func TestOlderCheckpointIsNotUsedWithoutItsLog(t *testing.T) {
	disk := newDisk()
	s := open(t, disk, cleaning())
	g := create(t, s, 1)
	checkpoint(t, s)
	chainOf(t, g, 40)
	must(t, g.SetFloor(g.SCL()))
	checkpoint(t, s)
	if _, err := s.clean(s.files.Load().find(2), nil); err != nil {
		t.Fatal(err)
	}
	s.cleaner.step(nil) // frees it
	s.cleaner.step(nil) // makes a spare of it
	if s.files.Load().find(2) != nil || s.filer.spares() != 1 {
		t.Fatal("file 2 was not freed: the test proves nothing")
	}
	must(t, s.Close())
	rot(t, disk, manifestName(1), 100)
	s = open(t, disk, cleaning())
	if s.ckpt.durable() != 0 || segment(t, s, 1).State().Damaged {
		t.Fatalf("checkpoint %d is in force, %+v", s.ckpt.durable(), segment(t, s, 1).State())
	}
	intact(t, s)
}

// A batch is lost, and the header of the next file: what stands between them is
// found, though nobody says where the file ended.
func TestGapBeforeAFileWithoutAHeader(t *testing.T) {
	disk := logOf(t, 20) // of two files
	all, _ := batches(t, disk)
	if all[8].File != logName(1) || all[20].File != logName(2) {
		t.Fatalf("batches lie in %s and %s", all[8].File, all[20].File)
	}
	rot(t, disk, logName(1), all[5].Offset+70)
	rot(t, disk, logName(2), 20)
	rot(t, disk, logName(2), pageSize+20)
	s := open(t, disk, small())
	g := segment(t, s, 1)
	if st := g.State(); !st.Damaged || st.SCL != lsn(1, 4) || st.Pending < 5 {
		t.Fatalf("%+v, damage %v", st, s.Damage())
	}
	put(t, g, write(lsn(1, 5), lsn(1, 4), 5, 1)) // a peer gives it
	if g.SCL() < lsn(1, 9) {
		t.Fatalf("complete up to %v: more than one record of the first file was lost", g.SCL())
	}
}

// A write went right behind the last batch by mistake: it was not begun there,
// and so is no proof that this one was durable.
func TestT14MisplacedFrameProvesNothing(t *testing.T) {
	disk := logOf(t, 5)
	all, _ := batches(t, disk)
	last := all[len(all)-1]
	page := make([]byte, 2*pageSize)
	s := readOnly(t, disk)
	must(t, s.files.Load().find(1).read(page, pageNo(all[2].Offset/pageSize)))
	must(t, s.Close())
	end := last.Offset + last.Header + last.Payload
	w, err := disk.OpenFile("/store/"+last.File, vfs.ReadWrite)
	must(t, err)
	must(t, w.WritevAt([][]byte{page}, pageNo(end/pageSize).at()))
	must(t, w.SyncMeta())
	must(t, w.Close())
	rot(t, disk, last.File, last.Offset+last.Header+9) // the last batch was torn
	s = open(t, disk, small())
	if st := segment(t, s, 1).State(); st.SCL != lsn(1, 4) || st.Damaged || len(s.Damage()) > 0 {
		t.Fatalf("%+v, damage %v", st, s.Damage())
	}
}

// The newer manifest was being written when the power went, files were cleaned
// before the older checkpoint, and one behind it has lost its header. Neither that
// checkpoint nor the log alone tells all; but the first has what was cleaned.
func TestOlderCheckpointIsBetterThanALogWithHoles(t *testing.T) {
	for what, harm := range map[string]func(disk vfstest.Disk, file string){
		"no header": func(disk vfstest.Disk, file string) {
			rot(t, disk, file, 20)
			rot(t, disk, file, pageSize+20)
		},
		"gone": func(disk vfstest.Disk, file string) { must(t, disk.Remove("/store/"+file)) },
	} {
		disk := newDisk()
		s := open(t, disk, cleaning())
		g := create(t, s, 1)
		chainOf(t, g, 40)
		must(t, g.SetFloor(g.SCL()))
		checkpoint(t, s)
		if _, err := s.clean(s.files.Load().find(1), nil); err != nil {
			t.Fatal(err)
		}
		s.cleaner.step(nil) // frees it
		s.cleaner.step(nil) // makes a spare of it
		checkpoint(t, s)
		settled, lost := g.SCL(), s.head.file.header.seq
		for range 2 {
			lost = s.head.file.header.seq
			for s.head.file.header.seq == lost {
				chainOf(t, g, 1)
			}
		}
		if s.files.Load().find(1) != nil || s.ckpt.durable() != 2 {
			t.Fatalf("file 1 is there, or checkpoint %d is in force: the test proves nothing", s.ckpt.durable())
		}
		must(t, s.Close())
		rot(t, disk, manifestName(1), 100)
		harm(disk, logName(lost))
		s = open(t, disk, cleaning())
		g = segment(t, s, 1)
		if st := g.State(); st.SCL < settled || !st.Damaged || s.ckpt.durable() != 1 {
			t.Fatalf("%s: complete up to %v, was up to %v before what was lost; %+v, checkpoint %d, damage %v", what, st.SCL, settled, st, s.ckpt.durable(), s.Damage())
		}
		for n := block.Seq(1); n <= settled.Seq(); n++ {
			if got := owner(t, g, g.SCL(), block.Index(n)); got != lsn(1, n) {
				t.Fatalf("%s: block %d is of %v", what, n, got)
			}
		}
		must(t, s.Close())
	}
}

// T14: a segment was known to be complete again when it had records that are lost
// now. It does not know any more what it had then, and says so; when they were
// sent again it is what it was.
func TestT14ClearedSegmentThatLostMoreIsDamaged(t *testing.T) {
	disk := newDisk()
	s := open(t, disk, small())
	g := create(t, s, 1)
	chainOf(t, g, 10)
	must(t, g.ClearDamage())
	must(t, s.Close())
	all, _ := batches(t, disk)
	rot(t, disk, all[9].File, all[9].Offset+70)
	rot(t, disk, all[10].File, all[10].Offset+70)
	s = open(t, disk, small())
	g = segment(t, s, 1)
	if st := g.State(); !st.Damaged || st.SCL != lsn(1, 8) {
		t.Fatalf("%+v, damage %v", st, s.Damage())
	}
	put(t, g, write(lsn(1, 9), lsn(1, 8), 9, 1), write(lsn(1, 10), lsn(1, 9), 10, 1))
	must(t, g.ClearDamage())
	must(t, s.Close())
	s = open(t, disk, small())
	if st := segment(t, s, 1).State(); st.Damaged || st.SCL != lsn(1, 10) {
		t.Fatalf("%+v, damage %v", st, s.Damage())
	}
}

// T14: a batch was refused when half of it was on the disk, and the next file said
// that the log ended before it. That file's header is lost: the batch looks like a
// part of the log, and what it held like complete. A later STATUS, whose head is
// lower, is no proof that nothing was lost.
func TestT14StatusBelowWhatIsThereProvesNothing(t *testing.T) {
	disk := newDisk()
	fs := faultfs.Wrap(disk)
	s := open(t, fs, small())
	g := create(t, s, 1)
	create(t, s, 2)
	chainOf(t, g, 3)
	fs.Add(faultfs.Rule{Ops: faultfs.Write, Times: 1, Err: syscall.EIO, Short: int(pageSize)})
	wantKind(t, g.Enqueue([]Record{write(lsn(1, 4), lsn(1, 3), 4, 1)}).Wait(), block.Unavailable)
	must(t, s.Close())

	s = open(t, disk, small())
	g = segment(t, s, 1)
	other := segment(t, s, 2)
	lost := s.head.file
	if g.SCL() != lsn(1, 3) || lost.header.seq != 2 {
		t.Fatalf("complete up to %v in %s: the test proves nothing", g.SCL(), lost.name)
	}
	for s.head.file == lost {
		chainOf(t, other, 1)
	}
	must(t, g.EnqueuePromise(7).Wait())
	must(t, s.mark())
	must(t, s.Close())

	rot(t, disk, lost.name, 20)
	rot(t, disk, lost.name, pageSize+20)
	s = open(t, disk, small())
	if st := segment(t, s, 1).State(); st.SCL == lsn(1, 4) && !st.Damaged || st.Promised != 7 {
		t.Fatalf("a refused record is called complete: %+v, damage %v", st, s.Damage())
	} else if st.SCL != lsn(1, 4) {
		t.Fatalf("%+v: the test proves nothing", st)
	}
}
