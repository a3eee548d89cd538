package state

import (
	"slices"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/mutant"
	"github.com/sextantdisk/sextant/metadata"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
)

// When a zone is lost for long its groups go on with the copies of the others,
// of which a majority is a write quorum (R29): 3 of 4, so that one more may fail.
// The way there and back are changes like that of a segment (change.go):
//
//	all ──begin──▶ all, the rest ──finish──▶ the rest ──begin──▶ the rest, all ──finish──▶ all
//	                   └──cancel──▶ all                              └──cancel──▶ the rest
//
// The segments that are out stay the group's, in no set: they have no vote, are
// told nothing, and are not hydrated, so that they count for data only when the
// group has taken them back and they have caught up. One that is lost for good is
// replaced while it is out.

// reduced reports whether a zone's segments are out.
func (g *group) reduced() bool { return len(g.sets) == 1 }

// smaller is the set that lacks segments of a group that goes on without a zone,
// or is about to, or to take it back; nil for any other group.
func (g *group) smaller() []uint8 {
	switch {
	case g.reduced():
		return g.sets[0]
	case g.joint() && len(g.sets[0]) > len(g.sets[1]):
		return g.sets[1]
	case g.joint() && len(g.sets[0]) < len(g.sets[1]):
		return g.sets[0]
	}
	return nil
}

// lacks reports whether the smaller set lacks all segments of a zone and no
// others.
func (s *State) lacks(g *group, zone block.Zone) bool {
	small := g.smaller()
	for i, seg := range g.segments {
		if (s.numbers[seg.node].zone == zone) == slices.Contains(small, uint8(i)) {
			return false
		}
	}
	return small != nil
}

// beginReduce has the group go on without its segments in a zone. A command that
// was carried out already gives what is there.
func (s *State) beginReduce(c *pb.BeginReduce) Result {
	zone := block.Zone(c.GetZone())
	if v, g, ok := s.placed(c.GetGroup()); ok && s.lacks(g, zone) && (g.reduced() || len(g.sets[0]) > len(g.sets[1])) {
		return Result{PG: s.viewGroup(v, g)}
	}
	v, g, err := s.groupToBegin(c.GetGroup())
	if err != nil {
		return refused(err)
	}
	if g.reduced() {
		return refused(block.Errorf(block.Held, "volume %s, group %v goes on without a zone already, with %d of its %d segments: bring it back to all of them first (sextant pg restore)",
			v.name, g.index, len(g.sets[0]), len(g.segments)))
	}
	rest := s.outside(g, zone)
	if err := v.worthReducing(g, rest, zone); err != nil {
		return refused(err)
	}
	g.sets = [][]uint8{everyone(len(g.segments)), rest}
	v.step(g)
	return Result{PG: s.viewGroup(v, g)}
}

// groupToBegin is groupToChange for a change that begins. Error kinds: those, Held.
func (s *State) groupToBegin(c *pb.GroupChange) (*volume, *group, error) {
	v, g, err := s.groupToChange(c)
	if err == nil {
		err = v.mayChange(g)
	}
	return v, g, err
}

// everyone are the indexes of n segments.
func everyone(n int) []uint8 {
	all := make([]uint8, n)
	for i := range all {
		all[i] = uint8(i)
	}
	return all
}

// outside are the segments that are not in a zone. Copies are spread evenly over
// zones (Spread), so those that are left are, too: two in each of two.
func (s *State) outside(g *group, zone block.Zone) (rest []uint8) {
	for i, seg := range g.segments {
		if s.numbers[seg.node].zone != zone {
			rest = append(rest, uint8(i))
		}
	}
	return rest
}

// worthReducing says whether fewer of the rest than of all are a write quorum:
// else one failure more stops writes, as before. Error kinds: NotFound, Invalid.
func (v *volume) worthReducing(g *group, rest []uint8, zone block.Zone) error {
	if len(rest) == len(g.segments) {
		return block.Errorf(block.NotFound, "volume %s, group %v has no copy in zone %q", v.name, g.index, zone)
	}
	if q := v.quorum.Of(len(rest)); q.Write >= v.quorum.Write {
		return block.Errorf(block.Invalid, "volume %s, group %v would need %d of %d copies to write without zone %s, and needs %d of %d now: nothing is gained",
			v.name, g.index, q.Write, q.Copies, zone, v.quorum.Write, v.quorum.Copies)
	}
	return nil
}

// beginRestore has the group take back the segments that are out: they join, and
// count for data when they have caught up (R25, R26). A group that is whole, or
// about to be, stays as it is.
func (s *State) beginRestore(c *pb.BeginRestore) Result {
	if v, g, ok := s.placed(c.GetGroup()); ok && (g.smaller() == nil || g.joint() && len(g.sets[0]) < len(g.sets[1])) {
		return Result{PG: s.viewGroup(v, g)}
	}
	v, g, err := s.groupToBegin(c.GetGroup())
	if err != nil {
		return refused(err)
	}
	g.sets = [][]uint8{g.sets[0], everyone(len(g.segments))}
	v.step(g)
	return Result{PG: s.viewGroup(v, g)}
}

// takeOut leaves all but the set of a group out, which from then on miss what is
// written: none of them counts for data when it is taken back, before it has
// caught up.
func (g *group) takeOut(set []uint8) {
	g.sets = [][]uint8{set}
	for i := range g.segments {
		if !slices.Contains(set, uint8(i)) && !mutant.On(mutant.ReturnedCounts) {
			g.segments[i].hydrated = false
		}
	}
}

// replaceOut puts a new segment in the place of one that is out. Neither has a
// vote, so nothing needs proof.
func (s *State) replaceOut(v *volume, g *group, out int, joining segment) {
	left := g.segments[out]
	v.departed = append(v.departed, departed{pg: g.index, id: left.id, node: left.node})
	g.segments[out] = joining
	v.step(g)
}

// Reduced are up to limit groups of a volume that go on without a zone, and how
// many there are (R29).
func (s *State) Reduced(id block.VolumeID, limit int) (groups []metadata.ReducedPG, total int) {
	v := s.volumes[id]
	if v == nil {
		return nil, 0
	}
	for _, i := range v.reduced[:min(limit, len(v.reduced))] {
		at, _ := slices.BinarySearchFunc(v.pgs, i, byIndex)
		g := v.pgs[at]
		r := metadata.ReducedPG{PG: i, Copies: len(g.sets[0])}
		for k, seg := range g.segments {
			if !slices.Contains(g.sets[0], uint8(k)) {
				r.Zone = s.numbers[seg.node].zone
			}
		}
		groups = append(groups, r)
	}
	return groups, len(v.reduced)
}
