package logstore

import (
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs"
	"github.com/sextantdisk/sextant/internal/vfs/memfs"
)

// A recycled file is used as it is: its old frames lie exactly where new ones
// would, with higher batch numbers behind the new end, and mean nothing.
func TestFramesOfAFormerLifeMeanNothing(t *testing.T) {
	fs := newDisk()
	cfg := cleaning()
	s := open(t, fs, cfg)
	g := create(t, s, 1)
	chainOf(t, g, 40)
	must(t, g.SetFloor(g.SCL()))
	put(t, g, trim(g.SCL()+1, g.SCL(), 0, 4096))
	must(t, g.SetFloor(g.SCL()))
	freeAll(t, s)
	if n := s.filer.spares(); n == 0 {
		t.Fatal("nothing was recycled")
	}
	was := s.head.file.header.seq
	for s.head.file.header.seq == was { // into a recycled file, one batch more
		chainOf(t, g, 1)
	}
	chainOf(t, g, 1)
	scl, next := g.SCL(), s.nextBatch
	p := make([]byte, pageSize)
	_, err := s.head.file.reader.ReadAt(p, s.head.next.at())
	must(t, err)
	if string(p[:4]) != batchMagic {
		t.Fatal("no old frame lies where the next one will: the test proves nothing")
	}
	s = open(t, crash(fs), cfg)
	if g := segment(t, s, 1); g.SCL() != scl || s.nextBatch != next || len(s.Damage()) > 0 {
		t.Fatalf("SCL %v, want %v; next batch %d, want %d; damage %v", g.SCL(), scl, s.nextBatch, next, s.Damage())
	}
}

// A reader that holds a file is never cut off: the file is used again after the
// last one has left it.
func TestReaderKeepsACleanedFile(t *testing.T) {
	cfg := cleaning()
	s := open(t, newDisk(), cfg)
	g := create(t, s, 1)
	chainOf(t, g, 40)
	must(t, g.SetFloor(g.SCL()))
	f := s.files.Load().all[0]
	r := ReadResult{Buf: make([]byte, 8*block.Size)}
	r.reset(g, 1)
	must(t, g.plan(g.SCL(), 1, 8, &r)) // as a read does, before it goes to the disk
	_, err := s.clean(f, nil)
	must(t, err)
	freeAll(t, s)
	if s.files.Load().find(f.header.seq) != nil {
		t.Fatal("the file was not freed")
	}
	if n := s.Stats().Recycled; n != 0 {
		t.Fatalf("%d files were recycled under a reader", n)
	}
	must(t, r.Finish())
	for i := range 8 {
		one := ReadResult{Buf: r.block(i), Sums: r.Sums[i : i+1]}
		if got := ownerOf(t, &one, block.Index(1+i)); got != lsn(1, block.Seq(1+i)) {
			t.Fatalf("block %d is of %v", 1+i, got)
		}
	}
	s.cleaner.step(nil)
	if n := s.Stats().Recycled; n != 1 {
		t.Fatalf("%d files were recycled after the reader has left", n)
	}
}

// R20: what was cleaned is missed, not passed over.
func TestR20ScanTellsThatTheLogIsGone(t *testing.T) {
	cfg := cleaning()
	s := open(t, newDisk(), cfg)
	g := create(t, s, 1)
	chainOf(t, g, 40)
	must(t, g.SetFloor(g.SCL()))
	_, err := s.clean(s.files.Load().all[0], nil)
	must(t, err)
	freeAll(t, s)
	none := func(Record) error { return nil }
	wantKind(t, g.Scan(0, g.SCL(), block.MiB, none), block.NotFound)
	last := g.SCL()
	first := block.LSN(0)
	must(t, g.Scan(last-3, last, block.MiB, func(r Record) error {
		if first == 0 {
			first = r.LSN
		}
		return nil
	}))
	if first != last-2 {
		t.Fatalf("the scan began with %v", first)
	}
}

// G1: what is overwritten, trimmed or dropped comes back on the disk.
func TestG1SpaceComesBack(t *testing.T) {
	disk := newDisk()
	cfg := cleaning()
	s := open(t, disk, cfg)
	create(t, s, 1)
	g := create(t, s, 2)
	chainOf(t, segment(t, s, 1), 1500) // over some hundred files
	chainOf(t, g, 4)
	must(t, segment(t, s, 1).SetFloor(segment(t, s, 1).SCL()))
	size := func() (n block.ByteCount) {
		names, err := disk.List("/store")
		must(t, err)
		for _, name := range names {
			b, err := disk.Stat("/store/" + name)
			must(t, err)
			n += b
		}
		return n
	}
	before := size()
	must(t, s.DropSegment(segID(1)))
	freeAll(t, s)
	freeAll(t, s)
	if after := size(); after > before/2 || s.ledger.total.Load() != 4 {
		t.Fatalf("%v before, %v after the segment was dropped; %d live blocks", before, after, s.ledger.total.Load())
	}
	checkLedger(t, s)
	if n := s.filer.spares(); n > cfg.Spares {
		t.Fatalf("%d spares", n)
	}
	must(t, s.Close())
	s = open(t, disk, cfg)
	if len(s.Segments()) != 1 || len(s.Damage()) > 0 || segment(t, s, 2).SCL() != g.SCL() {
		t.Fatalf("after reopening: %d segments, damage %v", len(s.Segments()), s.Damage())
	}
}

// T29: a full disk refuses what brings payload, reads, and takes all that is
// needed to empty it; then it goes on, without a restart.
func TestT29FullDiskCanBeEmptied(t *testing.T) {
	cfg := cleaning()
	cfg.Capacity = 40 * cfg.FileSize
	s := open(t, newDisk(), cfg)
	g, other := create(t, s, 1), create(t, s, 2)
	var err error
	for err == nil {
		prev := g.SCL()
		l := max(prev+1, lsn(1, 1))
		err = g.Enqueue([]Record{write(l, prev, block.Index(13*l.Seq()), 13)}).Wait()
	}
	wantKind(t, err, block.NoSpace)
	if free, reserve := s.filer.room(); free != reserve || reserve != reserveFiles {
		t.Fatalf("%d files are free, %d reserved", free, reserve)
	}
	if got := owner(t, g, g.SCL(), 13); got != lsn(1, 1) {
		t.Fatalf("block 13 is of %v", got)
	}
	_, err = s.CreateSegment(segID(3), 1, nil)
	wantKind(t, err, block.NoSpace)
	// A batch of both: the one is refused, the other is not.
	l := g.SCL()
	refused, taken := other.Enqueue([]Record{write(lsn(1, 1), 0, 1, 13)}), g.Enqueue([]Record{epochOpen(lsn(2, 1), l)})
	wantKind(t, refused.Wait(), block.NoSpace)
	must(t, taken.Wait())
	must(t, g.EnqueuePromise(7).Wait())
	must(t, g.EnqueueConfig([]byte("new")).Wait())
	put(t, g, trim(lsn(2, 2), lsn(2, 1), 0, 1<<20))
	must(t, g.SetFloor(lsn(2, 2)))
	wantKind(t, other.Enqueue([]Record{write(lsn(1, 1), 0, 1, 13)}).Wait(), block.NoSpace)
	freeAll(t, s)
	put(t, other, write(lsn(1, 1), 0, 1, 13))
	put(t, g, write(lsn(2, 3), lsn(2, 2), 1, 13))
	if sp := s.Space(); sp.Level != SpaceOK {
		t.Fatalf("%+v", sp)
	}
	create(t, s, 3)
}

// The same when others fill the file system; it goes on when they have left.
func TestT29FileSystemFilledByOthers(t *testing.T) {
	disk := memfs.New(32 * block.MiB)
	s := open(t, disk, small())
	g := create(t, s, 1)
	chainOf(t, g, 5)
	space, err := disk.Space("/store")
	must(t, err)
	others, err := disk.OpenFile("/others", vfs.Create)
	must(t, err)
	must(t, others.Allocate(space.Free-block.MiB))
	must(t, others.Close())
	for i := 0; err == nil && i < 100; i++ {
		err = g.Enqueue([]Record{write(g.SCL()+1, g.SCL(), 3, 8)}).Wait()
	}
	wantKind(t, err, block.NoSpace)
	must(t, s.Failed())
	scl := g.SCL()
	put(t, g, trim(scl+1, scl, 0, 100)) // out of the reserve
	must(t, disk.Remove("/others"))
	put(t, g, write(g.SCL()+1, g.SCL(), 3, 8))
}

// The cleaner works by itself, and its goroutine ends with the store.
func TestCleanerWorksByItself(t *testing.T) {
	s := open(t, newDisk(), Config{FileSize: 256 * block.KiB, Capacity: 12 * block.MiB})
	g := create(t, s, 1)
	written := block.ByteCount(0)
	for range 3000 {
		l := max(g.SCL()+1, lsn(1, 1))
		put(t, g, write(l, g.SCL(), block.Index(uint64(l)*2654435761%400), 4))
		must(t, g.SetFloor(g.SCL()))
		written += 4 * block.Size
	}
	if st := s.Stats(); st.Recycled == 0 || written < 3*12*block.MiB {
		t.Fatalf("%d files recycled, %v written", st.Recycled, written)
	}
	checkLedger(t, s)
}
