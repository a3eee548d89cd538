package state

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"io"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
)

// A snapshot is a file of records. All integers are little-endian.
//
//	offset  size  field
//	0       8     magic "SXMETAST"
//	8       4     version (Version)
//	12      …     records, the last one of kind SnapshotEnd, then nothing
//
//	record: 0  4  length n of the payload, 1 to recordMax
//	        4  4  CRC32C of the payload: a snapshot is read once, long after
//	              it was written, and from there on is the truth
//	        8  n  protobuf SnapshotRecord
//
// The records are one header; the members by id; the nodes by number; then
// for each volume, by id, its own record and its groups by index, up to
// groupsPerRecord in each record. SnapshotEnd counts the records, so that a
// file cut at a record's border is noticed.
const (
	snapshotMagic   = "SXMETAST"
	prologueBytes   = 12
	recordHead      = 8
	recordMax       = 1 << 20
	groupsPerRecord = 256
)

// Snapshot writes the whole state to w. The same state gives the same bytes.
func (s *State) Snapshot(w io.Writer) error {
	out := &recordWriter{w: w}
	prologue := binary.LittleEndian.AppendUint32([]byte(snapshotMagic), Version)
	if _, err := w.Write(prologue); err != nil {
		return err
	}
	out.put(&pb.SnapshotRecord{Body: &pb.SnapshotRecord_Header{Header: &pb.SnapshotHeader{
		Version: Version, Applied: uint64(s.applied), Cluster: metadata.IDToPB(s.cluster),
		NextNode: s.nextNode, NodesVersion: s.nodesVersion,
	}}})
	for _, m := range s.Members() {
		out.put(&pb.SnapshotRecord{Body: &pb.SnapshotRecord_Member{Member: &pb.MemberRecord{
			Id: string(m.ID), Address: m.Address, RaftAddress: m.RaftAddress, Instance: metadata.IDToPB(m.Instance),
		}}})
	}
	for _, n := range s.nodesByNumber() {
		out.put(&pb.SnapshotRecord{Body: &pb.SnapshotRecord_Node{Node: n.record()}})
	}
	for _, v := range s.volumesByID() {
		out.put(&pb.SnapshotRecord{Body: &pb.SnapshotRecord_Volume{Volume: v.record()}})
		for chunk := range slices.Chunk(v.pgs, groupsPerRecord) {
			records := &pb.PGRecords{}
			for _, g := range chunk {
				records.Pgs = append(records.Pgs, g.record())
			}
			out.put(&pb.SnapshotRecord{Body: &pb.SnapshotRecord_Pgs{Pgs: records}})
		}
	}
	out.put(&pb.SnapshotRecord{Body: &pb.SnapshotRecord_End{End: &pb.SnapshotEnd{Records: out.records}}})
	return out.err
}

// recordWriter frames records; after an error it does nothing.
type recordWriter struct {
	w       io.Writer
	records uint64
	err     error
}

func (o *recordWriter) put(r *pb.SnapshotRecord) {
	if o.err != nil {
		return
	}
	frame, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(make([]byte, recordHead), r)
	if err != nil {
		o.err = block.Wrap(block.Invalid, err, "encoding record %d of a metadata snapshot", o.records)
		return
	}
	payload := frame[recordHead:]
	if len(payload) > recordMax {
		o.err = block.Errorf(block.Invalid, "record %d of a metadata snapshot has %d bytes, more than %d", o.records, len(payload), recordMax)
		return
	}
	binary.LittleEndian.PutUint32(frame, uint32(len(payload)))
	binary.LittleEndian.PutUint32(frame[4:], uint32(block.Checksum(payload)))
	o.records++
	_, o.err = o.w.Write(frame)
}

func (s *State) nodesByNumber() []*node {
	all := make([]*node, 0, len(s.nodes))
	for _, n := range s.nodes {
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b *node) int { return cmp.Compare(a.number, b.number) })
	return all
}

func (s *State) volumesByID() []*volume {
	all := make([]*volume, 0, len(s.volumes))
	for _, v := range s.volumes {
		all = append(all, v)
	}
	slices.SortFunc(all, func(a, b *volume) int { return bytes.Compare(a.id[:], b.id[:]) })
	return all
}

func (n *node) record() *pb.NodeRecord {
	return &pb.NodeRecord{
		Number: n.number, Node: string(n.id), Zone: string(n.zone), Address: n.address, Disk: metadata.IDToPB(n.disk),
		Boot: uint64(n.boot), Capacity: uint64(n.capacity), Session: metadata.IDToPB(n.session), State: pb.NodeState(n.state),
	}
}

func (v *volume) record() *pb.VolumeRecord {
	r := &pb.VolumeRecord{
		Id: metadata.IDToPB(v.id), Name: v.name, Size: uint64(v.geometry.Size), PgSize: uint64(v.geometry.PGSize),
		Copies: uint32(v.quorum.Copies), WriteQuorum: uint32(v.quorum.Write), ReadQuorum: uint32(v.quorum.Read),
		Epoch: uint32(v.epoch), Gateway: string(v.gateway), Description: v.description, OpenState: pb.OpenState(v.open),
		Clean: v.clean, CreatedNs: v.createdNs, Deleting: v.deleting, Version: v.version,
	}
	for _, d := range v.departed {
		r.Departed = append(r.Departed, &pb.Departed{Pg: uint32(d.pg), Id: metadata.IDToPB(d.id), Node: d.node})
	}
	for _, i := range v.unopened {
		r.Unopened = append(r.Unopened, uint32(i))
	}
	return r
}

func (g *group) record() *pb.PGRecord {
	r := &pb.PGRecord{Index: uint32(g.index), Membership: uint32(g.membership), Born: uint32(g.born)}
	for i, seg := range g.segments {
		r.Ids = append(r.Ids, seg.id[:]...)
		r.Nodes = append(r.Nodes, seg.node)
		r.SegmentBorn = append(r.SegmentBorn, uint32(seg.born))
		if seg.hydrated {
			r.Hydrated |= 1 << i
		}
	}
	for _, set := range g.sets {
		members := &pb.QuorumSet{}
		for _, m := range set {
			members.Members = append(members.Members, uint32(m))
		}
		r.Sets = append(r.Sets, members)
	}
	return r
}
