package metadata

import (
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
)

// VolumeToPB translates a volume.
func VolumeToPB(v Volume) *pb.Volume {
	return &pb.Volume{
		Id: IDToPB(v.ID), Name: v.Name, Size: uint64(v.Geometry.Size), PgSize: uint64(v.Geometry.PGSize),
		Copies: uint32(v.Quorum.Copies), WriteQuorum: uint32(v.Quorum.Write), ReadQuorum: uint32(v.Quorum.Read),
		Epoch: uint32(v.Epoch), Gateway: string(v.Gateway), GatewayDescription: v.Description,
		OpenState: pb.OpenState(v.State), Clean: v.Clean, CreatedNs: timeToPB(v.Created), Deleting: v.Deleting,
		Pgs: uint32(v.PGs), Version: uint64(v.Version), Leased: v.Leased, LeaseAgeNs: int64(v.LeaseAge),
	}
}

func volumeFromPB(p *pb.Volume) (v Volume, err error) {
	v = Volume{
		Name:     p.GetName(),
		Geometry: block.Geometry{Size: block.ByteCount(p.GetSize()), PGSize: block.ByteCount(p.GetPgSize())},
		Quorum:   Quorum{Copies: int(p.GetCopies()), Write: int(p.GetWriteQuorum()), Read: int(p.GetReadQuorum())},
		Epoch:    block.VolumeEpoch(p.GetEpoch()), Gateway: GatewayID(p.GetGateway()), Description: p.GetGatewayDescription(),
		State: OpenState(p.GetOpenState()), Clean: p.GetClean(), Created: timeFromPB(p.GetCreatedNs()), Deleting: p.GetDeleting(),
		PGs: int(p.GetPgs()), Version: ConfigVersion(p.GetVersion()), Leased: p.GetLeased(), LeaseAge: time.Duration(p.GetLeaseAgeNs()),
	}
	if v.ID, err = IDFromPB[block.VolumeID]("volume", p.GetId()); err != nil {
		return v, err
	}
	return v, v.Geometry.Check()
}

func specToPB(s VolumeSpec) *pb.CreateVolumeRequest {
	return &pb.CreateVolumeRequest{
		Id: IDToPB(s.ID), Name: s.Name, Size: uint64(s.Geometry.Size), PgSize: uint64(s.Geometry.PGSize),
		Copies: uint32(s.Quorum.Copies), WriteQuorum: uint32(s.Quorum.Write), ReadQuorum: uint32(s.Quorum.Read),
		AllowUnplaceable: s.AllowUnplaceable,
	}
}

// SpecFromPB translates and checks what a volume is to be made from.
func SpecFromPB(p *pb.CreateVolumeRequest) (s VolumeSpec, err error) {
	s = VolumeSpec{
		Name:     p.GetName(),
		Geometry: block.Geometry{Size: block.ByteCount(p.GetSize()), PGSize: block.ByteCount(p.GetPgSize())},
		Quorum:   Quorum{Copies: int(p.GetCopies()), Write: int(p.GetWriteQuorum()), Read: int(p.GetReadQuorum())},

		AllowUnplaceable: p.GetAllowUnplaceable(),
	}
	if s.ID, err = IDFromPB[block.VolumeID]("volume", p.GetId()); err != nil {
		return s, err
	}
	return s, s.Check()
}

// HealthToPB translates what is told about a segment.
func HealthToPB(h SegmentHealth) *pb.SegmentHealth {
	return &pb.SegmentHealth{
		Pg: uint32(h.PG), Segment: IDToPB(h.Segment), State: pb.SegmentState(h.State), Scl: uint64(h.SCL),
		Lag: uint64(h.Lag), EtaNs: int64(h.ETA), Node: string(h.Node),
	}
}

func healthFromPB(p *pb.SegmentHealth) (h SegmentHealth, err error) {
	h = SegmentHealth{
		PG: block.PGIndex(p.GetPg()), State: SegmentState(p.GetState()), SCL: block.LSN(p.GetScl()),
		Lag: block.ByteCount(p.GetLag()), ETA: max(time.Duration(p.GetEtaNs()), ETAUnknown), Node: block.NodeID(p.GetNode()),
	}
	h.Segment, err = IDFromPB[block.SegmentID]("segment", p.GetSegment())
	return h, err
}

func leaseReportToPB(r LeaseReport) *pb.RenewLeaseRequest {
	return &pb.RenewLeaseRequest{
		Volume: IDToPB(r.Volume), Epoch: uint32(r.Epoch), Gateway: string(r.Gateway),
		Unhealthy: mapped(r.Unhealthy, HealthToPB), Counters: r.Counters, Changing: mapped(r.Changing, MembershipToPB),
	}
}

// LeaseReportFromPB translates a renewal and checks its bounds.
func LeaseReportFromPB(p *pb.RenewLeaseRequest) (r LeaseReport, err error) {
	r = LeaseReport{Epoch: block.VolumeEpoch(p.GetEpoch()), Gateway: GatewayID(p.GetGateway()), Counters: p.GetCounters()}
	if r.Volume, err = IDFromPB[block.VolumeID]("volume", p.GetVolume()); err != nil {
		return r, err
	}
	if len(p.GetUnhealthy()) > MaxUnhealthy || len(p.GetCounters()) > MaxCounters || len(p.GetChanging()) > MaxChanging {
		return r, block.Errorf(block.Invalid, "lease report of volume %s has %d segments, %d counters and %d changes, more than %d, %d and %d",
			r.Volume, len(p.GetUnhealthy()), len(p.GetCounters()), len(p.GetChanging()), MaxUnhealthy, MaxCounters, MaxChanging)
	}
	r.Changing = mapped(p.GetChanging(), membershipFromPB)
	for name := range p.GetCounters() {
		if len(name) > MaxText {
			return r, block.Errorf(block.Invalid, "lease report of volume %s has a counter name of %d bytes", r.Volume, len(name))
		}
	}
	r.Unhealthy, err = tried(p.GetUnhealthy(), healthFromPB)
	return r, err
}
