package raftnode

import (
	"context"
	"errors"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
	"github.com/sextantdisk/sextant/metadata/placement"
	"github.com/sextantdisk/sextant/metadata/state"
)

// overtakenMax bounds how often a decision is taken anew because what it was
// based on had changed when it was applied.
const overtakenMax = 5

func (s *server) CreateVolume(ctx context.Context, req *pb.CreateVolumeRequest) (*pb.VolumeReply, error) {
	spec, err := metadata.SpecFromPB(req)
	if err != nil {
		return nil, err
	}
	if s.lead.serving() == 0 {
		return nil, s.redirect("does not lead")
	}
	s.fsm.view(func(st *state.State) { err = st.MayCreate(spec) })
	if err != nil {
		return nil, err
	}
	if !spec.AllowUnplaceable {
		if _, err := placement.Choose(s.nodes(true), spec.Quorum); err != nil {
			return nil, block.Wrap(block.KindOf(err), err, "volume %q could not be written to", spec.Name)
		}
	}
	r, err := s.propose(ctx, &pb.Command{Body: &pb.Command_CreateVolume{CreateVolume: &pb.CreateVolume{
		Id: metadata.IDToPB(spec.ID), Name: spec.Name, Size: uint64(spec.Geometry.Size), PgSize: uint64(spec.Geometry.PGSize),
		Copies: uint32(spec.Quorum.Copies), WriteQuorum: uint32(spec.Quorum.Write), ReadQuorum: uint32(spec.Quorum.Read),
		CreatedNs: s.cfg.Clock.Now().UnixNano(),
	}}})
	return s.volumeReply(r.Volume, err)
}

func (s *server) volumeReply(v metadata.Volume, err error) (*pb.VolumeReply, error) {
	if err != nil {
		return nil, err
	}
	s.soft.describeLease(&v)
	return &pb.VolumeReply{Volume: metadata.VolumeToPB(v)}, nil
}

// volume looks a volume up by name or printed id.
func (n *Node) volume(nameOrID string) (v metadata.Volume, err error) {
	n.fsm.view(func(st *state.State) { v, err = st.Volume(nameOrID) })
	return v, err
}

// liveVolume is volume, but one that is being deleted does not exist.
func (n *Node) liveVolume(nameOrID string) (metadata.Volume, error) {
	v, err := n.volume(nameOrID)
	if err == nil && v.Deleting {
		err = block.Errorf(block.NotFound, "volume %q was deleted", nameOrID)
	}
	return v, err
}

func (s *server) ListVolumes(ctx context.Context, _ *pb.ListVolumesRequest) (*pb.ListVolumesReply, error) {
	if _, err := s.verify(ctx); err != nil {
		return nil, err
	}
	reply := &pb.ListVolumesReply{}
	for _, v := range s.volumes() {
		reply.Volumes = append(reply.Volumes, metadata.VolumeToPB(v))
	}
	return reply, nil
}

// volumes are the volumes with what is known of their leases.
func (n *Node) volumes() []metadata.Volume {
	var volumes []metadata.Volume
	n.fsm.view(func(st *state.State) { volumes = st.Volumes() })
	for i := range volumes {
		n.soft.describeLease(&volumes[i])
	}
	return volumes
}

func (s *server) GetVolume(ctx context.Context, req *pb.GetVolumeRequest) (*pb.VolumeReply, error) {
	if _, err := s.verify(ctx); err != nil {
		return nil, err
	}
	return s.volumeReply(s.volume(req.GetVolume()))
}

func (s *server) ResizeVolume(ctx context.Context, req *pb.ResizeVolumeRequest) (*pb.VolumeReply, error) {
	if _, err := s.verify(ctx); err != nil {
		return nil, err
	}
	v, err := s.liveVolume(req.GetVolume())
	if err != nil {
		return nil, err
	}
	r, err := s.propose(ctx, &pb.Command{Body: &pb.Command_ResizeVolume{ResizeVolume: &pb.ResizeVolume{
		Id: metadata.IDToPB(v.ID), Size: req.GetSize(),
	}}})
	return s.volumeReply(r.Volume, err)
}

func (s *server) DeleteVolume(ctx context.Context, req *pb.DeleteVolumeRequest) (*pb.DeleteVolumeReply, error) {
	if _, err := s.verify(ctx); err != nil {
		return nil, err
	}
	asked := s.soft.signs()
	look := func() (metadata.Volume, error) { return s.volume(req.GetVolume()) }
	for range overtakenMax {
		v, err := look()
		if !req.GetForce() {
			v, err = s.soft.free(ctx, "", asked, look)
		}
		if err != nil {
			return nil, err
		}
		_, err = s.propose(ctx, &pb.Command{Body: &pb.Command_DeleteVolume{DeleteVolume: &pb.DeleteVolume{
			Id: metadata.IDToPB(v.ID), Epoch: uint32(v.Epoch),
		}}})
		if err == nil {
			s.soft.release(v.ID, v.Epoch)
			return &pb.DeleteVolumeReply{}, nil
		}
		if !errors.Is(err, block.Stale) {
			return nil, err
		}
	}
	return nil, s.redirect("sees volume " + req.GetVolume() + " being opened over and over")
}
