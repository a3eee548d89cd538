package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
	"github.com/sextantdisk/sextant/metadata/state"
	"github.com/sextantdisk/sextant/wire"
)

var (
	cluster = block.ClusterID{1}
	volume  = block.VolumeID{2}
)

// service is the metadata service: what Raft agrees on, without Raft. It never
// lies, but may be slow, or away.
type service struct {
	w     *World
	state *state.State
	next  state.Index
	ids   uint16        // of segments
	away  time.Duration // until then nobody reaches it
	since time.Duration // when the present epoch began
}

func newService(w *World) *service {
	s := &service{w: w, state: state.New(), next: 1}
	s.must(&pb.Command{Body: &pb.Command_InitCluster{InitCluster: &pb.InitCluster{Cluster: cluster[:]}}})
	for _, n := range w.nodes {
		s.register(n)
	}
	s.must(&pb.Command{Body: &pb.Command_CreateVolume{CreateVolume: &pb.CreateVolume{
		Id: volume[:], Name: "v", Size: uint64(w.faults.Groups) * uint64(block.MiB), PgSize: uint64(block.MiB),
		Copies: members, WriteQuorum: writeQuorum, ReadQuorum: readQuorum, CreatedNs: 1,
	}}})
	return s
}

// apply decides a command.
func (s *service) apply(c *pb.Command) state.Result {
	b, err := state.Encode(c)
	must(err)
	s.next++
	return s.state.Apply(s.next-1, b)
}

func (s *service) must(c *pb.Command) state.Result {
	r := s.apply(c)
	must(r.Err)
	return r
}

func (s *service) register(n *node) {
	session := make([]byte, 16)
	session[0] = byte(n.no + 1)
	s.must(&pb.Command{Body: &pb.Command_RegisterNode{RegisterNode: &pb.RegisterNode{
		Node: string(n.name), Zone: zoneName(n.zone), Address: fmt.Sprintf("10.0.0.%d:1", n.no+1), Disk: n.disk[:],
		Boot: uint64(n.life) + 1, Capacity: uint64(block.TiB), Session: session,
	}}})
}

// trip is how long a request takes to get there; who is in a zone that is cut
// off waits until it is not.
func (s *service) trip(zone int) time.Duration {
	at := max(s.w.now+s.w.delay(s.w.faults.Delay, false), s.away, s.w.cut[zone])
	return at - s.w.now
}

// ask has do decide at the service, and answer take place at the gateway. With
// lossy the answer may be lost: the gateway does not learn what was decided.
func (s *service) ask(g *gateway, lossy bool, do func() (answer func())) {
	s.w.after(max(s.trip(g.zone), g.metaApart-s.w.now), func() {
		answer := do()
		if lossy && s.w.oneIn(6) {
			return
		}
		s.w.after(max(s.trip(g.zone), g.metaApart-s.w.now), func() { g.whenAwake(answer) })
	})
}

func (s *service) epoch() block.VolumeEpoch {
	v, err := s.state.Volume("v")
	must(err)
	return v.Epoch
}

// open gives the volume's next epoch, for how long the one before was the
// newest, and the groups.
func (s *service) open(g *gateway) (state.Result, time.Duration, []metadata.PGConfig) {
	r := s.apply(&pb.Command{Body: &pb.Command_OpenVolume{OpenVolume: &pb.OpenVolume{
		Id: volume[:], FromEpoch: uint32(s.epoch()), Gateway: fmt.Sprintf("g%d", g.no),
	}}})
	page, err := s.state.Groups(volume, 0, 100)
	must(err)
	formerFor := s.w.now - s.since
	s.since = s.w.now
	return r, formerFor, page.PGs
}

// place places a group, or finds it placed.
func (s *service) place(g *gateway, i block.PGIndex) state.Result {
	c := &pb.PlacePG{Volume: volume[:], Epoch: uint32(g.epoch), Pg: uint32(i)}
	for _, n := range s.w.nodes[:members] {
		c.Segments = append(c.Segments, s.newSegment(n))
	}
	return s.apply(&pb.Command{Body: &pb.Command_PlacePg{PlacePg: c}})
}

func (s *service) newSegment(n *node) *pb.PlacedSegment {
	s.ids++
	id := block.SegmentID{14: byte(s.ids >> 8), 15: byte(s.ids)}
	return &pb.PlacedSegment{Id: id[:], Node: string(n.name)}
}

// config is a group's configuration as it was agreed; false if it is not
// placed.
func (s *service) config(i int) (metadata.PGConfig, bool) {
	cfg, placed, err := s.state.Group(volume, block.PGIndex(i))
	must(err)
	return cfg, placed
}

// isPlaced tells whether a segment is one of its group's on this node, and who
// asks for it the volume's owner.
func (s *service) isPlaced(n *node, id *wire.Identity) bool {
	cfg, placed := s.config(int(id.PG))
	return placed && id.Epoch == s.epoch() && slices.ContainsFunc(cfg.Segments, func(x metadata.Segment) bool {
		return x.ID == id.Segment && x.Node == n.name
	})
}

func (s *service) opened(e block.VolumeEpoch) {
	_ = s.apply(&pb.Command{Body: &pb.Command_OpenDone{OpenDone: &pb.OpenDone{Id: volume[:], Epoch: uint32(e)}}})
}

func (s *service) goodbye(e block.VolumeEpoch, clean bool) {
	_ = s.apply(&pb.Command{Body: &pb.Command_CloseVolume{CloseVolume: &pb.CloseVolume{Id: volume[:], Epoch: uint32(e), Clean: clean}}})
}

// nodeOf is the node of a segment.
func (w *World) nodeOf(s metadata.Segment) *node {
	for _, n := range w.nodes {
		if n.name == s.Node {
			return n
		}
	}
	panic("sim: no node is called " + string(s.Node))
}

// must stops at what only a mistake in here can cause.
func must(err error) {
	if err != nil {
		panic("sim: " + err.Error())
	}
}
