package state

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
)

// Nodes are the nodes by id, removed ones left out. What heartbeats tell is
// not filled in.
func (s *State) Nodes() []metadata.Node {
	all := make([]metadata.Node, 0, len(s.nodes))
	for _, n := range s.nodes {
		if n.state != metadata.NodeRemoved {
			all = append(all, n.view())
		}
	}
	slices.SortFunc(all, func(a, b metadata.Node) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return all
}

// Node is one node, a removed one too. Error kind: NotFound.
func (s *State) Node(id block.NodeID) (metadata.Node, error) {
	n := s.nodes[id]
	if n == nil {
		return metadata.Node{}, block.Errorf(block.NotFound, "node %q does not exist", id)
	}
	return n.view(), nil
}

func (n *node) view() metadata.Node {
	return metadata.Node{
		ID: n.id, Zone: n.zone, Address: n.address, Disk: n.disk, Boot: n.boot,
		Capacity: n.capacity, State: n.state, Segments: n.segments,
	}
}

// Volumes are the volumes by name, those being deleted last. What leases
// tell is not filled in.
func (s *State) Volumes() []metadata.Volume {
	all := make([]metadata.Volume, 0, len(s.volumes))
	for _, v := range s.volumes {
		all = append(all, s.viewVolume(v))
	}
	slices.SortFunc(all, func(a, b metadata.Volume) int {
		if a.Deleting != b.Deleting {
			if b.Deleting {
				return -1
			}
			return 1
		}
		return cmp.Or(strings.Compare(a.Name, b.Name), bytes.Compare(a.ID[:], b.ID[:]))
	})
	return all
}

// Volume is the volume of that name, or of that id in its printed form.
// Error kind: NotFound.
func (s *State) Volume(nameOrID string) (metadata.Volume, error) {
	v := s.names[nameOrID]
	if v == nil {
		if id, err := block.ParseVolumeID(nameOrID); err == nil {
			v = s.volumes[id]
		}
	}
	if v == nil {
		return metadata.Volume{}, block.Errorf(block.NotFound, "volume %q does not exist", nameOrID)
	}
	return s.viewVolume(v), nil
}

func (s *State) viewVolume(v *volume) metadata.Volume {
	return metadata.Volume{
		ID: v.id, Name: v.name, Geometry: v.geometry, Quorum: v.quorum,
		Epoch: v.epoch, Gateway: v.gateway, Description: v.description, State: v.open, Clean: v.clean,
		Created: time.Unix(0, v.createdNs).UTC(), Deleting: v.deleting, PGs: len(v.pgs),
		Version: metadata.ConfigVersion(v.version + s.nodesVersion), // both only go up, so the sum tells of either
	}
}

// Groups are the groups of a volume that are placed, from index from on, at
// most limit, with the volume's epoch (R3). Error kind: NotFound.
func (s *State) Groups(id block.VolumeID, from block.PGIndex, limit int) (metadata.PGPage, error) {
	v := s.volumes[id]
	if v == nil {
		return metadata.PGPage{}, block.Errorf(block.NotFound, "volume %s does not exist", id)
	}
	at, _ := slices.BinarySearchFunc(v.pgs, from, byIndex)
	end := min(at+max(limit, 0), len(v.pgs))
	page := metadata.PGPage{Epoch: v.epoch, More: end < len(v.pgs)}
	for _, g := range v.pgs[at:end] {
		page.PGs = append(page.PGs, s.viewGroup(v, g))
	}
	if page.More {
		page.Next = v.pgs[end].index
	}
	return page, nil
}

// Group is one group of a volume, if it is placed. Error kinds: NotFound;
// Invalid: the volume has no such index.
func (s *State) Group(id block.VolumeID, i block.PGIndex) (pg metadata.PGConfig, placed bool, err error) {
	v := s.volumes[id]
	if v == nil {
		return pg, false, block.Errorf(block.NotFound, "volume %s does not exist", id)
	}
	if err := v.checkIndex(i); err != nil {
		return pg, false, err
	}
	at, placed := slices.BinarySearchFunc(v.pgs, i, byIndex)
	if placed {
		pg = s.viewGroup(v, v.pgs[at])
	}
	return pg, placed, nil
}

func (s *State) viewGroup(v *volume, g *group) metadata.PGConfig {
	pg := metadata.PGConfig{Index: g.index, Membership: g.membership, Born: g.born}
	for _, d := range v.departed {
		if d.pg == g.index {
			pg.Departed++
		}
	}
	pg.Segments = make([]metadata.Segment, len(g.segments))
	for i, seg := range g.segments {
		n := s.numbers[seg.node]
		pg.Segments[i] = metadata.Segment{
			ID: seg.id, Born: seg.born, Hydrated: seg.hydrated,
			Node: n.id, Zone: n.zone, Address: n.address, Disk: n.disk, Boot: n.boot,
		}
	}
	if g.sets == nil {
		all := make([]int, len(g.segments))
		for i := range all {
			all[i] = i
		}
		pg.Sets = [][]int{all}
		return pg
	}
	for _, set := range g.sets {
		members := make([]int, len(set))
		for i, m := range set {
			members[i] = int(m)
		}
		pg.Sets = append(pg.Sets, members)
	}
	for i := range pg.Segments {
		if pg.Out(i) {
			pg.Departed++
		}
	}
	return pg
}

// Doomed are up to limit segments that a node still has to drop: those that
// departed, and those of volumes being deleted. The cost is that of what
// departed and of the groups being deleted.
func (s *State) Doomed(id block.NodeID, limit int) []metadata.SegmentRef {
	n := s.nodes[id]
	if n == nil || n.segments == 0 {
		return nil
	}
	var doomed []metadata.SegmentRef
	for _, v := range s.volumes {
		for _, d := range v.departed {
			if len(doomed) == limit {
				return doomed
			}
			if d.node == n.number {
				doomed = append(doomed, metadata.SegmentRef{Volume: v.id, PG: d.pg, Segment: d.id})
			}
		}
		if !v.deleting {
			continue
		}
		for _, g := range v.pgs {
			for _, seg := range g.segments {
				if seg.node != n.number {
					continue
				}
				if len(doomed) == limit {
					return doomed
				}
				doomed = append(doomed, metadata.SegmentRef{Volume: v.id, PG: g.index, Segment: seg.id})
			}
		}
	}
	return doomed
}

// NodeOf is the node of a segment, if the volume has it there.
func (s *State) NodeOf(r metadata.SegmentRef) (block.NodeID, bool) {
	v := s.volumes[r.Volume]
	if v == nil {
		return "", false
	}
	at, placed := slices.BinarySearchFunc(v.pgs, r.PG, byIndex)
	if !placed {
		return "", false
	}
	for _, seg := range v.pgs[at].segments {
		if seg.id == r.Segment {
			return s.numbers[seg.node].id, true
		}
	}
	return "", false
}
