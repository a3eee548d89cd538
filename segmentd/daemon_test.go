package segmentd

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
	"github.com/sextantdisk/sextant/internal/vfs"
	"github.com/sextantdisk/sextant/internal/vfs/faultfs"
	"github.com/sextantdisk/sextant/internal/vfs/memfs"
	"github.com/sextantdisk/sextant/logstore"
	"github.com/sextantdisk/sextant/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	cluster = block.ClusterID{1}
	volume  = block.VolumeID{2}
	mine    = block.SegmentID{3}
)

const patience = 20 * time.Second

// registry is a metadata service that says what the test wants.
type registry struct {
	mu         sync.Mutex
	cluster    block.ClusterID
	err        error // of Register
	beat       error // of Heartbeat
	orders     Orders
	epoch      block.VolumeEpoch
	epochErr   error
	registered []Registration
	reports    []Report
	asked      int // for a volume's epoch
	peers      []Peer
	placed     func(ref SegmentRef, epoch block.VolumeEpoch) error // nil: all is as asked
}

func (r *registry) Register(_ context.Context, g Registration) (block.ClusterID, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.registered = append(r.registered, g)
	return r.cluster, r.err
}

func (r *registry) Heartbeat(_ context.Context, p Report) (Orders, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reports = append(r.reports, p)
	return r.orders, r.beat
}

func (r *registry) VolumeEpoch(context.Context, block.VolumeID) (block.VolumeEpoch, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	return r.epoch, r.epochErr
}

func (r *registry) Placed(_ context.Context, _ block.DiskID, ref SegmentRef, epoch block.VolumeEpoch) error {
	r.mu.Lock()
	placed := r.placed
	r.mu.Unlock()
	if placed == nil {
		return nil
	}
	return placed(ref, epoch)
}

func (r *registry) Peers(context.Context, block.VolumeID, block.PGIndex) ([]Peer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.peers, nil
}

func (r *registry) set(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

func (r *registry) get(f func() bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return f()
}

// daemon is a real server on a disk in memory, with a clock that stands still.
type daemon struct {
	t      *testing.T
	disk   *memfs.FS
	faults *faultfs.FS
	reg    *registry
	clock  *clock.Fake
	cfg    Config
	*Server
}

func prepare(t *testing.T, disk *memfs.FS) *daemon {
	d := &daemon{t: t, disk: disk, faults: faultfs.Wrap(disk), reg: &registry{cluster: cluster}, clock: clock.NewFake(time.Now())}
	d.cfg = Config{
		Dir: "/data", Zone: "z1", Node: "n1", Listen: "127.0.0.1:0",
		Registry: d.reg, FS: d.faults, Clock: d.clock, Logger: slog.New(slog.DiscardHandler),
		Store: logstore.Config{FileSize: 8 * block.MiB, Spares: -1, Clock: d.clock},
	}
	return d
}

func (d *daemon) start() *daemon {
	d.t.Helper()
	s, err := Start(d.t.Context(), d.cfg)
	if err != nil {
		d.t.Fatal(err)
	}
	d.Server = s
	d.t.Cleanup(func() { _ = s.Close() })
	return d
}

func daemonOn(t *testing.T, disk *memfs.FS) *daemon {
	t.Helper()
	return prepare(t, disk).start()
}

// afterCrash is another daemon on what a power cut would leave now, at worst.
func (d *daemon) afterCrash() *daemon {
	d.t.Helper()
	return daemonOn(d.t, d.disk.CrashClone(rand.New(rand.NewPCG(1, 1)), 0))
}

// later lets time pass, unless a flush is under way: it would seem to take that long,
// and its disk would be given up.
func (d *daemon) later(step time.Duration) {
	if d.store == nil || d.store.Flushing() == 0 {
		d.clock.Advance(step)
	}
}

// stall holds all flushes of log files until release is called.
func (d *daemon) stall() (release func()) {
	gate := make(chan struct{})
	remove := d.faults.Add(faultfs.Rule{Ops: faultfs.Sync | faultfs.SyncMeta, Stall: gate})
	release = sync.OnceFunc(func() { remove(); close(gate) })
	d.t.Cleanup(release)
	return release
}

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

// flushing waits until a flush is under way that was not counted in before.
func (d *daemon) flushing(before int) {
	d.t.Helper()
	eventually(d.t, "a flush", func() bool { return d.faults.Calls(faultfs.Sync) > before })
}

// caller is a connection to a daemon.
type caller struct {
	t  *testing.T
	nc net.Conn
	r  *wire.Reader
}

// connect dials without a greeting.
func (d *daemon) connect() *caller {
	d.t.Helper()
	nc, err := net.Dial("tcp", d.Addr().String())
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { nc.Close() })
	return &caller{t: d.t, nc: nc, r: wire.NewReader(nc)}
}

func (d *daemon) hello() wire.Hello {
	id := d.Server.Identity()
	return wire.Hello{Cluster: id.Cluster, Disk: id.Disk, Node: id.Node, Purpose: wire.ForWrites, Sender: "test"}
}

// dial connects and greets.
func (d *daemon) dial() *caller {
	d.t.Helper()
	c := d.connect()
	h := d.hello()
	c.send(h.Append(nil, 9))
	var w wire.Welcome
	if hd, meta := c.next(); hd.Type != wire.TypeWelcome || hd.Tag != 9 || w.Decode(meta) != nil || w.Node != "n1" || w.Boot != d.Server.Identity().Boot {
		d.t.Fatalf("greeted with %v, %+v", hd.Type, w)
	}
	return c
}

func (c *caller) send(b []byte) {
	c.t.Helper()
	if _, err := c.nc.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

// next takes one frame; its payload is still to be read.
func (c *caller) next() (wire.Header, []byte) {
	c.t.Helper()
	_ = c.nc.SetReadDeadline(time.Now().Add(patience))
	h, meta, err := c.r.Next()
	if err != nil {
		c.t.Fatalf("waiting for a frame: %v", err)
	}
	return h, meta
}

// silent checks that nothing comes for a moment.
func (c *caller) silent() {
	c.t.Helper()
	_ = c.nc.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
	if h, _, err := c.r.Next(); !errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatalf("got %v (%v), want silence", h.Type, err)
	}
}

// ended checks that the daemon closes the connection.
func (c *caller) ended() {
	c.t.Helper()
	_ = c.nc.SetReadDeadline(time.Now().Add(patience))
	if h, _, err := c.r.Next(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatalf("got %v (%v), want the end of the connection", h.Type, err)
	}
}

func (c *caller) ack() wire.Ack {
	c.t.Helper()
	h, meta := c.next()
	var a wire.Ack
	if h.Type != wire.TypeAck {
		c.t.Fatalf("got %v (%s), want ACK", h.Type, refusalText(h, meta))
	}
	if err := a.Decode(meta); err != nil {
		c.t.Fatal(err)
	}
	return a
}

func refusalText(h wire.Header, meta []byte) string {
	if h.Type != wire.TypeRefuse {
		return ""
	}
	return refusal(h, meta).Error()
}

func (c *caller) refused(k block.Kind) wire.Refuse {
	c.t.Helper()
	h, meta := c.next()
	var m wire.Refuse
	if h.Type != wire.TypeRefuse {
		c.t.Fatalf("got %v, want REFUSE", h.Type)
	}
	if err := m.Decode(meta); err != nil {
		c.t.Fatal(err)
	}
	if m.Kind != k {
		c.t.Fatalf("refused with %v (%s), want %v", m.Kind, m.Message, k)
	}
	return m
}

// What the tests say. Progress is zero but for the stamp.

func ident(e block.VolumeEpoch) wire.Identity {
	return wire.Identity{Cluster: cluster, Volume: volume, Segment: mine, Epoch: e, Member: 1}
}

func join(e block.VolumeEpoch) []byte {
	m := wire.Join{Identity: ident(e)}
	return m.Append(nil, 1)
}

func ping(e block.VolumeEpoch, p wire.Progress) []byte {
	m := wire.Ping{Identity: ident(e), Progress: p}
	return m.Append(nil, 2)
}

func lsn(e block.VolumeEpoch, s block.Seq) block.LSN { return block.MakeLSN(e, s) }

// data is n blocks of one byte.
func data(fill byte, n block.Count) []byte {
	p := make([]byte, int(n)*block.Size)
	for i := range p {
		p[i] = fill
	}
	return p
}

func record(l, prev block.LSN, first block.Index, payload []byte) wire.Record {
	r := wire.Record{Type: wire.RecordWrite, LSN: l, Prev: prev, Block: first, Count: block.Count(len(payload) / block.Size), Payload: payload}
	for i := 0; i < len(payload); i += block.Size {
		r.Sums = append(r.Sums, block.Checksum(payload[i:i+block.Size]))
	}
	return r
}

func opening(l, prev block.LSN) wire.Record {
	return wire.Record{Type: wire.RecordOpen, LSN: l, Prev: prev}
}

func records(e block.VolumeEpoch, recs ...wire.Record) []byte {
	m := wire.Write{Identity: ident(e), Records: recs}
	b := m.Append(nil, wire.TypeWrite, 3)
	for i := range recs {
		b = append(b, recs[i].Payload...)
	}
	return b
}

func read(e block.VolumeEpoch, at block.LSN, first block.Index, n block.Count) []byte {
	m := wire.Read{Identity: ident(e), At: at, Block: first, Count: n}
	return m.Append(nil, wire.TypeRead, 4)
}

// answer takes a DATA and gives its runs, sums and packed blocks.
func (c *caller) answer() (wire.Data, []byte) {
	c.t.Helper()
	h, meta := c.next()
	var d wire.Data
	if h.Type != wire.TypeData {
		c.t.Fatalf("got %v (%s), want DATA", h.Type, refusalText(h, meta))
	}
	if err := d.Decode(meta, h.Type, h.PayloadLen); err != nil {
		c.t.Fatal(err)
	}
	p := make([]byte, h.PayloadLen)
	if err := c.r.Payload(p); err != nil {
		c.t.Fatal(err)
	}
	return d, p
}

// opened is a connection that has joined a new segment in epoch 1 and opened
// it: its SCL is 1.1.
func (d *daemon) opened() *caller {
	d.t.Helper()
	c := d.dial()
	c.send(join(1))
	if a := c.ack(); a.SCL != 0 || a.Epoch != 1 {
		d.t.Fatalf("a new segment acknowledges %v of epoch %d", a.SCL, a.Epoch)
	}
	c.send(records(1, opening(lsn(1, 1), 0)))
	if a := c.ack(); a.SCL != lsn(1, 1) {
		d.t.Fatalf("EPOCH_OPEN acknowledged as %v", a.SCL)
	}
	return c
}

// rot flips a bit of the first place in the log that holds these bytes.
func (d *daemon) rot(bytes []byte) {
	d.t.Helper()
	names, err := d.disk.List("/data/log")
	if err != nil {
		d.t.Fatal(err)
	}
	for _, n := range names {
		raw := d.contents("/data/log/" + n)
		if at := strings.Index(raw, string(bytes)); at >= 0 {
			d.disk.Damage("/data/log/"+n, at+100, 1)
			return
		}
	}
	d.t.Fatalf("no file of %v holds these bytes", names)
}

func (d *daemon) contents(name string) string {
	f, err := d.disk.OpenFile(name, vfs.ReadOnly)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	size, _ := f.Size()
	p := make([]byte, size)
	if _, err := f.ReadAt(p, 0); err != nil && !errors.Is(err, io.EOF) {
		d.t.Fatal(err)
	}
	return string(p)
}
