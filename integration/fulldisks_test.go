package integration

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/integration/cluster"
	"github.com/sextantdisk/sextant/internal/block"
)

// TestFullDiskUnderLoad: one of six disks is small and becomes full. The client
// sees nothing, status says which and what to do; when another volume on it is
// deleted all copies become complete by themselves.
func TestFullDiskUnderLoad(t *testing.T) {
	dir := t.TempDir()
	mountDisk(t, filepath.Join(dir, "segment-0"), 160*block.MiB)
	c := cluster.Start(t, cluster.Options{Dir: dir, Extra: map[string][]string{"segment": {"--log-file-size", "1MiB"}}})
	small := c.Segments[0]
	node := "node " + small.Addr("node")
	mustCreateSized(t, c, "ballast", "64MiB", "64MiB")
	mustCreateSized(t, c, "v", "128MiB", "128MiB")
	conn := dial(t, c.URI(0, "v"))
	if err := conn.Write(bytes.Repeat([]byte{1}, block.Size), 0); err != nil { // so that it is placed now
		t.Fatal(err)
	}
	tool(t, "libnbd-bin", "nbdcopy", "--flush", randomFile(t, 64*block.MiB, 7), c.URI(0, "ballast"))
	image := randomFile(t, 96*block.MiB, 8)
	tool(t, "libnbd-bin", "nbdcopy", "--flush", image, c.URI(0, "v"))
	var s status
	await(t, 30*time.Second, "told by status", func() bool {
		s = mustStatus(t, c)
		return s.problem(node, "full", c.DataDir(small), "delete volumes or trim data") != ""
	})
	t.Log(s.problem(node))
	await(t, 30*time.Second, "shown by the gateway", func() bool {
		s = mustStatus(t, c)
		return len(s.Unhealthy) > 0 && s.Unhealthy[0].State == "full"
	})
	mustReadBack(t, c.URI(0, "v"), image)
	if _, err := c.Sextant(t.Context(), "volume", "delete", "ballast", "--force"); err != nil {
		t.Fatal(err)
	}
	await(t, 2*time.Minute, "complete again", func() bool {
		s = mustStatus(t, c)
		return s.Healthy && len(s.Unhealthy) == 0
	})
	for _, d := range c.Segments {
		if d != small {
			d.Kill() // what it has caught up with is enough to read all
		}
	}
	mustReadBack(t, c.URI(0, "v"), image)
}

// TestFullDisksGoOnAfterATrim: with all disks full a client's writes fail with ENOSPC, and
// its reads go on, also through a gateway that starts only now; a trim makes
// room, and writes go on without a restart of anything.
func TestFullDisksGoOnAfterATrim(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{Extra: map[string][]string{"segment": {"--log-file-size", "1MiB", "--capacity", "96MiB"}}})
	mustCreateSized(t, c, "v", "256MiB", "256MiB")
	conn := dial(t, c.URI(0, "v"))
	data := make([]byte, 256*block.KiB)
	filled := block.Offset(0)
	for err := error(nil); err == nil; filled += 256 << 10 {
		if filled >= 128<<20 {
			t.Fatalf("%d bytes fit on disks of 96 MiB", filled)
		}
		for i := range data {
			data[i] = byte(int(filled)>>18 + i*7)
		}
		if err = conn.Write(data, filled); err != nil && !errors.Is(err, block.NoSpace) {
			t.Fatalf("at %d: %v", filled, err)
		}
	}
	filled -= 256 << 10
	t.Logf("full after %d MiB", filled>>20)
	if filled < 60<<20 {
		t.Errorf("full after %d bytes", filled)
	}
	var s status
	await(t, 10*time.Second, "told by status", func() bool {
		s = mustStatus(t, c)
		return s.problem("volume v", "have room", "ENOSPC", "trim") != ""
	})
	mustHave := func(off block.Offset) {
		t.Helper()
		got := make([]byte, len(data))
		if err := conn.Read(got, off); err != nil {
			t.Fatal(err)
		}
		for i := range data {
			data[i] = byte(int(off)>>18 + i*7)
		}
		if !bytes.Equal(got, data) {
			t.Fatalf("at %d something else is read", off)
		}
	}
	mustHave(filled - 256<<10)
	conn.Close()
	c.Gateways[0].Kill()
	if err := c.Gateways[0].Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	conn = dial(t, c.URI(0, "v"))
	mustHave(0)
	mustHave(filled - 256<<10)
	if err := conn.Write(data, filled); !errors.Is(err, block.NoSpace) {
		t.Fatalf("with all disks full a write ends with %v", err)
	}
	if err := conn.Trim(0, block.ByteCount(filled/2)); err != nil {
		t.Fatal(err)
	}
	await(t, time.Minute, "room again", func() bool { return conn.Write(data, filled) == nil })
	for off := filled; off < filled+16<<20; off += 256 << 10 {
		if err := conn.Write(data, off); err != nil {
			t.Fatalf("at %d: %v", off, err)
		}
	}
	mustHave(filled - 256<<10)
	await(t, time.Minute, "healthy", func() bool { s = mustStatus(t, c); return len(s.Unhealthy) == 0 })
}
