package logstore

import (
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
	"github.com/sextantdisk/sextant/internal/vfs"
	"github.com/sextantdisk/sextant/internal/vfs/faultfs"
)

// warmed opens a store; asked tells what of its files is wanted in memory, and
// forgets it.
func warmed(t *testing.T) (s *Store, now *clock.Fake, asked func() []warmRange) {
	t.Helper()
	var got []warmRange
	fs := faultfs.Wrap(newDisk())
	fs.Add(faultfs.Rule{Ops: faultfs.WillNeed, Advice: func(off vfs.Offset, n int) {
		from := pageNo(off / block.Size)
		got = append(got, warmRange{from: from, to: from + pageNo(n/block.Size)})
	}})
	cfg := small()
	now = clock.NewFake(time.Unix(1_000_000, 0))
	cfg.Clock = now
	s = open(t, fs, cfg)
	return s, now, func() (all []warmRange) {
		s.warmer.warm()
		all, got = got, nil
		return all
	}
}

// What is appended to a segment that is read here is asked into memory: all of
// its blocks, neighbours in one piece; nothing of segments that nobody reads, of
// long records, or when the reads were long ago.
func TestAppendsAreWarmedWhereReadsCome(t *testing.T) {
	s, now, asked := warmed(t)
	g, other := create(t, s, 1), create(t, s, 2)
	chainOf(t, g, 3)
	if r := asked(); r != nil {
		t.Fatalf("a segment that was never read: %v is wanted", r)
	}
	owner(t, g, g.SCL(), 1)
	chainOf(t, g, 3)
	if r := asked(); r != nil {
		t.Fatalf("a segment that was read by who does not come back: %v is wanted", r)
	}
	g.KeepWarm()
	chainOf(t, g, 3)
	chainOf(t, other, 3)
	all := asked()
	for b := block.Index(7); b <= 9; b++ {
		at := pageNo(g.newest(b).loc.page)
		if len(all) != 1 || at < all[0].from || at >= all[0].to {
			t.Errorf("block %d at page %d: %v is wanted", b, at, all)
		}
	}
	if last := other.newest(1).loc; len(all) == 1 && pageNo(last.page) < all[0].to {
		t.Errorf("%v is wanted, with what nobody reads at page %d", all, last.page)
	}
	prev := g.SCL()
	put(t, g, write(prev+1, prev, 100, int(warmLongest)+1))
	if r := asked(); r != nil {
		t.Errorf("a long record: %v is wanted", r)
	}
	now.Advance(warmFor + 2*time.Second)
	chainOf(t, g, 1)
	if r := asked(); r != nil {
		t.Errorf("a segment that was read long ago: %v is wanted", r)
	}
}

// What waits is bounded, and a file that is gone is let be.
func TestWarmingIsBounded(t *testing.T) {
	s, now, asked := warmed(t)
	g := create(t, s, 1)
	chainOf(t, g, 1)
	g.KeepWarm()
	d := &descriptor{typ: TypeWrite, count: 1}
	for i := range 3 * warmMost {
		s.warmer.appended(g, d, dataAt(s.head.file.header.seq, pageNo(100*(i+1)%60000)), now.Now())
	}
	if n := len(s.warmer.mu.ranges); n > warmMost || n < warmMost/2 {
		t.Errorf("%d ranges wait", n)
	}
	s.warmer.mu.ranges = []warmRange{{&logFile{}, 2, 3}} // nobody holds it
	if r := asked(); r != nil {
		t.Errorf("%v of a file that is gone", r)
	}
}
