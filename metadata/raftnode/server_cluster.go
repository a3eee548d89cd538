package raftnode

import (
	"context"
	"errors"

	"github.com/hashicorp/raft"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
	"github.com/sextantdisk/sextant/metadata/state"
)

// Bounds of a status: what goes beyond is counted, not listed.
const (
	statusUnhealthyMax = 64 // of each volume
	statusChangesMax   = 64 // of each volume; also of the groups without a zone
	statusDamageMax    = 1024
)

// ClusterInfo is answered by every member, from what it knows.
func (s *server) ClusterInfo(context.Context, *pb.ClusterInfoRequest) (*pb.ClusterInfoReply, error) {
	return metadata.ClusterInfoToPB(metadata.ClusterInfo{Cluster: s.id.cluster, Format: folderFormat, Members: s.members()}), nil
}

// members are the agreed members with what Raft knows of them.
func (n *Node) members() []metadata.Member {
	var members []metadata.Member
	n.fsm.view(func(st *state.State) { members = st.Members() })
	_, leader := n.raft.LeaderWithID()
	servers := n.servers()
	for i := range members {
		m := &members[i]
		m.Leader = string(m.ID) == string(leader)
		for _, s := range servers {
			m.Voter = m.Voter || string(s.ID) == string(m.ID) && s.Suffrage == raft.Voter
		}
	}
	return members
}

func (s *server) Join(ctx context.Context, req *pb.JoinRequest) (*pb.JoinReply, error) {
	m, err := metadata.MemberFromPB(req.GetMember())
	if err != nil {
		return nil, err
	}
	m.Leader, m.Voter = false, false
	cluster, err := metadata.IDFromPB[block.ClusterID]("cluster", req.GetCluster())
	if err != nil {
		return nil, err
	}
	switch {
	case cluster != s.id.cluster:
		return nil, block.Errorf(block.Mismatch, "member %s belongs to cluster %s, but this is cluster %s: check the --join address and the --data folder", m.ID, cluster, s.id.cluster)
	case req.GetFormat() == 0 || req.GetFormat() > folderFormat:
		return nil, block.Errorf(block.Version, "member %s has format %d, this member knows 1 to %d: install a newer Sextant here first", m.ID, req.GetFormat(), folderFormat)
	}
	if err := state.CheckMember(m); err != nil {
		return nil, err
	}
	if _, err := s.verify(ctx); err != nil {
		return nil, err
	}
	return &pb.JoinReply{}, s.join(ctx, m, req.GetAgain())
}

// join lets m be a member. It must be there before it votes: a voter that
// cannot be reached could cost the cluster its majority.
func (s *server) join(ctx context.Context, m metadata.Member, again bool) (err error) {
	known := false
	s.fsm.view(func(st *state.State) {
		err = st.MayJoin(m)
		for _, o := range st.Members() {
			known = known || o.ID == m.ID
		}
	})
	if err != nil {
		return err
	}
	if again && !known {
		return block.Errorf(block.NotFound, "member %s was removed from the metadata service: to make it a member again, give it an empty folder", m.ID)
	}
	conn, answered, err := s.stream.dial(m.RaftAddress, transportTimeout)
	if err != nil {
		return block.Wrap(block.Unavailable, err, "member %s cannot be reached on its raft address", m.ID)
	}
	conn.Close()
	if answered != m.ID {
		return block.Errorf(block.Unavailable, "member %s answers on the raft address %s of member %s", answered, m.RaftAddress, m.ID)
	}
	if _, err := s.propose(ctx, upsertMember(m)); err != nil {
		return err
	}
	return s.correctAddress(ctx, m)
}

func (s *server) RemoveMember(ctx context.Context, req *pb.RemoveMemberRequest) (*pb.RemoveMemberReply, error) {
	if _, err := s.verify(ctx); err != nil {
		return nil, err
	}
	id := raft.ServerID(req.GetId())
	servers := s.servers()
	voter := false
	for _, v := range servers {
		voter = voter || v.ID == id
	}
	if voter && len(servers) == 1 {
		return nil, block.Errorf(block.Invalid, "member %s is the only one: the metadata service cannot do without it", id)
	}
	_, err := s.propose(ctx, &pb.Command{Body: &pb.Command_DeleteMember{DeleteMember: &pb.DeleteMember{Id: req.GetId()}}})
	if err != nil && (!voter || !errors.Is(err, block.NotFound)) { // half done before: go on
		return nil, err
	}
	if voter {
		err = s.wait(ctx, func() raft.Future { return s.raft.RemoveServer(id, 0, transportTimeout) })
		if err != nil {
			return nil, err
		}
	}
	return &pb.RemoveMemberReply{}, nil
}

func (s *server) Status(ctx context.Context, _ *pb.StatusRequest) (*pb.StatusReply, error) {
	if _, err := s.verify(ctx); err != nil {
		return nil, err
	}
	return metadata.StatusToPB(s.status()), nil
}

// status gathers what is agreed and what the leader has heard.
func (n *Node) status() metadata.Status {
	st := metadata.Status{Cluster: n.id.cluster, Members: n.members(), Nodes: n.nodes(false)}
	st.Damage = n.soft.damage(st.Nodes, statusDamageMax)
	for _, v := range n.volumes() {
		vs := metadata.VolumeStatus{Volume: v}
		vs.Unhealthy, vs.Counters = n.soft.reported(v)
		vs.UnhealthyTotal = len(vs.Unhealthy)
		n.fsm.view(func(s *state.State) {
			vs.Changes, vs.ChangesTotal = s.Changes(v.ID, metadata.MaxChanging)
			vs.Reduced, vs.ReducedTotal = s.Reduced(v.ID, v.PGs)
		})
		st.Volumes = append(st.Volumes, vs)
	}
	st.Problems = Problems(st, n.soft.young())
	for i := range st.Volumes { // problems are found in the whole
		v := &st.Volumes[i]
		v.Unhealthy = v.Unhealthy[:min(len(v.Unhealthy), statusUnhealthyMax)]
		v.Changes = v.Changes[:min(len(v.Changes), statusChangesMax)]
		v.Reduced = v.Reduced[:min(len(v.Reduced), statusChangesMax)]
	}
	return st
}
