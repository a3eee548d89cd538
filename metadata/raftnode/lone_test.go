package raftnode

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
	"github.com/sextantdisk/sextant/metadata"
)

// The first start on an empty folder, and the next on the used one, serve
// within a second: `sextant dev` waits for them.
func TestLoneMemberIsReadyAtOnce(t *testing.T) {
	dir := t.TempDir()
	cfg := loopback("m1", dir)
	cfg.Bootstrap = true
	for _, round := range []string{"first start", "restart", "second restart"} {
		begin := time.Now()
		n := start(t, cfg)
		ready(t, n)
		c := client(t, n.Addr())
		if _, err := c.Status(within(t)); err != nil {
			t.Fatal(err)
		}
		took := time.Since(begin)
		t.Logf("%s: ready in %v", round, took)
		if took > time.Second {
			t.Errorf("%s: ready only after %v", round, took)
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStateSurvivesRestart(t *testing.T) {
	cfg := loopback("m1", t.TempDir())
	cfg.Bootstrap = true
	n := start(t, cfg)
	ready(t, n)
	c := client(t, n.Addr())
	sixDaemons(t, c)
	v := create(t, c, "v", 4*block.MiB)
	o := open(t, c, "v", "g1")
	pg, err := c.EnsurePG(within(t), v.ID, o.Volume.Epoch, 2)
	if err != nil {
		t.Fatal(err)
	}
	n.Close()
	n = start(t, cfg)
	ready(t, n)
	c = client(t, n.Addr())
	again, err := c.PG(within(t), "v", o.Volume.Epoch, 2)
	if err != nil {
		t.Fatal(err)
	}
	if len(pg.Segments) != 6 || pg.Segments[3] != again.Segments[3] || again.Membership != 1 {
		t.Fatalf("before %+v, after %+v", pg, again)
	}
	if got, _ := c.Volume(within(t), v.ID.String()); got.Epoch != 1 || got.Gateway != "g1" || !got.Created.Equal(v.Created) {
		t.Fatalf("after the restart: %+v", got)
	}
}

func TestFolderIsRefusedWhenItIsNotOurs(t *testing.T) {
	dir := t.TempDir()
	cfg := loopback("m1", dir)
	cfg.Bootstrap = true
	n := start(t, cfg)
	ready(t, n)

	fails := func(name string, cfg Config, kind block.Kind, says string) {
		t.Helper()
		m, err := Start(within(t), cfg)
		if err == nil {
			m.Close()
		}
		if !errors.Is(err, kind) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v (kind %v), want kind %v and %q", name, err, block.KindOf(err), kind, says)
		}
	}
	fails("in use", cfg, block.Held, "in use by another process")
	port := loopback("m2", t.TempDir())
	port.Bootstrap, port.Listen = true, n.Addr()
	fails("port in use", port, block.Held, "in use")
	raftPort := loopback("m2", t.TempDir())
	raftPort.Bootstrap, raftPort.RaftListen = true, n.RaftAddr()
	fails("raft port in use", raftPort, block.Held, "in use")
	fails("empty folder", loopback("m2", t.TempDir()), block.Invalid, "bootstrap")
	n.Close()

	other := cfg
	other.ID = "m2"
	fails("another id", other, block.Mismatch, "belongs to member m1")

	identity, err := os.ReadFile(file(t, dir, identityFile))
	if err != nil {
		t.Fatal(err)
	}
	spoil := func(from, to string) {
		t.Helper()
		changed := bytes.Replace(identity, []byte(from), []byte(to), 1)
		if bytes.Equal(changed, identity) {
			t.Fatalf("%q is not in %s", from, identity)
		}
		if err := os.WriteFile(file(t, dir, identityFile), changed, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	spoil(`"format": 1`, `"format": 2`)
	fails("newer format", cfg, block.Version, "newer")
	spoil(folderKind, "sextant segment")
	fails("another kind", cfg, block.Mismatch, "of its own")
	spoil(`"cluster": "`, `"cluster": "x`)
	fails("damaged identity", cfg, block.Corrupt, "cluster id")
	spoil(`{`, `[`)
	fails("no json", cfg, block.Corrupt, identityFile)
	if err := os.Remove(file(t, dir, identityFile)); err != nil {
		t.Fatal(err)
	}
	fails("no identity", cfg, block.Corrupt, "no "+identityFile)
	if err := os.WriteFile(dir+"/"+identityFile, identity, 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, cfg).Close()

	// T13, for a member: a Raft log that was lost is not begun anew.
	if err := os.Remove(file(t, dir, logFile)); err != nil {
		t.Fatal(err)
	}
	fails("lost log", cfg, block.Corrupt, "lost its Raft log")
}

func TestConfigIsChecked(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"no id":         func(c *Config) { c.ID = "" },
		"no folder":     func(c *Config) { c.Dir = "" },
		"no listen":     func(c *Config) { c.Listen = "" },
		"bad port":      func(c *Config) { c.Listen = "127.0.0.1:99999" },
		"bad raft":      func(c *Config) { c.RaftListen = "nonsense" },
		"wildcard":      func(c *Config) { c.Listen = "0.0.0.0:0" },
		"no host":       func(c *Config) { c.Listen = ":0" },
		"both":          func(c *Config) { c.Join = []string{"127.0.0.1:1"} },
		"hasty":         func(c *Config) { c.Timing.Election = time.Millisecond },
		"negative time": func(c *Config) { c.Timing.LeaseFor = -1 },
	} {
		cfg := loopback("m1", t.TempDir())
		cfg.Bootstrap = true
		change(&cfg)
		n, err := Start(within(t), cfg)
		if err == nil {
			n.Close()
		}
		if !errors.Is(err, block.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	wild := loopback("m1", t.TempDir())
	wild.Bootstrap, wild.Listen, wild.Advertise = true, "0.0.0.0:0", "127.0.0.1"
	n := start(t, wild)
	ready(t, n)
	if _, err := client(t, n.Addr()).Nodes(within(t)); err != nil {
		t.Fatalf("the advertised address %s does not work: %v", n.Addr(), err)
	}
}

func TestRegistrationRules(t *testing.T) {
	_, c := lone(t, nil)
	d := newDaemon(t, c, "a1")
	again := func(change func(*metadata.NodeRegistration)) error {
		r := d.reg
		change(&r)
		_, err := c.RegisterNode(within(t), r)
		return err
	}
	if err := again(func(*metadata.NodeRegistration) {}); err != nil {
		t.Errorf("the same start again: %v", err)
	}
	for name, c := range map[string]struct {
		change func(*metadata.NodeRegistration)
		kind   block.Kind
	}{
		"R28 an older copy":   {func(r *metadata.NodeRegistration) { r.Session = metadata.NewSession() }, block.Mismatch},
		"T13 another disk":    {func(r *metadata.NodeRegistration) { r.Boot, r.Disk = 2, block.DiskID{1} }, block.Mismatch},
		"another cluster":     {func(r *metadata.NodeRegistration) { r.Boot, r.Cluster = 2, block.ClusterID{1} }, block.Mismatch},
		"newer format":        {func(r *metadata.NodeRegistration) { r.Boot, r.Format = 2, metadata.NodeFormat+1 }, block.Version},
		"no port":             {func(r *metadata.NodeRegistration) { r.Address = "127.0.0.1:0" }, block.Invalid},
		"a wildcard":          {func(r *metadata.NodeRegistration) { r.Address = "0.0.0.0:7" }, block.Invalid},
		"an impossible name":  {func(r *metadata.NodeRegistration) { r.Node = "a b" }, block.Invalid},
		"an impossible start": {func(r *metadata.NodeRegistration) { r.Boot = 0 }, block.Invalid},
	} {
		if err := again(c.change); !errors.Is(err, c.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
	d.beat(nil)
	for name, c := range map[string]struct {
		change func(*metadata.Heartbeat)
		kind   block.Kind
	}{
		"unknown node": {func(h *metadata.Heartbeat) { h.Node = "zz" }, block.NotFound},
		"another disk": {func(h *metadata.Heartbeat) { h.Disk = block.DiskID{2} }, block.Mismatch},
		"older start":  {func(h *metadata.Heartbeat) { h.Boot = 0 }, block.Mismatch},
		"newer start":  {func(h *metadata.Heartbeat) { h.Boot = 2 }, block.NotFound},
		"too much": {func(h *metadata.Heartbeat) {
			h.Segments = make([]metadata.SegmentReport, metadata.MaxSegmentReports+1)
		}, block.Invalid},
	} {
		h := metadata.Heartbeat{Node: d.reg.Node, Disk: d.reg.Disk, Boot: d.reg.Boot}
		c.change(&h)
		if _, err := d.c.Heartbeat(within(t), h); !errors.Is(err, c.kind) {
			t.Errorf("heartbeat, %s: %v", name, err)
		}
	}
}

func TestDeleteTellsNodesToDrop(t *testing.T) {
	_, c := lone(t, nil)
	daemons := sixDaemons(t, c)
	v := create(t, c, "v", 4*block.MiB)
	o := open(t, c, "v", "g1")
	for i := range block.PGIndex(2) {
		if _, err := c.EnsurePG(within(t), v.ID, o.Volume.Epoch, i); err != nil {
			t.Fatal(err)
		}
	}
	refused := make(chan error, 1)
	go func() { refused <- c.DeleteVolume(within(t), "v", false) }()
	var err error
	eventually(t, "the answer whether a volume whose owner lives is deleted", func() bool {
		if err := renew(t, c, o.Volume, "g1"); err != nil {
			t.Fatal(err)
		}
		select {
		case err = <-refused:
			return true
		default:
			return false
		}
	})
	if !errors.Is(err, block.Held) {
		t.Fatalf("a volume whose owner lives: %v", err)
	}
	if err := c.DeleteVolume(within(t), "v", true); err != nil {
		t.Fatal(err)
	}
	if _, err := c.RenewLease(within(t), metadata.LeaseReport{Volume: v.ID, Epoch: 1, Gateway: "g1"}); !errors.Is(err, block.NotFound) {
		t.Fatalf("a lease on a deleted volume: %v", err)
	}
	create(t, c, "v", block.MiB) // the name is free
	for _, d := range daemons {
		drop := d.beat(nil).Drop
		if len(drop) != 2 {
			t.Fatalf("node %s is to drop %v", d.reg.Node, drop)
		}
		if left := d.beat(func(h *metadata.Heartbeat) { h.Dropped = drop }).Drop; len(left) != 0 {
			t.Fatalf("node %s is still to drop %v", d.reg.Node, left)
		}
	}
	if _, err := c.Volume(within(t), v.ID.String()); !errors.Is(err, block.NotFound) {
		t.Fatalf("all its segments are dropped, but the volume is there: %v", err)
	}
}

func TestCreateSaysWhatIsMissing(t *testing.T) {
	_, c := lone(t, nil)
	s := spec("v", block.MiB)
	s.AllowUnplaceable = false
	if _, err := c.CreateVolume(within(t), s); !errors.Is(err, block.Unavailable) || !strings.Contains(err.Error(), "no nodes yet") {
		t.Fatalf("without nodes: %v", err)
	}
	for _, id := range six[:5] {
		newDaemon(t, c, id)
	}
	if _, err := c.CreateVolume(within(t), s); !errors.Is(err, block.Unavailable) || !strings.Contains(err.Error(), "zone c has 1 usable node, 2 are needed") {
		t.Fatalf("with five nodes: %v", err)
	}
	newDaemon(t, c, "c2")
	v, err := c.CreateVolume(within(t), s)
	if err != nil {
		t.Fatal(err)
	}
	s.ID = v.ID
	if _, err := c.CreateVolume(within(t), s); err != nil {
		t.Fatalf("the same request again: %v", err)
	}
	if _, err := c.CreateVolume(within(t), spec("v", block.MiB)); !errors.Is(err, block.Exists) {
		t.Fatalf("the name again: %v", err)
	}
}

func TestNodeStates(t *testing.T) {
	hand := clock.NewFake(time.Time{})
	_, c := lone(t, func(cfg *Config) { cfg.Clock = hand })
	hand.Advance(time.Hour) // a lead so old knows who is down
	sixDaemons(t, c)
	v := create(t, c, "v", 8*block.MiB)
	o := open(t, c, "v", "g1")
	if _, err := c.EnsurePG(within(t), v.ID, o.Volume.Epoch, 0); err != nil {
		t.Fatal(err)
	}
	if err := c.RemoveNode(within(t), "a1"); !errors.Is(err, block.Held) {
		t.Fatalf("removing a node with segments: %v", err)
	}
	if err := c.DrainNode(within(t), "a1"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.EnsurePG(within(t), v.ID, o.Volume.Epoch, 1); !errors.Is(err, block.Unavailable) || !strings.Contains(err.Error(), "a1 is draining") {
		t.Fatalf("placing without enough nodes: %v", err)
	}
	newDaemon(t, c, "a3")
	pg, err := c.EnsurePG(within(t), v.ID, o.Volume.Epoch, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range pg.Segments {
		if s.Node == "a1" {
			t.Fatal("a draining node was given a segment")
		}
	}
	if err := c.ActivateNode(within(t), "a1"); err != nil {
		t.Fatal(err)
	}
	n, err := c.Node(within(t), "a1")
	if err != nil || n.State != metadata.NodeActive || n.Segments != 1 || !n.Up {
		t.Fatalf("node a1 is %+v, %v", n, err)
	}
	if _, err := c.Node(within(t), "zz"); !errors.Is(err, block.NotFound) {
		t.Fatalf("an unknown node: %v", err)
	}
	if err := c.RemoveNode(within(t), "zz"); !errors.Is(err, block.NotFound) {
		t.Fatalf("removing an unknown node: %v", err)
	}
}
