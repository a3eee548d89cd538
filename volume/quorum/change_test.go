package quorum

import (
	"errors"
	"slices"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
)

// unhydrated is joint with member 6 not hydrated.
func unhydrated() *Config {
	c := joint()
	c.Unhydrated = map[Member]bool{6: true}
	return c
}

// lost looks for a record that has a write quorum of every set of by, and that
// a recovery with now does not find, whoever answers, and whoever of those is
// damaged. Who has caught up has it, and who is in no set of by only then. It
// gives the quorum, those who answer, and those of them damaged.
func lost(by, now *Config, caught Votes) (loss []Votes) {
	for w := range Votes(1 << 7) {
		if !by.Writes(w) || w&^by.Members() != 0 {
			continue
		}
		have := w | caught
		for r := range Votes(1 << 7) {
			for damaged := r; ; damaged = (damaged - 1) & r { // all parts of r
				if point, _, ok := now.Recover(answersOf(r, damaged, have)); ok && point < 9 {
					return []Votes{w, r, damaged}
				}
				if damaged == 0 {
					break
				}
			}
		}
	}
	return nil
}

// answersOf are the answers of r, of whom those damaged have lost what they had,
// and the others have the record if they are in have.
func answersOf(r, damaged, have Votes) (answers []Answer) {
	for m := range Member(7) {
		a := Answer{Member: m, SCL: 5, Damaged: damaged.Has(m)}
		switch {
		case !r.Has(m):
			continue
		case a.Damaged:
			a.SCL = 1
		case have.Has(m):
			a.SCL = 9
		}
		answers = append(answers, a)
	}
	return answers
}

// TestR25RecoveryFindsEverything: over all write quorums and all sets of
// answers. What was acknowledged with the old set before the change, with both
// during it, is found while the new segment is not hydrated, and when it is.
func TestR25RecoveryFindsEverything(t *testing.T) {
	old := joint()
	old.Sets = old.Sets[:1]
	next := joint()
	next.Sets = next.Sets[1:]
	for name, x := range map[string]struct {
		by, now *Config
		caught  Votes
	}{
		"old set alone, new segment not hydrated": {old, unhydrated(), 0},
		"old set alone, new segment hydrated":     {old, joint(), 1 << 6},
		"both sets, new segment not hydrated":     {joint(), unhydrated(), 0},
		"both sets, new segment hydrated":         {joint(), joint(), 1 << 6},
		"both sets, then cancelled":               {joint(), old, 0},
		"both sets, then finished":                {joint(), next, 1 << 6},
	} {
		if loss := lost(x.by, x.now, x.caught); loss != nil {
			t.Errorf("%s: a record on %07b is lost when %07b answer, %07b of them damaged", name, loss[0], loss[1], loss[2])
		}
	}
}

// TestR25UnhydratedIsNotCountedForData (trap T9): were the new segment counted
// as soon as it is there, records would be lost. It does count for the fence.
func TestR25UnhydratedIsNotCountedForData(t *testing.T) {
	old := joint()
	old.Sets = old.Sets[:1]
	if lost(old, joint(), 0) == nil {
		t.Error("nothing is lost when an empty segment is counted for data: this test shows nothing")
	}
	c := unhydrated()
	answers := []Answer{{0, 9, false}, {1, 9, false}, {5, 9, false}, {6, 0, false}}
	if point, donors, ok := c.Recover(answers); !ok || point != 9 || donors.Has(6) {
		t.Errorf("three of the old set, and the new one for the fence: point %v of %b, ok %v", point, donors, ok)
	}
	if _, _, ok := c.Recover(answers[:3]); ok {
		t.Error("two of the new set are taken for a fence of it")
	}
	if _, _, ok := c.Recover([]Answer{{0, 9, false}, {1, 9, false}, {6, 0, false}}); ok {
		t.Error("two of the old set are taken for a fence of it")
	}
}

// TestR25BothSetsAcknowledge: four of the old set are not enough, nor four of
// the new one.
func TestR25BothSetsAcknowledge(t *testing.T) {
	c := joint()
	committed := func(v Votes) bool {
		return c.Committed(func(m Member) block.LSN {
			if v.Has(m) {
				return 9
			}
			return 0
		}) == 9
	}
	for v := range Votes(1 << 7) {
		want := v.in(c.Sets[0]) >= 4 && v.in(c.Sets[1]) >= 4
		if committed(v) != want {
			t.Errorf("on %07b: committed %v", v, !want)
		}
	}
	if committed(0b0101110) || !committed(0b0001111) {
		t.Error("ABCD are both quorums, BCDF are one")
	}
}

// TestR26SyncPointCoversTheOldSet (trap T11): whatever a write quorum of the old
// set had when three of it installed the change is at or below the sync point,
// whoever the three are.
func TestR26SyncPointCoversTheOldSet(t *testing.T) {
	c := unhydrated()
	for w := range Votes(1 << 6) {
		if w.in(c.Sets[0]) < 4 {
			continue
		}
		scl := func(m Member) block.LSN {
			if w.Has(m) {
				return 9
			}
			return 5
		}
		for installed := range Votes(1 << 7) {
			settled := c.OldSettled(installed)
			if settled != (installed.in(c.Sets[0]) >= 3) {
				t.Fatalf("%07b have installed: settled %v", installed, settled)
			}
			if p := c.SyncPoint(installed, scl); settled && p < 9 {
				t.Fatalf("on %06b, installed by %07b: sync point %v", w, installed, p)
			}
		}
	}
}

// TestR26FinishNeedsTheNewSetAtTheSyncPoint: four of the new set and the one
// that joins, which must be marked hydrated before.
func TestR26FinishNeedsTheNewSetAtTheSyncPoint(t *testing.T) {
	for v := range Votes(1 << 7) {
		scl := func(m Member) block.LSN {
			if v.Has(m) {
				return 9
			}
			return 8
		}
		if c := unhydrated(); c.MayFinish(9, scl) || c.Caught(9, scl) != v.Has(6) {
			t.Fatalf("%07b are at the sync point: caught %v, may finish %v", v, c.Caught(9, scl), c.MayFinish(9, scl))
		}
		if c := joint(); c.MayFinish(9, scl) != (v.Has(6) && v.in(c.Sets[1]) >= 4) {
			t.Fatalf("%07b are at the sync point, hydrated: may finish %v", v, c.MayFinish(9, scl))
		}
	}
}

// of are sets by positions, with the quorums that sets of six and of four have.
func of(sets ...[]int) (out []DecidedSet) {
	for _, set := range sets {
		s := DecidedSet{At: set, Write: 4, Read: 3}
		if len(set) == 4 {
			s.Write, s.Read = 3, 2
		}
		out = append(out, s)
	}
	return out
}

// TestAdoptKeepsNumbers: a segment has one member number as long as it is there;
// the number of one that left is not given away at once.
func TestAdoptKeepsNumbers(t *testing.T) {
	ids := func(names string) (out []block.SegmentID) {
		for _, c := range names {
			out = append(out, block.SegmentID{byte(c)})
		}
		return out
	}
	base := &Config{}
	single := [][]int{{0, 1, 2, 3, 4, 5}}
	all := []bool{true, true, true, true, true, true}
	decide := func(c *Config, m block.MembershipEpoch, names string, hydrated []bool, sets ...[]int) *Config {
		t.Helper()
		next, err := c.Adopt(Decided{Epoch: m, Segments: ids(names), Hydrated: hydrated, Sets: of(sets...)})
		if err != nil {
			t.Fatal(err)
		}
		return next
	}
	at := func(c *Config, name rune) Member {
		return Member(slices.Index(c.Segments, block.SegmentID{byte(name)}))
	}
	c := decide(base, 1, "abcdef", all, single...)
	c = decide(c, 2, "abcdefg", append(slices.Clone(all), false), []int{0, 1, 2, 3, 4, 5}, []int{0, 6, 2, 3, 4, 5})
	if at(c, 'g') != 6 || !c.Unhydrated[6] || !c.Joint() || c.Joining() != Votes(0).Add(6) || c.Epoch != 2 || c.Sets[1].Write != 4 {
		t.Fatalf("joint: %v, segments %v", c, c.Segments)
	}
	c = decide(c, 3, "agcdef", all, single...)
	if at(c, 'g') != 6 || at(c, 'f') != 5 || !c.Segments[1].IsZero() || !slices.Equal(c.Sets[0].Members, []Member{0, 6, 2, 3, 4, 5}) || c.Members().Has(1) {
		t.Fatalf("after the end: %v, segments %v", c, c.Segments)
	}
	c = decide(c, 4, "agcdefh", append(slices.Clone(all), false), []int{0, 1, 2, 3, 4, 5}, []int{0, 1, 2, 3, 4, 6})
	if at(c, 'h') != 1 {
		t.Fatalf("the number that was free is not used: segments %v", c.Segments)
	}
	// In one step: f left and i came. Number 5 was f's a moment ago.
	c = decide(c, 5, "agcdehi", append(slices.Clone(all), false), []int{0, 1, 2, 3, 4, 5}, []int{6, 1, 2, 3, 4, 5})
	if at(c, 'i') != 7 || !c.Segments[5].IsZero() {
		t.Fatalf("a number was given away at once: segments %v", c.Segments)
	}
	for m := block.MembershipEpoch(6); m < 100; m++ { // replacements without end
		names := []rune("agcdeh")
		names[int(m)%6] = 128 + rune(m)
		c = decide(c, m, string(names), all, single...)
		if len(c.Segments) > MaxMembers {
			t.Fatalf("%d member numbers", len(c.Segments))
		}
	}
	if _, err := base.Adopt(Decided{Segments: ids("abcdef"), Hydrated: all, Sets: of([]int{0, 1, 2, 3, 4, 6})}); !errors.Is(err, block.Invalid) {
		t.Errorf("a set beyond the segments: %v", err)
	}
}
