package raftnode

import (
	"context"
	"errors"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
)

// ReduceGroup begins to give up a group's copies in a zone (R29).
func (s *server) ReduceGroup(ctx context.Context, req *pb.ReduceGroupRequest) (*pb.PGsReply, error) {
	return s.beginFor(ctx, req.GetVolume(), block.PGIndex(req.GetPg()), func(g *pb.GroupChange) *pb.Command {
		return &pb.Command{Body: &pb.Command_BeginReduce{BeginReduce: &pb.BeginReduce{Group: g, Zone: req.GetZone()}}}
	})
}

// RestoreGroup begins to take them back.
func (s *server) RestoreGroup(ctx context.Context, req *pb.RestoreGroupRequest) (*pb.PGsReply, error) {
	return s.beginFor(ctx, req.GetVolume(), block.PGIndex(req.GetPg()), func(g *pb.GroupChange) *pb.Command {
		return &pb.Command{Body: &pb.Command_BeginRestore{BeginRestore: &pb.BeginRestore{Group: g}}}
	})
}

// beginFor proposes a change of a group, quoting the epochs that are in force.
func (s *server) beginFor(ctx context.Context, volume string, index block.PGIndex, command func(*pb.GroupChange) *pb.Command) (*pb.PGsReply, error) {
	if _, err := s.verify(ctx); err != nil {
		return nil, err
	}
	for range overtakenMax {
		v, pg, err := s.groupOf(volume, index)
		if err != nil {
			return nil, err
		}
		r, err := s.propose(ctx, command(quoting(v, pg)))
		if !errors.Is(err, block.Stale) {
			return changed(r, err)
		}
	}
	return nil, s.redirect("sees the group change over and over while it proposes another change")
}

// quoting names a group with the epochs under which it was seen (R23).
func quoting(v metadata.Volume, pg metadata.PGConfig) *pb.GroupChange {
	return &pb.GroupChange{Volume: metadata.IDToPB(v.ID), Epoch: uint32(v.Epoch), Pg: uint32(pg.Index), Membership: uint32(pg.Membership)}
}
