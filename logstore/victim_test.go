package logstore

import (
	"testing"
	"time"
)

func TestVictimIsWhatGivesMostForLongest(t *testing.T) {
	file := func(seq fileSeq, pages pageNo, live int64, moved moveCount) candidate {
		return candidate{seq: seq, pages: pages, live: live, moved: moved}
	}
	for _, c := range []struct {
		name  string
		files []candidate
		into  moveCount
		want  int
		none  bool
	}{
		{name: "nothing", none: true},
		{name: "empty of the same age", files: []candidate{file(5, 100, 10, 0), file(5, 100, 0, 0)}, want: 1},
		{name: "older of the same use", files: []candidate{file(7, 100, 50, 0), file(3, 100, 50, 0)}, want: 1},
		{name: "old and half live before new and nearly dead", files: []candidate{file(1, 100, 50, 0), file(9, 100, 20, 0)}, want: 0},
		{name: "just dead before slightly older", files: []candidate{file(8, 100, 60, 0), file(9, 100, 1, 0)}, want: 1},
		{name: "use counts against the file's own length", files: []candidate{file(5, 100, 50, 0), file(5, 1000, 100, 0)}, want: 1},
		{name: "what was moved as often", into: 1, files: []candidate{file(4, 100, 50, 1), file(5, 100, 50, 0)}, want: 1},
		{name: "unless it is much less good", into: 1, files: []candidate{file(4, 100, 50, 1), file(8, 100, 50, 0)}, want: 0},
		{name: "dead is like all", into: 2, files: []candidate{file(5, 100, 0, 0), file(5, 100, 1, 1)}, want: 0},
		{name: "what was moved most stays with its like", into: mostMoves, files: []candidate{file(4, 100, 50, 0), file(5, 100, 50, mostMoves)}, want: 1},
	} {
		got, ok := choice{newest: 10, into: c.into}.of(c.files, nil)
		if ok == c.none || (ok && got != c.want) {
			t.Errorf("%s: got %d, %v", c.name, got, ok)
		}
	}
	if i, ok := (choice{newest: 10}).of([]candidate{file(1, 100, 0, 0), file(9, 100, 50, 0)}, func(i int) bool { return i == 1 }); i != 1 || !ok {
		t.Errorf("got %d, %v of those that may be", i, ok)
	}
}

// A file is cleaned if what it holds takes less room in a cold file, whatever
// length files have; what cleaning has filled is not cleaned before some of it
// died.
func TestWhatGivesNothingIsNotCleaned(t *testing.T) {
	for pages := pageNo(MinFileSize / pageSize); pages.bytes() <= MaxFileSize; pages *= 2 {
		full := coldBlocks(pages)
		if full <= int64(pages)*3/4 || full >= int64(pages-headerCopies) {
			t.Errorf("%d blocks have room in %d pages", full, pages)
		}
		for live, want := range map[int64]bool{0: true, full / 2: true, full * 9 / 10: true, full: false, int64(pages): false} {
			if k := (candidate{pages: pages, live: live}); k.worth() != want {
				t.Errorf("%d of %d pages live: worth %v", live, pages, k.worth())
			}
		}
	}
}

// The less is free, the more is cleaned, and below a limit writes are slowed;
// nothing is cleaned while there is room.
func TestPaceFollowsFreeFiles(t *testing.T) {
	at := func(free int) pace { return pace{free: free, reserve: 4, slack: 60} }
	clean, slow := at(0).cleanBelow(), at(0).throttleBelow()
	if clean != 8 || slow != 5 {
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
		t.Fatalf("ratio %v, hurry %v: what comes counts as free, but is not there yet", p.ratio(), p.hurry())
	}
	if at(clean).hurry() {
		t.Fatal("in a hurry with room")
	}
	if at(slow).brake() || !at(slow-1).brake() {
		t.Fatal("writes are not slowed where they should be")
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
