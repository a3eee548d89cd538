package metadata

import (
	"github.com/sextantdisk/sextant/internal/block"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
)

// MembershipToPB translates a group and its membership epoch.
func MembershipToPB(m PGMembership) *pb.PGMembership {
	return &pb.PGMembership{Pg: uint32(m.PG), Membership: uint32(m.Membership)}
}

func membershipFromPB(p *pb.PGMembership) PGMembership {
	return PGMembership{PG: block.PGIndex(p.GetPg()), Membership: block.MembershipEpoch(p.GetMembership())}
}

func changeRefToPB(r ChangeRef) *pb.ChangeRequest {
	return &pb.ChangeRequest{Volume: IDToPB(r.Volume), Epoch: uint32(r.Epoch), Pg: uint32(r.PG), Membership: uint32(r.Membership)}
}

func changeToPB(c PGChange) *pb.PGChange {
	return &pb.PGChange{
		Pg: uint32(c.PG), Leaving: IDToPB(c.Leaving), LeavingNode: string(c.LeavingNode),
		Joining: IDToPB(c.Joining), JoiningNode: string(c.JoiningNode), Hydrated: c.Hydrated,
		Zone: string(c.Zone), Back: c.Back,
	}
}

func reducedToPB(r ReducedPG) *pb.ReducedPG {
	return &pb.ReducedPG{Pg: uint32(r.PG), Zone: string(r.Zone), Copies: uint32(r.Copies)}
}

func reducedFromPB(p *pb.ReducedPG) ReducedPG {
	return ReducedPG{PG: block.PGIndex(p.GetPg()), Zone: block.Zone(p.GetZone()), Copies: int(p.GetCopies())}
}

func changeFromPB(p *pb.PGChange) (c PGChange, err error) {
	c = PGChange{
		PG: block.PGIndex(p.GetPg()), LeavingNode: block.NodeID(p.GetLeavingNode()),
		JoiningNode: block.NodeID(p.GetJoiningNode()), Hydrated: p.GetHydrated(),
		Zone: block.Zone(p.GetZone()), Back: p.GetBack(),
	}
	if c.Leaving, err = IDFromPB[block.SegmentID]("segment", p.GetLeaving()); err != nil {
		return c, err
	}
	c.Joining, err = IDFromPB[block.SegmentID]("segment", p.GetJoining())
	return c, err
}
