package placement_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
	"github.com/sextantdisk/sextant/metadata/placement"
	"github.com/sextantdisk/sextant/metadata/state"
)

func node(id string) metadata.Node {
	return metadata.Node{
		ID: block.NodeID(id), Zone: block.Zone(id[:1]), State: metadata.NodeActive, Up: true, Capacity: block.TiB,
	}
}

func nodes(ids ...string) []metadata.Node {
	var all []metadata.Node
	for _, id := range ids {
		all = append(all, node(id))
	}
	return all
}

// usable is the rule said once more, in other words than the package's;
// silent nodes are the last resort.
func usable(n metadata.Node) bool {
	return n.State == metadata.NodeActive && n.Used < n.Capacity/100*75
}

func silent(chosen []metadata.Node) (count int) {
	for _, n := range chosen {
		if !n.Up {
			count++
		}
	}
	return count
}

// meanOf is what a segment takes on average on the nodes that are heard.
func meanOf(all []metadata.Node) float64 {
	var used, segments float64
	for _, n := range all {
		if usable(n) && n.Up {
			used += float64(n.Used)
			segments += float64(n.Segments)
		}
	}
	return max(1, used/max(1, segments))
}

// brute tries every set of nodes and gives the fewest silent nodes, and the
// least load with so many, +Inf if no set is right.
func brute(all []metadata.Node, q metadata.Quorum) (fewest int, least float64) {
	mean := meanOf(all)
	fewest, least = len(all), math.Inf(1)
	for set := range 1 << len(all) {
		var chosen []metadata.Node
		for i, n := range all {
			if set>>i&1 == 1 {
				chosen = append(chosen, n)
			}
		}
		if !valid(chosen, q) {
			continue
		}
		switch down, load := silent(chosen), loadOf(chosen, mean); {
		case down < fewest:
			fewest, least = down, load
		case down == fewest:
			least = min(least, load)
		}
	}
	return fewest, least
}

func loadOf(chosen []metadata.Node, mean float64) float64 {
	sum := 0.0
	for _, n := range chosen {
		sum += (float64(n.Used) + float64(n.Segments)*mean) / float64(n.Capacity)
	}
	return sum
}

// valid is the placement rule: distinct usable nodes, in at most three
// zones, none with more than its even share, enough of them heard for either
// quorum.
func valid(chosen []metadata.Node, q metadata.Quorum) bool {
	inZone := map[block.Zone]int{}
	for _, n := range chosen {
		if !usable(n) {
			return false
		}
		inZone[n.Zone]++
	}
	for _, count := range inZone {
		if count > (q.Copies+2)/3 {
			return false
		}
	}
	heard := len(chosen) - silent(chosen)
	return len(chosen) == q.Copies && len(inZone) == min(q.Copies, 3) && heard >= q.Write && heard >= q.Read
}

// drawQuorum gives any quorum that metadata.Quorum.Check allows.
func drawQuorum(t *rapid.T) metadata.Quorum {
	q := metadata.Quorum{Copies: rapid.IntRange(1, metadata.MaxCopies).Draw(t, "copies")}
	q.Write = rapid.IntRange(q.Copies/2+1, q.Copies).Draw(t, "write")
	q.Read = rapid.IntRange(q.Copies-q.Write+1, q.Copies).Draw(t, "read")
	if err := q.Check(); err != nil {
		t.Fatal(err)
	}
	return q
}

func TestChoiceIsTheBestOfAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		zones := rapid.IntRange(1, 5).Draw(t, "zones")
		count := rapid.IntRange(0, 11).Draw(t, "nodes")
		var all []metadata.Node
		for i := range count {
			n := node(fmt.Sprintf("%c%d", 'a'+rapid.IntRange(0, zones-1).Draw(t, "zone"), i))
			n.Capacity = block.TiB * block.ByteCount(rapid.IntRange(1, 3).Draw(t, "capacity"))
			n.Used = n.Capacity / 100 * block.ByteCount(rapid.IntRange(0, 100).Draw(t, "used"))
			n.Segments = rapid.IntRange(0, 40).Draw(t, "segments")
			n.Up = rapid.IntRange(0, 3).Draw(t, "up") > 0
			if rapid.IntRange(0, 9).Draw(t, "draining") == 0 {
				n.State = metadata.NodeDraining
			}
			all = append(all, n)
		}
		q := drawQuorum(t)
		got, err := placement.Choose(all, q)
		fewest, least := brute(all, q)
		if math.IsInf(least, 1) {
			if err == nil {
				t.Fatalf("chose %v where no choice is right", got)
			}
			if !errors.Is(err, block.Unavailable) && !errors.Is(err, block.NoSpace) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		if err != nil {
			t.Fatalf("refused where there is a choice: %v", err)
		}
		check(t, all, got, q, fewest, least)
	})
}

func check(t *rapid.T, all []metadata.Node, got []block.NodeID, q metadata.Quorum, fewest int, least float64) {
	var chosen []metadata.Node
	for _, n := range all {
		if slices.Contains(got, n.ID) {
			chosen = append(chosen, n)
		}
	}
	if len(got) != q.Copies || !valid(chosen, q) {
		t.Fatalf("choice %v breaks the rules", got)
	}
	if is := silent(chosen); is != fewest {
		t.Fatalf("choice %v has %d silent nodes, the best has %d", got, is, fewest)
	}
	if is := loadOf(chosen, meanOf(all)); is > least*(1+1e-9) {
		t.Fatalf("choice %v has load %v, the best has %v", got, is, least)
	}
	shuffled := slices.Clone(all)
	rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	again, err := placement.Choose(shuffled, q)
	if err != nil || !slices.Equal(got, again) {
		t.Fatalf("in another order: %v, %v instead of %v", again, err, got)
	}
}

// Silent nodes are chosen where there is no other way only, two of six at
// most, both perhaps in one zone (a whole zone is away).
func TestSilentNodesAreTheLastResort(t *testing.T) {
	six := []string{"a1", "a2", "b1", "b2", "c1", "c2"}
	for name, c := range map[string]struct {
		more []string // beyond six
		down []string
		not  []string // may not be chosen
		kind block.Kind
	}{
		"none":                     {},
		"one":                      {down: []string{"b2"}},
		"a zone":                   {down: []string{"c1", "c2"}},
		"two zones":                {down: []string{"a1", "c1"}},
		"three":                    {down: []string{"a1", "b1", "c1"}, kind: block.Unavailable},
		"a spare in the zone":      {more: []string{"b3"}, down: []string{"b2"}, not: []string{"b2"}},
		"a spare zone":             {more: []string{"d1", "d2"}, down: []string{"c1"}, not: []string{"c1", "c2"}},
		"a spare of another zone":  {more: []string{"a3"}, down: []string{"b2"}},
		"two spares, three silent": {more: []string{"a3", "b3"}, down: []string{"a1", "b1", "c1"}, not: []string{"a1", "b1"}},
	} {
		all := nodes(append(slices.Clone(six), c.more...)...)
		for i := range all {
			all[i].Up = !slices.Contains(c.down, string(all[i].ID))
			if all[i].Up {
				all[i].Segments, all[i].Used = 100, block.TiB/2 // however full the others are
			}
		}
		for i := range all { // a failed disk is as good as a node that is down
			if !all[i].Up && i%2 == 0 {
				all[i].Up, all[i].Health.Failed = true, "input/output error"
			}
		}
		got, err := placement.Choose(all, metadata.DefaultQuorum)
		if c.kind != 0 {
			if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), "2 of which may be down") {
				t.Errorf("%s: chose %v, %v", name, got, err)
			}
			continue
		}
		if err != nil || len(got) != 6 {
			t.Errorf("%s: chose %v, %v", name, got, err)
		}
		for _, id := range c.not {
			if slices.Contains(got, block.NodeID(id)) {
				t.Errorf("%s: chose %v, not all of which need be silent", name, got)
			}
		}
	}
}

// Six copies are two in each of three zones.
func TestSixCopiesAreTwoInEachOfThreeZones(t *testing.T) {
	all := nodes("a1", "a2", "a3", "b1", "b2", "b3", "c1", "c2", "d1", "d2")
	all[0].Segments, all[3].Segments = 1, 1
	got, err := placement.Choose(all, metadata.DefaultQuorum)
	if want := []block.NodeID{"a2", "a3", "b2", "b3", "c1", "c2"}; err != nil || !slices.Equal(got, want) {
		t.Fatalf("chose %v, %v; want %v", got, err, want)
	}
}

func TestGroupsSpreadEvenly(t *testing.T) {
	all := nodes("a1", "a2", "a3", "b1", "b2", "b3", "c1", "c2", "c3", "d1", "d2", "d3")
	for range 100 {
		got, err := placement.Choose(all, metadata.DefaultQuorum)
		if err != nil {
			t.Fatal(err)
		}
		for i := range all {
			if slices.Contains(got, all[i].ID) {
				all[i].Segments++
			}
		}
	}
	for _, n := range all {
		if n.Segments < 49 || n.Segments > 51 {
			t.Errorf("node %s has %d segments of 600 on 12 nodes", n.ID, n.Segments)
		}
	}
}

func TestShortageSaysWhatIsMissing(t *testing.T) {
	down, gone, drain, full := node("c2"), node("c5"), node("c3"), node("c4")
	down.Up, gone.Up, drain.State, full.Used = false, false, metadata.NodeDraining, block.TiB
	silent := nodes("a1", "a2", "b1", "b2")
	silent[0].Up, silent[3].Up = false, false
	fullAndDown := full
	fullAndDown.Up = false
	six, one := metadata.DefaultQuorum, metadata.Quorum{Copies: 1, Write: 1, Read: 1}
	strict := metadata.Quorum{Copies: 6, Write: 4, Read: 6}
	cases := []struct {
		name   string
		nodes  []metadata.Node
		quorum metadata.Quorum
		kind   block.Kind
		want   []string
	}{
		{"nothing", nil, six, block.Unavailable, []string{"2 usable nodes in each of 3 zones", "there are no nodes yet"}},
		{"a node", append(nodes("a1", "a2", "b1", "b2", "c1"), drain), six, block.Unavailable,
			[]string{"zone c has 1 usable node, 2 are needed (c3 is draining)"}},
		{"three silent", append(silent, node("c1"), down), six, block.Unavailable,
			[]string{"3 zones, 2 of which may be down: zone a has 1 usable node, 2 are needed (a1 is down); zone b has 1", "2 are needed (c2 is down)"}},
		{"none may be silent", append(nodes("a1", "a2", "b1", "b2", "c1"), down), strict, block.Unavailable,
			[]string{"in each of 3 zones: zone a", "zone c has 1 usable node, 2 are needed (c2 is down)"}},
		{"a zone", nodes("a1", "a2", "b1", "b2"), six, block.Unavailable, []string{"add nodes in 1 more zone"}},
		{"room", append(nodes("a1", "a2", "b1", "b2", "c1"), full), six, block.NoSpace, []string{"c4 is too full"}},
		{"room on a silent one", append(nodes("a1", "a2", "b1", "b2", "c1"), fullAndDown), six, block.NoSpace, []string{"c4 is too full"}},
		{"room, but silent", append(silent, full, down, gone), six, block.Unavailable, []string{"c2 is down, c4 is too full, c5 is down"}},
		{"one copy", []metadata.Node{down}, one, block.Unavailable, []string{"1 copy needs 1 usable node: ", "1 is needed"}},
		{"four copies", nodes("a1", "b1", "c1"), metadata.Quorum{Copies: 4, Write: 3, Read: 2}, block.Unavailable,
			[]string{"2 + 1 + 1 usable nodes in 3 zones"}},
	}
	for _, c := range cases {
		_, err := placement.Choose(c.nodes, c.quorum)
		if !errors.Is(err, c.kind) {
			t.Errorf("%s: %v is not of kind %v", c.name, err, c.kind)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not say %q", c.name, err, want)
			}
		}
	}
	if got := state.Spread(5); !slices.Equal(got, []int{2, 2, 1}) {
		t.Errorf("five copies are spread %v", got)
	}
}

// groupOn is a group with a copy on each of these nodes.
func groupOn(ids ...string) (pg metadata.PGConfig) {
	for i, id := range ids {
		pg.Segments = append(pg.Segments, metadata.Segment{ID: block.SegmentID{byte(i + 1)}, Node: block.NodeID(id), Zone: block.Zone(id[:1])})
	}
	return pg
}

// TestReplace: the least loaded node that is heard, holds no copy and keeps
// the spread; or what is missing.
func TestReplace(t *testing.T) {
	six := []string{"a1", "a2", "b1", "b2", "c1", "c2"}
	three := []string{"a1", "b1", "c1"}
	for name, c := range map[string]struct {
		group  []string
		more   []string
		spoil  func(map[block.NodeID]*metadata.Node)
		to     block.NodeID
		want   block.NodeID
		kind   block.Kind
		saying string
	}{
		"no other node":      {group: six, kind: block.Unavailable, saying: "a copy in zone a on node a1 cannot be replaced: no other node there is free to take it (a1 has the one to be replaced, a2 has a copy of the group); add a node in zone a"},
		"only another zone":  {group: six, more: []string{"b3", "d1"}, kind: block.Unavailable, saying: "add a node in zone a"},
		"one":                {group: six, more: []string{"a3", "b3"}, want: "a3"},
		"the less loaded":    {group: six, more: []string{"a3", "a4"}, spoil: func(n map[block.NodeID]*metadata.Node) { n["a3"].Segments = 5 }, want: "a4"},
		"silent":             {group: six, more: []string{"a3"}, spoil: func(n map[block.NodeID]*metadata.Node) { n["a3"].Up = false }, kind: block.Unavailable, saying: "a3 is down"},
		"failed":             {group: six, more: []string{"a3"}, spoil: func(n map[block.NodeID]*metadata.Node) { n["a3"].Health.Failed = "EIO" }, kind: block.Unavailable, saying: "a3 has a failed disk"},
		"full":               {group: six, more: []string{"a3"}, spoil: func(n map[block.NodeID]*metadata.Node) { n["a3"].Used = block.TiB }, kind: block.NoSpace, saying: "a3 is too full"},
		"draining":           {group: six, more: []string{"a3"}, spoil: func(n map[block.NodeID]*metadata.Node) { n["a3"].State = metadata.NodeDraining }, kind: block.Unavailable, saying: "a3 is draining"},
		"of three, any zone": {group: three, more: []string{"d1", "b2"}, want: "d1"},
		"named":              {group: six, more: []string{"a3", "a4"}, to: "a4", want: "a4"},
		"named, elsewhere":   {group: six, more: []string{"b3"}, to: "b3", kind: block.Invalid, saying: "node b3 is in zone b"},
		"named, taken":       {group: six, to: "a2", kind: block.Invalid, saying: "a2 has a copy of the group"},
		"named, the same":    {group: six, to: "a1", kind: block.Invalid, saying: "a1 has the one to be replaced"},
		"named, unknown":     {group: six, to: "x", kind: block.NotFound, saying: "does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			all := nodes(append(slices.Clone(c.group), c.more...)...)
			byID := map[block.NodeID]*metadata.Node{}
			for i := range all {
				byID[all[i].ID] = &all[i]
			}
			if c.spoil != nil {
				c.spoil(byID)
			}
			got, err := placement.Replace(all, groupOn(c.group...), block.SegmentID{1}, c.to)
			if got != c.want || (err == nil) != (c.want != "") {
				t.Fatalf("node %q, %v; want %q", got, err, c.want)
			}
			if err != nil && (!errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.saying)) {
				t.Errorf("%v (%v), want kind %v and %q", err, block.KindOf(err), c.kind, c.saying)
			}
		})
	}
}
