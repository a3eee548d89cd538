package chain

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
)

// tape notes the events of a chain: "+1.2" join, "-1.2" leave, "=1.2" settle,
// "x1.2" drop.
type tape struct{ events []string }

func (t *tape) Join(e Entry[string])   { t.events = append(t.events, "+"+e.LSN.String()) }
func (t *tape) Leave(e Entry[string])  { t.events = append(t.events, "-"+e.LSN.String()) }
func (t *tape) Settle(e Entry[string]) { t.events = append(t.events, "="+e.LSN.String()) }
func (t *tape) Drop(e Entry[string])   { t.events = append(t.events, "x"+e.LSN.String()) }

func (t *tape) take() string {
	s := strings.Join(t.events, " ")
	t.events = nil
	return s
}

// lsn reads "2.1"; "0" is 0.
func lsn(t *testing.T, s string) block.LSN {
	t.Helper()
	if s == "0" {
		return 0
	}
	var e, q uint64
	if _, err := fmt.Sscanf(s, "%d.%d", &e, &q); err != nil {
		t.Fatalf("bad LSN %q in test", s)
	}
	return block.MakeLSN(block.VolumeEpoch(e), block.Seq(q))
}

// story runs lines such as "add 1.2<1.1 -> linked", "floor 1.2 -> true",
// "is floor 0.0, path 1.1" and "events +1.1".
func story(t *testing.T, text string) {
	t.Helper()
	var c Chain[string]
	var ev tape
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		line = strings.TrimSpace(line)
		verb, rest, _ := strings.Cut(line, " ")
		got, want := "", rest
		switch verb {
		case "add":
			rec, verdict, _ := strings.Cut(rest, " -> ")
			l, p, _ := strings.Cut(rec, "<")
			got, want = c.Add(Entry[string]{LSN: lsn(t, l), Prev: lsn(t, p)}, &ev).String(), verdict
		case "floor":
			l, verdict, _ := strings.Cut(rest, " -> ")
			got, want = fmt.Sprint(c.SetFloor(lsn(t, l), &ev)), verdict
		case "jump":
			l, verdict, _ := strings.Cut(rest, " -> ")
			got, want = fmt.Sprint(c.Jump(lsn(t, l), &ev)), verdict
		case "is":
			got = c.Describe()
		case "misses":
			l, verdict, _ := strings.Cut(rest, " -> ")
			got, want = fmt.Sprint(c.Misses(lsn(t, l))), verdict
		case "scl":
			got = c.SCL().String()
		case "events":
			got = ev.take()
		default:
			t.Fatalf("unknown line %q", line)
		}
		if got != want {
			t.Fatalf("%s\n got %q\nwant %q\nchain: %s", line, got, want, c.Describe())
		}
	}
}

func TestR8GapIsKeptAndLinkedWhenFilled(t *testing.T) {
	story(t, `
		add 1.1<0 -> linked
		add 1.3<1.2 -> pending
		add 1.4<1.3 -> pending
		scl 1.1
		add 1.3<1.2 -> duplicate
		add 1.2<1.1 -> linked
		scl 1.4
		events +1.1 +1.2 +1.3 +1.4
		add 1.2<1.1 -> duplicate
		is floor 0.0, path 1.1 1.2 1.3 1.4`)
}

// What waits above the SCL tells that something below may be lost.
func TestMissesWhatIsWaitedFor(t *testing.T) {
	story(t, `
		add 2.1<0 -> linked
		misses 9.9 -> false
		add 1.3<1.2 -> pending
		misses 9.9 -> false
		add 3.2<3.1 -> pending
		misses 1.1 -> false
		misses 1.2 -> true
		add 1.2<1.1 -> pending
		misses 1.2 -> true
		add 1.1<0 -> annulled
		misses 3.0 -> false
		misses 3.1 -> true
		add 3.1<1.3 -> linked
		misses 9.9 -> false
		scl 3.2`)
}

// The replica of §2.5 note b: walking forward by the highest child would
// report 2.1.
func TestR16HighestCompleteNotHighestChild(t *testing.T) {
	story(t, `
		add 1.1<0 -> linked
		add 2.1<1.1 -> linked
		scl 2.1
		add 1.2<1.1 -> annulled
		add 1.3<1.2 -> annulled
		add 3.1<1.3 -> linked
		scl 3.1
		events +1.1 +2.1 -2.1 +1.2 +1.3 +3.1
		is floor 0.0, path 1.1 1.2 1.3 3.1, annulled 2.1<1.1`)
}

func TestR16EpochOpenAnnulsTheTail(t *testing.T) {
	story(t, `
		add 1.1<0 -> linked
		add 1.2<1.1 -> linked
		add 1.3<1.2 -> linked
		add 2.1<1.1 -> linked
		events +1.1 +1.2 +1.3 -1.3 -1.2 +2.1
		is floor 0.0, path 1.1 2.1, annulled 1.2<1.1 1.3<1.2
		add 1.4<1.3 -> annulled
		floor 1.1 -> true
		is floor 1.1, path 2.1, annulled 1.2<1.1 1.3<1.2 1.4<1.3
		add 3.1<1.3 -> linked
		is floor 1.1, path 1.2 1.3 3.1, annulled 1.4<1.3 2.1<1.1`)
}

func TestAnnulledIsForgottenWhenTheFloorPassesTheOpen(t *testing.T) {
	story(t, `
		add 1.1<0 -> linked
		add 1.2<1.1 -> linked
		add 2.1<1.1 -> linked
		floor 2.1 -> true
		is floor 2.1, path
		add 1.2<1.1 -> settled
		add 1.3<1.2 -> settled
		add 3.1<1.2 -> settled
		add 3.1<2.1 -> linked
		is floor 2.1, path 3.1`)
}

func TestFloorMustBeOnTheChain(t *testing.T) {
	story(t, `
		add 1.1<0 -> linked
		add 1.2<1.1 -> linked
		add 2.1<1.1 -> linked
		add 2.3<2.2 -> pending
		floor 1.2 -> false
		floor 2.3 -> false
		floor 9.9 -> false
		floor 1.1 -> true
		floor 0 -> true
		is floor 1.1, path 2.1, annulled 1.2<1.1, pending 2.3<2.2`)
}

func TestPendingBelowTheFloorIsForgotten(t *testing.T) {
	story(t, `
		add 1.1<0 -> linked
		add 1.4<1.3 -> pending
		add 1.5<1.4 -> pending
		add 2.1<1.1 -> linked
		add 2.3<2.2 -> pending
		floor 2.1 -> true
		is floor 2.1, path, pending 2.3<2.2`)
}

func TestConflictingLSNIsRefused(t *testing.T) {
	story(t, `
		add 1.1<0 -> linked
		add 1.2<1.1 -> linked
		add 1.2<0 -> conflict
		add 1.5<1.4 -> pending
		add 1.5<1.3 -> conflict
		scl 1.2`)
}

func TestLongPathIsTrimmed(t *testing.T) {
	var c Chain[string]
	var ev tape
	for i := 1; i <= 10_000; i++ {
		l := block.MakeLSN(1, block.Seq(i))
		if i == 1 {
			c.Add(Entry[string]{LSN: l}, &ev)
			continue
		}
		c.Add(Entry[string]{LSN: l, Prev: l - 1}, &ev)
		if i > 10 && !c.SetFloor(l-10, &ev) {
			t.Fatalf("floor %v is not on the path", l-10)
		}
	}
	if len(c.Path()) != 10 || cap(c.path) > 4096 {
		t.Fatalf("path has %d entries in memory for %d", len(c.Path()), cap(c.path))
	}
	if !slices.IsSortedFunc(c.Path(), func(a, b Entry[string]) int { return int(a.LSN) - int(b.LSN) }) {
		t.Fatal("path does not ascend")
	}
}
