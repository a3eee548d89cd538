package logstore

import (
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
)

func TestVictimIsWhatGivesMostForLongest(t *testing.T) {
	for _, c := range []struct {
		name  string
		files []candidate
		want  int
		none  bool
	}{
		{name: "nothing", none: true},
		{name: "all live", files: []candidate{{1, 100, 100}, {2, 100, 98}}, none: true},
		{name: "empty of the same age", files: []candidate{{5, 100, 10}, {5, 100, 0}}, want: 1},
		{name: "older of the same use", files: []candidate{{7, 100, 50}, {3, 100, 50}}, want: 1},
		{name: "old and half live before new and nearly dead", files: []candidate{{1, 100, 50}, {9, 100, 20}}, want: 0},
		{name: "just dead before slightly older", files: []candidate{{8, 100, 60}, {9, 100, 1}}, want: 1},
		{name: "use counts against the file's own length", files: []candidate{{5, 100, 50}, {5, 1000, 100}}, want: 1},
	} {
		got, ok := victim(c.files, 10)
		if ok == c.none || (ok && got != c.want) {
			t.Errorf("%s: got %d, %v", c.name, got, ok)
		}
	}
}

// The less is free, the more is cleaned, and below a limit writes are slowed;
// nothing is cleaned while there is room.
func TestPaceFollowsFreeFiles(t *testing.T) {
	at := func(free int) pace { return pace{free: free, reserve: 4, slack: 60} }
	clean, slow := at(0).cleanBelow(), at(0).throttleBelow()
	if clean != 13 || slow != 6 {
		t.Fatalf("cleaning below %d, slowing below %d", clean, slow)
	}
	last := 0.0
	for free := 20; free >= 0; free-- {
		r := at(free).ratio()
		if r < last || r > 2 || (free >= clean) != (r == 0) {
			t.Fatalf("ratio %v at %d free, %v above", r, free, last)
		}
		last = r
	}
	if r := at(slow).ratio(); r != 2 {
		t.Fatalf("ratio %v where writes are slowed", r)
	}
	if p := (pace{free: slow, coming: clean - slow, reserve: 4, slack: 60}); p.ratio() != 0 || !p.hurry() {
		t.Fatalf("ratio %v, hurry %v: what comes counts as free, but must come", p.ratio(), p.hurry())
	}
	if at(clean).hurry() {
		t.Fatal("in a hurry with room")
	}
	rate := block.ByteCount(0)
	for free := range slow {
		n := at(free).admitted()
		if n < brakeSlow || n > brakeFast || n < rate {
			t.Fatalf("%v a second admitted at %d free, %v below", n, free, rate)
		}
		rate = n
	}
	if n := at(slow).admitted(); n != 0 {
		t.Fatalf("%v a second admitted with room", n)
	}
	for _, c := range []struct {
		free int
		busy bool
		want time.Duration
	}{{clean, true, breathMost}, {slow, true, 0}, {clean, false, 0}, {slow - 1, true, 0}} {
		if d := at(c.free).breath(c.busy); d != c.want {
			t.Errorf("a rest of %v at %d free, busy %v", d, c.free, c.busy)
		}
	}
}
