package logstore

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
)

// scanned is what a scan gives, with payloads copied.
func scanned(t *testing.T, g *Segment, after, upTo block.LSN, most block.ByteCount) (all []Record) {
	t.Helper()
	must(t, g.Scan(after, upTo, most, func(r Record) error {
		r.Payload, r.Sums = bytes.Clone(r.Payload), slices.Clone(r.Sums)
		all = append(all, r)
		return nil
	}))
	return all
}

func sameRecord(a, b Record) bool {
	return a.Type == b.Type && a.LSN == b.LSN && a.Prev == b.Prev && a.Block == b.Block && a.Count == b.Count &&
		slices.Equal(a.Sums, b.Sums) && bytes.Equal(a.Payload, b.Payload)
}

// R20: a scan gives the complete chain, all of it and nothing else, in order,
// whatever the order of arrival and wherever the floor is.
func TestR20ScanGivesTheCompleteChain(t *testing.T) {
	for seed := range uint64(8) {
		fs := newDisk()
		s := open(t, fs, small())
		g, m, a := create(t, s, 1), newModel(), newAuthor(rng(seed), 40)
		for i := range 120 {
			recs := a.next(g.SCL())
			put(t, g, recs...)
			for _, r := range recs {
				m.recs[r.LSN] = r
			}
			if c := m.chain(); i%10 == 9 && len(c) > 0 {
				l := c[len(c)*2/3].LSN
				a.floor = max(a.floor, l)
				must(t, g.SetFloor(l))
			}
			if i == 80 {
				must(t, s.Close())
				s = open(t, fs, small())
				g = segment(t, s, 1)
			}
		}
		want := m.chain()
		for _, most := range []block.ByteCount{1, 20 * block.KiB, block.GiB} {
			var got []Record
			for after := block.LSN(0); after < g.SCL(); {
				part := scanned(t, g, after, g.SCL(), most)
				if len(part) == 0 || (most == 1 && len(part) != 1) {
					t.Fatalf("scan of at most %v gave %d records after %v", most, len(part), after)
				}
				got = append(got, part...)
				after = part[len(part)-1].LSN
			}
			if !slices.EqualFunc(got, want, sameRecord) {
				t.Fatalf("seed %d, at most %v: %d records, want %d", seed, most, len(got), len(want))
			}
		}
		mid := want[len(want)/2].LSN
		if got := scanned(t, g, 0, mid, block.GiB); got[len(got)-1].LSN != mid {
			t.Fatalf("a scan up to %v ends at %v", mid, got[len(got)-1].LSN)
		}
	}
}

// A peer that is on a dead branch sees by the first record's Prev that it
// must ask from its floor.
func TestR20ScanAfterADeadBranch(t *testing.T) {
	s := open(t, newDisk(), small())
	g := create(t, s, 1)
	chainOf(t, g, 4)
	put(t, g, epochOpen(lsn(3, 1), lsn(1, 4)))
	got := scanned(t, g, lsn(2, 5), lsn(3, 1), block.GiB) // 2.x forked off at 1.2
	if len(got) != 1 || got[0].Prev != lsn(1, 4) {
		t.Fatalf("%v", got)
	}
	if got := scanned(t, g, lsn(1, 2), lsn(3, 1), block.GiB); len(got) != 3 {
		t.Fatalf("from the floor: %d records", len(got))
	}
}

func TestScanErrors(t *testing.T) {
	fs := newDisk()
	s := open(t, fs, small())
	g := create(t, s, 1)
	chainOf(t, g, 60)
	fn := func(Record) error { return nil }
	wantKind(t, g.Scan(0, lsn(1, 61), block.MiB, fn), block.Behind)
	stop := errors.New("stop")
	if err := g.Scan(0, lsn(1, 60), block.MiB, func(Record) error { return stop }); !errors.Is(err, stop) {
		t.Fatalf("fn's error became %v", err)
	}
	must(t, g.Scan(lsn(1, 60), lsn(1, 60), block.MiB, fn)) // nothing asked for
	// A file that is not there any more, as after cleaning: nothing is missed
	// before the floor has passed, since the index keeps the records until then.
	must(t, g.SetFloor(lsn(1, 60)))
	table := s.files.Load()
	second := table.all[1]
	s.files.Store(table.without(second))
	sp, _ := second.span(g.idx)
	wantKind(t, g.Scan(0, lsn(1, 60), block.GiB, fn), block.NotFound)
	wantKind(t, g.Scan(sp.min-1, sp.max, block.GiB, fn), block.NotFound)
	must(t, g.Scan(sp.max, lsn(1, 60), block.GiB, fn))
	s.files.Store(table)
}

// A scan steps over damage in a file, as opening did, and tells what is
// missing behind it.
func TestScanStepsOverDamage(t *testing.T) {
	fs := newDisk()
	s := open(t, fs, small())
	a, b := create(t, s, 1), create(t, s, 2)
	chainOf(t, a, 3)
	chainOf(t, b, 3)
	chainOf(t, a, 3)
	fs = crash(fs)
	all, _ := batches(t, fs)
	rot(t, fs, all[6].File, all[6].Offset+100) // b's record 2
	s = open(t, fs, small())
	if got := scanned(t, segment(t, s, 1), 0, lsn(1, 6), block.GiB); len(got) != 6 {
		t.Fatalf("a has %d records", len(got))
	}
	if got := scanned(t, segment(t, s, 2), 0, lsn(1, 1), block.GiB); len(got) != 1 {
		t.Fatalf("b has %d records", len(got))
	}
}
