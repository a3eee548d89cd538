package raftnode

import (
	"context"
	"errors"
	"slices"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
	"github.com/sextantdisk/sextant/metadata/placement"
	"github.com/sextantdisk/sextant/metadata/state"
)

// ReplaceSegment chooses a node and begins the change (R23, R25).
func (s *server) ReplaceSegment(ctx context.Context, req *pb.ReplaceSegmentRequest) (*pb.PGsReply, error) {
	joining, err := metadata.IDFromPB[block.SegmentID]("segment", req.GetJoining())
	if err != nil {
		return nil, err
	}
	if joining.IsZero() {
		return nil, block.Errorf(block.Invalid, "the new segment has no id")
	}
	if _, err := s.verify(ctx); err != nil {
		return nil, err
	}
	for range overtakenMax {
		r, err := s.replaceOnce(ctx, req, joining)
		if err == nil {
			return changed(r, nil)
		}
		if !errors.Is(err, block.Stale) {
			return nil, err
		}
	}
	return nil, s.redirect("sees the group or the nodes change over and over while it chooses a node")
}

// replaceOnce proposes the change as the group and the nodes are now. Error
// kind Stale: they have changed since.
func (s *server) replaceOnce(ctx context.Context, req *pb.ReplaceSegmentRequest, joining block.SegmentID) (applied, error) {
	v, pg, err := s.groupOf(req.GetVolume(), block.PGIndex(req.GetPg()))
	if err != nil {
		return applied{}, err
	}
	if hasSegment(pg, joining) {
		return applied{Result: state.Result{PG: pg}}, nil // the same request again
	}
	if pg.Joint() {
		what := "a segment is being replaced already"
		if pg.Reducing() || pg.Restoring() {
			what = "a zone is being given up, or taken back"
		}
		return applied{}, block.Errorf(block.Held, "volume %s, group %v: %s: wait until that is done, or cancel it", v.Name, pg.Index, what)
	}
	leaving, err := findSegment(pg, req.GetLeaving())
	if err != nil {
		return applied{}, block.Wrap(block.NotFound, err, "volume %s", v.Name)
	}
	if pg.Reduced() && !isOut(pg, leaving) {
		return applied{}, block.Errorf(block.Held, "volume %s, group %v goes on without a zone: take that back before one of the other copies is replaced (sextant pg restore)", v.Name, pg.Index)
	}
	nodes := s.nodes(false)
	chosen, done, err := s.soft.choose(nodes, func(nodes []metadata.Node) ([]block.NodeID, error) {
		node, err := placement.Replace(nodes, pg, leaving, block.NodeID(req.GetTo()))
		return []block.NodeID{node}, err
	})
	if err != nil {
		if s.soft.young() {
			return applied{}, s.redirect("leads only since a moment and has not heard all nodes yet: " + err.Error())
		}
		return applied{}, err
	}
	defer done()
	return s.propose(ctx, &pb.Command{Body: &pb.Command_BeginReplace{BeginReplace: &pb.BeginReplace{
		Group:   quoting(v, pg),
		Leaving: metadata.IDToPB(leaving), Joining: &pb.PlacedSegment{Id: metadata.IDToPB(joining), Node: string(chosen[0])},
	}}})
}

// groupOf is a group that is placed, with its volume as it is at the same
// moment. Error kind: NotFound.
func (n *Node) groupOf(nameOrID string, index block.PGIndex) (v metadata.Volume, pg metadata.PGConfig, err error) {
	n.fsm.view(func(st *state.State) {
		if v, err = st.Volume(nameOrID); err != nil {
			return
		}
		var placed bool
		if pg, placed, err = st.Group(v.ID, index); err == nil && !placed {
			err = block.Errorf(block.NotFound, "volume %s: group %v is not placed: nothing was written there", v.Name, index)
		}
	})
	return v, pg, err
}

func hasSegment(pg metadata.PGConfig, id block.SegmentID) bool {
	for _, s := range pg.Segments {
		if s.ID == id {
			return true
		}
	}
	return false
}

// isOut reports whether the group goes on without a segment (R29).
func isOut(pg metadata.PGConfig, id block.SegmentID) bool {
	return pg.Out(slices.IndexFunc(pg.Segments, func(s metadata.Segment) bool { return s.ID == id }))
}

// findSegment finds a segment by its printed id or by its node: there is only
// one on each.
func findSegment(pg metadata.PGConfig, idOrNode string) (block.SegmentID, error) {
	for _, s := range pg.Segments {
		if s.ID.String() == idOrNode || string(s.Node) == idOrNode {
			return s.ID, nil
		}
	}
	return block.SegmentID{}, block.Errorf(block.NotFound, "group %v has no segment %q, and none on a node of that name", pg.Index, idOrNode)
}

func (s *server) MarkHydrated(ctx context.Context, req *pb.ChangeRequest) (*pb.PGsReply, error) {
	return changed(s.propose(ctx, &pb.Command{Body: &pb.Command_MarkHydrated{MarkHydrated: &pb.MarkHydrated{Group: groupChange(req)}}}))
}

func (s *server) FinishChange(ctx context.Context, req *pb.ChangeRequest) (*pb.PGsReply, error) {
	return changed(s.propose(ctx, &pb.Command{Body: &pb.Command_FinishChange{FinishChange: &pb.FinishChange{Group: groupChange(req)}}}))
}

func (s *server) CancelChange(ctx context.Context, req *pb.ChangeRequest) (*pb.PGsReply, error) {
	return changed(s.propose(ctx, &pb.Command{Body: &pb.Command_CancelChange{CancelChange: &pb.CancelChange{Group: groupChange(req)}}}))
}

func groupChange(req *pb.ChangeRequest) *pb.GroupChange {
	return &pb.GroupChange{Volume: req.GetVolume(), Epoch: req.GetEpoch(), Pg: req.GetPg(), Membership: req.GetMembership()}
}

// changed is the reply with the group as it is now.
func changed(r applied, err error) (*pb.PGsReply, error) {
	if err != nil {
		return nil, err
	}
	return metadata.PGPageToPB(metadata.PGPage{PGs: []metadata.PGConfig{r.PG}}), nil
}
