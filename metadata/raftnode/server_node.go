package raftnode

import (
	"context"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
	"github.com/sextantdisk/sextant/metadata/state"
)

func (s *server) RegisterNode(ctx context.Context, req *pb.RegisterNodeRequest) (*pb.RegisterNodeReply, error) {
	r, err := metadata.RegistrationFromPB(req)
	if err != nil {
		return nil, err
	}
	switch {
	case r.Format == 0 || r.Format > metadata.NodeFormat:
		return nil, block.Errorf(block.Version, "node %s's folder has format %d, the metadata service knows 1 to %d: install a newer Sextant on the metadata members first", r.Node, r.Format, metadata.NodeFormat)
	case !r.Cluster.IsZero() && r.Cluster != s.id.cluster:
		return nil, block.Errorf(block.Mismatch, "node %s's folder belongs to cluster %s, but this is cluster %s: check the --metadata addresses and the --data folder", r.Node, r.Cluster, s.id.cluster)
	}
	_, err = s.propose(ctx, &pb.Command{Body: &pb.Command_RegisterNode{RegisterNode: &pb.RegisterNode{
		Node: string(r.Node), Zone: string(r.Zone), Address: r.Address, Disk: metadata.IDToPB(r.Disk),
		Boot: uint64(r.Boot), Capacity: uint64(r.Capacity), Session: metadata.IDToPB(r.Session),
	}}})
	if err != nil {
		return nil, err
	}
	s.soft.hear(r.Node, r.Boot, metadata.Heartbeat{})
	return &pb.RegisterNodeReply{Cluster: metadata.IDToPB(s.id.cluster)}, nil
}

// Heartbeat is no Raft write, unless the node reports segments dropped. It
// is not preceded by a check of leadership: what it orders to be dropped is
// doomed in any later state too.
func (s *server) Heartbeat(ctx context.Context, req *pb.HeartbeatRequest) (*pb.HeartbeatReply, error) {
	h, err := metadata.HeartbeatFromPB(req)
	if err != nil {
		return nil, err
	}
	if s.lead.serving() == 0 {
		return nil, s.redirect("does not lead")
	}
	node, err := s.heartbeatOf(h)
	if err != nil {
		return nil, err
	}
	s.soft.hear(h.Node, h.Boot, h)
	if len(h.Dropped) > 0 {
		_, err := s.propose(ctx, &pb.Command{Body: &pb.Command_ForgetSegments{ForgetSegments: &pb.ForgetSegments{
			Node: string(h.Node), Segments: metadata.SegmentRefsToPB(h.Dropped),
		}}})
		if err != nil {
			return nil, err
		}
	}
	var drop []metadata.SegmentRef
	s.fsm.view(func(st *state.State) { drop = st.Doomed(h.Node, metadata.MaxDrops) })
	return &pb.HeartbeatReply{Cluster: metadata.IDToPB(s.id.cluster), State: pb.NodeState(node.State), Drop: metadata.SegmentRefsToPB(drop), Scrub: s.soft.takeScrub(h.Node)}, nil
}

// ScrubNode has a node begin a pass over all its data, with its next
// heartbeat. A change of leader before forgets it.
func (s *server) ScrubNode(ctx context.Context, req *pb.ScrubNodeRequest) (*pb.ScrubNodeReply, error) {
	if _, err := s.verify(ctx); err != nil {
		return nil, err
	}
	id := block.NodeID(req.GetNode())
	for _, n := range s.nodes(false) {
		switch {
		case n.ID != id:
		case !n.Up:
			return nil, block.Errorf(block.Unavailable, "node %q is down: start it first", id)
		case n.Health.Failed != "":
			return nil, block.Errorf(block.Unavailable, "the disk of node %q has failed: %s", id, n.Health.Failed)
		default:
			s.soft.wantScrub(id)
			return &pb.ScrubNodeReply{}, nil
		}
	}
	return nil, block.Errorf(block.NotFound, "node %q does not exist", id)
}

// heartbeatOf finds the node that a heartbeat claims to be from.
func (s *server) heartbeatOf(h metadata.Heartbeat) (metadata.Node, error) {
	var n metadata.Node
	var err error
	s.fsm.view(func(st *state.State) { n, err = st.Node(h.Node) })
	switch {
	case err != nil:
		return n, err
	case n.State == metadata.NodeRemoved:
		return n, block.Errorf(block.Mismatch, "node %s was removed from the cluster: it must stop", h.Node)
	case n.Disk != h.Disk:
		return n, block.Errorf(block.Mismatch, "node %s belongs to disk %s, the heartbeat is from disk %s: one of two processes with this node id must stop", h.Node, n.Disk, h.Disk)
	case h.Boot < n.Boot:
		return n, block.Errorf(block.Mismatch, "node %s has started again since (start number %d, the heartbeat is from %d): the older process must stop", h.Node, n.Boot, h.Boot)
	case h.Boot > n.Boot:
		return n, block.Errorf(block.NotFound, "node %s has not registered its start number %d", h.Node, h.Boot)
	}
	return n, nil
}

func (s *server) ListNodes(ctx context.Context, req *pb.ListNodesRequest) (*pb.ListNodesReply, error) {
	if _, err := s.verify(ctx); err != nil {
		return nil, err
	}
	reply := &pb.ListNodesReply{}
	for _, n := range s.nodes(false) {
		if req.GetNode() == "" || req.GetNode() == string(n.ID) {
			reply.Nodes = append(reply.Nodes, metadata.NodeToPB(n))
		}
	}
	if req.GetNode() != "" && len(reply.Nodes) == 0 {
		return nil, block.Errorf(block.NotFound, "node %q does not exist", req.GetNode())
	}
	return reply, nil
}

// nodes are the nodes with what was heard of them.
func (n *Node) nodes(trusting bool) []metadata.Node {
	var nodes []metadata.Node
	n.fsm.view(func(st *state.State) { nodes = st.Nodes() })
	n.soft.fill(nodes, trusting)
	return nodes
}

func (s *server) SetNodeState(ctx context.Context, req *pb.SetNodeStateRequest) (*pb.SetNodeStateReply, error) {
	_, err := s.propose(ctx, &pb.Command{Body: &pb.Command_SetNodeState{SetNodeState: &pb.SetNodeState{Node: req.GetNode(), State: req.GetState()}}})
	if err != nil {
		return nil, err
	}
	if metadata.NodeState(req.GetState()) == metadata.NodeRemoved {
		s.soft.forgetNode(block.NodeID(req.GetNode()))
	}
	return &pb.SetNodeStateReply{}, nil
}
