package hydration

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sextantdisk/sextant/internal/block"
)

// shelf is an Index that writes down what it is told.
type shelf struct {
	floor, scl block.LSN
	whole      map[int]block.LSN
	told       []string
}

func (x *shelf) Floor() block.LSN { return x.floor }

func (x *shelf) Raise(l block.LSN) bool {
	if l < x.floor || l > x.scl {
		return false
	}
	x.floor = l
	x.told = append(x.told, fmt.Sprintf("raise %d", l))
	return true
}

func (x *shelf) Jump(l block.LSN) bool {
	x.floor, x.scl = l, max(x.scl, l)
	x.told = append(x.told, fmt.Sprintf("jump %d", l))
	return true
}

func (x *shelf) Forget() {
	clear(x.whole)
	x.told = append(x.told, "forget")
}

func (x *shelf) Mixed(leaf int) { delete(x.whole, leaf) }

func (x *shelf) Whole(leaf int, l block.LSN) {
	if x.whole == nil {
		x.whole = map[int]block.LSN{}
	}
	x.whole[leaf] = l
	x.told = append(x.told, fmt.Sprintf("leaf %d up to %d", leaf, l))
}

func (x *shelf) wants(t *testing.T, want ...string) {
	t.Helper()
	if got := strings.Join(x.told, ", "); got != strings.Join(want, ", ") {
		t.Fatalf("told %q, want %q", got, strings.Join(want, ", "))
	}
	x.told = nil
}

func run(leaf int, at, count block.Count, cut, maxLSN block.LSN) Run {
	return Run{Leaf: leaf, At: at, Count: count, Of: 4, Cut: cut, MaxLSN: maxLSN}
}

func wantKind(t *testing.T, err error, kind block.Kind) {
	t.Helper()
	if kind == 0 && err != nil || kind != 0 && !errors.Is(err, kind) {
		t.Fatalf("got %v, want kind %v", err, kind)
	}
}

// R21: leaves come as of several cuts; the chain goes on from the lowest, and
// reads wait for the highest. Meanwhile nothing is read, and nothing given.
func TestR21ReadsWaitForTheHighestCut(t *testing.T) {
	x, s := &shelf{floor: 5, scl: 9}, State{}
	wantKind(t, s.Readable(6), 0)
	wantKind(t, s.Gives(5), 0)
	wantKind(t, s.Tells(1), 0)
	wantKind(t, s.MayCopy(5, 20), block.Invalid)
	wantKind(t, s.MayEnd(5, 20), block.Invalid)
	s.Begin(x, s.Start(x.floor))
	x.wants(t, "raise 5")
	wantKind(t, s.Readable(6), block.Unavailable)
	wantKind(t, s.Gives(5), block.Unavailable)
	wantKind(t, s.Tells(1), block.Unavailable)
	wantKind(t, s.MayCopy(5, 4), block.Invalid)
	wantKind(t, s.MayCopy(5, 5), 0)
	s.Copy(x, run(0, 0, 2, 20, 18))
	wantKind(t, s.MayEnd(5, 20), block.Unavailable) // half a leaf
	s.Copy(x, run(0, 2, 2, 22, 17))
	x.wants(t, "leaf 0 up to 17")
	s.Copy(x, run(3, 0, 4, 30, 30))
	wantKind(t, s.MayEnd(5, 4), block.Invalid)
	wantKind(t, s.MayEnd(5, 20), 0)
	s.End(x, s.Mark(20))
	x.wants(t, "leaf 3 up to 30", "jump 20")
	if s.On || s.First != 20 || s.Solid != 30 || s.Lowest(20) != 30 || s.Lowest(31) != 31 {
		t.Fatalf("%+v", s)
	}
	wantKind(t, s.Readable(29), block.Stale)
	wantKind(t, s.Readable(30), 0)
	wantKind(t, s.Gives(29), block.Unavailable)
	wantKind(t, s.Gives(30), 0)
	wantKind(t, s.Tells(19), block.NotFound)
	wantKind(t, s.Tells(20), 0)
}

// R21: a leaf of which a run is missing, or comes twice, does not count.
func TestR21RunsComeInOrder(t *testing.T) {
	x, s := &shelf{}, State{}
	s.Begin(x, Mark{LSN: 0, Copies: 0})
	s.Copy(x, run(1, 2, 2, 9, 9)) // its beginning is lost
	s.Copy(x, run(1, 0, 1, 9, 9))
	s.Copy(x, run(1, 2, 2, 9, 9)) // its middle is
	x.wants(t)
	s.Copy(x, run(1, 0, 1, 9, 9))
	s.Copy(x, run(1, 0, 2, 9, 9)) // begun anew
	s.Copy(x, run(1, 2, 2, 9, 8))
	x.wants(t, "leaf 1 up to 8")
}

// R22: it goes on after a restart with what has come; if a part of that is lost,
// whichever, nothing of it counts.
func TestR22LostRecordsAreMissed(t *testing.T) {
	type record func(s *State, x Index)
	begin := func(after block.LSN, copies uint32) record {
		return func(s *State, x Index) { s.Begin(x, Mark{LSN: after, Copies: copies}) }
	}
	leaf := func(i int) record {
		return func(s *State, x Index) { s.Copy(x, run(i, 0, 4, 20, 20)) }
	}
	end := func(cut block.LSN, copies uint32) record {
		return func(s *State, x Index) { s.End(x, Mark{LSN: cut, Copies: copies}) }
	}
	log := []record{begin(5, 0), leaf(0), leaf(1), begin(5, 2), leaf(2), end(20, 3)}
	for lost := -1; lost < len(log); lost++ {
		x, s := &shelf{floor: 5, scl: 9}, State{}
		for i, r := range log {
			if i != lost {
				r(&s, x)
			}
		}
		// The second Begin says nothing that the first does not, but how many
		// there were.
		if whole := lost == -1 || lost == 3; whole && (s.On || len(x.whole) != 3 || x.floor != 20) {
			t.Errorf("without record %d: %+v, %+v", lost, s, x)
		} else if !whole && (!s.On || lost != len(log)-1 && len(x.whole) != 0 || x.floor != 5) {
			t.Errorf("record %d is lost, and not missed: %+v, %+v", lost, s, x)
		}
	}
}

// R22: a replay jumps over what settled after a hydration's first record was made,
// so nothing settles then.
func TestR22TheFloorStandsFromTheStartOn(t *testing.T) {
	x, s := &shelf{floor: 5, scl: 9}, State{}
	if s.Still() {
		t.Fatal("the floor of a segment that takes no leaves stands still")
	}
	s.Start(x.floor)
	if kept := s.Clone(); !s.Still() || kept.Still() {
		t.Fatal("the floor may rise before the record is durable, or must not after a restart without it")
	}
	s.Cancel()
	if s.Still() {
		t.Fatal("the floor stands still, and nothing is to come")
	}
	s.Begin(x, s.Start(x.floor))
	if !s.Still() || s.Spoiled || s.After != 5 {
		t.Fatalf("%+v", s)
	}
	// Somebody has let it rise: all is copied anew.
	x, s = &shelf{floor: 5, scl: 9}, State{}
	begun := s.Start(x.floor)
	x.floor = 7
	s.Begin(x, begun)
	if x.wants(t, "forget"); !s.Spoiled {
		t.Fatalf("%+v", s)
	}
}

// R22: a leaf that was half-way before a restart is taken from its start again, or
// not at all.
func TestR22HalfALeafIsTakenAnew(t *testing.T) {
	x, s := &shelf{}, State{}
	s.Begin(x, Mark{LSN: 0, Copies: 0})
	s.Copy(x, run(0, 0, 2, 20, 20))
	s.Begin(x, Mark{LSN: 0, Copies: 1})
	s.Copy(x, run(0, 2, 2, 20, 20))
	x.wants(t)
	wantKind(t, s.MayEnd(0, 0), 0)
	s.End(x, Mark{LSN: 0, Copies: 2})
	if x.wants(t, "jump 0"); s.Solid != 20 {
		t.Fatalf("%+v", s)
	}
}

// R22: after a loss it begins from the start: all that was copied is copied anew.
func TestR22BeginsAnewAfterALoss(t *testing.T) {
	x, s := &shelf{floor: 5, scl: 9}, State{}
	s.Begin(x, Mark{LSN: 5, Copies: 0})
	s.Copy(x, run(0, 0, 4, 30, 30))
	s.Begin(x, Mark{LSN: 5, Copies: 7}) // five copies are lost
	x.wants(t, "raise 5", "leaf 0 up to 30", "forget")
	s.Begin(x, s.Start(x.floor))
	s.Copy(x, run(0, 0, 4, 20, 20))
	s.End(x, s.Mark(20))
	x.wants(t, "forget", "leaf 0 up to 20", "jump 20")
	if s.Solid != 30 { // whatever came before may still be there
		t.Fatalf("%+v", s)
	}
	// A floor that is not on the chain: damage took what was below it.
	s = State{}
	s.Begin(&shelf{floor: 5, scl: 9}, Mark{LSN: 12, Copies: 0})
	if !s.Spoiled {
		t.Fatalf("%+v", s)
	}
}

// R21: a hydration that was given up had copied as much as the next one, whose
// beginning and all of whose copies are lost: its end is not taken for the first
// one's.
func TestR21RoundsAreToldApart(t *testing.T) {
	x, s := &shelf{floor: 5, scl: 9}, State{}
	s.Begin(x, s.Start(x.floor))
	s.Copy(x, run(0, 0, 4, 20, 20))
	kept := s.Clone()
	s.Spoil(x) // something is lost, and all begins anew
	s.Begin(x, s.Start(x.floor))
	s.Copy(x, run(0, 0, 4, 40, 40))
	end := s.Mark(40)
	s.End(x, end)
	if s.On || x.floor != 40 || end.Round == kept.Round || end.Copies != kept.Copies {
		t.Fatalf("%+v after %+v", s, end)
	}
	x = &shelf{floor: 5, scl: 9}
	kept.End(x, end)
	if x.wants(t, "forget"); !kept.Spoiled || x.floor != 5 {
		t.Errorf("what was lost is not missed: %+v", kept)
	}
	if again := kept.Start(x.floor); again.Round <= end.Round {
		t.Errorf("round %d begins after round %d", again.Round, end.Round)
	}
}

// R21: a hydration leaves out what the one before it has copied. Of that one a part is
// lost, or its end, or all: the second one does not count either, and all begins anew.
func TestR21RoundsBuildOnTheOneBefore(t *testing.T) {
	x, live := &shelf{floor: 5, scl: 9}, State{}
	first := live.Start(x.floor)
	live.Begin(x, first)
	copies := []Run{run(0, 0, 4, 20, 20), run(1, 0, 4, 8, 8)}
	for _, r := range copies {
		live.Copy(x, r)
	}
	end := live.Mark(8)
	live.End(x, end)
	second := live.Start(x.floor)
	live.Begin(x, second)
	rest := run(1, 0, 4, 30, 30)
	live.Copy(x, rest)
	last := live.Mark(30)
	live.End(x, last)
	if live.On || x.floor != 30 || second.LSN != 8 || second.Copies != 0 {
		t.Fatalf("%+v after %+v: the test proves nothing", live, second)
	}
	for what, early := range map[string]func(x *shelf, s *State){
		"all is there": func(x *shelf, s *State) {
			s.Begin(x, first)
			s.Copy(x, copies[0])
			s.Copy(x, copies[1])
			s.End(x, end)
		},
		"a copy is lost": func(x *shelf, s *State) {
			s.Begin(x, first)
			s.Copy(x, copies[1])
			s.End(x, end)
		},
		"a copy and the end are lost": func(x *shelf, s *State) {
			s.Begin(x, first)
			s.Copy(x, copies[1])
		},
		"the end is lost": func(x *shelf, s *State) {
			s.Begin(x, first)
			s.Copy(x, copies[0])
			s.Copy(x, copies[1])
		},
		"all is lost": func(*shelf, *State) {},
	} {
		x, s := &shelf{floor: 5, scl: 9}, State{} // the records tell up to 9
		early(x, &s)
		s.Begin(x, second)
		s.Copy(x, rest)
		s.End(x, last)
		if good := what == "all is there"; s.On == good || (x.floor == 30) != good {
			t.Errorf("%s: %+v, floor %d", what, s, x.floor)
		} else if anew := s.Start(x.floor); !good && (anew.LSN != 0 || anew.Round <= last.Round) {
			t.Errorf("%s: begins again with %+v", what, anew)
		}
	}
}

// R21: whatever is copied in whichever order, the chain goes on only when no copy
// was lost, a leaf is whole exactly if its last runs cover it, all of its blocks
// have what is told of it, and Lowest never goes back.
func TestR21StateQuick(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x, s := &shelf{}, State{}
		s.Begin(x, Mark{LSN: 0, Copies: 0})
		have := map[int]block.Count{} // from the leaf's start, in order
		want := map[int]bool{}
		asOf := map[int]*[4]block.LSN{}
		n := uint32(0)
		for range rapid.IntRange(0, 30).Draw(t, "runs") {
			leaf := rapid.IntRange(0, 3).Draw(t, "leaf")
			at := block.Count(rapid.IntRange(0, 3).Draw(t, "at"))
			count := block.Count(rapid.IntRange(1, 4-int(at)).Draw(t, "count"))
			cut := block.LSN(rapid.IntRange(1, 50).Draw(t, "cut"))
			s.Copy(x, run(leaf, at, count, cut, cut))
			n++
			if asOf[leaf] == nil {
				asOf[leaf] = new([4]block.LSN)
			}
			for i := at; i < at+count; i++ {
				asOf[leaf][i] = cut
			}
			delete(want, leaf)
			switch {
			case at == 0:
				have[leaf] = count
			case have[leaf] == at && at > 0:
				have[leaf] += count
			default:
				have[leaf] = 0
			}
			if have[leaf] == 4 {
				want[leaf], have[leaf] = true, 0
			}
		}
		if got := slices.Sorted(maps.Keys(x.whole)); !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
			t.Fatalf("leaves %v are whole, want %v", got, want)
		}
		for leaf, l := range x.whole {
			if has := slices.Min(asOf[leaf][:]); l > has {
				t.Fatalf("leaf %d is told to be whole up to %v, and has blocks as of %v", leaf, l, has)
			}
		}
		lost := uint32(rapid.IntRange(0, 1).Draw(t, "lost"))
		high := s.High
		s.End(x, Mark{LSN: 60, Copies: n + lost})
		if s.On != (lost > 0) || lost == 0 && (x.floor != 60 || s.Solid != high) {
			t.Fatalf("%d copies are lost: %+v, floor %v", lost, s, x.floor)
		}
	})
}
