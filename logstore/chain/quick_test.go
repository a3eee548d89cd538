package chain

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/sextantdisk/sextant/internal/block"
)

// dumb is the chain by definition: a set of records, everything computed anew
// from it.
type dumb struct {
	floor block.LSN
	recs  map[block.LSN]block.LSN // LSN to Prev
}

func (d *dumb) add(l, prev block.LSN) {
	if l > d.floor && prev >= d.floor {
		if _, ok := d.recs[l]; !ok {
			d.recs[l] = prev
		}
	}
}

// way is the records from the floor to l, or nil if one is missing.
func (d *dumb) way(l block.LSN) []block.LSN {
	var w []block.LSN
	for l > d.floor {
		prev, ok := d.recs[l]
		if !ok {
			return nil
		}
		w = append(w, l)
		l = prev
	}
	if l != d.floor {
		return nil
	}
	slices.Reverse(w)
	return w
}

func (d *dumb) path() []block.LSN {
	var best []block.LSN
	for l := range d.recs {
		if w := d.way(l); len(w) > 0 && (len(best) == 0 || l > best[len(best)-1]) {
			best = w
		}
	}
	return best
}

func (d *dumb) annulled(path []block.LSN) (n int) {
	for l := range d.recs {
		if l > d.floor && len(d.way(l)) > 0 && !slices.Contains(path, l) {
			n++
		}
	}
	return n
}

// mirror checks that the events rebuild the path.
type mirror struct {
	t       *rapid.T
	path    []block.LSN
	settled []block.LSN
	dropped []block.LSN
}

func (m *mirror) Join(e Entry[int]) {
	if n := len(m.path); n > 0 && m.path[n-1] != e.Prev {
		m.t.Fatalf("%v joined after %v but follows %v", e.LSN, m.path[n-1], e.Prev)
	}
	if e.Value != int(e.LSN) {
		m.t.Fatalf("%v came with the value of %d", e.LSN, e.Value)
	}
	m.path = append(m.path, e.LSN)
}

func (m *mirror) Leave(e Entry[int]) {
	if n := len(m.path); n == 0 || m.path[n-1] != e.LSN {
		m.t.Fatalf("%v left but is not the end of %v", e.LSN, m.path)
	}
	m.path = m.path[:len(m.path)-1]
}

func (m *mirror) Settle(e Entry[int]) {
	if len(m.path) == 0 || m.path[0] != e.LSN {
		m.t.Fatalf("%v settled but is not the start of %v", e.LSN, m.path)
	}
	m.path = m.path[1:]
	m.settled = append(m.settled, e.LSN)
}

func (m *mirror) Drop(e Entry[int]) {
	if _, on := slices.BinarySearch(m.path, e.LSN); on {
		m.t.Fatalf("%v was dropped from the path", e.LSN)
	}
	m.dropped = append(m.dropped, e.LSN)
}

// tree draws records whose Prev is any lower LSN of the tree, as zombies and
// failed writers would leave them.
func tree(t *rapid.T) []Entry[int] {
	n := rapid.IntRange(1, 40).Draw(t, "records")
	lsns := []block.LSN{0}
	var recs []Entry[int]
	for range n {
		l := lsns[len(lsns)-1] + block.LSN(rapid.IntRange(1, 3).Draw(t, "step"))
		at := len(lsns) - 1
		if rapid.IntRange(0, 3).Draw(t, "branch") == 0 {
			at = rapid.IntRange(0, len(lsns)-1).Draw(t, "parent")
		}
		recs = append(recs, Entry[int]{LSN: l, Prev: lsns[at], Value: int(l)})
		lsns = append(lsns, l)
	}
	return recs
}

// TestR16QuickAgainstDefinition proves that the linked-up structure says at
// each step what the definition says: SCL, chain, and what is annulled.
func TestR16QuickAgainstDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		recs := tree(t)
		order := rapid.SliceOfN(rapid.IntRange(0, len(recs)-1), 1, 3*len(recs)).Draw(t, "arrivals")
		var c Chain[int]
		d := dumb{recs: map[block.LSN]block.LSN{}}
		m := mirror{t: t}
		for _, i := range order {
			scl := c.SCL()
			c.Add(recs[i], &m)
			d.add(recs[i].LSN, recs[i].Prev)
			compare(t, &c, &d, &m)
			if c.SCL() < scl {
				t.Fatalf("SCL went back from %v to %v", scl, c.SCL())
			}
			if p := d.path(); len(p) > 0 && rapid.IntRange(0, 4).Draw(t, "settle") == 0 {
				l := p[rapid.IntRange(0, len(p)-1).Draw(t, "floor")]
				if !c.SetFloor(l, &m) {
					t.Fatalf("floor %v refused: %s", l, c.Describe())
				}
				d.floor = l
				compare(t, &c, &d, &m)
			}
		}
	})
}

func compare(t *rapid.T, c *Chain[int], d *dumb, m *mirror) {
	want := d.path()
	var got []block.LSN
	for _, e := range c.Path() {
		got = append(got, e.LSN)
	}
	if !slices.Equal(got, want) || !slices.Equal(m.path, want) {
		t.Fatalf("path %v, events say %v, definition says %v\n%s", got, m.path, want, c.Describe())
	}
	if c.Annulled() != d.annulled(want) {
		t.Fatalf("%d annulled, definition says %d\n%s", c.Annulled(), d.annulled(want), c.Describe())
	}
}
