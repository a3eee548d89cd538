package state

import (
	"cmp"
	"slices"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
)

func byIndex(g *group, i block.PGIndex) int { return cmp.Compare(g.index, i) }

// placePG places a group. If it is placed already, the command gives what is
// there: of two proposals for one group the first counts.
func (s *State) placePG(c *pb.PlacePG) Result {
	v, err := s.ownedVolume(c.GetVolume(), block.VolumeEpoch(c.GetEpoch()))
	if err != nil {
		return refused(err)
	}
	index := block.PGIndex(c.GetPg())
	at, placed := slices.BinarySearchFunc(v.pgs, index, byIndex)
	if placed {
		return Result{PG: s.viewGroup(v, v.pgs[at])}
	}
	if err := v.checkIndex(index); err != nil {
		return refused(err)
	}
	if s.groups >= maxGroups {
		return refused(block.Errorf(block.NoSpace, "volume %s: there are %d protection groups already, no more are supported", v.name, s.groups))
	}
	segments, err := s.chosenSegments(v, c.GetSegments())
	if err != nil {
		return refused(err)
	}
	g := &group{index: index, membership: 1, born: v.epoch, segments: segments}
	v.pgs = slices.Insert(v.pgs, at, g)
	s.groups++
	for _, seg := range segments {
		s.numbers[seg.node].segments++
	}
	return Result{PG: s.viewGroup(v, g)}
}

func (v *volume) checkIndex(i block.PGIndex) error {
	if uint64(i) < v.geometry.PGs() {
		return nil
	}
	return block.Errorf(block.Invalid, "volume %s has %d protection groups: there is no number %v", v.name, v.geometry.PGs(), i)
}

// chosenSegments checks the proposer's choice against the rules. A choice
// that was overtaken by a change of the nodes is Stale.
func (s *State) chosenSegments(v *volume, chosen []*pb.PlacedSegment) ([]segment, error) {
	if len(chosen) != v.quorum.Copies {
		return nil, block.Errorf(block.Invalid, "volume %s has %d copies, %d were placed", v.name, v.quorum.Copies, len(chosen))
	}
	segments := make([]segment, 0, len(chosen))
	var zones []block.Zone
	for _, c := range chosen {
		id, err := metadata.IDFromPB[block.SegmentID]("segment", c.GetId())
		if err != nil {
			return nil, err
		}
		n := s.nodes[block.NodeID(c.GetNode())]
		if n == nil || n.state != metadata.NodeActive {
			return nil, block.Errorf(block.Stale, "node %q takes no new segments", c.GetNode())
		}
		twice := func(o segment) bool { return o.id == id || o.node == n.number }
		if id.IsZero() || slices.ContainsFunc(segments, twice) {
			return nil, block.Errorf(block.Invalid, "volume %s: two segments of one group have the same id or are on the same node %s", v.name, n.id)
		}
		segments = append(segments, segment{id: id, node: n.number, born: v.epoch, hydrated: true})
		zones = append(zones, n.zone)
	}
	if !WellSpread(zones) {
		return nil, block.Errorf(block.Stale, "volume %s: segments in zones %v are not spread %v", v.name, zones, Spread(v.quorum.Copies))
	}
	return segments, nil
}

// forgetSegments notes that a node has dropped segments of volumes that are
// being deleted, or that have left their groups. What is not such a segment is
// passed over.
func (s *State) forgetSegments(c *pb.ForgetSegments) error {
	n := s.nodes[block.NodeID(c.GetNode())]
	if n == nil {
		return block.Errorf(block.NotFound, "node %q does not exist", c.GetNode())
	}
	refs, err := metadata.SegmentRefsFromPB(c.GetSegments(), metadata.MaxDrops)
	if err != nil {
		return err
	}
	gone := make(map[block.VolumeID]map[block.SegmentID]bool)
	for _, r := range refs {
		if gone[r.Volume] == nil {
			gone[r.Volume] = make(map[block.SegmentID]bool)
		}
		gone[r.Volume][r.Segment] = true
	}
	for id, ids := range gone { // volumes do not touch each other: any order gives the same
		if v := s.volumes[id]; v != nil {
			s.forget(v, n, func(id block.SegmentID) bool { return ids[id] })
		}
	}
	return nil
}

// forget takes the segments on n that match off the list of those departed,
// and out of a volume being deleted, then groups without segments, then the
// volume without groups.
func (s *State) forget(v *volume, n *node, match func(block.SegmentID) bool) {
	s.forgetDeparted(v, n, match)
	if !v.deleting {
		return
	}
	before := len(v.pgs)
	v.pgs = slices.DeleteFunc(v.pgs, func(g *group) bool {
		had := len(g.segments)
		g.segments = slices.DeleteFunc(g.segments, func(seg segment) bool { return seg.node == n.number && match(seg.id) })
		if lost := had - len(g.segments); lost > 0 {
			n.segments -= lost
			g.sets = nil // a group that is being deleted has no quorums
			v.noteChanging(g)
		}
		return len(g.segments) == 0
	})
	s.groups -= before - len(v.pgs)
	s.vanishIfEmpty(v)
}

func (v *volume) segmentsOn(number uint32) int {
	count := 0
	for _, g := range v.pgs {
		for _, seg := range g.segments {
			if seg.node == number {
				count++
			}
		}
	}
	return count
}
