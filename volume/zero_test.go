package volume

import (
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/logstore"
)

// TestB4NeverWrittenCostsNothing: reads, trims and zeroes where no group is
// ask for no group to be placed; the map is one hole.
func TestB4NeverWrittenCostsNothing(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	g.wantBytes(12345, fill(0, 3*int(testPG)))
	g.write(96, fill(0, int(testPG)))
	g.must(func(h *Handle, w Waiter) { h.Trim(0, 4*testPG, w) })
	g.must(func(h *Handle, w Waiter) { h.Zero(5, 4*testPG-10, false, w) })
	var got []Extent
	g.must(func(h *Handle, w Waiter) { h.Map(0, 4*testPG, func(e []Extent) { got = e }, w) })
	if len(got) != 1 || got[0] != (Extent{Length: 4 * testPG, Hole: true, Zero: true}) {
		t.Errorf("map %+v", got)
	}
	if s.meta.ensure != 0 {
		t.Errorf("%d groups were asked for", s.meta.ensure)
	}
	g.write(block.Offset(testPG), fill('a', 1))
	if s.meta.ensure != 1 {
		t.Errorf("%d groups were asked for by one write", s.meta.ensure)
	}
}

// TestB4ZeroesAreRecordsWithoutPayload: all-zero payloads become ZERO; TRIM
// and ZERO of any length are one record for each group that exists.
func TestB4ZeroesAreRecordsWithoutPayload(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	g.write(0, fill('a', 512<<10))
	g.write(0, fill(0, 256<<10))
	g.must(func(h *Handle, w Waiter) { h.Zero(0, 3*testPG, true, w) })
	g.must(func(h *Handle, w Waiter) { h.Trim(0, 3*testPG, w) })
	g.complete(0, 0)
	want := []logstore.Record{
		{Type: logstore.TypeEpochOpen}, {Type: logstore.TypeWrite, Count: 64}, {Type: logstore.TypeWrite, Count: 64},
		{Type: logstore.TypeZero, Count: 64},
		{Type: logstore.TypeZero, Count: block.Count(testPG / block.Size)},
		{Type: logstore.TypeTrim, Count: block.Count(testPG / block.Size)},
	}
	got := s.records(0, 0)
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d: %+v", len(got), len(want), got)
	}
	for i, r := range got {
		if r.Type != want[i].Type || r.Count != want[i].Count {
			t.Errorf("record %d is %v of %d blocks, want %v of %d", i, r.Type, r.Count, want[i].Type, want[i].Count)
		}
	}
	g.wantBytes(0, fill(0, 512<<10))
	if s.meta.ensure != 1 {
		t.Errorf("%d groups were made", s.meta.ensure)
	}
}

// TestB4MapTellsWhatIsThere: data, zeroes that are allocated, holes.
func TestB4MapTellsWhatIsThere(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	g.write(0, fill('a', 2*block.Size))
	g.must(func(h *Handle, w Waiter) { h.Zero(block.Size, block.Size, true, w) })
	var got []Extent
	g.must(func(h *Handle, w Waiter) { h.Map(100, 3*block.Size, func(e []Extent) { got = e }, w) })
	want := []Extent{{Length: block.Size - 100}, {Length: block.Size, Zero: true}, {Length: block.Size + 100, Hole: true, Zero: true}}
	if len(got) != 3 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		t.Errorf("map %+v, want %+v", got, want)
	}
}
