package segmentd

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs/faultfs"
	"github.com/sextantdisk/sextant/internal/vfs/memfs"
)

// failsToStart wants Start to refuse with a kind and a word.
func (d *daemon) failsToStart(k block.Kind, word string) {
	d.t.Helper()
	s, err := Start(d.t.Context(), d.cfg)
	if err == nil {
		s.Close()
	}
	if block.KindOf(err) != k || err == nil || !strings.Contains(err.Error(), word) {
		d.t.Fatalf("started with %v, want kind %v and %q", err, k, word)
	}
}

// again is a daemon that is started on the same disk.
func (d *daemon) again() *daemon { return prepare(d.t, d.disk) }

// TestR28FolderKeepsItsIdentity: node, disk and cluster stay, the boot count
// goes up with each start and is durable before the daemon registers.
func TestR28FolderKeepsItsIdentity(t *testing.T) {
	disk := memfs.New(0)
	d := daemonOn(t, disk)
	first := d.Server.Identity()
	if first.Boot != 1 || first.Cluster != cluster || first.Node != "n1" || first.Disk.IsZero() {
		t.Fatalf("identity %+v", first)
	}
	if d.reg.registered[0].Address != d.Addr().String() {
		t.Errorf("registered %+v", d.reg.registered[0])
	}
	crashed := d.afterCrash().Server.Identity()
	if crashed.Boot != 2 || crashed.Disk != first.Disk {
		t.Errorf("after a crash %+v", crashed)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	second := d.again()
	second.cfg.Node = ""
	if got := second.start().Server.Identity(); got.Boot != 2 || got.Disk != first.Disk || got.Node != "n1" {
		t.Errorf("identity %+v", got)
	}
	if got := second.afterCrash().Server.Identity(); got.Boot != 3 {
		t.Errorf("the third start after a crash has boot count %d", got.Boot)
	}
}

// TestR28FolderOfSomebodyElseIsRefused: of another node, zone or cluster, of
// a newer format, without its identity, or in use.
func TestR28FolderOfSomebodyElseIsRefused(t *testing.T) {
	disk := memfs.New(0)
	d := daemonOn(t, disk)
	d.again().failsToStart(block.Unavailable, "in use")
	c := d.opened()
	c.nc.Close()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	x := d.again()
	x.cfg.Node = "n2"
	x.failsToStart(block.Mismatch, "n1")
	x = d.again()
	x.cfg.Zone = "z2"
	x.failsToStart(block.Mismatch, "z1")
	x = d.again()
	x.reg.cluster = block.ClusterID{8}
	x.failsToStart(block.Mismatch, "belongs to cluster")
	x = d.again()
	x.cfg.Listen = "127.0.0.1:99999"
	x.failsToStart(block.Unavailable, "cannot listen")
	x = d.again()
	x.reg.err = block.Errorf(block.Mismatch, "boot count 1 is not above 2")
	x.failsToStart(block.Mismatch, "boot count")

	edit := func(from, to string) *daemon {
		y := prepare(t, disk.CrashClone(rand.New(rand.NewPCG(1, 1)), 0))
		raw := y.contents("/data/identity.json")
		if !strings.Contains(raw, from) {
			t.Fatalf("%q is not in %s", from, raw)
		}
		if err := writeFile(y.disk, "/data/identity.json", []byte(strings.Replace(raw, from, to, 1))); err != nil {
			t.Fatal(err)
		}
		return y
	}
	edit(`"format": 1`, `"format": 2`).failsToStart(block.Version, "newer sextant")
	edit(`"node": "n1"`, `"node": "/"`).failsToStart(block.Corrupt, "node name")
	edit(`{`, `[`).failsToStart(block.Corrupt, "not understood")
	edit(`"disk": "`, `"disk": "z`).failsToStart(block.Corrupt, "disk id")
	edit(`"cluster": "`, `"cluster": "z`).failsToStart(block.Corrupt, "cluster id")
	edit(`"format"`, strings.Repeat(" ", maxSmallFile)+`"format"`).failsToStart(block.Unavailable, "at most")
	if err := disk.Remove("/data/identity.json"); err != nil {
		t.Fatal(err)
	}
	d.again().failsToStart(block.Mismatch, "empty folder")
}

// TestFolderNames: a node without a name gets one, bad names are refused, and
// a disk that cannot be written says so.
func TestFolderNames(t *testing.T) {
	d := prepare(t, memfs.New(0))
	d.cfg.Node = ""
	if id := d.start().Server.Identity(); !strings.HasPrefix(string(id.Node), "n-") {
		t.Errorf("named %q", id.Node)
	}
	d = prepare(t, memfs.New(0))
	d.cfg.Node = "a/b"
	d.failsToStart(block.Invalid, "node name")
	d = prepare(t, memfs.New(0))
	d.cfg.Zone = ""
	d.failsToStart(block.Invalid, "zone name")
	for _, op := range []faultfs.Op{faultfs.MkdirAll, faultfs.Create, faultfs.Rename, faultfs.SyncDir, faultfs.List, faultfs.Write} {
		d = prepare(t, memfs.New(0))
		d.faults.Add(faultfs.Rule{Ops: op, Err: block.Errorf(block.Unknown, "disk is ill")})
		d.failsToStart(block.Unavailable, "disk is ill")
	}
}
