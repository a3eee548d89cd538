package raftnode

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what a test waits for; it is reached only by a failure.
const patience = 30 * time.Second

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func logger() *slog.Logger {
	if os.Getenv("SEXTANT_TEST_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(slog.DiscardHandler)
}

func loopback(id, dir string) Config {
	return Config{ID: metadata.MemberID(id), Dir: dir, Listen: "127.0.0.1:0", Logger: logger()}
}

func start(t testing.TB, cfg Config) *Node {
	t.Helper()
	n, err := Start(within(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// lone starts a cluster of one and waits until it serves.
func lone(t testing.TB, change func(*Config)) (*Node, *metadata.Client) {
	t.Helper()
	cfg := loopback("m1", t.TempDir())
	cfg.Bootstrap = true
	if change != nil {
		change(&cfg)
	}
	n := start(t, cfg)
	ready(t, n)
	return n, client(t, n.Addr())
}

func ready(t testing.TB, nodes ...*Node) {
	t.Helper()
	for _, n := range nodes {
		if err := n.AwaitReady(within(t)); err != nil {
			t.Fatal(err)
		}
	}
}

func client(t testing.TB, addrs ...string) *metadata.Client {
	t.Helper()
	c, err := metadata.Dial(addrs, metadata.Options{Attempt: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// daemon is a segment daemon as the service sees it.
type daemon struct {
	t   testing.TB
	c   *metadata.Client
	reg metadata.NodeRegistration
}

func newDaemon(t testing.TB, c *metadata.Client, id string) *daemon {
	t.Helper()
	d := &daemon{t: t, c: c, reg: metadata.NodeRegistration{
		Node: block.NodeID(id), Zone: block.Zone(id[:1]), Address: fmt.Sprintf("127.0.0.1:%d", 10000+int(id[0])*10+int(id[1]-'0')),
		Disk: block.DiskID(metadata.NewVolumeID()), Boot: 1, Capacity: block.TiB, Format: metadata.NodeFormat, Session: metadata.NewSession(),
	}}
	if _, err := c.RegisterNode(within(t), d.reg); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *daemon) beat(change func(*metadata.Heartbeat)) metadata.HeartbeatReply {
	d.t.Helper()
	h := metadata.Heartbeat{Node: d.reg.Node, Disk: d.reg.Disk, Boot: d.reg.Boot, Capacity: d.reg.Capacity}
	if change != nil {
		change(&h)
	}
	r, err := d.c.Heartbeat(within(d.t), h)
	if err != nil {
		d.t.Fatal(err)
	}
	return r
}

var six = []string{"a1", "a2", "b1", "b2", "c1", "c2"}

func sixDaemons(t testing.TB, c *metadata.Client) []*daemon {
	t.Helper()
	var all []*daemon
	for _, id := range six {
		all = append(all, newDaemon(t, c, id))
	}
	return all
}

func spec(name string, size block.ByteCount) metadata.VolumeSpec {
	return metadata.VolumeSpec{Name: name, Geometry: block.Geometry{Size: size, PGSize: block.MiB}, Quorum: metadata.DefaultQuorum, AllowUnplaceable: true}
}

func create(t testing.TB, c *metadata.Client, name string, size block.ByteCount) metadata.Volume {
	t.Helper()
	v, err := c.CreateVolume(within(t), spec(name, size))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func open(t testing.TB, c *metadata.Client, volume, gateway string) metadata.Opened {
	t.Helper()
	o, err := c.OpenVolume(within(t), metadata.OpenRequest{Volume: volume, Gateway: metadata.GatewayID(gateway), Description: "a test"})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// eventually polls until ok, for what other processes do in their own time.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in %v: %s", patience, what)
		}
	}
}

func file(t testing.TB, dir, name string) string {
	t.Helper()
	p := filepath.Join(dir, name)
	if _, err := os.Stat(p); err != nil {
		t.Fatal(err)
	}
	return p
}
