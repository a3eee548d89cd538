package state

import (
	"encoding/binary"
	"io"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
)

// segmentsMax bounds the segments of one group: two quorum sets of
// MaxCopies, while a membership changes, and room to spare (hydrated flags
// are a word of 64 bits).
const segmentsMax = 16

// Restore reads what Snapshot wrote. Error kinds: Corrupt, with the offset;
// Version.
func Restore(r io.Reader) (*State, error) {
	in := &recordReader{r: r}
	if err := in.prologue(); err != nil {
		return nil, err
	}
	s := New()
	l := &loader{s: s}
	for {
		record, err := in.next()
		if err != nil {
			return nil, err
		}
		if end := record.GetEnd(); end != nil {
			if end.GetRecords() != in.records-1 || in.records < 2 {
				return nil, in.corrupt("its end counts %d records, there are %d", end.GetRecords(), in.records-1)
			}
			return s, in.finish()
		}
		if first := in.records == 1; first != (record.GetHeader() != nil) {
			return nil, in.corrupt("the header is missing or not first")
		}
		if h := record.GetHeader(); h != nil && h.GetVersion() != in.version {
			return nil, in.corrupt("its header has version %d, not %d", h.GetVersion(), in.version)
		}
		if err := l.load(record); err != nil {
			return nil, block.Wrap(block.Corrupt, err, "metadata snapshot, record %d before offset %d", in.records, in.offset)
		}
	}
}

// recordReader takes records apart.
type recordReader struct {
	r       io.Reader
	version uint32
	offset  int64 // of what comes next
	records uint64
	payload []byte
}

func (in *recordReader) corrupt(format string, args ...any) error {
	return block.Wrap(block.Corrupt, block.Errorf(block.Corrupt, format, args...), "metadata snapshot at offset %d", in.offset)
}

func (in *recordReader) read(p []byte) error {
	n, err := io.ReadFull(in.r, p)
	if err != nil {
		return block.Wrap(block.Corrupt, err, "metadata snapshot ends at offset %d, in the middle", in.offset+int64(n))
	}
	in.offset += int64(n)
	return nil
}

func (in *recordReader) prologue() error {
	var p [prologueBytes]byte
	if err := in.read(p[:]); err != nil {
		return err
	}
	if string(p[:8]) != snapshotMagic {
		return in.corrupt("it is no metadata snapshot: it begins with %q", p[:8])
	}
	in.version = binary.LittleEndian.Uint32(p[8:])
	switch v := in.version; {
	case v == 0:
		return in.corrupt("it has no version")
	case v > Version:
		return block.Errorf(block.Version, "metadata snapshot has version %d, this program knows up to %d: install a newer Sextant", v, Version)
	}
	return nil
}

func (in *recordReader) next() (*pb.SnapshotRecord, error) {
	var head [recordHead]byte
	if err := in.read(head[:]); err != nil {
		return nil, err
	}
	n, sum := binary.LittleEndian.Uint32(head[:]), block.Sum(binary.LittleEndian.Uint32(head[4:]))
	if n == 0 || n > recordMax {
		return nil, in.corrupt("a record of %d bytes is not within 1 to %d", n, recordMax)
	}
	in.payload = slices.Grow(in.payload[:0], int(n))[:n]
	if err := in.read(in.payload); err != nil {
		return nil, err
	}
	if found := block.Checksum(in.payload); found != sum {
		return nil, in.corrupt("record %d before it has checksum %08x, expected %08x", in.records, uint32(found), uint32(sum))
	}
	in.records++
	record := &pb.SnapshotRecord{}
	if err := proto.Unmarshal(in.payload, record); err != nil {
		return nil, block.Wrap(block.Corrupt, err, "metadata snapshot, record before offset %d", in.offset)
	}
	return record, nil
}

func (in *recordReader) finish() error {
	var one [1]byte
	if n, err := in.r.Read(one[:]); n != 0 || err != io.EOF && err != nil {
		return in.corrupt("there is more behind its end")
	}
	return nil
}

// loader fills a State from records, and checks what the rest of the package
// relies on.
type loader struct {
	s    *State
	last *volume // to which groups belong
}

func (l *loader) load(r *pb.SnapshotRecord) error {
	switch b := r.GetBody().(type) {
	case *pb.SnapshotRecord_Header:
		return l.header(b.Header)
	case *pb.SnapshotRecord_Member:
		return l.member(b.Member)
	case *pb.SnapshotRecord_Node:
		return l.node(b.Node)
	case *pb.SnapshotRecord_Volume:
		return l.volume(b.Volume)
	case *pb.SnapshotRecord_Pgs:
		for _, g := range b.Pgs.GetPgs() {
			if err := l.group(g); err != nil {
				return err
			}
		}
		return nil
	}
	return block.Errorf(block.Corrupt, "a record of an unknown type")
}

func (l *loader) header(h *pb.SnapshotHeader) (err error) {
	l.s.applied, l.s.nextNode, l.s.nodesVersion = Index(h.GetApplied()), h.GetNextNode(), h.GetNodesVersion()
	l.s.cluster, err = metadata.IDFromPB[block.ClusterID]("cluster", h.GetCluster())
	return err
}

func (l *loader) member(r *pb.MemberRecord) (err error) {
	m := metadata.Member{ID: metadata.MemberID(r.GetId()), Address: r.GetAddress(), RaftAddress: r.GetRaftAddress()}
	if m.Instance, err = metadata.IDFromPB[metadata.Instance]("instance", r.GetInstance()); err != nil {
		return err
	}
	if _, twice := l.s.members[m.ID]; twice {
		return block.Errorf(block.Corrupt, "member %q comes twice", m.ID)
	}
	l.s.members[m.ID] = m
	return CheckMember(m)
}

func (l *loader) node(r *pb.NodeRecord) (err error) {
	n := &node{
		number: r.GetNumber(), id: block.NodeID(r.GetNode()), zone: block.Zone(r.GetZone()), address: r.GetAddress(),
		boot: block.Boot(r.GetBoot()), capacity: block.ByteCount(r.GetCapacity()), state: metadata.NodeState(r.GetState()),
	}
	if n.disk, err = metadata.IDFromPB[block.DiskID]("disk", r.GetDisk()); err != nil {
		return err
	}
	if n.session, err = metadata.IDFromPB[metadata.Session]("session", r.GetSession()); err != nil {
		return err
	}
	if l.s.nodes[n.id] != nil || l.s.numbers[n.number] != nil || l.s.disks[n.disk] != nil || n.number >= l.s.nextNode {
		return block.Errorf(block.Corrupt, "node %q, number %d, comes twice or out of range", n.id, n.number)
	}
	if n.state < metadata.NodeActive || n.state > metadata.NodeRemoved {
		return block.Errorf(block.Corrupt, "node %q has state %d", n.id, r.GetState())
	}
	l.s.indexNode(n)
	return nil
}

func (l *loader) volume(r *pb.VolumeRecord) error {
	spec, err := metadata.SpecFromPB(&pb.CreateVolumeRequest{
		Id: r.GetId(), Name: r.GetName(), Size: r.GetSize(), PgSize: r.GetPgSize(),
		Copies: r.GetCopies(), WriteQuorum: r.GetWriteQuorum(), ReadQuorum: r.GetReadQuorum(),
	})
	if err != nil {
		return err
	}
	v := &volume{
		id: spec.ID, name: spec.Name, geometry: spec.Geometry, quorum: spec.Quorum, epoch: block.VolumeEpoch(r.GetEpoch()),
		gateway: metadata.GatewayID(r.GetGateway()), description: r.GetDescription(), open: metadata.OpenState(r.GetOpenState()),
		clean: r.GetClean(), createdNs: r.GetCreatedNs(), deleting: r.GetDeleting(), version: r.GetVersion(),
	}
	if l.s.volumes[v.id] != nil || !v.deleting && l.s.names[v.name] != nil {
		return block.Errorf(block.Corrupt, "volume %s, %q, comes twice", v.id, v.name)
	}
	if v.open < metadata.Closed || v.open > metadata.Open || v.epoch > block.MaxVolumeEpoch {
		return block.Errorf(block.Corrupt, "volume %s has open state %d at epoch %d", v.id, r.GetOpenState(), v.epoch)
	}
	l.s.volumes[v.id], l.last = v, v
	if !v.deleting {
		l.s.names[v.name] = v
	}
	v.unopened = unopened(r.GetUnopened())
	return l.departed(v, r.GetDeparted())
}

func (l *loader) departed(v *volume, records []*pb.Departed) error {
	if len(records) > maxDeparted {
		return block.Errorf(block.Corrupt, "volume %s: %d segments departed, more than %d", v.id, len(records), maxDeparted)
	}
	for _, r := range records {
		id, err := metadata.IDFromPB[block.SegmentID]("segment", r.GetId())
		if err != nil {
			return err
		}
		n := l.s.numbers[r.GetNode()]
		if n == nil {
			return block.Errorf(block.Corrupt, "volume %s: segment %s departed from node number %d, which does not exist", v.id, id, r.GetNode())
		}
		n.segments++
		v.departed = append(v.departed, departed{pg: block.PGIndex(r.GetPg()), id: id, node: n.number})
	}
	return nil
}

func (l *loader) group(r *pb.PGRecord) error {
	v, count := l.last, len(r.GetNodes())
	if v == nil || count > segmentsMax || len(r.GetIds()) != 16*count || len(r.GetSegmentBorn()) != count {
		return block.Errorf(block.Corrupt, "group %d belongs to no volume, or its %d segments do not fit together", r.GetIndex(), count)
	}
	g := &group{index: block.PGIndex(r.GetIndex()), membership: block.MembershipEpoch(r.GetMembership()), born: block.VolumeEpoch(r.GetBorn())}
	if err := v.checkIndex(g.index); err != nil {
		return err
	}
	if last := len(v.pgs) - 1; last >= 0 && v.pgs[last].index >= g.index {
		return block.Errorf(block.Corrupt, "volume %s: group %v follows group %v", v.id, g.index, v.pgs[last].index)
	}
	for i, number := range r.GetNodes() {
		n := l.s.numbers[number]
		if n == nil {
			return block.Errorf(block.Corrupt, "volume %s, group %v: there is no node number %d", v.id, g.index, number)
		}
		n.segments++
		g.segments = append(g.segments, segment{
			id: block.SegmentID(r.GetIds()[16*i:]), node: number,
			born: block.VolumeEpoch(r.GetSegmentBorn()[i]), hydrated: r.GetHydrated()>>i&1 == 1,
		})
	}
	for _, set := range r.GetSets() {
		var members []uint8
		for _, m := range set.GetMembers() {
			if int(m) >= count {
				return block.Errorf(block.Corrupt, "volume %s, group %v: a quorum set has member %d of %d", v.id, g.index, m, count)
			}
			members = append(members, uint8(m))
		}
		g.sets = append(g.sets, members)
	}
	v.pgs = append(v.pgs, g)
	v.noteChanging(g)
	l.s.groups++
	return nil
}
