package metadata

import (
	"github.com/sextantdisk/sextant/internal/block"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
)

// PGPageToPB translates a page. Each node travels once, however many
// segments it has: a page of 512 groups takes about 75 KB.
func PGPageToPB(page PGPage) *pb.PGsReply {
	reply := &pb.PGsReply{Epoch: uint32(page.Epoch), Next: uint32(page.Next), More: page.More}
	numbers := make(map[block.NodeID]uint32)
	number := func(s Segment) uint32 {
		n, known := numbers[s.Node]
		if !known {
			n = uint32(len(reply.Nodes))
			numbers[s.Node] = n
			reply.Nodes = append(reply.Nodes, &pb.NodeRef{
				Node: string(s.Node), Zone: string(s.Zone), Address: s.Address, Disk: IDToPB(s.Disk), Boot: uint64(s.Boot),
			})
		}
		return n
	}
	for _, pg := range page.PGs {
		out := &pb.PG{Index: uint32(pg.Index), Membership: uint32(pg.Membership), Born: uint32(pg.Born), Departed: uint32(pg.Departed)}
		for _, s := range pg.Segments {
			out.Segments = append(out.Segments, &pb.Segment{Id: IDToPB(s.ID), Node: number(s), Born: uint32(s.Born), Hydrated: s.Hydrated})
		}
		for _, set := range pg.Sets {
			out.Sets = append(out.Sets, &pb.QuorumSet{Members: mapped(set, func(i int) uint32 { return uint32(i) })})
		}
		reply.Pgs = append(reply.Pgs, out)
	}
	return reply
}

func pgPageFromPB(p *pb.PGsReply) (page PGPage, err error) {
	page = PGPage{Epoch: block.VolumeEpoch(p.GetEpoch()), Next: block.PGIndex(p.GetNext()), More: p.GetMore()}
	nodes := make([]Segment, len(p.GetNodes()))
	for i, n := range p.GetNodes() {
		nodes[i] = Segment{Node: block.NodeID(n.GetNode()), Zone: block.Zone(n.GetZone()), Address: n.GetAddress(), Boot: block.Boot(n.GetBoot())}
		if nodes[i].Disk, err = IDFromPB[block.DiskID]("disk", n.GetDisk()); err != nil {
			return page, err
		}
	}
	page.PGs, err = tried(p.GetPgs(), func(p *pb.PG) (PGConfig, error) { return pgFromPB(p, nodes) })
	return page, err
}

func pgFromPB(p *pb.PG, nodes []Segment) (PGConfig, error) {
	pg := PGConfig{
		Index: block.PGIndex(p.GetIndex()), Membership: block.MembershipEpoch(p.GetMembership()), Born: block.VolumeEpoch(p.GetBorn()), Departed: int(p.GetDeparted()),
		Segments: make([]Segment, len(p.GetSegments())),
	}
	for i, s := range p.GetSegments() {
		if int(s.GetNode()) >= len(nodes) {
			return pg, block.Errorf(block.Invalid, "group %v names node %d of %d", pg.Index, s.GetNode(), len(nodes))
		}
		seg := nodes[s.GetNode()]
		seg.Born, seg.Hydrated = block.VolumeEpoch(s.GetBorn()), s.GetHydrated()
		var err error
		if seg.ID, err = IDFromPB[block.SegmentID]("segment", s.GetId()); err != nil {
			return pg, err
		}
		pg.Segments[i] = seg
	}
	for _, set := range p.GetSets() {
		members := make([]int, len(set.GetMembers()))
		for i, m := range set.GetMembers() {
			if int(m) >= len(pg.Segments) {
				return pg, block.Errorf(block.Invalid, "group %v has a quorum set with member %d of %d", pg.Index, m, len(pg.Segments))
			}
			members[i] = int(m)
		}
		pg.Sets = append(pg.Sets, members)
	}
	return pg, nil
}
