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

// usable is the rule said once more, in other words than the package's.
func usable(n metadata.Node) bool {
	return n.Up && n.State == metadata.NodeActive && float64(n.Used) < 0.75*float64(n.Capacity)
}

// brute tries every set of nodes and gives the least load, or +Inf.
func brute(all []metadata.Node, copies int) float64 {
	var used, segments float64
	for _, n := range all {
		if usable(n) {
			used += float64(n.Used)
			segments += float64(n.Segments)
		}
	}
	mean := max(1, used/max(1, segments))
	best := math.Inf(1)
	for set := range 1 << len(all) {
		var chosen []metadata.Node
		for i, n := range all {
			if set>>i&1 == 1 {
				chosen = append(chosen, n)
			}
		}
		if valid(chosen, copies) {
			best = min(best, loadOf(chosen, mean))
		}
	}
	return best
}

func loadOf(chosen []metadata.Node, mean float64) float64 {
	sum := 0.0
	for _, n := range chosen {
		sum += (float64(n.Used) + float64(n.Segments)*mean) / float64(n.Capacity)
	}
	return sum
}

// valid is the placement rule: distinct usable nodes, in at most three
// zones, none with more than its even share.
func valid(chosen []metadata.Node, copies int) bool {
	inZone := map[block.Zone]int{}
	for _, n := range chosen {
		if !usable(n) {
			return false
		}
		inZone[n.Zone]++
	}
	for _, count := range inZone {
		if count > (copies+2)/3 {
			return false
		}
	}
	return len(chosen) == copies && len(inZone) == min(copies, 3)
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
			n.Up = rapid.IntRange(0, 9).Draw(t, "up") > 0
			if rapid.IntRange(0, 9).Draw(t, "draining") == 0 {
				n.State = metadata.NodeDraining
			}
			all = append(all, n)
		}
		copies := rapid.IntRange(1, metadata.MaxCopies).Draw(t, "copies")
		got, err := placement.Choose(all, copies)
		want := brute(all, copies)
		if math.IsInf(want, 1) {
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
		check(t, all, got, copies, want)
	})
}

func check(t *rapid.T, all []metadata.Node, got []block.NodeID, copies int, want float64) {
	var chosen []metadata.Node
	var used, segments float64
	for _, n := range all {
		if slices.Contains(got, n.ID) {
			chosen = append(chosen, n)
		}
		if usable(n) {
			used += float64(n.Used)
			segments += float64(n.Segments)
		}
	}
	if len(got) != copies || !valid(chosen, copies) {
		t.Fatalf("choice %v breaks the rules", got)
	}
	if is := loadOf(chosen, max(1, used/max(1, segments))); is > want*(1+1e-9) {
		t.Fatalf("choice %v has load %v, the best has %v", got, is, want)
	}
	shuffled := slices.Clone(all)
	rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	again, err := placement.Choose(shuffled, copies)
	if err != nil || !slices.Equal(got, again) {
		t.Fatalf("in another order: %v, %v instead of %v", again, err, got)
	}
}

// Six copies are two in each of three zones.
func TestSixCopiesAreTwoInEachOfThreeZones(t *testing.T) {
	all := nodes("a1", "a2", "a3", "b1", "b2", "b3", "c1", "c2", "d1", "d2")
	all[0].Segments, all[3].Segments = 1, 1
	got, err := placement.Choose(all, 6)
	if want := []block.NodeID{"a2", "a3", "b2", "b3", "c1", "c2"}; err != nil || !slices.Equal(got, want) {
		t.Fatalf("chose %v, %v; want %v", got, err, want)
	}
}

func TestGroupsSpreadEvenly(t *testing.T) {
	all := nodes("a1", "a2", "a3", "b1", "b2", "b3", "c1", "c2", "c3", "d1", "d2", "d3")
	for range 100 {
		got, err := placement.Choose(all, 6)
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
	down, drain, full := node("c2"), node("c3"), node("c4")
	down.Up, drain.State, full.Used = false, metadata.NodeDraining, block.TiB
	cases := []struct {
		name   string
		nodes  []metadata.Node
		copies int
		kind   block.Kind
		want   []string
	}{
		{"nothing", nil, 6, block.Unavailable, []string{"2 usable nodes in each of 3 zones", "there are no nodes yet"}},
		{"a node", append(nodes("a1", "a2", "b1", "b2", "c1"), down, drain), 6, block.Unavailable,
			[]string{"zone c has 1 usable node, 2 are needed (c2 is down, c3 is draining)"}},
		{"a zone", nodes("a1", "a2", "b1", "b2"), 6, block.Unavailable, []string{"add nodes in 1 more zone"}},
		{"room", append(nodes("a1", "a2", "b1", "b2", "c1"), full), 6, block.NoSpace, []string{"c4 is too full"}},
		{"one copy", []metadata.Node{down}, 1, block.Unavailable, []string{"1 copy needs 1 usable node", "1 is needed"}},
		{"four copies", nodes("a1", "b1", "c1"), 4, block.Unavailable, []string{"2 + 1 + 1 usable nodes in 3 zones"}},
	}
	for _, c := range cases {
		_, err := placement.Choose(c.nodes, c.copies)
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
