package metadata

import (
	"context"

	"github.com/sextantdisk/sextant/internal/block"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
)

// RegisterNode tells of a segment daemon that starts, and gets the cluster's
// id. Call it again after an error of kind Unavailable only; a repetition by
// the same session is no second start. Error kinds: Invalid; Mismatch: the
// folder is an older copy, or of another cluster, or of another disk than
// the node id belongs to (R28); Version.
func (c *Client) RegisterNode(ctx context.Context, r NodeRegistration) (block.ClusterID, error) {
	if r.Session == (Session{}) {
		r.Session = c.session
	}
	if err := r.Check(); err != nil {
		return block.ClusterID{}, err
	}
	reply, err := call(ctx, c, pb.MetadataClient.RegisterNode, registrationToPB(r))
	if err != nil {
		return block.ClusterID{}, err
	}
	return IDFromPB[block.ClusterID]("cluster", reply.GetCluster())
}

// Heartbeat tells that a node lives and how it does, to be sent each
// HeartbeatEvery. Error kinds: NotFound: the node must register first;
// Mismatch: another start of the node, or another disk, has registered
// since, this process must stop.
func (c *Client) Heartbeat(ctx context.Context, h Heartbeat) (HeartbeatReply, error) {
	reply, err := call(ctx, c, pb.MetadataClient.Heartbeat, heartbeatToPB(h))
	if err != nil {
		return HeartbeatReply{}, err
	}
	return heartbeatReplyFromPB(reply)
}

// Nodes lists all nodes by id, removed ones left out.
func (c *Client) Nodes(ctx context.Context) ([]Node, error) {
	reply, err := call(ctx, c, pb.MetadataClient.ListNodes, &pb.ListNodesRequest{})
	if err != nil {
		return nil, err
	}
	return tried(reply.GetNodes(), nodeFromPB)
}

// Node tells of one node. Error kind: NotFound.
func (c *Client) Node(ctx context.Context, id block.NodeID) (Node, error) {
	if err := block.CheckName("node", string(id)); err != nil {
		return Node{}, err
	}
	reply, err := call(ctx, c, pb.MetadataClient.ListNodes, &pb.ListNodesRequest{Node: string(id)})
	if err != nil {
		return Node{}, err
	}
	if len(reply.GetNodes()) != 1 {
		return Node{}, block.Errorf(block.NotFound, "node %q does not exist", id)
	}
	return nodeFromPB(reply.GetNodes()[0])
}

// DrainNode keeps new segments off a node; those that it has stay.
// Error kind: NotFound.
func (c *Client) DrainNode(ctx context.Context, id block.NodeID) error {
	return c.setNodeState(ctx, id, NodeDraining)
}

// ActivateNode undoes DrainNode. Error kind: NotFound.
func (c *Client) ActivateNode(ctx context.Context, id block.NodeID) error {
	return c.setNodeState(ctx, id, NodeActive)
}

// RemoveNode forgets a node for ever: neither its id nor its disk may
// register again. Error kinds: NotFound; Held: it has segments of volumes
// that live.
func (c *Client) RemoveNode(ctx context.Context, id block.NodeID) error {
	return c.setNodeState(ctx, id, NodeRemoved)
}

func (c *Client) setNodeState(ctx context.Context, id block.NodeID, state NodeState) error {
	_, err := call(ctx, c, pb.MetadataClient.SetNodeState, &pb.SetNodeStateRequest{Node: string(id), State: pb.NodeState(state)})
	return err
}

// ScrubNode has a node read all its data now, to find damage. It returns when
// the order is noted; the node gets it with its next heartbeat. Error kinds:
// NotFound; Unavailable: the node is down, or its disk has failed.
func (c *Client) ScrubNode(ctx context.Context, id block.NodeID) error {
	_, err := call(ctx, c, pb.MetadataClient.ScrubNode, &pb.ScrubNodeRequest{Node: string(id)})
	return err
}
