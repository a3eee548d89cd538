package placement

import (
	"fmt"
	"strings"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
	"github.com/sextantdisk/sextant/metadata/state"
)

// Replace gives the node for a segment that takes the place of another: one
// that is heard and takes segments, holds no copy of the group (nor the one that
// leaves: a new disk is a new node), and keeps the copies spread over zones. Of
// several the least loaded. If to is given it is that node or none. Error kinds:
// Unavailable, NoSpace: what is missing is said; NotFound, Invalid: to is not
// possible.
func Replace(nodes []metadata.Node, pg metadata.PGConfig, leaving block.SegmentID, to block.NodeID) (block.NodeID, error) {
	var zones []block.Zone // of the copies that stay
	var from metadata.Segment
	holds := make(map[block.NodeID]bool)
	for _, s := range pg.Segments {
		holds[s.Node] = true
		if s.ID == leaving {
			from = s
		} else {
			zones = append(zones, s.Zone)
		}
	}
	why := func(n metadata.Node) string {
		switch {
		case n.ID == from.Node:
			return "has the one to be replaced"
		case holds[n.ID]:
			return "has a copy of the group"
		}
		return unusable(n)
	}
	if to != "" {
		return only(nodes, to, zones, from, why)
	}
	var best []candidate
	for _, z := range byZone(nodes, func(n metadata.Node) bool { return why(n) == "" }) {
		if spreads(zones, z.name) {
			best = append(best, z.nodes[0])
		}
	}
	if len(best) == 0 {
		return "", noReplacement(nodes, zones, from, why)
	}
	least := best[0]
	for _, c := range best[1:] {
		if c.cost.compare(least.cost) < 0 {
			least = c
		}
	}
	return least.id, nil
}

// spreads reports whether a further copy in zone z makes the spread whole.
func spreads(zones []block.Zone, z block.Zone) bool {
	return state.WellSpread(append(zones[:len(zones):len(zones)], z))
}

// only is the node that was asked for, or why it cannot be.
func only(nodes []metadata.Node, to block.NodeID, zones []block.Zone, from metadata.Segment, why func(metadata.Node) string) (block.NodeID, error) {
	for _, n := range nodes {
		switch {
		case n.ID != to:
		case why(n) != "":
			return "", block.Errorf(block.Invalid, "node %s %s: it cannot take a new copy", to, why(n))
		case !spreads(zones, n.Zone):
			return "", block.Errorf(block.Invalid, "node %s is in zone %s, the copy to be replaced in zone %s: no two zones' worth of copies may meet in one", to, n.Zone, from.Zone)
		default:
			return to, nil
		}
	}
	return "", block.Errorf(block.NotFound, "node %q does not exist", to)
}

// noReplacement says of each zone that would do what its nodes lack.
func noReplacement(nodes []metadata.Node, zones []block.Zone, from metadata.Segment, why func(metadata.Node) string) error {
	var have []string
	full := false
	for _, n := range sortedByID(nodes) {
		if n.State != metadata.NodeRemoved && spreads(zones, n.Zone) {
			have = append(have, fmt.Sprintf("%s %s", n.ID, why(n)))
			full = full || why(n) == isFull
		}
	}
	if len(have) > listedMax {
		have = append(have[:listedMax], fmt.Sprintf("%d more", len(have)-listedMax))
	}
	kind := block.Unavailable
	if full {
		kind = block.NoSpace
	}
	listed := ""
	if len(have) > 0 {
		listed = " (" + strings.Join(have, ", ") + ")"
	}
	return block.Errorf(kind, "a copy in zone %s on node %s cannot be replaced: no other node there is free to take it%s; add a node in zone %s", from.Zone, from.Node, listed, from.Zone)
}
