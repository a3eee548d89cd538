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
	}
}

func changeFromPB(p *pb.PGChange) (c PGChange, err error) {
	c = PGChange{
		PG: block.PGIndex(p.GetPg()), LeavingNode: block.NodeID(p.GetLeavingNode()),
		JoiningNode: block.NodeID(p.GetJoiningNode()), Hydrated: p.GetHydrated(),
	}
	if c.Leaving, err = IDFromPB[block.SegmentID]("segment", p.GetLeaving()); err != nil {
		return c, err
	}
	c.Joining, err = IDFromPB[block.SegmentID]("segment", p.GetJoining())
	return c, err
}
