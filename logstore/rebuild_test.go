package logstore

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs/faultfs"
	"github.com/sextantdisk/sextant/internal/vfs/vfstest"
)

// bare is a disk as it is now, without its checkpoints.
func bare(t testing.TB, disk vfstest.Disk) vfstest.Disk {
	t.Helper()
	c := disk.CrashClone(rng(1), 1)
	withoutCheckpoints(t, c)
	return c
}

// A store that was cleaned over many laps, and has lost both checkpoints, is
// made anew from its log: overwrites, trims, zeroes, takeovers, annulled and
// pending records, dropped segments, promises and configurations are what they
// are with the checkpoints.
func TestRebuildGivesTheSame(t *testing.T) {
	rebuilt, recycled := 0, 0
	for seed := uint64(1); seed <= 8; seed++ {
		fs := vfstest.Memory(0)
		cfg := cleaning()
		d := newDirt(t, seed, func() *Store { return open(t, fs, cfg) })
		for i := range 400 {
			switch n := 1 + d.rng.IntN(3); d.rng.IntN(16) {
			case 0, 1:
				d.floor(n)
			case 2, 3:
				d.clean()
			case 4:
				d.free()
			case 5:
				d.promise(n)
			case 6:
				if d.rng.IntN(6) == 0 {
					d.replace(n)
				}
			default:
				d.write(n)
			}
			if i%20 == 19 {
				rebuilt += d.rebuild(fs, fmt.Sprintf("seed %d, step %d", seed, i))
			}
			if i%100 == 99 { // go on with what was made from the log
				recycled += d.store.Stats().Recycled
				must(t, d.store.Close())
				withoutCheckpoints(t, fs)
				d.store = d.reopen()
				d.check()
			}
		}
		must(t, d.store.Close())
	}
	if rebuilt < 100 || recycled < 40 {
		t.Fatalf("%d rebuilds, %d files were recycled: the test proves little", rebuilt, recycled)
	}
}

// rebuild compares the store with one that is made from its log alone.
func (d *dirt) rebuild(disk vfstest.Disk, what string) int {
	d.t.Helper()
	cfg := cleaning()
	cfg.ReadOnly = true
	s := open(d.t, bare(d.t, disk), cfg)
	defer s.Close()
	if bad := s.Damage(); len(bad) > 0 {
		d.t.Fatalf("%s: damage %v", what, bad)
	}
	for n, m := range d.models {
		if diff := differ(d.t, segment(d.t, s, n), m, dirtBlocks); diff != "" {
			d.t.Fatalf("%s: segment %d: %s\n%s", what, n, diff, segment(d.t, s, n).mu.index.chain.Describe())
		}
	}
	if s.Segments()[0].mu.index.base.since == 0 {
		return 0
	}
	return 1
}

// laps is a store whose files were cleaned, freed and used again many times,
// closed, and what it held.
func laps(t *testing.T, seed uint64) (vfstest.Disk, *dirt) {
	t.Helper()
	fs := vfstest.Memory(0)
	d := newDirt(t, seed, func() *Store { return open(t, fs, cleaning()) })
	for range 250 {
		switch n := 1 + d.rng.IntN(3); d.rng.IntN(8) {
		case 0:
			d.floor(n)
		case 1:
			d.clean()
		case 2:
			d.free()
		default:
			d.write(n)
		}
	}
	must(t, d.store.Close())
	return fs, d
}

// One log file is lost, and both checkpoints: what is missing is told, and no
// segment says that it is complete where it is not. (The last file of the hot
// log is another matter: nothing may say that it was there.)
func TestT14LostFileIsNoticedWithoutCheckpoints(t *testing.T) {
	tried := 0
	for seed := uint64(1); seed <= 4; seed++ {
		fs, d := laps(t, seed)
		for _, f := range d.store.files.Load().all {
			if f.header.seq == d.store.lastSeq {
				continue
			}
			tried++
			disk := bare(t, fs)
			must(t, disk.Remove("/store/"+f.name))
			s := readOnly(t, disk)
			if len(s.Damage()) == 0 {
				t.Fatalf("seed %d: %s is gone, and no damage is told", seed, f.name)
			}
			for n, m := range d.models {
				if g, ok := s.Segment(segID(n)); ok && !g.State().Damaged && differ(t, g, m, dirtBlocks) != "" {
					t.Fatalf("seed %d: %s is gone, and segment %d is said to be whole: %s", seed, f.name, n, differ(t, g, m, dirtBlocks))
				}
			}
			must(t, s.Close())
		}
	}
	if tried < 20 {
		t.Fatalf("%d files: the test proves little", tried)
	}
}

// What is at or below the floor already is acknowledged, and not logged again.
func TestLateRecordsAreNotLogged(t *testing.T) {
	fs := vfstest.Memory(0)
	s := open(t, fs, small())
	g := create(t, s, 1)
	chainOf(t, g, 3)
	must(t, g.SetFloor(lsn(1, 2)))
	before := s.Stats().Batches
	put(t, g, write(lsn(1, 1), 0, 1, 1), write(lsn(1, 2), lsn(1, 1), 2, 1))
	if after := s.Stats().Batches; after != before {
		t.Fatalf("%d batches after late records, %d before", after, before)
	}
	put(t, g, write(lsn(1, 2), lsn(1, 1), 2, 1), write(lsn(1, 4), lsn(1, 3), 4, 1))
	if g.SCL() != lsn(1, 4) {
		t.Fatalf("complete up to %v", g.SCL())
	}
}

// tornEnd is a disk whose first log file ends before a segment whose creation
// failed half-written; the file that followed it is gone, and only a later one says
// where the end was. Its checkpoints are lost.
func tornEnd(t *testing.T) (disk vfstest.Disk, torn fileSeq, last string) {
	t.Helper()
	disk = newDisk()
	fs := faultfs.Wrap(disk)
	s := open(t, fs, cleaning())
	g := create(t, s, 1)
	chainOf(t, g, 3)
	torn = s.head.file.header.seq
	fs.Add(faultfs.Rule{Ops: faultfs.Write, Times: 1, Err: syscall.EIO, Short: int(pageSize)})
	_, err := s.CreateSegment(segID(2), 1, []byte("refused"))
	wantKind(t, err, block.Unavailable)
	must(t, s.Close())

	s = open(t, disk, cleaning())
	g = segment(t, s, 1)
	next := s.head.file
	if next.header.seq == torn || next.header.prevSeq != torn {
		t.Fatalf("the log goes on in %s behind a torn end", next.name)
	}
	for s.head.file == next { // it is full, dead, and freed
		prev := g.SCL()
		put(t, g, write(prev+1, prev, 100, 8))
	}
	prev := g.SCL()
	put(t, g, write(prev+1, prev, 100, 8))
	must(t, g.SetFloor(g.SCL()))
	must(t, s.ckpt.now())
	s.cleaner.step(nil)
	s.cleaner.step(nil)
	must(t, s.Close())
	if _, err := disk.Stat("/store/" + next.name); err == nil || s.files.Load().find(torn) == nil {
		t.Fatal("the file behind the torn end is not gone, or all are: the test proves nothing")
	}
	withoutCheckpoints(t, disk)
	return disk, torn, s.head.file.name
}

// What stands behind the end of a file was refused: it is no part of a store that
// is made anew from its log.
func TestRebuildKnowsWhereFilesEnd(t *testing.T) {
	disk, torn, _ := tornEnd(t)
	s := open(t, disk, cleaning())
	if d := s.Damage(); len(d) > 0 || len(s.Segments()) != 1 {
		t.Fatalf("%d segments, damage %v", len(s.Segments()), d)
	}
	if _, speaks := s.files.Load().find(torn).span(segment(t, s, 1).idx + 1); speaks {
		t.Fatal("a file is said to speak of the segment that was refused: its number will be had again")
	}
	for n := block.Seq(1); n <= 3; n++ {
		if got := owner(t, segment(t, s, 1), segment(t, s, 1).SCL(), block.Index(n)); got != lsn(1, n) {
			t.Fatalf("block %d is of %v", n, got)
		}
	}
}

// Nor is it where damage elsewhere has the log replayed as it is.
func TestReplayOfADamagedLogKnowsWhereFilesEnd(t *testing.T) {
	disk, torn, last := tornEnd(t)
	rot(t, disk, last, headerCopies*pageSize+100)
	s := open(t, disk, cleaning())
	if len(s.Damage()) == 0 {
		t.Fatal("the damage is not told: the test proves nothing")
	}
	for _, d := range s.Damage() {
		if d.File == logName(torn) {
			t.Errorf("what was refused is called damaged: %v", d)
		}
	}
	if f := s.files.Load().find(torn); f == nil || len(f.mu.gaps) > 0 {
		t.Error("the file with the torn end has gaps, or is gone")
	}
}
