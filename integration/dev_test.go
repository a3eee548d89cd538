package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/integration/cluster"
	"github.com/sextantdisk/sextant/internal/block"
)

const (
	// readyEmpty and readyUsed are how long `sextant dev` may take until it
	// serves, on an empty folder and on one that it was killed on.
	readyEmpty = 5 * time.Second
	readyUsed  = 2 * time.Second
	// readyFull is for a folder with 1 GiB in six copies: opening reads the
	// headers of the whole log, and a machine that is busy with other tests
	// takes its time.
	readyFull = 10 * time.Second
	// usedBytes is what makes a folder a used one.
	usedBytes = 64 * block.MiB
)

// startDev prepares `sextant dev` as scripts/run starts it, on free ports.
func startDev(tb testing.TB) (d *cluster.Daemon, uri func() string) {
	tb.Helper()
	dir := tb.TempDir()
	d = cluster.NewDaemon(cluster.Spec{
		Name: "dev", Binary: cluster.Build(tb), LogPath: filepath.Join(dir, "log"),
		Args: func(at func(string) string) []string {
			return []string{"dev", "--data", filepath.Join(dir, "data"), "--nbd", at("nbd"), "--http", at("http"), "--metadata", at("metadata")}
		},
	})
	tb.Cleanup(func() {
		d.Kill()
		if tb.Failed() {
			tb.Log(cluster.Tail(filepath.Join(dir, "log"), 100))
		}
	})
	return d, func() string { return "nbd://" + d.Addr("nbd") + "/default" }
}

// mustBeReady starts a daemon, kills it and starts it again if it was late:
// the machine may be busy with other tests. The best of three starts counts.
func mustBeReady(tb testing.TB, d *cluster.Daemon, within time.Duration) {
	tb.Helper()
	for range 3 {
		start := time.Now()
		if err := d.Restart(tb.Context()); err != nil {
			tb.Fatal(err)
		}
		took := time.Since(start)
		tb.Logf("ready after %v", took)
		if took <= within {
			return
		}
	}
	tb.Errorf("ready later than %v after each of three starts", within)
}

// TestDevServes: the one process of `make run` is ready in time on an empty
// folder, describes its volume as promised to the tools of others, takes an
// image of 1 GiB and gives it back, and has it all after a kill.
func TestDevServes(t *testing.T) {
	d, uri := startDev(t)
	mustBeReady(t, d, readyEmpty)
	describes(t, uri())
	few := randomFile(t, usedBytes, 4)
	tool(t, "libnbd-bin", "nbdcopy", "--flush", few, uri())
	d.Kill()
	mustBeReady(t, d, readyUsed)
	mustReadBack(t, uri(), few)

	image, back := randomFile(t, imageBytes, 3), filepath.Join(t.TempDir(), "back")
	start := time.Now()
	tool(t, "libnbd-bin", "nbdcopy", "--flush", image, uri())
	in := time.Since(start)
	// Out goes all of the volume, 1 TiB; what was never written is a hole.
	tool(t, "libnbd-bin", "nbdcopy", uri(), back)
	t.Logf("1 GiB in %v in, out in %v", in, time.Since(start)-in)
	tool(t, "qemu-utils", "qemu-img", "compare", "-f", "raw", "-F", "raw", image, back)
	tool(t, "qemu-utils", "qemu-img", "compare", "-f", "raw", "-F", "raw", image, uri())
	if err := os.Remove(back); err != nil {
		t.Fatal(err)
	}

	d.Kill()
	mustBeReady(t, d, readyFull)
	mustReadBack(t, uri(), image)
	if err := d.Stop(); err != nil {
		t.Fatal(err)
	}
	mustBeReady(t, d, readyFull)
}

// describes checks what nbdinfo and qemu-img say of the default volume.
func describes(t *testing.T, uri string) {
	t.Helper()
	var info struct {
		Exports []struct {
			Contexts  []string
			Flush     bool   `json:"can_flush"`
			FUA       bool   `json:"can_fua"`
			Trim      bool   `json:"can_trim"`
			Zero      bool   `json:"can_zero"`
			MultiConn bool   `json:"can_multi_conn"`
			ReadOnly  bool   `json:"is_read_only"`
			Size      uint64 `json:"export-size"`
		}
	}
	text := tool(t, "libnbd-bin", "nbdinfo", "--json", uri)
	if err := json.Unmarshal([]byte(text), &info); err != nil || len(info.Exports) != 1 {
		t.Fatalf("%v: %s", err, text)
	}
	e := info.Exports[0]
	if !e.Flush || !e.FUA || !e.Trim || !e.Zero || !e.MultiConn || e.ReadOnly ||
		block.ByteCount(e.Size) != block.TiB || !slices.Contains(e.Contexts, "base:allocation") {
		t.Errorf("nbdinfo says %s", text)
	}
	var disk struct {
		Size   uint64 `json:"virtual-size"`
		Format string
	}
	text = tool(t, "qemu-utils", "qemu-img", "info", "--output=json", uri)
	if err := json.Unmarshal([]byte(text), &disk); err != nil || block.ByteCount(disk.Size) != block.TiB || disk.Format != "raw" {
		t.Errorf("%v; qemu-img says %s", err, text)
	}
}
