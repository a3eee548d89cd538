package logstore

import (
	"syscall"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs/faultfs"
	"github.com/sextantdisk/sextant/internal/vfs/vfstest"
)

// S3: a failed write or sync ends the log for ever; nothing is tried again,
// reads go on.
func TestS3FailedFlushEndsTheLog(t *testing.T) {
	for name, op := range map[string]faultfs.Op{"write": faultfs.Write, "sync": faultfs.Sync} {
		t.Run(name, func(t *testing.T) {
			disk := newDisk()
			fs := faultfs.Wrap(disk)
			s := open(t, fs, small())
			g := create(t, s, 1)
			chainOf(t, g, 3)
			fs.Add(faultfs.Rule{Ops: op, Times: 1, Err: syscall.EIO})
			waits := g.Enqueue([]Record{write(lsn(1, 5), lsn(1, 4), 5, 1)})
			err := g.Enqueue([]Record{write(lsn(1, 4), lsn(1, 3), 4, 1)}).Wait()
			wantKind(t, err, block.Unavailable)
			wantKind(t, waits.Wait(), block.Unavailable)
			calls := fs.Calls(faultfs.Write) + fs.Calls(faultfs.Sync)
			wantKind(t, g.Enqueue([]Record{write(lsn(1, 4), lsn(1, 3), 4, 1)}).Wait(), block.Unavailable)
			wantKind(t, g.EnqueuePromise(9).Wait(), block.Unavailable)
			wantKind(t, s.Failed(), block.Unavailable)
			if _, err := s.CreateSegment(segID(2), 1, nil); block.KindOf(err) != block.Unavailable {
				t.Fatalf("creation on a failed disk: %v", err)
			}
			if g.SCL() != lsn(1, 3) || owner(t, g, lsn(1, 3), 3) != lsn(1, 3) {
				t.Fatal("reads do not go on, or the failed write shows")
			}
			must(t, s.Close())
			if n := fs.Calls(faultfs.Write) + fs.Calls(faultfs.Sync); n != calls {
				t.Fatalf("%d writes and syncs after the failure", n-calls)
			}
			s = open(t, disk.CrashClone(rng(1), 0), small()) // what was acknowledged is there
			if scl := segment(t, s, 1).SCL(); scl < lsn(1, 3) {
				t.Fatalf("after reopening SCL is %v", scl)
			}
		})
	}
}

// Once the disk has failed, what cleaning moves is not written either: not at
// the place that failed, and not to another file, which would not know whether
// there is one before it.
func TestS3CleaningEndsWithTheLog(t *testing.T) {
	for name, op := range map[string]faultfs.Op{"write": faultfs.Write, "sync": faultfs.Sync, "folder": faultfs.SyncDir} {
		t.Run(name, func(t *testing.T) {
			disk := newDisk()
			fs := faultfs.Wrap(disk)
			s := open(t, fs, cleaning())
			g := create(t, s, 1)
			for len(s.files.Load().all) < 3 {
				chainOf(t, g, 1)
			}
			checkpoint(t, s)
			all := s.files.Load().all
			fs.Add(faultfs.Rule{Ops: op, Times: 1, Err: syscall.EIO})
			_, err := s.clean(all[0], nil)
			wantKind(t, err, block.Unavailable)
			wantKind(t, s.Failed(), block.Unavailable)
			changes := faultfs.Write | faultfs.Sync | faultfs.SyncMeta | faultfs.SyncDir | faultfs.Create | faultfs.Rename | faultfs.Allocate
			calls := fs.Calls(changes)
			_, err = s.clean(all[1], nil)
			wantKind(t, err, block.Unavailable)
			s.cleaner.step(nil)
			if n := fs.Calls(changes); n != calls {
				t.Fatalf("%d changes of a disk that has failed", n-calls)
			}
			must(t, s.Close())
			if d := open(t, disk.CrashClone(rng(1), 1), cleaning()).Damage(); len(d) > 0 {
				t.Fatalf("what a failed disk has left is taken for damage: %v", d)
			}
		})
	}
}

// A zero-write of the filler that fails ends the log, too.
func TestS3FailedZeroWriteEndsTheLog(t *testing.T) {
	fs := faultfs.Wrap(newDisk())
	cfg := small()
	cfg.FileSize = 64 * block.MiB // the filler rests before it is whole, for the clock stands still
	s := open(t, fs, cfg)
	create(t, s, 1)
	fs.Add(faultfs.Rule{Ops: faultfs.Write, Err: syscall.EIO})
	var err error
	for err == nil && s.Failed() == nil { // by this one or the store's own
		_, err = s.filler.ahead(s.head.file.name, s.head.file.header.pages, s.head.file.claims)
	}
	if err != nil {
		s.fail(err)
	}
	wantKind(t, s.Failed(), block.Unavailable)
}

func TestNoSpaceFailsTheTicketNotTheStore(t *testing.T) {
	for name, fs := range map[string]vfstest.Disk{"capacity": vfstest.Memory(0), "disk": vfstest.Memory(300 * block.KiB)} {
		t.Run(name, func(t *testing.T) {
			cfg := small()
			if name == "capacity" {
				cfg.Capacity = 300 * block.KiB
			}
			s := open(t, fs, cfg)
			g := create(t, s, 1)
			n := block.Seq(0)
			var err error
			for err == nil {
				n++
				err = g.Enqueue([]Record{write(lsn(1, n), prevOf(n), block.Index(n), 4)}).Wait()
			}
			wantKind(t, err, block.NoSpace)
			if n < 8 {
				t.Fatalf("full after %d records", n)
			}
			must(t, s.Failed())
			if got := owner(t, g, g.SCL(), block.Index(n-1)); got != lsn(1, n-1) {
				t.Fatalf("block %d is of %v", n-1, got)
			}
			wantKind(t, g.Enqueue([]Record{write(lsn(1, n), prevOf(n), 1, 4)}).Wait(), block.NoSpace)
			must(t, s.Close())
			s = open(t, crash(fs), cfg)
			g = segment(t, s, 1)
			if g.SCL() != lsn(1, n-1) {
				t.Fatalf("after a crash SCL is %v, %d were acknowledged", g.SCL(), n-1)
			}
		})
	}
}

func prevOf(n block.Seq) block.LSN {
	if n == 1 {
		return 0
	}
	return lsn(1, n-1)
}

// After a torn tail on a full disk the store opens to be read.
func TestFullDiskWithATornTailCanBeRead(t *testing.T) {
	fs := logOf(t, 5)
	all, _ := batches(t, fs)
	rot(t, fs, all[5].File, all[5].Offset+100)
	cfg := small()
	cfg.Capacity = cfg.FileSize
	s := open(t, fs, cfg)
	g := segment(t, s, 1)
	if owner(t, g, lsn(1, 4), 4) != lsn(1, 4) {
		t.Fatal("block 4 cannot be read")
	}
	wantKind(t, g.Enqueue([]Record{write(lsn(1, 5), lsn(1, 4), 5, 1)}).Wait(), block.NoSpace)
	must(t, s.Close())
	s = open(t, fs, small()) // more room
	chainOf(t, segment(t, s, 1), 2)
}

// A crash while a write fails with ENOSPC half-way, and is tried again
// shorter, must not show the failed one as damage.
func TestNoSpaceInTheMiddleOfAWriteLeavesNoDamage(t *testing.T) {
	disk := newDisk()
	fs := faultfs.Wrap(disk)
	s := open(t, fs, small())
	g := create(t, s, 1)
	chainOf(t, g, 2)
	fs.Add(faultfs.Rule{Ops: faultfs.Write, Times: 1, Err: syscall.ENOSPC, Short: 3 * pageSize})
	wantKind(t, g.Enqueue([]Record{write(lsn(1, 3), lsn(1, 2), 3, 4)}).Wait(), block.NoSpace)
	for _, keep := range []float64{0, 1} {
		s := open(t, disk.CrashClone(rng(1), keep), small())
		if g := segment(t, s, 1); len(s.Damage()) > 0 || g.SCL() != lsn(1, 2) {
			t.Fatalf("keep %v: SCL %v, damage %v", keep, g.SCL(), s.Damage())
		}
	}
	chainOf(t, g, 2)
	s = open(t, disk.CrashClone(rng(1), 0), small())
	if g := segment(t, s, 1); len(s.Damage()) > 0 || g.SCL() != lsn(1, 4) {
		t.Fatalf("SCL %v, damage %v", g.SCL(), s.Damage())
	}
}

// T18: the head grows by zero-writes whose length is durable before a batch
// counts on it.
func TestT18BatchesLieWithinTheDurableSize(t *testing.T) {
	fs := newDisk()
	cfg := small()
	cfg.FileSize = 8 * block.MiB
	s := open(t, fs, cfg)
	g := create(t, s, 1)
	for range 80 {
		prev := g.SCL()
		put(t, g, write(max(prev+1, lsn(1, 1)), prev, block.Index(prev.Seq()), 32))
	}
	s = open(t, crash(fs), cfg)
	if scl := segment(t, s, 1).SCL(); scl != lsn(1, 80) {
		t.Fatalf("after a crash SCL is %v", scl)
	}
}

func TestB3DamagedDataIsNeverReturned(t *testing.T) {
	fs := newDisk()
	s := open(t, fs, small())
	g := create(t, s, 1)
	put(t, g, write(lsn(1, 1), 0, 4, 3))
	must(t, s.mark())
	fs2 := crash(fs)
	all, _ := batches(t, fs2)
	rot(t, fs, all[1].File, all[1].Offset+all[1].Header+pageSize+77) // block 5
	r := ReadResult{Buf: make([]byte, 3*block.Size)}
	err := g.ReadAt(lsn(1, 1), 4, 3, &r)
	wantKind(t, err, block.Corrupt)
	d := s.Damage()
	if len(d) != 1 || d[0].Kind != DamagePayload || d[0].Block != 5 || d[0].Segment != segID(1) ||
		d[0].File != all[1].File || d[0].Offset != all[1].Offset+all[1].Header+pageSize || d[0].Expected == d[0].Found {
		t.Fatalf("damage %v", d)
	}
	if st := g.State(); st.BadBlocks != 1 || st.Damaged {
		t.Fatalf("%+v", st)
	}
	must(t, g.ReadAt(lsn(1, 1), 4, 1, &r)) // the neighbours are good
	must(t, g.ReadAt(lsn(1, 1), 6, 1, &r))
	err = g.Scan(0, lsn(1, 1), block.MiB, func(Record) error { return nil })
	wantKind(t, err, block.Corrupt)
}

func TestS2MendedBlockIsReadAgain(t *testing.T) {
	fs := newDisk()
	s := open(t, fs, small())
	g := create(t, s, 1)
	good := write(lsn(1, 1), 0, 4, 3)
	put(t, g, good)
	all, _ := batches(t, crash(fs))
	bad := all[1].Offset + all[1].Header + pageSize
	rot(t, fs, all[1].File, bad+77)
	payload := good.Payload[block.Size : 2*block.Size]
	wantKind(t, g.Mend(5, good.Payload[:block.Size]), block.Mismatch)
	wantKind(t, g.Mend(9, payload), block.NotFound)
	wantKind(t, g.Mend(5, payload[:9]), block.Invalid)
	records := s.Stats().Records
	wantKind(t, g.Mend(4, good.Payload[:block.Size]), block.NotFound) // sound: it stays where it is
	must(t, g.Mend(5, payload))
	wantKind(t, g.Mend(5, payload), block.NotFound)
	if n := s.Stats().Records; n != records+1 {
		t.Fatalf("%d records were written to mend one block", n-records)
	}
	check := func(s *Store, when string) {
		t.Helper()
		g := segment(t, s, 1)
		if got := imageOf(t, g, g.SCL(), 8); got[4] != lsn(1, 1) || got[5] != lsn(1, 1) || got[6] != lsn(1, 1) {
			t.Fatalf("%s: %v", when, got)
		}
		scans := 0
		must(t, g.Scan(0, lsn(1, 1), block.MiB, func(r Record) error {
			scans++
			return nil
		}))
		if scans != 1 {
			t.Fatalf("%s: scan gave %d records", when, scans)
		}
	}
	check(s, "mended")
	must(t, s.mark())
	s = open(t, crash(fs), small())
	check(s, "reopened")
	g = segment(t, s, 1)
	must(t, g.SetFloor(lsn(1, 1)))
	check(s, "settled")
}

// RELOC is compare-and-set, on replay too: a block that was overwritten since
// its source was read keeps its new version.
func TestRelocIsCompareAndSet(t *testing.T) {
	fs := newDisk()
	s := open(t, fs, small())
	g := create(t, s, 1)
	old := write(lsn(1, 1), 0, 5, 1)
	put(t, g, old)
	source := g.newest(5).loc
	must(t, g.SetFloor(lsn(1, 1)))
	put(t, g, write(lsn(1, 2), lsn(1, 1), 5, 1))
	must(t, g.SetFloor(lsn(1, 2)))
	must(t, s.own(g, &ownRecord{
		d:    descriptor{seg: g.idx, typ: TypeReloc, block: 5, count: 1, lsn: lsn(1, 1), source: source},
		sums: old.Sums, payload: old.Payload,
	}))
	if got := owner(t, g, lsn(1, 2), 5); got != lsn(1, 2) {
		t.Fatalf("block 5 is of %v", got)
	}
	s = open(t, crash(fs), small())
	if got := owner(t, segment(t, s, 1), lsn(1, 2), 5); got != lsn(1, 2) {
		t.Fatalf("after replay block 5 is of %v", got)
	}
}
