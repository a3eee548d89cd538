package chain

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/sextantdisk/sextant/internal/block"
)

// R21: what is at or below the point is forgotten and not settled; what is
// above goes on from there, and only that.
func TestR21JumpGoesOnFromThePoint(t *testing.T) {
	story(t, `
		add 1.1<0 -> linked
		add 1.2<1.1 -> linked
		add 2.1<1.1 -> linked
		add 3.2<3.1 -> pending
		add 3.4<3.3 -> pending
		events +1.1 +1.2 -1.2 +2.1
		jump 3.1 -> true
		events -2.1 -1.1 x1.1 x1.2 x2.1 +3.2
		is floor 3.1, path 3.2, pending 3.4<3.3
		add 1.3<1.2 -> settled
		add 3.1<2.1 -> settled
		add 3.3<3.2 -> linked
		scl 3.4
		jump 2.9 -> false
		jump 3.2 -> true
		is floor 3.2, path 3.3 3.4`)
}

// A path that leaves the chain below the point was annulled, however high it
// goes.
func TestR21JumpLeavesADeadBranch(t *testing.T) {
	story(t, `
		add 1.1<0 -> linked
		add 1.5<1.1 -> linked
		jump 1.3 -> true
		is floor 1.3, path
		scl 1.3
		add 1.4<1.3 -> linked
		scl 1.4`)
}

// A jump is a new chain with that floor, to which all records were added that
// there are.
func TestR21JumpQuick(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		recs := tree(t)
		var c, want Chain[int]
		m := mirror{t: t}
		for _, i := range rapid.SliceOfN(rapid.IntRange(0, len(recs)-1), 1, 2*len(recs)).Draw(t, "arrivals") {
			c.Add(recs[i], &m)
		}
		at := recs[rapid.IntRange(0, len(recs)-1).Draw(t, "point")].LSN
		want.floor = at
		mw := mirror{t: t}
		for _, e := range append(append([]Entry[int]{}, c.Path()...), values(c.branches, c.pending)...) {
			want.Add(e, &mw)
		}
		if !c.Jump(at, &m) {
			t.Fatalf("jump to %v refused", at)
		}
		if c.SCL() != want.SCL() || c.Describe() != want.Describe() || len(m.path) != len(c.Path()) {
			t.Fatalf("after the jump to %v: %s, events say %v; anew it is %s", at, c.Describe(), m.path, want.Describe())
		}
	})
}

func values(ms ...map[block.LSN]Entry[int]) (all []Entry[int]) {
	for _, m := range ms {
		for _, e := range m {
			all = append(all, e)
		}
	}
	return all
}
