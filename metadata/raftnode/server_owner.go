package raftnode

import (
	"context"
	"errors"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
	"github.com/sextantdisk/sextant/metadata/state"
)

// OpenVolume moves the epoch through Raft, always (R4). The leader's memory
// only decides whether to ask Raft at all.
func (s *server) OpenVolume(ctx context.Context, req *pb.OpenVolumeRequest) (*pb.OpenVolumeReply, error) {
	gateway := metadata.GatewayID(req.GetGateway())
	if err := block.CheckName("gateway", req.GetGateway()); err != nil {
		return nil, err
	}
	t, err := s.verify(ctx)
	if err != nil {
		return nil, err
	}
	asked := s.soft.signs()
	look := func() (metadata.Volume, error) { return s.liveVolume(req.GetVolume()) }
	for range overtakenMax {
		v, err := look()
		if !req.GetTakeover() {
			v, err = s.soft.free(ctx, gateway, asked, look)
		}
		if err != nil {
			return nil, err
		}
		// The lease is noted before the epoch is asked for: of two who find
		// the volume free at the same moment, the one whose epoch is refused
		// then sees the other's lease.
		l := lease{gateway: gateway, epoch: v.Epoch + 1}
		s.soft.grant(t, v.ID, l)
		r, err := s.propose(ctx, &pb.Command{Body: &pb.Command_OpenVolume{OpenVolume: &pb.OpenVolume{
			Id: metadata.IDToPB(v.ID), FromEpoch: uint32(v.Epoch), Gateway: req.GetGateway(), Description: req.GetDescription(),
		}}})
		if err == nil {
			s.soft.grant(t, v.ID, l)
			s.soft.describeLease(&r.Volume)
			return &pb.OpenVolumeReply{Volume: metadata.VolumeToPB(r.Volume), CleanHandover: r.CleanHandover, FormerForNs: uint64(r.former)}, nil
		}
		if !errors.Is(err, block.Stale) {
			return nil, err
		}
	}
	return nil, block.Errorf(block.Fenced, "volume %s is being opened by others all the time", req.GetVolume())
}

func (s *server) OpenDone(ctx context.Context, req *pb.OpenDoneRequest) (*pb.OpenDoneReply, error) {
	_, err := s.propose(ctx, &pb.Command{Body: &pb.Command_OpenDone{OpenDone: &pb.OpenDone{Id: req.GetVolume(), Epoch: req.GetEpoch(), Unopened: req.GetUnopened()}}})
	if err != nil {
		return nil, err
	}
	return &pb.OpenDoneReply{}, nil
}

func (s *server) CloseVolume(ctx context.Context, req *pb.CloseVolumeRequest) (*pb.CloseVolumeReply, error) {
	id, err := metadata.IDFromPB[block.VolumeID]("volume", req.GetVolume())
	if err != nil {
		return nil, err
	}
	_, err = s.propose(ctx, &pb.Command{Body: &pb.Command_CloseVolume{CloseVolume: &pb.CloseVolume{
		Id: req.GetVolume(), Epoch: req.GetEpoch(), Clean: req.GetClean(),
	}}})
	if err != nil {
		return nil, err
	}
	s.soft.release(id, block.VolumeEpoch(req.GetEpoch()))
	return &pb.CloseVolumeReply{}, nil
}

// RenewLease tells a gateway whether it still is the owner, so leadership is
// checked first (R4, T28).
func (s *server) RenewLease(ctx context.Context, req *pb.RenewLeaseRequest) (*pb.RenewLeaseReply, error) {
	r, err := metadata.LeaseReportFromPB(req)
	if err != nil {
		return nil, err
	}
	t, err := s.verify(ctx)
	if err != nil {
		return nil, err
	}
	var v metadata.Volume
	var changing []metadata.PGMembership
	s.fsm.view(func(st *state.State) {
		if err = st.CheckOwner(r.Volume, r.Epoch); err != nil {
			return
		}
		changing = st.Changing(r.Volume, r.Changing)
		v, err = st.Volume(r.Volume.String())
		for i := range r.Unhealthy {
			h := &r.Unhealthy[i]
			h.Node, _ = st.NodeOf(metadata.SegmentRef{Volume: r.Volume, PG: h.PG, Segment: h.Segment})
		}
	})
	if err != nil {
		return nil, err
	}
	if v.Gateway != r.Gateway {
		return nil, block.Errorf(block.Mismatch, "volume %s: epoch %d belongs to gateway %s, not %s", v.Name, r.Epoch, v.Gateway, r.Gateway)
	}
	s.soft.grant(t, v.ID, lease{gateway: r.Gateway, epoch: r.Epoch, unhealthy: r.Unhealthy, counters: r.Counters})
	reply := &pb.RenewLeaseReply{Size: uint64(v.Geometry.Size), Version: uint64(v.Version)}
	for _, m := range changing {
		reply.Changing = append(reply.Changing, metadata.MembershipToPB(m))
	}
	return reply, nil
}
