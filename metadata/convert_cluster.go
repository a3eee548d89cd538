package metadata

import (
	"github.com/sextantdisk/sextant/internal/block"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
)

// MemberToPB translates a member.
func MemberToPB(m Member) *pb.Member {
	return &pb.Member{
		Id: string(m.ID), Address: m.Address, RaftAddress: m.RaftAddress, Leader: m.Leader, Voter: m.Voter, Instance: IDToPB(m.Instance),
	}
}

// MemberFromPB translates a member.
func MemberFromPB(p *pb.Member) (m Member, err error) {
	m = Member{ID: MemberID(p.GetId()), Address: p.GetAddress(), RaftAddress: p.GetRaftAddress(), Leader: p.GetLeader(), Voter: p.GetVoter()}
	m.Instance, err = IDFromPB[Instance]("instance", p.GetInstance())
	return m, err
}

// ClusterInfoToPB translates what anybody may ask.
func ClusterInfoToPB(i ClusterInfo) *pb.ClusterInfoReply {
	return &pb.ClusterInfoReply{Cluster: IDToPB(i.Cluster), Format: i.Format, Members: mapped(i.Members, MemberToPB)}
}

func clusterInfoFromPB(p *pb.ClusterInfoReply) (i ClusterInfo, err error) {
	i.Format = p.GetFormat()
	if i.Cluster, err = IDFromPB[block.ClusterID]("cluster", p.GetCluster()); err != nil {
		return i, err
	}
	i.Members, err = tried(p.GetMembers(), MemberFromPB)
	return i, err
}

// StatusToPB translates the cluster's health.
func StatusToPB(s Status) *pb.StatusReply {
	return &pb.StatusReply{
		Cluster: IDToPB(s.Cluster), Members: mapped(s.Members, MemberToPB), Nodes: mapped(s.Nodes, NodeToPB),
		Volumes: mapped(s.Volumes, volumeStatusToPB),
		Damage: mapped(s.Damage, func(d Damage) *pb.DamageReport {
			return &pb.DamageReport{Node: string(d.Node), Segment: reportToPB(d.Segment)}
		}),
		Problems: mapped(s.Problems, func(p Problem) *pb.Problem {
			return &pb.Problem{Subject: p.Subject, What: p.What, Todo: p.Do, Severe: p.Severe}
		}),
	}
}

func statusFromPB(p *pb.StatusReply) (s Status, err error) {
	if s.Cluster, err = IDFromPB[block.ClusterID]("cluster", p.GetCluster()); err != nil {
		return s, err
	}
	if s.Members, err = tried(p.GetMembers(), MemberFromPB); err != nil {
		return s, err
	}
	if s.Nodes, err = tried(p.GetNodes(), nodeFromPB); err != nil {
		return s, err
	}
	if s.Volumes, err = tried(p.GetVolumes(), volumeStatusFromPB); err != nil {
		return s, err
	}
	s.Damage, err = tried(p.GetDamage(), func(p *pb.DamageReport) (Damage, error) {
		r, err := reportFromPB(p.GetSegment())
		return Damage{Node: block.NodeID(p.GetNode()), Segment: r}, err
	})
	s.Problems = mapped(p.GetProblems(), func(p *pb.Problem) Problem {
		return Problem{Subject: p.GetSubject(), What: p.GetWhat(), Do: p.GetTodo(), Severe: p.GetSevere()}
	})
	return s, err
}

func volumeStatusToPB(v VolumeStatus) *pb.VolumeStatus {
	return &pb.VolumeStatus{
		Volume: VolumeToPB(v.Volume), Unhealthy: mapped(v.Unhealthy, HealthToPB),
		UnhealthyTotal: uint32(v.UnhealthyTotal), Counters: v.Counters,
		Changes: mapped(v.Changes, changeToPB), ChangesTotal: uint32(v.ChangesTotal),
		Reduced: mapped(v.Reduced, reducedToPB), ReducedTotal: uint32(v.ReducedTotal),
	}
}

func volumeStatusFromPB(p *pb.VolumeStatus) (v VolumeStatus, err error) {
	if v.Volume, err = volumeFromPB(p.GetVolume()); err != nil {
		return v, err
	}
	v.UnhealthyTotal, v.Counters, v.ChangesTotal = int(p.GetUnhealthyTotal()), p.GetCounters(), int(p.GetChangesTotal())
	v.Reduced, v.ReducedTotal = mapped(p.GetReduced(), reducedFromPB), int(p.GetReducedTotal())
	if v.Changes, err = tried(p.GetChanges(), changeFromPB); err != nil {
		return v, err
	}
	v.Unhealthy, err = tried(p.GetUnhealthy(), healthFromPB)
	return v, err
}
