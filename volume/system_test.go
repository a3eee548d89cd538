package volume

import (
	"bytes"
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
	"github.com/sextantdisk/sextant/internal/slab"
	"github.com/sextantdisk/sextant/internal/vfs/faultfs"
	"github.com/sextantdisk/sextant/internal/vfs/memfs"
	"github.com/sextantdisk/sextant/logstore"
	"github.com/sextantdisk/sextant/metadata"
	"github.com/sextantdisk/sextant/segmentd"
	"github.com/sextantdisk/sextant/volume/quorum"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

var (
	testCluster = block.ClusterID{1}
	testVolume  = block.VolumeID{2}
	silence     = slog.New(slog.DiscardHandler)
)

// node is a real segment daemon on a disk in memory, behind a relay that can
// hang and damage what it carries.
type node struct {
	t      *testing.T
	name   block.NodeID
	disk   *memfs.FS
	faults *faultfs.FS
	daemon *segmentd.Server
	relay  *relay
}

// lone is a metadata service as a segment daemon sees it.
type lone struct{}

func (lone) Register(context.Context, segmentd.Registration) (block.ClusterID, error) {
	return testCluster, nil
}

func (lone) Heartbeat(context.Context, segmentd.Report) (segmentd.Orders, error) {
	return segmentd.Orders{}, nil
}

func (lone) VolumeEpoch(context.Context, block.VolumeID) (block.VolumeEpoch, error) { return 1, nil }

func (n *node) start() {
	n.t.Helper()
	n.faults = faultfs.Wrap(n.disk)
	d, err := segmentd.Start(n.t.Context(), segmentd.Config{
		Dir: "/data", Zone: "z", Node: n.name, Listen: "127.0.0.1:0", Registry: lone{}, FS: n.faults,
		Clock: clock.Real(), Logger: silence, Store: logstore.Config{FileSize: block.MiB, Spares: -1},
	})
	if err != nil {
		n.t.Fatal(err)
	}
	n.daemon = d
	if n.relay == nil {
		n.relay = newRelay(n.t)
	}
	n.relay.to.Store(d.Addr().String())
}

func (lone) Placed(context.Context, block.DiskID, segmentd.SegmentRef, block.VolumeEpoch) error {
	return nil
}

func (lone) Peers(context.Context, block.VolumeID, block.PGIndex) ([]segmentd.Peer, error) {
	return nil, nil
}

// kill ends the daemon; its connections break.
func (n *node) kill() {
	n.relay.to.Store("")
	n.daemon.Close()
	n.relay.cut()
}

// crash is kill, and a power cut that loses all that it may.
func (n *node) crash() {
	n.disk = n.disk.CrashClone(rand.New(rand.NewPCG(1, 1)), 0)
	n.kill()
}

// hold stalls operations on the node's files until release is called.
func (n *node) hold(ops faultfs.Op) (release func()) {
	gate := make(chan struct{})
	remove := n.faults.Add(faultfs.Rule{Ops: ops, Stall: gate})
	release = sync.OnceFunc(func() { remove(); close(gate) })
	n.t.Cleanup(release)
	return release
}

// meta is a metadata service that knows one volume on six nodes.
type meta struct {
	mu       sync.Mutex
	s        *system
	volume   metadata.Volume
	clean    bool
	former   time.Duration     // OpenVolume's FormerFor
	lose     bool              // EnsurePG places, and the answer is lost
	deaf     block.VolumeEpoch // whose gateway gets no answers
	pgs      []metadata.PGConfig
	err      error  // of RenewLease and EnsurePG
	ensure   int    // calls of EnsurePG
	forced   []bool // OpenRequest.Takeover of each opening
	closed   []metadata.CloseRequest
	done     []block.VolumeEpoch
	health   []metadata.SegmentHealth // of the last report
	steps    []string                 // of changes of groups
	unopened []block.PGIndex          // of the last OpenDone
	made     int                      // segments for replacements
}

func (m *meta) set(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

func (m *meta) OpenVolume(_ context.Context, r metadata.OpenRequest) (metadata.Opened, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r.Volume != m.volume.Name {
		return metadata.Opened{}, block.Errorf(block.NotFound, "no volume %s", r.Volume)
	}
	m.volume.Epoch++
	m.forced = append(m.forced, r.Takeover)
	o := metadata.Opened{Volume: m.volume, CleanHandover: m.clean, FormerFor: m.former, PGs: slices.Clone(m.pgs)}
	m.clean = false
	return o, nil
}

func (m *meta) OpenDone(_ context.Context, _ block.VolumeID, e block.VolumeEpoch, unopened []block.PGIndex) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unopened = unopened
	m.done = append(m.done, e)
	return m.err
}

func (m *meta) CloseVolume(_ context.Context, r metadata.CloseRequest) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = append(m.closed, r)
	m.clean = r.ReadLeasesExpired && r.Epoch == m.volume.Epoch
	return nil
}

func (m *meta) RenewLease(_ context.Context, r metadata.LeaseReport) (metadata.LeaseReply, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.health = r.Unhealthy
	if r.Epoch == m.deaf {
		return metadata.LeaseReply{}, block.Errorf(block.Unavailable, "cut off")
	}
	if m.err == nil && r.Epoch != m.volume.Epoch {
		return metadata.LeaseReply{}, block.Errorf(block.Fenced, "epoch %d is over", r.Epoch)
	}
	return metadata.LeaseReply{Size: m.volume.Geometry.Size, Changing: m.changingLocked(r)}, m.err
}

func (m *meta) EnsurePG(_ context.Context, _ block.VolumeID, e block.VolumeEpoch, i block.PGIndex) (metadata.PGConfig, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ensure++
	if e == m.deaf {
		return metadata.PGConfig{}, block.Errorf(block.Unavailable, "cut off")
	}
	if m.err != nil {
		return metadata.PGConfig{}, m.err
	}
	c := metadata.PGConfig{Index: i, Membership: 1, Born: e, Sets: [][]int{{0, 1, 2, 3, 4, 5}}}
	for k, n := range m.s.nodes {
		id := n.daemon.Identity()
		c.Segments = append(c.Segments, metadata.Segment{ID: segmentID(i, k), Born: e, Hydrated: true,
			Node: n.name, Zone: "z", Address: n.relay.addr(), Disk: id.Disk})
	}
	m.pgs = append(m.pgs, c)
	if m.lose {
		return metadata.PGConfig{}, block.Errorf(block.Unavailable, "the answer was lost")
	}
	return c, nil
}

func segmentID(i block.PGIndex, k int) block.SegmentID {
	return block.SegmentID{0: 7, 10: byte(i), 15: byte(k)}
}

// system is six nodes and a metadata service.
type system struct {
	t     *testing.T
	nodes []*node
	meta  *meta
	hold  time.Duration
}

const testPG = 4 * block.MiB

func newSystem(t *testing.T) *system {
	t.Helper()
	s := &system{t: t, hold: patience}
	s.meta = &meta{s: s, clean: true, former: time.Hour, volume: metadata.Volume{ID: testVolume, Name: "v", Quorum: metadata.DefaultQuorum,
		Geometry: block.Geometry{Size: 4 * testPG, PGSize: testPG}}}
	for i := range 6 {
		n := &node{t: t, name: block.NodeID("n" + string(rune('0'+i))), disk: memfs.New(0)}
		n.start()
		s.nodes = append(s.nodes, n)
	}
	t.Cleanup(func() {
		for _, n := range s.nodes {
			n.daemon.Close()
			n.relay.close()
		}
	})
	return s
}

// gateway is a pool and the volume opened through it, with one handle.
type gateway struct {
	t    *testing.T
	s    *system
	pool *Pool
	v    *Volume
	h    *Handle
	end  chan error // what Config.Ended was told
}

func (s *system) pool() *Pool { return s.poolOn(clock.Real()) }

func (s *system) poolOn(c clock.Clock) *Pool {
	return NewPool(PoolConfig{Cluster: testCluster, Name: "test", Clock: c, Logger: silence,
		Resolve: func(_ context.Context, name block.NodeID) (string, error) {
			for _, n := range s.nodes {
				if n.name == name {
					return n.relay.addr(), nil
				}
			}
			return "", block.Errorf(block.NotFound, "no node %s", name)
		}})
}

func (s *system) open() *gateway {
	s.t.Helper()
	return s.openOn(clock.Real())
}

func (s *system) openOn(c clock.Clock) *gateway {
	s.t.Helper()
	g := &gateway{t: s.t, s: s, pool: s.poolOn(c), end: make(chan error, 1)}
	v, err := Open(s.t.Context(), "v", Config{Pool: g.pool, Metadata: s.meta, Gateway: "g", Hold: s.hold, Logger: silence,
		Ended: func(err error) { g.end <- err }})
	if err != nil {
		s.t.Fatal(err)
	}
	g.v, g.h = v, v.NewHandle()
	s.t.Cleanup(func() { g.stop() })
	return g
}

// close ends the gateway in good order.
func (g *gateway) close() {
	g.t.Helper()
	if err := g.v.Close(context.Background()); err != nil {
		g.t.Fatal(err)
	}
	g.pool.Close()
}

// stop ends the gateway without a word to the metadata service, as a crash
// does: the volume ends first, so Close says no goodbye.
func (g *gateway) stop() {
	g.v.end(block.Errorf(block.Closed, "the test ends it"))
	_ = g.v.Close(context.Background())
	g.pool.Close()
}

// wait is a Waiter.
type wait struct {
	c    chan error
	told atomic.Int32
}

type noFlush struct{}

func (noFlush) Flush() {}

func newWait() *wait { return &wait{c: make(chan error, 2)} }

func (w *wait) Done(err error)   { w.told.Add(1); w.c <- err }
func (w *wait) Flusher() Flusher { return noFlush{} }

// err waits to be told, exactly once.
func (w *wait) err(t *testing.T) error {
	t.Helper()
	select {
	case err := <-w.c:
		if n := w.told.Load(); n != 1 {
			t.Errorf("told %d times", n)
		}
		return err
	case <-clock.Real().After(patience):
		t.Fatal("an operation was never told how it ended")
		return nil
	}
}

func (w *wait) pending() bool { return w.told.Load() == 0 }

func buffer(p []byte) *slab.Buffer {
	b := slab.Get(len(p))
	copy(b.Bytes(), p)
	return b
}

// startWrite issues a write; its memory is let go when it is done.
func (h *Handle) startWrite(off block.Offset, p []byte) *wait {
	w := newWait()
	b := buffer(p)
	h.Write(off, b, w)
	h.Kick()
	b.Release() // what the volume still needs it holds
	return w
}

func (g *gateway) write(off block.Offset, p []byte) {
	g.t.Helper()
	if err := g.h.startWrite(off, p).err(g.t); err != nil {
		g.t.Fatalf("write at %d: %v", off, err)
	}
}

func (h *Handle) startRead(off block.Offset, n int) (*wait, *slab.Buffer) {
	w := newWait()
	b := slab.Get(n)
	for i := range b.Bytes() {
		b.Bytes()[i] = 0xa5 // what was in the memory before
	}
	h.Read(off, b, w)
	h.Kick()
	return w, b
}

func (g *gateway) read(off block.Offset, n int) []byte {
	g.t.Helper()
	w, b := g.h.startRead(off, n)
	if err := w.err(g.t); err != nil {
		g.t.Fatalf("read at %d: %v", off, err)
	}
	return slices.Clone(b.Bytes())
}

func (g *gateway) wantBytes(off block.Offset, want []byte) {
	g.t.Helper()
	got := g.read(off, len(want))
	if i := differ(got, want); i >= 0 {
		g.t.Fatalf("byte %d+%d is %02x, want %02x", off, i, got[i], want[i])
	}
}

func differ(a, b []byte) int {
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}

func fill(c byte, n int) []byte { return bytes.Repeat([]byte{c}, n) }

// eventually waits until ok holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("%s: not after %v", what, patience)
		}
		<-clock.Real().After(time.Millisecond)
	}
}

// log is the segment of group i on node k.
func (s *system) log(i block.PGIndex, k int) *logstore.Segment {
	s.t.Helper()
	g, ok := s.nodes[k].daemon.Store().Segment(segmentID(i, k))
	if !ok {
		s.t.Fatalf("node %d has no segment of group %d", k, i)
	}
	return g
}

// records are the records of group i on node k since the volume was made.
func (s *system) records(i block.PGIndex, k int) (all []logstore.Record) {
	s.t.Helper()
	g := s.log(i, k)
	if err := g.Scan(0, g.SCL(), block.GiB, func(r logstore.Record) error {
		r.Payload, r.Sums = nil, nil
		all = append(all, r)
		return nil
	}); err != nil {
		s.t.Fatal(err)
	}
	return all
}

// copyOf is what node k has in the first n blocks of group i.
func (s *system) copyOf(i block.PGIndex, k int, n block.Count) []byte {
	s.t.Helper()
	g := s.log(i, k)
	r := logstore.ReadResult{Buf: make([]byte, int(n)*block.Size)}
	if err := g.ReadAt(g.SCL(), 0, n, &r); err != nil {
		s.t.Fatal(err)
	}
	out := make([]byte, int(n)*block.Size)
	packed, at := r.Data(), 0
	for _, run := range r.Runs {
		size := int(run.Count) * block.Size
		if run.Kind == logstore.RunData {
			packed = packed[copy(out[at:at+size], packed):]
		}
		at += size
	}
	return out
}

// complete waits until the nodes have all that was issued in group i, and the
// gateway has heard of it.
func (g *gateway) complete(i block.PGIndex, nodes ...int) {
	g.t.Helper()
	x := g.v.group(i)
	x.mu.Lock()
	tail := x.mu.machine.Tail()
	x.mu.Unlock()
	for _, k := range nodes {
		eventually(g.t, "node "+string(rune('0'+k))+" to be complete", func() bool {
			x.mu.Lock()
			defer x.mu.Unlock()
			return x.mu.machine.Member(quorum.Member(k)).SCL >= tail
		})
	}
}

var all = []int{0, 1, 2, 3, 4, 5}

// relay is a TCP relay before a daemon. It keeps its address.
type relay struct {
	t    *testing.T
	ln   net.Listener
	to   atomic.Value // string; "" refuses
	hang atomic.Bool  // nothing is carried
	spit atomic.Pointer[func(p []byte)]
	// left, if not nil, is how many pieces may still be carried.
	left atomic.Pointer[atomic.Int64]
	done sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
}

func newRelay(t *testing.T) *relay {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{t: t, ln: ln, conns: map[net.Conn]bool{}}
	r.to.Store("")
	r.done.Add(1)
	go r.accept()
	return r
}

func (r *relay) addr() string { return r.ln.Addr().String() }

func (r *relay) accept() {
	defer r.done.Done()
	for {
		near, err := r.ln.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", r.to.Load().(string))
		if err != nil {
			near.Close()
			continue
		}
		r.mu.Lock()
		r.conns[near], r.conns[far] = true, true
		r.mu.Unlock()
		r.done.Add(2)
		go r.carry(far, near, false)
		go r.carry(near, far, true)
	}
}

// carry copies from one side to the other, until either is gone.
func (r *relay) carry(dst, src net.Conn, answers bool) {
	defer r.done.Done()
	defer dst.Close()
	defer src.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := src.Read(buf)
		for r.hang.Load() {
			<-clock.Real().After(time.Millisecond)
			if !r.alive(src) {
				return
			}
		}
		if f := r.spit.Load(); f != nil && answers {
			(*f)(buf[:n])
		}
		if left := r.left.Load(); left != nil && left.Add(-1) < 0 {
			return
		}
		if _, werr := dst.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}

func (r *relay) alive(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.conns[c]
}

// cut breaks all connections.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		c.Close()
	}
	clear(r.conns)
}

func (r *relay) close() {
	r.ln.Close()
	r.cut()
	r.done.Wait()
}
