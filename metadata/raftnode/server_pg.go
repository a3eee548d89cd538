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

func (s *server) EnsurePG(ctx context.Context, req *pb.EnsurePGRequest) (*pb.PGsReply, error) {
	id, err := metadata.IDFromPB[block.VolumeID]("volume", req.GetVolume())
	if err != nil {
		return nil, err
	}
	epoch, index := block.VolumeEpoch(req.GetEpoch()), block.PGIndex(req.GetPg())
	if _, err := s.verify(ctx); err != nil {
		return nil, err
	}
	for range overtakenMax {
		pg, err := s.ensureOnce(ctx, id, epoch, index)
		if err == nil {
			return metadata.PGPageToPB(metadata.PGPage{Epoch: epoch, PGs: []metadata.PGConfig{pg}}), nil
		}
		if !errors.Is(err, block.Stale) {
			return nil, err
		}
	}
	return nil, s.redirect("sees nodes change over and over while it places a group")
}

// ensureOnce gives a group that is placed, or places it. Error kind Stale:
// the nodes have changed since they were chosen.
func (s *server) ensureOnce(ctx context.Context, id block.VolumeID, epoch block.VolumeEpoch, index block.PGIndex) (pg metadata.PGConfig, err error) {
	var placed bool
	var quorum metadata.Quorum
	s.fsm.view(func(st *state.State) {
		if err = st.CheckOwner(id, epoch); err != nil {
			return
		}
		pg, placed, err = st.Group(id, index)
		if v, e := st.Volume(id.String()); e == nil {
			quorum = v.Quorum
		}
	})
	if err != nil || placed {
		return pg, err
	}
	nodes := s.nodes(false)
	young := s.soft.young() // asked second: if a new lead began meanwhile, it is
	if young {
		// Who is silent may just not have been heard yet: nothing is
		// placed there before that is known.
		quorum.Write = quorum.Copies
	}
	chosen, done, err := s.soft.choose(nodes, func(nodes []metadata.Node) ([]block.NodeID, error) {
		return placement.Choose(nodes, quorum)
	})
	if err != nil {
		if young {
			return pg, s.redirect("leads only since a moment and has not heard all nodes yet: " + err.Error())
		}
		return pg, err
	}
	defer done()
	command := &pb.PlacePG{Volume: metadata.IDToPB(id), Epoch: uint32(epoch), Pg: uint32(index)}
	for _, node := range chosen {
		command.Segments = append(command.Segments, &pb.PlacedSegment{Id: metadata.IDToPB(metadata.NewSegmentID()), Node: string(node)})
	}
	r, err := s.propose(ctx, &pb.Command{Body: &pb.Command_PlacePg{PlacePg: command}})
	return r.PG, err
}

func (s *server) ListPGs(ctx context.Context, req *pb.ListPGsRequest) (*pb.PGsReply, error) {
	limit := int(req.GetLimit())
	if limit < 1 || limit > metadata.MaxPGPage {
		return nil, block.Errorf(block.Invalid, "a page of %d groups is not within 1 to %d", limit, metadata.MaxPGPage)
	}
	if _, err := s.verify(ctx); err != nil {
		return nil, err
	}
	var page metadata.PGPage
	var err error
	s.fsm.view(func(st *state.State) {
		var v metadata.Volume
		if v, err = st.Volume(req.GetVolume()); err != nil {
			return
		}
		if epoch := block.VolumeEpoch(req.GetEpoch()); epoch != 0 {
			if err = st.CheckOwner(v.ID, epoch); err != nil {
				return
			}
		}
		page, err = st.Groups(v.ID, block.PGIndex(req.GetFrom()), limit)
	})
	if err != nil {
		return nil, err
	}
	return metadata.PGPageToPB(page), nil
}
