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

// Choose gives the nodes for a group with such a quorum. Nodes are as
// state.State has them, Up and Used filled from heartbeats, Segments with
// those added that are being placed. Silent nodes are the last resort: see
// MaxSilent. Error kinds: NoSpace: too many nodes are too full; Unavailable:
// nodes or zones are missing, the message says where.
func Choose(nodes []metadata.Node, q metadata.Quorum) ([]block.NodeID, error) {
	if best := assign(byZone(nodes, eligible), state.Spread(q.Copies)); best.cost.silent <= MaxSilent(q) {
		return best.nodes, nil
	}
	return nil, shortage(nodes, q)
}

// MaxSilent is how many nodes of a choice may be silent: so many that the
// others can open the group and acknowledge its writes (volume/quorum: both
// quorums are needed), 2 of 6 by default. The segments on silent nodes are
// made when their nodes are back, and catch up.
func MaxSilent(q metadata.Quorum) int { return q.Copies - max(q.Write, q.Read) }

// zone is the nodes of a zone that may be chosen, those that are heard
// first, the least loaded first.
type zone struct {
	name  block.Zone
	nodes []candidate
}

type candidate struct {
	id   block.NodeID
	cost cost
}

// cost is what makes a choice bad: its silent nodes, then its load.
type cost struct {
	silent int
	load   float64
}

// impossible is more than any choice costs, and stays that when added to.
var impossible = cost{silent: math.MaxInt32}

func (c cost) plus(d cost) cost { return cost{c.silent + d.silent, c.load + d.load} }

func (c cost) compare(d cost) int {
	return cmp.Or(cmp.Compare(c.silent, d.silent), cmp.Compare(c.load, d.load))
}

// cost is that of the n best nodes together, impossible if there are not so
// many.
func (z zone) cost(n int) cost {
	if n > len(z.nodes) {
		return impossible
	}
	var sum cost
	for _, c := range z.nodes[:n] {
		sum = sum.plus(c.cost)
	}
	return sum
}

// byZone sorts the nodes that pass into zones.
func byZone(nodes []metadata.Node, pass func(metadata.Node) bool) []zone {
	index := make(map[block.Zone]int)
	var zones []zone
	mean := meanSegment(nodes)
	for _, n := range nodes {
		if !pass(n) {
			continue
		}
		at, known := index[n.Zone]
		if !known {
			at = len(zones)
			index[n.Zone] = at
			zones = append(zones, zone{name: n.Zone})
		}
		c := candidate{id: n.ID, cost: cost{load: load(n, mean)}}
		if Silent(n) {
			c.cost.silent = 1
		}
		zones[at].nodes = append(zones[at].nodes, c)
	}
	for _, z := range zones {
		slices.SortFunc(z.nodes, func(a, b candidate) int { return cmp.Or(a.cost.compare(b.cost), cmp.Compare(a.id, b.id)) })
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

// meanSegment is what a segment takes on average, of the nodes whose use is
// known: what a silent one has may never have been heard.
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

// assign picks a zone for each entry of spread so that the nodes' cost is
// least; it is impossible if there is no way. Spread has at most two
// different values, big and small, so dynamic programming over the zones
// needs only the numbers of zones with big and with small that are filled.
func assign(zones []zone, spread []int) plan {
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
			best[i][j].cost = impossible
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
	return best[bigs][smalls]
}

// plan is the cheapest way found to fill some entries of the spread.
type plan struct {
	cost  cost
	nodes []block.NodeID
}

func (p *plan) improve(from plan, z zone, n int) {
	sum := from.cost.plus(z.cost(n))
	if sum.compare(p.cost) >= 0 {
		return
	}
	p.cost = sum
	p.nodes = slices.Clone(from.nodes)
	for _, c := range z.nodes[:n] {
		p.nodes = append(p.nodes, c.id)
	}
}
