package history

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/anishathalye/porcupine"
)

// The vocabulary: a history of block 1, in which value 0 is there at first.
func w(v Value, begin, end Instant) Op {
	return Op{Block: 1, Value: v, Begin: begin, End: end, Write: true}
}
func r(v Value, begin, end Instant) Op { return Op{Block: 1, Value: v, Begin: begin, End: end} }

const (
	a = Value(1)
	b = Value(2)
	c = Value(3)
)

// TestHistories: what a disk may and may not do. Each bad one is a bug that a
// disk with many copies can have.
func TestHistories(t *testing.T) {
	for _, h := range []struct {
		name string
		why  string // empty: fine
		ops  []Op
	}{
		{"nothing", "", nil},
		{"zeroes", "", []Op{r(0, 1, 2)}},
		{"written and read", "", []Op{w(a, 1, 2), r(a, 3, 4)}},
		{"one after another", "", []Op{w(a, 1, 2), w(b, 3, 4), r(b, 5, 6)}},
		{"overlapping writes, either wins", "", []Op{w(a, 1, 4), w(b, 2, 3), r(a, 5, 6)}},
		{"overlapping writes, the other wins", "", []Op{w(a, 1, 4), w(b, 2, 3), r(b, 5, 6)}},
		{"a read during the write sees it or not", "", []Op{w(a, 1, 10), r(0, 2, 3), r(a, 4, 5), r(a, 6, 7)}},
		{"reads that overlap see both", "", []Op{w(a, 1, 10), r(a, 2, 6), r(0, 3, 5)}},
		{"a maybe that never happens", "", []Op{w(a, 1, Never), r(0, 2, 3), w(b, 4, 5), r(b, 6, 7)}},
		{"a maybe that happens late", "", []Op{w(a, 1, Never), w(b, 2, 3), r(b, 4, 5), r(a, 6, 7), r(a, 8, 9)}},
		{"a maybe that is overwritten", "", []Op{w(a, 1, Never), r(a, 2, 3), w(b, 4, 5), r(b, 6, 7)}},

		{"a lost write", "lost write", []Op{w(a, 1, 2), r(0, 3, 4)}},
		{"a lost overwrite", "lost write", []Op{w(a, 1, 2), w(b, 3, 4), r(a, 5, 6)}},
		{"a stale read after a read", "a stale read", []Op{w(a, 1, 20), w(b, 2, 21), r(a, 3, 4), r(b, 5, 6), r(a, 7, 8)}},
		{"a stale read while it is written", "stale read", []Op{w(a, 1, 10), r(a, 2, 3), r(0, 4, 5)}},
		{"a maybe that flips and flops", "was lost and came back", []Op{w(a, 1, 2), w(b, 3, Never), r(b, 4, 5), r(a, 6, 7), r(b, 8, 9)}},
		{"a maybe that was seen and is gone", "lost write", []Op{w(a, 1, 2), w(b, 3, Never), r(b, 4, 5), r(a, 6, 7)}},
		{"a maybe that comes back after it was overwritten", "was lost and came back", []Op{w(a, 1, Never), r(a, 2, 3), w(b, 4, 5), r(b, 6, 7), r(a, 8, 9)}},
		{"a read of what is to come", "before its write began", []Op{r(a, 1, 2), w(a, 3, 4)}},
		{"a read of nobody's", "never written", []Op{w(a, 1, 2), r(c, 3, 4)}},
		{"the order of two writes is seen differently", "read in between", []Op{w(a, 1, 2), w(b, 3, 20), w(c, 4, 20), r(b, 5, 6), r(c, 7, 8), r(b, 9, 10)}},
	} {
		t.Run(h.name, func(t *testing.T) {
			v := checkRegister(1, 0, h.ops)
			switch {
			case v == nil && h.why != "":
				t.Errorf("found fine, want %q", h.why)
			case v != nil && h.why == "":
				t.Errorf("found wrong: %v", v)
			case v != nil && (!strings.Contains(v.Why, h.why) || len(v.Proof) == 0):
				t.Errorf("want %q, got %v", h.why, v)
			}
		})
	}
}

// randomHistory is one that a disk could have given, if it is honest; or one
// with a few reads that say anything.
func randomHistory(rng *rand.Rand, ops int, honest bool) []Op {
	type event struct {
		at  int
		run func()
	}
	all := make([]Op, ops)
	for i := range all {
		begin := rng.IntN(ops * 3)
		all[i] = Op{Block: 1, Begin: Instant(begin), End: Instant(begin + 1 + rng.IntN(ops)), Write: rng.IntN(2) == 0, By: Client(i)}
		if all[i].Write {
			all[i].Value = Value(i + 1)
		}
	}
	// Each takes effect at one moment between its begin and its end.
	var events []event
	now := Value(0)
	for i := range all {
		o := &all[i]
		events = append(events, event{int(o.Begin) + rng.IntN(int(o.End-o.Begin)), func() {
			if o.Write {
				now = o.Value
			} else {
				o.Value = now
			}
		}})
	}
	slices.SortStableFunc(events, func(a, b event) int { return a.at - b.at })
	for _, e := range events {
		e.run()
	}
	for i := range all {
		o := &all[i]
		if o.Write && rng.IntN(5) == 0 {
			o.End = Never
		}
		if !honest && !o.Write && rng.IntN(3) == 0 {
			o.Value = Value(rng.IntN(ops + 1))
		}
	}
	return distinct(all)
}

// distinct makes all instants differ, and keeps their order: of two that were
// the same, the begin comes first.
func distinct(ops []Op) []Op {
	var at []*Instant
	for i := range ops {
		at = append(at, &ops[i].Begin)
	}
	for i := range ops {
		if ops[i].End != Never {
			at = append(at, &ops[i].End)
		}
	}
	slices.SortStableFunc(at, func(a, b *Instant) int { return compare(*a, *b) })
	for i, p := range at {
		*p = Instant(i + 1)
	}
	return ops
}

// TestAgainstPorcupine: two checkers that have nothing in common agree on
// small histories, fine and wrong ones. Those of a disk that could be are fine.
func TestAgainstPorcupine(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	counts := map[bool]int{}
	for i := range 20000 {
		honest := i%4 == 0
		ops := randomHistory(rng, 2+rng.IntN(8), honest)
		v := checkRegister(1, 0, ops)
		// Porcupine does not know what was there at first: it is told.
		told := append([]Op{{Block: 1, Value: 0, Write: true, By: 99}}, shift(ops)...)
		fine := porcupine.CheckOperations(register, operations(told))
		if fine != (v == nil) || honest && !fine {
			t.Fatalf("history %d: porcupine says %v, the register check says %v:\n%s", i, fine, v, describe(ops))
		}
		counts[fine]++
	}
	if counts[true] < 5000 || counts[false] < 2000 {
		t.Errorf("too few of a kind: %v", counts)
	}
}

// shift makes room for one operation before all.
func shift(ops []Op) []Op {
	ops = slices.Clone(ops)
	for i := range ops {
		ops[i].Begin += 2
		if ops[i].End != Never {
			ops[i].End += 2
		}
	}
	return ops
}

func describe(ops []Op) string {
	var b strings.Builder
	for _, o := range ops {
		fmt.Fprintln(&b, " ", o)
	}
	return b.String()
}

// TestWindows: long histories of an honest disk are fine in all windows; one
// wrong read is found in its window, with a picture.
func TestWindows(t *testing.T) {
	var ops []Op
	for i := range Instant(500) {
		v := Value(i + 1)
		ops = append(ops, w(v, i*10+1, i*10+5), r(v, i*10+2, i*10+6), r(v, i*10+7, i*10+8))
	}
	ops = append(ops, w(9999, 3, Never), r(9999, 4999*10, 4999*10+1))
	o := SecondOpinion(ops)
	if o.Windows < 20 || o.Unknown+o.TooBusy+len(o.Bad) != 0 {
		t.Fatalf("%+v", o)
	}
	ops[302].Value = ops[297].Value // an old one
	o = SecondOpinion(ops)
	if len(o.Bad) != 1 {
		t.Fatalf("%d bad windows, want 1", len(o.Bad))
	}
	var page bytes.Buffer
	if err := o.Bad[0].Picture(&page); err != nil || !strings.Contains(page.String(), "write 0.101") {
		t.Errorf("the picture: %v, %d bytes", err, page.Len())
	}
	busy := []Op{w(1, 1, 10000)}
	for i := range Instant(maxWindow) {
		busy = append(busy, r(1, 2+2*i, 3+2*i))
	}
	if o := SecondOpinion(busy); o.TooBusy != 1 || o.Windows != 0 {
		t.Errorf("%+v", o)
	}
}

// TestChapters: what is known at the end of a chapter holds in the next.
func TestChapters(t *testing.T) {
	first := []Op{w(a, 1, 2), w(b, 3, Never), w(c, 4, Never), r(a, 5, 6), r(b, 7, 8)}
	chapter := func(next ...Op) []Violation {
		k := NewChecker()
		if wrong := k.Chapter(first); wrong != nil {
			t.Fatal(wrong)
		}
		if k.Maybes() != 1 {
			t.Fatalf("%d maybes, want 1", k.Maybes())
		}
		return k.Chapter(next)
	}
	for name, next := range map[string][]Op{
		"it stays":                     {r(b, 11, 12)},
		"it is overwritten":            {w(9, 11, 12), r(9, 13, 14)},
		"a maybe comes true":           {r(b, 11, 12), r(c, 13, 14)},
		"a maybe wins over a new one":  {w(9, 11, 12), r(9, 13, 14), r(c, 15, 16)},
		"a maybe loses to a new write": {r(c, 11, 12), w(9, 13, 14), r(9, 15, 16)},
	} {
		if wrong := chapter(next...); wrong != nil {
			t.Errorf("%s: %v", name, wrong)
		}
	}
	for name, h := range map[string]struct {
		why  string
		next []Op
	}{
		"an old value comes back":      {"superseded long ago", []Op{r(a, 11, 12)}},
		"a maybe flips":                {"lost write", []Op{r(c, 11, 12), r(b, 13, 14)}},
		"lost between":                 {"superseded long ago", []Op{r(0, 11, 12)}},
		"no read at the end":           {"does not end with a read", []Op{w(9, 11, 12)}},
		"a last read that has company": {"has company", []Op{w(9, 11, 14), r(9, 12, 13)}},
	} {
		if wrong := chapter(h.next...); len(wrong) != 1 || !strings.Contains(wrong[0].Why, h.why) {
			t.Errorf("%s: want %q, got %v", name, h.why, wrong)
		}
	}
	broken := NewChecker()
	if wrong := broken.Broken([]Op{w(a, 1, 2), r(a, 3, 4), w(b, 5, 9)}); wrong != nil {
		t.Errorf("a chapter that was broken off: %v", wrong)
	}
	if wrong := broken.Broken([]Op{w(a, 1, 2), w(b, 5, 6), r(a, 7, 8)}); len(wrong) != 1 {
		t.Errorf("a lost write in a chapter that was broken off: %v", wrong)
	}
	k := NewChecker()
	var many []Op
	for i := range Block(100) {
		many = append(many, Op{Block: i, Value: 7, Begin: Instant(2*i + 1), End: Instant(2*i + 2)})
	}
	if n := len(k.Chapter(many)); n != maxViolations {
		t.Errorf("%d violations are told, want %d", n, maxViolations)
	}
}

func TestLogIsBounded(t *testing.T) {
	var l Log
	if !l.Add(w(a, 1, 2), r(a, 3, 4)) || len(l.Take()) != 2 || len(l.Take()) != 0 {
		t.Error("what was added is not what is taken")
	}
	if l.Add(make([]Op, maxOps)...) {
		t.Error("there is room for more than there is")
	}
}

func TestValues(t *testing.T) {
	v := NewValue(3, 17)
	if v.Client() != 3 || v.Count() != 17 || v.String() != "3.17" || Value(0).String() != "zeroes" {
		t.Errorf("%v of %d, %d", v, v.Client(), v.Count())
	}
	var clock Clock
	if x, y := clock.Now(), clock.Now(); x >= y || x == 0 {
		t.Errorf("%d, then %d", x, y)
	}
}

// BenchmarkCheck judges a million operations on one block.
func BenchmarkCheck(bm *testing.B) {
	var ops []Op
	for i := range Instant(500_000) {
		v := Value(i + 1)
		ops = append(ops, w(v, i*3+1, i*3+4), r(v, i*3+2, i*3+6))
	}
	for bm.Loop() {
		if v := checkRegister(1, 0, ops); v != nil {
			bm.Fatal(v)
		}
	}
	bm.ReportMetric(float64(bm.Elapsed().Nanoseconds())/float64(bm.N)/float64(len(ops)), "ns/op-judged")
}
