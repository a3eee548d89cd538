package state

import (
	"slices"
	"strings"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
)

func (s *State) initCluster(c *pb.InitCluster) error {
	id, err := metadata.IDFromPB[block.ClusterID]("cluster", c.GetCluster())
	switch {
	case err != nil:
		return err
	case id.IsZero():
		return block.Errorf(block.Invalid, "a cluster needs an id")
	case !s.cluster.IsZero() && s.cluster != id:
		return block.Errorf(block.Exists, "the cluster has id %s already, not %s", s.cluster, id)
	}
	s.cluster = id
	return nil
}

func (s *State) upsertMember(c *pb.UpsertMember) error {
	m := metadata.Member{ID: metadata.MemberID(c.GetId()), Address: c.GetAddress(), RaftAddress: c.GetRaftAddress()}
	var err error
	if m.Instance, err = metadata.IDFromPB[metadata.Instance]("instance", c.GetInstance()); err != nil {
		return err
	}
	if err := CheckMember(m); err != nil {
		return err
	}
	if err := s.MayJoin(m); err != nil {
		return err
	}
	s.members[m.ID] = m
	return nil
}

// CheckMember says whether m is well formed. Error kind: Invalid.
func CheckMember(m metadata.Member) error {
	if err := block.CheckName("member", string(m.ID)); err != nil {
		return err
	}
	if err := metadata.CheckAddress("member "+string(m.ID)+"'s address", m.Address); err != nil {
		return err
	}
	if err := metadata.CheckAddress("member "+string(m.ID)+"'s raft address", m.RaftAddress); err != nil {
		return err
	}
	if m.Instance == (metadata.Instance{}) {
		return block.Errorf(block.Invalid, "member %s has no instance", m.ID)
	}
	return nil
}

// MayJoin says whether m may be a member. Error kinds: Mismatch: it comes
// with another data folder than before; Exists: there are MaxMembers.
func (s *State) MayJoin(m metadata.Member) error {
	old, known := s.members[m.ID]
	if known && old.Instance != m.Instance {
		return block.Errorf(block.Mismatch, "member %s comes with another data folder than before: a member that lost its folder must not vote again under its old id; remove %s from the cluster first, or start with another --id", m.ID, m.ID)
	}
	if !known && len(s.members) >= metadata.MaxMembers {
		return block.Errorf(block.Exists, "the metadata service has %d members already: remove one first", metadata.MaxMembers)
	}
	return nil
}

func (s *State) deleteMember(c *pb.DeleteMember) error {
	id := metadata.MemberID(c.GetId())
	if _, known := s.members[id]; !known {
		return block.Errorf(block.NotFound, "the metadata service has no member %q", id)
	}
	delete(s.members, id)
	return nil
}

// Members are the members by id.
func (s *State) Members() []metadata.Member {
	all := make([]metadata.Member, 0, len(s.members))
	for _, m := range s.members {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b metadata.Member) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return all
}
