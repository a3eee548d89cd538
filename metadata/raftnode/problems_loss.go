package raftnode

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
)

// loss counts the groups of a volume with such quorums by what their losses
// mean.
type loss struct {
	of                                      metadata.Quorum
	readsFail, writesWait, noRoom, degraded int
}

// losses are those of a volume's groups with all copies in force, then of those
// that go on without a zone (R29).
func losses(vs metadata.VolumeStatus) []loss {
	whole := vs.Volume.Quorum
	quorum := make(map[block.PGIndex]metadata.Quorum)
	for _, r := range vs.Reduced {
		quorum[r.PG] = whole.Of(r.Copies)
	}
	lost, behind, full := groupsByLoss(vs)
	all := []loss{{of: whole}}
	for pg, gone := range lost {
		q, reduced := quorum[pg]
		if !reduced {
			q = whole
		}
		k := slices.IndexFunc(all, func(l loss) bool { return l.of == q })
		if k < 0 {
			k = len(all)
			all = append(all, loss{of: q})
		}
		all[k].count(gone, behind[pg], full[pg])
	}
	slices.SortFunc(all, func(a, b loss) int { return b.of.Copies - a.of.Copies })
	return all
}

// count takes in a group that has so many copies that are gone, behind and on
// full disks.
func (l *loss) count(gone, behind, full int) {
	spare := l.of.Copies - l.of.Write
	switch {
	case gone >= l.of.Copies:
		l.readsFail++
	case gone+behind > spare:
		l.writesWait++
	case gone+behind+full > spare:
		l.noRoom++
	default:
		l.degraded++
	}
}

func (l *loss) problems(volume string) []metadata.Problem {
	var all []metadata.Problem
	add := func(severe bool, what, do string) {
		all = append(all, metadata.Problem{Subject: "volume " + volume, What: what, Do: do, Severe: severe})
	}
	if l.readsFail > 0 {
		add(true, fmt.Sprintf("no copy of %s can be reached: reads and writes wait", groups(l.readsFail)), "start the nodes that are down")
	}
	if l.writesWait > 0 {
		add(true, fmt.Sprintf("fewer than %d of %d copies of %s keep up: writes wait", l.of.Write, l.of.Copies, groups(l.writesWait)), "start the nodes that are down")
	}
	if l.noRoom > 0 {
		add(true, fmt.Sprintf("fewer than %d of %d copies of %s have room on their disks: writes of data fail with ENOSPC, reads and trims work", l.of.Write, l.of.Copies, groups(l.noRoom)),
			"trim or delete data, or give the full nodes more --capacity; writes work again then")
	}
	if l.degraded > 0 {
		add(false, fmt.Sprintf("%s with fewer than %d complete copies; reads and writes work", groups(l.degraded), l.of.Copies), "nothing, if nodes are coming back: the copies catch up by themselves; copies on nodes that are lost for good have to be replaced (sextant pg replace)")
	}
	return all
}

// reducedProblems tells of the groups that go on without a zone (R29), by zone,
// and what brings it back: nobody else does.
func reducedProblems(vs metadata.VolumeStatus, nodes []metadata.Node) []metadata.Problem {
	v := vs.Volume
	count := make(map[block.Zone]int)
	copies := make(map[block.Zone]int)
	for _, r := range vs.Reduced {
		count[r.Zone]++
		copies[r.Zone] = r.Copies
	}
	var all []metadata.Problem
	for zone, n := range count {
		if v.Deleting {
			break
		}
		q := v.Quorum.Of(copies[zone])
		do := fmt.Sprintf("when the zone is back: sextant pg restore %s --all; copies on nodes that are lost for good have to be replaced before (sextant pg replace)", v.Name)
		if slices.ContainsFunc(nodes, func(n metadata.Node) bool { return n.Zone == zone && n.Up }) {
			do = fmt.Sprintf("sextant pg restore %s --all: nodes of the zone are up, and their copies catch up; those on nodes that are lost for good have to be replaced before (sextant pg replace)", v.Name)
		}
		all = append(all, metadata.Problem{
			Subject: "volume " + v.Name,
			What:    fmt.Sprintf("%s without zone %s, as was asked for: %d of %d copies take each write", goOn(n), zone, q.Write, q.Copies),
			Do:      do,
		})
	}
	slices.SortFunc(all, func(a, b metadata.Problem) int { return strings.Compare(a.What, b.What) })
	return all
}

func goOn(n int) string {
	if n == 1 {
		return "1 group goes on"
	}
	return fmt.Sprintf("%d groups go on", n)
}

// groupsByLoss counts for each group the segments that cannot be reached,
// those that can but are behind and do not count for writes now, and those
// that are on full disks. Of a segment that is being replaced and its successor
// only the worse one counts: they are in one quorum set each.
func groupsByLoss(vs metadata.VolumeStatus) (lost, behind, full map[block.PGIndex]int) {
	lost, behind, full = make(map[block.PGIndex]int), make(map[block.PGIndex]int), make(map[block.PGIndex]int)
	for _, h := range withoutTwins(vs) {
		switch h.State {
		case metadata.Unreachable:
			lost[h.PG]++
		case metadata.Lagging, metadata.CatchingUp:
			lost[h.PG] += 0 // the group is counted, at least as degraded
			behind[h.PG]++
		case metadata.Full:
			lost[h.PG] += 0
			full[h.PG]++
		}
	}
	return lost, behind, full
}

// withoutTwins is what is told of segments, without the better one of each that
// is being replaced and its successor.
func withoutTwins(vs metadata.VolumeStatus) []metadata.SegmentHealth {
	twin := make(map[block.SegmentID]block.SegmentID)
	for _, c := range vs.Changes {
		if c.Zone != "" {
			continue // a zone's copies have no successors
		}
		twin[c.Leaving], twin[c.Joining] = c.Joining, c.Leaving
	}
	told := make(map[block.SegmentID]metadata.SegmentState)
	for _, h := range vs.Unhealthy {
		told[h.Segment] = h.State
	}
	return slices.DeleteFunc(slices.Clone(vs.Unhealthy), func(h metadata.SegmentHealth) bool {
		other, replaced := twin[h.Segment]
		state, unwell := told[other]
		if !replaced || !unwell {
			return false
		}
		a, b := badness[h.State], badness[state]
		return a < b || a == b && bytes.Compare(h.Segment[:], other[:]) < 0
	})
}

// badness orders states by how much is missing.
var badness = map[metadata.SegmentState]int{metadata.Full: 1, metadata.Lagging: 2, metadata.CatchingUp: 2, metadata.Unreachable: 3}
