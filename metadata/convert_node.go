package metadata

import (
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
)

func registrationToPB(r NodeRegistration) *pb.RegisterNodeRequest {
	return &pb.RegisterNodeRequest{
		Node: string(r.Node), Zone: string(r.Zone), Address: r.Address, Disk: IDToPB(r.Disk),
		Boot: uint64(r.Boot), Capacity: uint64(r.Capacity), Format: r.Format,
		Session: IDToPB(r.Session), Cluster: IDToPB(r.Cluster),
	}
}

// RegistrationFromPB translates and checks a registration.
func RegistrationFromPB(p *pb.RegisterNodeRequest) (r NodeRegistration, err error) {
	r = NodeRegistration{
		Node: block.NodeID(p.GetNode()), Zone: block.Zone(p.GetZone()), Address: p.GetAddress(),
		Boot: block.Boot(p.GetBoot()), Capacity: block.ByteCount(p.GetCapacity()), Format: p.GetFormat(),
	}
	if r.Disk, err = IDFromPB[block.DiskID]("disk", p.GetDisk()); err != nil {
		return r, err
	}
	if r.Session, err = IDFromPB[Session]("session", p.GetSession()); err != nil {
		return r, err
	}
	if r.Cluster, err = IDFromPB[block.ClusterID]("cluster", p.GetCluster()); err != nil {
		return r, err
	}
	return r, r.Check()
}

func heartbeatToPB(h Heartbeat) *pb.HeartbeatRequest {
	return &pb.HeartbeatRequest{
		Node: string(h.Node), Disk: IDToPB(h.Disk), Boot: uint64(h.Boot), Capacity: uint64(h.Capacity),
		Used: uint64(h.Used), Live: uint64(h.Live), Log: uint64(h.Log),
		Segments: mapped(h.Segments, reportToPB), Dropped: SegmentRefsToPB(h.Dropped), Damages: h.Damages,
		Health: diskHealthToPB(h.Health),
	}
}

// HeartbeatFromPB translates a heartbeat.
func HeartbeatFromPB(p *pb.HeartbeatRequest) (h Heartbeat, err error) {
	h = Heartbeat{
		Node: block.NodeID(p.GetNode()), Boot: block.Boot(p.GetBoot()), Capacity: block.ByteCount(p.GetCapacity()),
		Used: block.ByteCount(p.GetUsed()), Live: block.ByteCount(p.GetLive()), Log: block.ByteCount(p.GetLog()), Damages: p.GetDamages(),
		Health: diskHealthFromPB(p.GetHealth()),
	}
	if h.Disk, err = IDFromPB[block.DiskID]("disk", p.GetDisk()); err != nil {
		return h, err
	}
	if n := len(p.GetSegments()); n > MaxSegmentReports {
		return h, block.Errorf(block.Invalid, "heartbeat of node %s reports %d segments, more than %d", h.Node, n, MaxSegmentReports)
	}
	if h.Segments, err = tried(p.GetSegments(), reportFromPB); err != nil {
		return h, err
	}
	h.Dropped, err = SegmentRefsFromPB(p.GetDropped(), MaxDrops)
	return h, err
}

func reportToPB(r SegmentReport) *pb.SegmentReport {
	return &pb.SegmentReport{
		Ref: segmentRefToPB(r.SegmentRef), State: r.State, Lag: uint64(r.Lag), Damaged: r.Damaged,
		Rate: uint64(r.Rate), EndsNs: int64(r.Ends),
	}
}

func reportFromPB(p *pb.SegmentReport) (r SegmentReport, err error) {
	if len(p.GetState()) > MaxText {
		return r, block.Errorf(block.Invalid, "a segment's state of %d bytes is longer than %d", len(p.GetState()), MaxText)
	}
	r.State, r.Lag, r.Damaged = p.GetState(), block.ByteCount(p.GetLag()), p.GetDamaged()
	r.Rate, r.Ends = block.ByteCount(p.GetRate()), max(0, time.Duration(p.GetEndsNs()))
	r.SegmentRef, err = segmentRefFromPB(p.GetRef())
	return r, err
}

func heartbeatReplyFromPB(p *pb.HeartbeatReply) (r HeartbeatReply, err error) {
	if r.Cluster, err = IDFromPB[block.ClusterID]("cluster", p.GetCluster()); err != nil {
		return r, err
	}
	r.State, r.Scrub = NodeState(p.GetState()), p.GetScrub()
	r.Drop, err = SegmentRefsFromPB(p.GetDrop(), MaxDrops)
	return r, err
}

// NodeToPB translates a node.
func NodeToPB(n Node) *pb.Node {
	return &pb.Node{
		Node: string(n.ID), Zone: string(n.Zone), Address: n.Address, Disk: IDToPB(n.Disk), Boot: uint64(n.Boot),
		Capacity: uint64(n.Capacity), State: pb.NodeState(n.State), Segments: uint32(n.Segments),
		Up: n.Up, Heard: n.Heard, SilentNs: int64(n.Silent), Used: uint64(n.Used), Live: uint64(n.Live),
		Log: uint64(n.Log), Damaged: n.Damaged, Health: diskHealthToPB(n.Health),
	}
}

func nodeFromPB(p *pb.Node) (n Node, err error) {
	n = Node{
		ID: block.NodeID(p.GetNode()), Zone: block.Zone(p.GetZone()), Address: p.GetAddress(),
		Boot: block.Boot(p.GetBoot()), Capacity: block.ByteCount(p.GetCapacity()), State: NodeState(p.GetState()),
		Segments: int(p.GetSegments()), Up: p.GetUp(), Heard: p.GetHeard(), Silent: time.Duration(p.GetSilentNs()),
		Used: block.ByteCount(p.GetUsed()), Live: block.ByteCount(p.GetLive()), Log: block.ByteCount(p.GetLog()),
		Damaged: p.GetDamaged(), Health: diskHealthFromPB(p.GetHealth()),
	}
	n.Disk, err = IDFromPB[block.DiskID]("disk", p.GetDisk())
	return n, err
}
