package logstore

import (
	"slices"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs/vfstest"
)

// checkLedger proves that each file's live count is what the indexes say.
func checkLedger(t testing.TB, s *Store) {
	t.Helper()
	want, total := map[fileSeq]int64{}, int64(0)
	for _, g := range s.Segments() {
		g.mu.RLock()
		g.mu.index.references(func(l location, n int) {
			want[l.file] += int64(n)
			total += int64(n)
		})
		g.mu.RUnlock()
	}
	for _, f := range s.files.Load().all {
		if got := f.live.Load(); got != want[f.header.seq] {
			t.Fatalf("%s has %d live blocks by its count, %d by the indexes", f.name, got, want[f.header.seq])
		}
	}
	if got := s.ledger.total.Load(); got != total {
		t.Fatalf("%d live blocks by the count, %d by the indexes", got, total)
	}
}

// I10, G1: the live bytes of each file are exact at each step, with takeovers,
// zombies, late and double records, trims, and after reopening.
func TestI10LiveCountsAreExact(t *testing.T) {
	fs := newDisk()
	s := open(t, fs, small())
	authors := map[int]*author{}
	for n := 1; n <= 3; n++ {
		create(t, s, n)
		authors[n] = newAuthor(rng(uint64(n)), 60)
	}
	r := rng(7)
	for i := range 600 {
		n := 1 + r.IntN(3)
		g, a := segment(t, s, n), authors[n]
		put(t, g, a.next(g.SCL())...)
		checkLedger(t, s)
		if i%7 == 0 && g.SCL() > a.floor {
			path := g.mu.index.chain.Path()
			a.floor = path[r.IntN(len(path))].LSN
			must(t, g.SetFloor(a.floor))
			checkLedger(t, s)
		}
		if i%50 == 49 {
			must(t, s.Close())
			s = open(t, fs, small())
			checkLedger(t, s)
		}
	}
	if s.ledger.total.Load() == 0 {
		t.Fatal("nothing was live at the end: the test proves nothing")
	}
}

// I10: so they are while leaves are copied over from a peer (R21), with and
// without a beginning of one's own, and when damaged blocks are mended (S2).
func TestI10LiveCountsWhileLeavesAreCopied(t *testing.T) {
	for _, old := range []int{0, 30} {
		donor := donorOf(t, 3, 60)
		fs := newDisk()
		s := open(t, fs, small())
		g := create(t, s, 1)
		n := 0
		must(t, donor.Scan(0, donor.SCL(), block.GiB, func(r Record) error {
			if n++; n > old {
				return nil
			}
			r.Payload, r.Sums = slices.Clone(r.Payload), slices.Clone(r.Sums)
			err := g.Enqueue([]Record{r}).Wait()
			checkLedger(t, s)
			return err
		}))
		must(t, g.SetFloor(g.SCL()))
		writeOn(t, donor, rng(4), 60, hydrationBlocks)
		if _, done := hydrate(t, g, donor, 1000, func() { checkLedger(t, s) }); !done {
			t.Fatal("not done")
		}
		checkLedger(t, s)
		mendOne(t, fs, g)
		checkLedger(t, s)
		must(t, g.SetFloor(g.SCL()))
		checkLedger(t, s)
		if s.ledger.total.Load() == 0 {
			t.Fatal("nothing is live: the test proves nothing")
		}
		checkLedger(t, open(t, crash(fs), small()))
	}
}

// mendOne has a block of g rot, and mends it.
func mendOne(t testing.TB, fs vfstest.Disk, g *Segment) {
	t.Helper()
	r := ReadResult{Buf: make([]byte, block.Size)}
	for b := block.Index(0); ; b++ {
		f := g.newest(b)
		if f.loc.flags != locData {
			continue
		}
		must(t, g.ReadAt(g.SCL(), b, 1, &r))
		rot(t, fs, logName(f.loc.file), pageNo(f.loc.page).bytes())
		must(t, g.Mend(b, r.Data()))
		if g.newest(b).loc == f.loc {
			t.Fatalf("block %d lies where it lay", b)
		}
		return
	}
}

// Space accounts for all bytes of the capacity.
func TestSpaceAddsUp(t *testing.T) {
	cfg := small()
	cfg.Capacity = 32 * cfg.FileSize
	s := open(t, newDisk(), cfg)
	g := create(t, s, 1)
	chainOf(t, g, 40)
	must(t, g.SetFloor(g.SCL()))
	put(t, g, trim(g.SCL()+1, g.SCL(), 0, 20))
	must(t, g.SetFloor(g.SCL()))
	sp := s.Space()
	if sp.Live+sp.Dead+sp.Reserved+sp.Free != sp.Capacity || sp.Capacity != cfg.Capacity {
		t.Fatalf("the parts do not make the capacity: %+v", sp)
	}
	if want := 21 * block.ByteCount(block.Size); sp.Live != want || sp.Dead == 0 || sp.Reserved != (reserveFiles+1)*cfg.FileSize {
		t.Fatalf("got %+v, want %d live", sp, want)
	}
	if n, _ := s.IndexMemory(); n != 21 {
		t.Fatalf("%d blocks in the index", n)
	}
}
