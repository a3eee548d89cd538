package placement

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
	"github.com/sextantdisk/sextant/metadata/state"
)

// listedMax bounds the zones, and the nodes of each, that a message names.
const listedMax = 6

const (
	isDown   = "is down"
	isFailed = "has a failed disk"
	isFull   = "is too full"
)

// unusable says why a node takes no new segment, or nothing. A node that is
// silent, and nothing worse, may be chosen all the same: see eligible.
func unusable(n metadata.Node) string {
	switch {
	case n.State != metadata.NodeActive:
		return "is " + n.State.String()
	case n.Capacity == 0 || n.Used/FullPercent >= n.Capacity/100: // divided, so that nothing overflows
		return isFull
	case !n.Up:
		return isDown
	case n.Health.Failed != "":
		return isFailed
	}
	return ""
}

// eligible tells whether a node may be chosen, if only as the last resort.
func eligible(n metadata.Node) bool {
	why := unusable(n)
	return why == "" || why == isDown || why == isFailed
}

// Silent tells that a node takes nothing now: it is not heard, or its disk has
// failed. Either may end, by a start or by a replacement of the copies.
func Silent(n metadata.Node) bool { return !n.Up || n.Health.Failed != "" }

func active(n metadata.Node) bool { return n.State == metadata.NodeActive }

// shortage makes the error that says what is missing.
func shortage(nodes []metadata.Node, q metadata.Quorum) error {
	spread := state.Spread(q.Copies)
	kind := block.Unavailable
	if assign(byZone(nodes, active), spread).cost.silent <= MaxSilent(q) { // if the full ones had room
		kind = block.NoSpace
	}
	var zones []string
	for _, z := range zoneNames(nodes) {
		zones = append(zones, describe(z, nodes, spread[0]))
	}
	have := "there are no nodes yet"
	if len(zones) > listedMax {
		zones = append(zones[:listedMax], fmt.Sprintf("%d more zones", len(zones)-listedMax))
	}
	if len(zones) > 0 {
		have = strings.Join(zones, "; ")
	}
	todo := "start or add nodes"
	if short := len(spread) - len(zones); short > 0 && len(zones) > 0 {
		todo = fmt.Sprintf("add nodes in %d more %s", short, plural(short, "zone"))
	}
	subject := fmt.Sprintf("%d copies need", q.Copies)
	if q.Copies == 1 {
		subject = "1 copy needs"
	}
	return block.Errorf(kind, "%s %s%s: %s; %s", subject, demand(spread), indulgence(q), have, todo)
}

// indulgence says how many of the nodes needed may be down.
func indulgence(q metadata.Quorum) string {
	if n := MaxSilent(q); n > 0 {
		return fmt.Sprintf(", %d of which may be down", n)
	}
	return ""
}

func plural(n int, noun string) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}

// demand puts a spread into words: "2 usable nodes in each of 3 zones".
func demand(spread []int) string {
	big, small := spread[0], spread[len(spread)-1]
	switch {
	case len(spread) == 1:
		return fmt.Sprintf("%d usable %s", big, plural(big, "node"))
	case big == small:
		return fmt.Sprintf("%d usable %s in each of %d zones", big, plural(big, "node"), len(spread))
	}
	return fmt.Sprintf("%s usable nodes in %d zones", strings.Trim(strings.ReplaceAll(fmt.Sprint(spread), " ", " + "), "[]"), len(spread))
}

func describe(z block.Zone, nodes []metadata.Node, need int) string {
	usable, out := 0, []string(nil)
	for _, n := range sortedByID(nodes) {
		if n.Zone != z {
			continue
		}
		if why := unusable(n); why == "" {
			usable++
		} else {
			out = append(out, fmt.Sprintf("%s %s", n.ID, why))
		}
	}
	text := fmt.Sprintf("zone %s has %d usable %s", z, usable, plural(usable, "node"))
	if usable < need {
		text += fmt.Sprintf(", %d are needed", need)
		if need == 1 {
			text = strings.Replace(text, "are needed", "is needed", 1)
		}
	}
	if len(out) > listedMax {
		out = append(out[:listedMax], fmt.Sprintf("%d more", len(out)-listedMax))
	}
	if len(out) > 0 {
		text += " (" + strings.Join(out, ", ") + ")"
	}
	return text
}

func sortedByID(nodes []metadata.Node) []metadata.Node {
	return slices.SortedFunc(slices.Values(nodes), func(a, b metadata.Node) int { return cmp.Compare(a.ID, b.ID) })
}

func zoneNames(nodes []metadata.Node) []block.Zone {
	var names []block.Zone
	for _, n := range nodes {
		if n.State != metadata.NodeRemoved {
			names = append(names, n.Zone)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
