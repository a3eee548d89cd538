package placement

import (
	"cmp"
	"math"
	"slices"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
	"github.com/sextantdisk/sextant/metadata/state"
)

// FullPercent is how full a node may be, in percent of its capacity, and
// still take new segments. The rest is for what its segments still write.
const FullPercent = 75

// Choose gives the nodes for a group of so many copies. Nodes are as
// state.State has them, Up and Used filled from heartbeats, Segments with
// those added that are being placed. Error kinds: NoSpace: too many nodes are
// too full; Unavailable: nodes or zones are missing, the message says where.
func Choose(nodes []metadata.Node, copies int) ([]block.NodeID, error) {
	zones := byZone(nodes)
	chosen := assign(zones, state.Spread(copies))
	if chosen == nil {
		return nil, shortage(nodes, copies)
	}
	return chosen, nil
}

// zone is the usable nodes of a zone, least loaded first.
type zone struct {
	name  block.Zone
	nodes []loaded
}

type loaded struct {
	id   block.NodeID
	load float64
}

// cost is the load of the n least loaded nodes together, +Inf if there are
// not so many.
func (z zone) cost(n int) float64 {
	if n > len(z.nodes) {
		return math.Inf(1)
	}
	sum := 0.0
	for _, l := range z.nodes[:n] {
		sum += l.load
	}
	return sum
}

func byZone(nodes []metadata.Node) []zone {
	index := make(map[block.Zone]int)
	var zones []zone
	mean := meanSegment(nodes)
	for _, n := range nodes {
		if unusable(n) != "" {
			continue
		}
		at, known := index[n.Zone]
		if !known {
			at = len(zones)
			index[n.Zone] = at
			zones = append(zones, zone{name: n.Zone})
		}
		zones[at].nodes = append(zones[at].nodes, loaded{id: n.ID, load: load(n, mean)})
	}
	for _, z := range zones {
		slices.SortFunc(z.nodes, func(a, b loaded) int { return cmp.Or(cmp.Compare(a.load, b.load), cmp.Compare(a.id, b.id)) })
	}
	slices.SortFunc(zones, func(a, b zone) int { return cmp.Compare(a.name, b.name) })
	return zones
}

// load is how full a node is and is going to be, as a share of its capacity:
// what is used, and again for each segment what a segment takes on average.
// On an empty cluster that is the number of segments by capacity; later, a
// node whose segments are larger than others' counts as fuller.
func load(n metadata.Node, mean float64) float64 {
	return (float64(n.Used) + float64(n.Segments)*mean) / float64(n.Capacity)
}

func meanSegment(nodes []metadata.Node) float64 {
	var used, segments float64
	for _, n := range nodes {
		if unusable(n) == "" {
			used += float64(n.Used)
			segments += float64(n.Segments)
		}
	}
	return max(1, used/max(1, segments))
}

// assign picks a zone for each entry of spread so that the nodes' load is
// least, and gives the nodes; nil if there is no way. Spread has at most two
// different values, big and small, so dynamic programming over the zones
// needs only the numbers of zones with big and with small that are filled.
func assign(zones []zone, spread []int) []block.NodeID {
	big, small := spread[0], spread[len(spread)-1]
	bigs := 0
	for _, n := range spread {
		if n == big {
			bigs++
		}
	}
	smalls := len(spread) - bigs
	best := make([][]plan, bigs+1)
	for i := range best {
		best[i] = make([]plan, smalls+1)
		for j := range best[i] {
			best[i][j].cost = math.Inf(1)
		}
	}
	best[0][0] = plan{}
	for _, z := range zones {
		for i := bigs; i >= 0; i-- { // downwards: each zone is used once
			for j := smalls; j >= 0; j-- {
				if i > 0 {
					best[i][j].improve(best[i-1][j], z, big)
				}
				if j > 0 {
					best[i][j].improve(best[i][j-1], z, small)
				}
			}
		}
	}
	return best[bigs][smalls].nodes
}

// plan is the cheapest way found to fill some entries of the spread.
type plan struct {
	cost  float64
	nodes []block.NodeID
}

func (p *plan) improve(from plan, z zone, n int) {
	cost := from.cost + z.cost(n)
	if !(cost < p.cost) {
		return
	}
	p.cost = cost
	p.nodes = slices.Clone(from.nodes)
	for _, l := range z.nodes[:n] {
		p.nodes = append(p.nodes, l.id)
	}
}
