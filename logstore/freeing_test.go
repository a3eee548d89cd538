package logstore

import (
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs/vfstest"
)

// moved is a store whose first file was cleaned behind a checkpoint; blocks 1
// to moved lay in it.
type moved struct {
	disk vfstest.Disk
	s    *Store
	g    *Segment
	f    *logFile
	n    int
}

func newMoved(t *testing.T) *moved {
	m := &moved{disk: newDisk()}
	m.s = open(t, m.disk, cleaning())
	m.g = create(t, m.s, 1)
	chainOf(t, m.g, 40)
	must(t, m.g.SetFloor(m.g.SCL()))
	m.f = m.s.files.Load().all[0]
	m.n = int(m.f.live.Load())
	must(t, m.s.ckpt.now())
	m.clean(t)
	return m
}

func (m *moved) clean(t *testing.T) {
	t.Helper()
	_, err := m.s.clean(m.f, nil)
	must(t, err)
	if m.n < 5 || m.f.live.Load() != 0 {
		t.Fatalf("%d blocks were in the file, %d are", m.n, m.f.live.Load())
	}
}

// intact fails unless all blocks are what was written, and nothing is damaged.
func intact(t *testing.T, s *Store) {
	t.Helper()
	if d := s.Damage(); len(d) > 0 {
		t.Fatalf("damage %v", d)
	}
	for n := block.Seq(1); n <= 40; n++ {
		if got := owner(t, segment(t, s, 1), segment(t, s, 1).SCL(), block.Index(n)); got != lsn(1, n) {
			t.Fatalf("block %d is of %v", n, got)
		}
	}
	checkLedger(t, s)
}

// A file before the checkpoint is freed as soon as it is empty, though the
// checkpoint's leaves still point into it: the log behind says where its blocks
// are now.
func TestFreedFileIsMissedByNoReplay(t *testing.T) {
	m := newMoved(t)
	was := m.s.ckpt.durable()
	m.s.cleaner.step(nil)
	m.s.cleaner.step(nil)
	if m.s.files.Load().find(m.f.header.seq) != nil || m.s.Stats().Recycled != 1 {
		t.Fatal("the file was not freed")
	}
	if m.s.ckpt.durable() != was {
		t.Fatal("a checkpoint was taken: the test proves nothing")
	}
	for range 3 { // what is opened once is opened again
		m.disk = crash(m.disk)
		s := open(t, m.disk, cleaning())
		intact(t, s)
		must(t, s.Close())
	}
}

// A file that a replay reads stays until a checkpoint lies behind it, empty or
// not.
func TestFileOfTheTailStays(t *testing.T) {
	m := newMoved(t)
	s := m.s
	var was *logFile // a file that no checkpoint covers is full,
	for range 2 {
		for was = s.head.file; s.head.file == was; {
			prev := m.g.SCL()
			put(t, m.g, write(prev+1, prev, 100, 8))
		}
	}
	prev := m.g.SCL()
	put(t, m.g, write(prev+1, prev, 100, 8)) // and dead
	must(t, m.g.SetFloor(m.g.SCL()))
	if n := was.live.Load(); n != 0 || !was.sealed.Load() {
		t.Fatalf("%d blocks of %s are live", n, was.name)
	}
	for range 4 {
		s.cleaner.step(nil)
	}
	if s.files.Load().find(was.header.seq) == nil {
		t.Fatal("a file behind the checkpoint was freed")
	}
	must(t, s.ckpt.now())
	s.cleaner.step(nil)
	if s.files.Load().find(was.header.seq) != nil {
		t.Fatal("a file before the checkpoint was not freed")
	}
	intact(t, open(t, crash(m.disk), cleaning()))
}

// The record of a move is lost to damage after its file was freed: that is
// damage of the blocks, which is told; others are as they were.
func TestLostMoveOfAFreedFileIsDamage(t *testing.T) {
	m := newMoved(t)
	m.s.cleaner.step(nil)
	m.s.cleaner.step(nil)
	m.loseMoves(t)
	s := open(t, m.disk, cleaning())
	g, bad, r := segment(t, s, 1), 0, ReadResult{Buf: make([]byte, block.Size)}
	for n := block.Seq(1); n <= 40; n++ {
		if err := g.ReadAt(lsn(1, 40), block.Index(n), 1, &r); err != nil {
			wantKind(t, err, block.Corrupt)
			bad++
		} else if got := ownerOf(t, &r, block.Index(n)); got != lsn(1, n) {
			t.Fatalf("block %d is of %v", n, got)
		}
	}
	told := false
	for _, d := range s.Damage() {
		told = told || d.Kind == DamageFile && d.File == m.f.name
	}
	if bad != m.n || !told {
		t.Fatalf("%d of %d blocks are damaged; damage %v", bad, m.n, s.Damage())
	}
}

// The same when the power went before the file got another name: then it is
// kept, and nothing is lost.
func TestFreedFileIsKeptIfItsMovesAreLost(t *testing.T) {
	m := newMoved(t)
	if !m.f.pin() {
		t.Fatal("no reader")
	}
	m.s.cleaner.step(nil)
	if m.s.files.Load().find(m.f.header.seq) != nil {
		t.Fatal("the file was not freed")
	}
	m.loseMoves(t)
	must(t, m.f.unpin())
	s := open(t, m.disk, cleaning())
	for n := block.Seq(1); n <= 40; n++ {
		if got := owner(t, segment(t, s, 1), segment(t, s, 1).SCL(), block.Index(n)); got != lsn(1, n) {
			t.Fatalf("block %d is of %v", n, got)
		}
	}
}

// loseMoves cuts the power and damages the first batch of the cold log.
func (m *moved) loseMoves(t *testing.T) {
	t.Helper()
	m.disk = crash(m.disk)
	all, _ := batches(t, m.disk)
	for _, b := range all {
		if b.File == m.s.cleaner.cold.head.file.name && b.Payload > 0 {
			rot(t, m.disk, b.File, b.Offset+100)
			return
		}
	}
	t.Fatal("nothing was moved")
}

// A cold file whose tail was torn is where the next checkpoint will stand,
// until something else is moved: it is no reason for one checkpoint after the
// other, or for clients to wait.
func TestTornColdFileIsNotWaitedFor(t *testing.T) {
	m := newMoved(t)
	m.loseMoves(t)
	s := open(t, m.disk, cleaning())
	f := s.files.Load().find(m.s.cleaner.cold.head.file.header.seq)
	if f == nil {
		t.Fatal("there is no cold file")
	}
	f.sealed.Store(true) // as a torn one is at opening
	files, _ := s.candidates()
	for _, c := range files {
		if c == f {
			t.Fatal("it is to be cleaned, but no checkpoint will lie behind it")
		}
	}
}
