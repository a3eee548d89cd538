package metadata_test

import (
	"context"
	"errors"
	"net"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
)

// member is a service that answers as a test tells it.
type member struct {
	pb.UnimplementedMetadataServer
	addr string
	mu   struct {
		sync.Mutex
		calls  int
		answer func(call int) error
		page   *pb.PGsReply
		last   *pb.RegisterNodeRequest
	}
}

func newMember(t *testing.T, answer func(call int) error) *member {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &member{addr: l.Addr().String()}
	m.mu.answer = answer
	g := grpc.NewServer(grpc.WaitForHandlers(true))
	pb.RegisterMetadataServer(g, m)
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.Serve(l)
	}()
	t.Cleanup(func() { g.Stop(); <-done })
	return m
}

func (m *member) called() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.calls++
	return metadata.ToStatus(m.mu.answer(m.mu.calls))
}

func (m *member) calls() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.calls
}

func (m *member) ListVolumes(context.Context, *pb.ListVolumesRequest) (*pb.ListVolumesReply, error) {
	return &pb.ListVolumesReply{}, m.called()
}

func (m *member) RegisterNode(_ context.Context, r *pb.RegisterNodeRequest) (*pb.RegisterNodeReply, error) {
	m.mu.Lock()
	m.mu.last = r
	m.mu.Unlock()
	return &pb.RegisterNodeReply{Cluster: make([]byte, 16)}, m.called()
}

func (m *member) ListPGs(context.Context, *pb.ListPGsRequest) (*pb.PGsReply, error) {
	if err := m.called(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.page, nil
}

func dial(t *testing.T, opts metadata.Options, addrs ...string) *metadata.Client {
	t.Helper()
	c, err := metadata.Dial(addrs, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func always(err error) func(int) error { return func(int) error { return err } }

func TestClientFollowsTheLeader(t *testing.T) {
	leader := newMember(t, always(nil))
	follower := newMember(t, always(&metadata.Redirect{Leader: leader.addr, Reason: "not me"}))
	c := dial(t, metadata.Options{}, follower.addr)
	for range 3 {
		if _, err := c.Volumes(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if follower.calls() != 1 || leader.calls() != 3 {
		t.Fatalf("the follower was asked %d times, the leader %d times", follower.calls(), leader.calls())
	}
}

func TestClientFindsAMemberThatLives(t *testing.T) {
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	live := newMember(t, always(nil))
	if _, err := dial(t, metadata.Options{}, dead.Addr().String(), live.addr).Volumes(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A member that takes calls and never answers does not hold up the client.
func TestClientLeavesAMemberThatHangs(t *testing.T) {
	hung, err := net.Listen("tcp", "127.0.0.1:0") // connects, says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer hung.Close()
	live := newMember(t, always(nil))
	if _, err := dial(t, metadata.Options{Attempt: 50 * time.Millisecond}, hung.Addr().String(), live.addr).Volumes(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestClientRepeatsUntilThereIsALeader(t *testing.T) {
	m := newMember(t, func(call int) error {
		if call < 5 {
			return &metadata.Redirect{Reason: "no leader yet"}
		}
		return nil
	})
	if _, err := dial(t, metadata.Options{}, m.addr).Volumes(t.Context()); err != nil || m.calls() != 5 {
		t.Fatalf("%d calls, %v", m.calls(), err)
	}
}

func TestClientGivesUpWithItsContext(t *testing.T) {
	m := newMember(t, always(&metadata.Redirect{Reason: "no leader yet"}))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := dial(t, metadata.Options{}, m.addr).Volumes(ctx)
	if !errors.Is(err, block.Unavailable) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no leader yet") {
		t.Fatal(err)
	}
	_, err = dial(t, metadata.Options{Timeout: 50 * time.Millisecond}, m.addr).Volumes(t.Context())
	if !errors.Is(err, block.Unavailable) {
		t.Fatalf("without a deadline: %v", err)
	}
}

// Two members that send each other the client do not keep it running in
// circles without a pause.
func TestRedirectsInACircleAreBounded(t *testing.T) {
	a := newMember(t, nil)
	b := newMember(t, always(&metadata.Redirect{Leader: a.addr, Reason: "a leads"}))
	a.mu.answer = always(&metadata.Redirect{Leader: b.addr, Reason: "b leads"})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := dial(t, metadata.Options{}, a.addr).Volumes(ctx); !errors.Is(err, block.Unavailable) {
		t.Fatal(err)
	}
	if calls := a.calls() + b.calls(); calls > 60 {
		t.Fatalf("%d calls in 300 ms", calls)
	}
}

// What the service decides is told, not repeated.
func TestDecisionsAreNotRepeated(t *testing.T) {
	for _, k := range []block.Kind{block.NotFound, block.Held, block.Fenced, block.Unavailable, block.Mismatch} {
		m := newMember(t, always(block.Errorf(k, "no")))
		if _, err := dial(t, metadata.Options{}, m.addr).Volumes(t.Context()); !errors.Is(err, k) || m.calls() != 1 {
			t.Errorf("%v: %d calls, %v", k, m.calls(), err)
		}
	}
}

func TestClosedClient(t *testing.T) {
	c := dial(t, metadata.Options{}, "127.0.0.1:1")
	c.Close()
	c.Close()
	if _, err := c.Volumes(t.Context()); !errors.Is(err, block.Closed) {
		t.Fatal(err)
	}
}

func TestDialChecksItsAddresses(t *testing.T) {
	for _, addrs := range [][]string{nil, {"x"}, {"127.0.0.1:0"}, make([]string, 17)} {
		if _, err := metadata.Dial(addrs, metadata.Options{}); !errors.Is(err, block.Invalid) {
			t.Errorf("%q: %v", addrs, err)
		}
	}
}

// A registration that is repeated after a lost answer is no second start.
func TestRegistrationKeepsItsSession(t *testing.T) {
	m := newMember(t, func(call int) error {
		if call == 1 {
			return &metadata.Redirect{Reason: "lost"}
		}
		return nil
	})
	r := metadata.NodeRegistration{Node: "n", Zone: "z", Address: "h:1", Disk: block.DiskID{1}, Boot: 1, Capacity: 1, Format: 1}
	c := dial(t, metadata.Options{}, m.addr)
	var sessions []string
	for range 2 {
		if _, err := c.RegisterNode(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		sessions = append(sessions, string(m.mu.last.GetSession()))
	}
	if len(sessions[0]) != 16 || sessions[0] != sessions[1] {
		t.Fatalf("sessions %q", sessions)
	}
}

func TestPagesSurviveTheWire(t *testing.T) {
	segment := func(n byte, node string) metadata.Segment {
		return metadata.Segment{
			ID: block.SegmentID{n}, Born: 3, Hydrated: n%2 == 0, Node: block.NodeID(node), Zone: block.Zone(node[:1]),
			Address: node + ":1", Disk: block.DiskID{node[1]}, Boot: block.Boot(n),
		}
	}
	one, other := segment(1, "a1"), segment(2, "b1")
	again := one
	again.ID = block.SegmentID{9}
	want := metadata.PGPage{Epoch: 7, PGs: []metadata.PGConfig{
		{Index: 1, Membership: 2, Born: 3, Segments: []metadata.Segment{one, other}, Sets: [][]int{{0}, {0, 1}}},
		{Index: 5, Membership: 1, Born: 4, Segments: []metadata.Segment{again, other}, Sets: [][]int{{0, 1}}},
	}}
	m := newMember(t, always(nil))
	m.mu.page = metadata.PGPageToPB(want)
	if n := len(m.mu.page.GetNodes()); n != 2 {
		t.Errorf("%d nodes travel, not 2", n)
	}
	c := dial(t, metadata.Options{}, m.addr)
	got, err := c.PGs(t.Context(), "v", 7, 0, 10)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, %v", got, err)
	}
	for name, spoil := range map[string]func(*pb.PGsReply){
		"a node too far":   func(r *pb.PGsReply) { r.Pgs[0].Segments[0].Node = 2 },
		"a member too far": func(r *pb.PGsReply) { r.Pgs[0].Sets[0].Members[0] = 2 },
		"a short id":       func(r *pb.PGsReply) { r.Pgs[0].Segments[0].Id = []byte{1} },
		"a short disk":     func(r *pb.PGsReply) { r.Nodes[0].Disk = []byte{1} },
	} {
		m.mu.page = metadata.PGPageToPB(want)
		spoil(m.mu.page)
		if _, err := c.PGs(t.Context(), "v", 7, 0, 10); !errors.Is(err, block.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
