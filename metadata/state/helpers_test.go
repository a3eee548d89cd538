package state_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
	"github.com/sextantdisk/sextant/metadata/state"
)

// log feeds commands to a State, with the next index each.
type log struct {
	t    testing.TB
	s    *state.State
	next state.Index
}

func newLog(t testing.TB) *log {
	l := &log{t: t, s: state.New(), next: 1}
	l.ok(&pb.Command{Body: &pb.Command_InitCluster{InitCluster: &pb.InitCluster{Cluster: id(1)}}})
	return l
}

func (l *log) try(c *pb.Command) state.Result {
	l.t.Helper()
	b, err := state.Encode(c)
	if err != nil {
		l.t.Fatal(err)
	}
	l.next++
	return l.s.Apply(l.next-1, b)
}

func (l *log) ok(c *pb.Command) state.Result {
	l.t.Helper()
	r := l.try(c)
	if r.Err != nil {
		l.t.Fatalf("command %v refused: %v", c, r.Err)
	}
	return r
}

func (l *log) refuses(kind block.Kind, c *pb.Command) error {
	l.t.Helper()
	before := l.bytesWithoutIndex()
	r := l.try(c)
	if !errors.Is(r.Err, kind) {
		l.t.Fatalf("command %v gave %v, not an error of kind %v", c, r.Err, kind)
	}
	if !bytes.Equal(before, l.bytesWithoutIndex()) {
		l.t.Fatalf("command %v was refused, but changed the state", c)
	}
	return r.Err
}

func (l *log) snapshot() []byte {
	l.t.Helper()
	return snapshotOf(l.t, l.s)
}

// bytesWithoutIndex is a snapshot without its first record, which holds the
// applied index.
func (l *log) bytesWithoutIndex() []byte {
	return withoutHeader(l.snapshot())
}

// withoutHeader is a snapshot without prologue and header record.
func withoutHeader(snapshot []byte) []byte {
	b := snapshot[12:]
	return b[8+binary.LittleEndian.Uint32(b):]
}

func snapshotOf(t testing.TB, s *state.State) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := s.Snapshot(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// id makes 16 bytes from a small number.
func id(n uint64) []byte {
	b := make([]byte, 16)
	binary.BigEndian.PutUint64(b[8:], n)
	b[0] = 0xee
	return b
}

func volumeID(n uint64) block.VolumeID { return block.VolumeID(id(n)) }

func register(node, zone string, disk, boot, session uint64) *pb.Command {
	return &pb.Command{Body: &pb.Command_RegisterNode{RegisterNode: &pb.RegisterNode{
		Node: node, Zone: zone, Address: "127.0.0.1:" + fmt.Sprint(7000+disk), Disk: id(disk),
		Boot: boot, Capacity: uint64(block.TiB), Session: id(session),
	}}}
}

func nodeState(node string, st metadata.NodeState) *pb.Command {
	return &pb.Command{Body: &pb.Command_SetNodeState{SetNodeState: &pb.SetNodeState{Node: node, State: pb.NodeState(st)}}}
}

func create(vol uint64, name string, size block.ByteCount) *pb.Command {
	return &pb.Command{Body: &pb.Command_CreateVolume{CreateVolume: &pb.CreateVolume{
		Id: id(vol), Name: name, Size: uint64(size), PgSize: uint64(block.MiB), Copies: 6, WriteQuorum: 4, ReadQuorum: 3, CreatedNs: 1e18,
	}}}
}

func resize(vol uint64, size block.ByteCount) *pb.Command {
	return &pb.Command{Body: &pb.Command_ResizeVolume{ResizeVolume: &pb.ResizeVolume{Id: id(vol), Size: uint64(size)}}}
}

func remove(vol uint64, epoch uint32) *pb.Command {
	return &pb.Command{Body: &pb.Command_DeleteVolume{DeleteVolume: &pb.DeleteVolume{Id: id(vol), Epoch: epoch}}}
}

func open(vol uint64, from uint32, gateway string) *pb.Command {
	return &pb.Command{Body: &pb.Command_OpenVolume{OpenVolume: &pb.OpenVolume{Id: id(vol), FromEpoch: from, Gateway: gateway}}}
}

func done(vol uint64, epoch uint32) *pb.Command {
	return &pb.Command{Body: &pb.Command_OpenDone{OpenDone: &pb.OpenDone{Id: id(vol), Epoch: epoch}}}
}

func goodbye(vol uint64, epoch uint32, clean bool) *pb.Command {
	return &pb.Command{Body: &pb.Command_CloseVolume{CloseVolume: &pb.CloseVolume{Id: id(vol), Epoch: epoch, Clean: clean}}}
}

// place puts a group on nodes, its segment ids counting up from first.
func place(vol uint64, epoch, pg uint32, first uint64, nodes ...string) *pb.Command {
	c := &pb.PlacePG{Volume: id(vol), Epoch: epoch, Pg: pg}
	for i, n := range nodes {
		c.Segments = append(c.Segments, &pb.PlacedSegment{Id: id(first + uint64(i)), Node: n})
	}
	return &pb.Command{Body: &pb.Command_PlacePg{PlacePg: c}}
}

func forget(node string, vol uint64, pg uint32, segments ...uint64) *pb.Command {
	c := &pb.ForgetSegments{Node: node}
	for _, s := range segments {
		c.Segments = append(c.Segments, &pb.SegmentRef{Volume: id(vol), Pg: pg, Segment: id(s)})
	}
	return &pb.Command{Body: &pb.Command_ForgetSegments{ForgetSegments: c}}
}

func about(vol uint64, epoch, pg, membership uint32) *pb.GroupChange {
	return &pb.GroupChange{Volume: id(vol), Epoch: epoch, Pg: pg, Membership: membership}
}

// begin has segment out of a group give way to a new one on a node.
func begin(g *pb.GroupChange, out, in uint64, node string) *pb.Command {
	return &pb.Command{Body: &pb.Command_BeginReplace{BeginReplace: &pb.BeginReplace{
		Group: g, Leaving: id(out), Joining: &pb.PlacedSegment{Id: id(in), Node: node},
	}}}
}

func hydrated(g *pb.GroupChange) *pb.Command {
	return &pb.Command{Body: &pb.Command_MarkHydrated{MarkHydrated: &pb.MarkHydrated{Group: g}}}
}

func finish(g *pb.GroupChange) *pb.Command {
	return &pb.Command{Body: &pb.Command_FinishChange{FinishChange: &pb.FinishChange{Group: g}}}
}

func cancel(g *pb.GroupChange) *pb.Command {
	return &pb.Command{Body: &pb.Command_CancelChange{CancelChange: &pb.CancelChange{Group: g}}}
}

// six are two nodes in each of three zones.
var six = []string{"a1", "a2", "b1", "b2", "c1", "c2"}

func withSix(t testing.TB) *log {
	l := newLog(t)
	for i, n := range six {
		l.ok(register(n, n[:1], uint64(100+i), 1, uint64(200+i)))
	}
	return l
}
