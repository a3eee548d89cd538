package logstore

import (
	"syscall"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
	"github.com/sextantdisk/sextant/internal/vfs/faultfs"
)

// TestB3UnreadableSectorIsDamage: where the disk gives no bytes the block is
// damaged, by file and offset, its neighbours are not, and it can be mended.
func TestB3UnreadableSectorIsDamage(t *testing.T) {
	disk := newDisk()
	fs := faultfs.Wrap(disk)
	s := open(t, fs, small())
	g := create(t, s, 1)
	good := write(lsn(1, 1), 0, 4, 3)
	put(t, g, good)
	all, _ := batches(t, crash(disk))
	// The read of three fails; of the reads one by one, the second.
	fs.Add(faultfs.Rule{Ops: faultfs.Read, Times: 1, Err: syscall.EIO})
	remove := fs.Add(faultfs.Rule{Ops: faultfs.Read, Skip: 1, Times: 1, Err: syscall.EIO})
	r := ReadResult{Buf: make([]byte, 3*block.Size)}
	wantKind(t, g.ReadAt(lsn(1, 1), 4, 3, &r), block.Corrupt)
	remove()
	d := s.Damage()
	if len(d) != 1 || d[0].Kind != DamageUnreadable || d[0].Block != 5 || d[0].File != all[1].File ||
		d[0].Offset != all[1].Offset+all[1].Header+pageSize {
		t.Fatalf("damage %v", d)
	}
	if bad := g.Bad(); len(bad) != 1 || bad[0] != (BadBlock{5, good.Sums[1], lsn(1, 1)}) {
		t.Fatalf("bad blocks %v", bad)
	}
	must(t, s.Failed())
	must(t, g.ReadAt(lsn(1, 1), 4, 1, &r))
	fs.Add(faultfs.Rule{Ops: faultfs.Read, Times: 1, Err: syscall.EIO}) // the look whether it is sound
	must(t, g.Mend(5, good.Payload[block.Size:2*block.Size]))
	if bad := g.Bad(); len(bad) != 0 || g.State().BadBlocks != 0 {
		t.Fatalf("mended, and bad are %v", bad)
	}
	if n := s.Stats().Damages; n != 1 {
		t.Errorf("%d damages are counted", n)
	}
}

// TestS2BadBlockTellsAsOfWhen: others are asked for the version that is damaged, so
// as of its own LSN, and not as of where this segment stands; once it is settled,
// as of the floor.
func TestS2BadBlockTellsAsOfWhen(t *testing.T) {
	fs := newDisk()
	s := open(t, fs, small())
	g := create(t, s, 1)
	put(t, g, write(lsn(1, 1), 0, 4, 1), write(lsn(1, 2), lsn(1, 1), 9, 1), write(lsn(1, 3), lsn(1, 2), 8, 1))
	all, _ := batches(t, crash(fs))
	rot(t, fs, all[1].File, all[1].Offset+all[1].Header+7)
	r := ReadResult{Buf: make([]byte, block.Size)}
	wantKind(t, g.ReadAt(lsn(1, 3), 4, 1, &r), block.Corrupt)
	for _, floor := range []block.LSN{0, lsn(1, 2)} {
		must(t, g.SetFloor(floor))
		if bad := g.Bad(); len(bad) != 1 || bad[0].Block != 4 || bad[0].At != max(floor, lsn(1, 1)) {
			t.Errorf("above floor %v bad are %+v", floor, bad)
		}
	}
}

// TestS2BadBlockOfAHydratedLeaf: leaves come as of several moments, and the chain goes
// on from the earliest. A block of a later one is asked for as of then, while the
// hydration goes on, when it has ended and in the next.
func TestS2BadBlockOfAHydratedLeaf(t *testing.T) {
	g := create(t, open(t, newDisk(), small()), 1)
	p := payload(pageSize, 7)
	sums := []block.Sum{block.Checksum(p)}
	late, early := lsn(1, 10), lsn(1, 5)
	must(t, g.BeginHydration())
	for leaf, cut := range []block.LSN{late, early} {
		first := block.Index(leaf * leafBlocks)
		must(t, g.EnqueueCopy([]CopyRun{
			{Block: first, Count: 1, Kind: RunData, Cut: cut, MaxLSN: cut, Sums: sums, Payload: p},
			{Block: first + 1, Count: leafBlocks - 1, Kind: RunHole, Cut: cut, MaxLSN: cut},
		}).Wait())
	}
	loc := g.newest(0).loc
	g.mu.Lock()
	g.noteBadLocked(0, loc)
	g.mu.Unlock()
	for _, next := range []func() error{func() error { return nil }, func() error { return g.Hydrate(early) }, g.BeginHydration} {
		must(t, next())
		if bad := g.Bad(); len(bad) != 1 || bad[0].At != late {
			t.Errorf("floor %v: bad are %+v, want one as of %v", g.State().Floor, bad, late)
		}
	}
}

// TestDamageMetAgainCountsOnce, and is forgotten when its block is
// overwritten.
func TestDamageMetAgainCountsOnce(t *testing.T) {
	fs := newDisk()
	s := open(t, fs, small())
	g := create(t, s, 1)
	put(t, g, write(lsn(1, 1), 0, 4, 3))
	all, _ := batches(t, crash(fs))
	rot(t, fs, all[1].File, all[1].Offset+all[1].Header+pageSize+77)
	r := ReadResult{Buf: make([]byte, 3*block.Size)}
	for range 3 {
		wantKind(t, g.ReadAt(lsn(1, 1), 4, 3, &r), block.Corrupt)
	}
	if n := s.Stats().Damages; n != 1 || len(g.Bad()) != 1 {
		t.Fatalf("%d damages, bad blocks %v", n, g.Bad())
	}
	put(t, g, write(lsn(1, 2), lsn(1, 1), 5, 1))
	if bad := g.Bad(); len(bad) != 0 {
		t.Fatalf("overwritten, and bad are %v", bad)
	}
}

// TestStallsAreCounted, and one that does not end is seen while it lasts.
func TestStallsAreCounted(t *testing.T) {
	fs := faultfs.Wrap(newDisk())
	cfg := small()
	fake := clock.NewFake(time.Unix(1000, 0))
	cfg.Clock = fake
	s := open(t, fs, cfg)
	g := create(t, s, 1)
	gate := make(chan struct{})
	calls := fs.Calls(faultfs.Sync)
	fs.Add(faultfs.Rule{Ops: faultfs.Sync, Times: 1, Stall: gate})
	done := make(chan error, 1)
	go func() { done <- g.Enqueue([]Record{write(lsn(1, 1), 0, 4, 1)}).Wait() }()
	for fs.Calls(faultfs.Sync) == calls {
		<-clock.Real().After(time.Millisecond)
	}
	fake.Advance(StallAfter)
	if f := s.Flushing(); f != StallAfter {
		t.Errorf("a flush has lasted %v", f)
	}
	close(gate)
	must(t, <-done)
	put(t, g, write(lsn(1, 2), lsn(1, 1), 4, 1))
	if st := s.Stats(); st.Stalls != 1 || st.LongestFlush != StallAfter || s.Flushing() != 0 {
		t.Errorf("%d slow flushes, the longest %v, one under way since %v", st.Stalls, st.LongestFlush, s.Flushing())
	}
	s.Fail(block.Errorf(block.Unavailable, "does not answer"))
	wantKind(t, g.Enqueue([]Record{write(lsn(1, 3), lsn(1, 2), 4, 1)}).Wait(), block.Unavailable)
}
