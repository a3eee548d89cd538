package integration

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/integration/cluster"
	"github.com/sextantdisk/sextant/integration/stamp"
	"github.com/sextantdisk/sextant/internal/block"
)

// mustTest makes a load on the first blocks of a volume.
func mustTest(tb testing.TB, c *cluster.Cluster, volume string) *stamp.Tester {
	tb.Helper()
	tester, err := stamp.New(stamp.Config{URI: c.URI(0, volume), Writer: 1, Seed: 3, Blocks: 2048})
	if err != nil {
		tb.Fatal(err)
	}
	return tester
}

// TestS3DiskFailsUnderLoad: the disk under one of six daemons gives EIO for
// all that it is asked, in a running cluster under load. The client sees
// nothing; status says which node, disk and folder, and what to do.
func TestS3DiskFailsUnderLoad(t *testing.T) {
	dir := t.TempDir()
	disk := mountDisk(t, filepath.Join(dir, "segment-0"), block.GiB)
	c := cluster.Start(t, cluster.Options{Dir: dir, Extra: rollingLogs()})
	victim := c.Segments[0]
	node, folder := victim.Addr("node"), c.DataDir(victim)
	mustCreate(t, c, "v")
	tester := mustTest(t, c, "v")
	stop := load(t.Context(), tester)
	runFor(t, tester, 500)
	start := time.Now()
	disk.fail(t)
	var s status
	await(t, 20*time.Second, "told by status", func() bool {
		s = mustStatus(t, c)
		return s.problem("node "+node, "disk", folder, "has failed", "input/output error", "replace the disk") != ""
	})
	t.Logf("after %v: %s", time.Since(start).Round(time.Millisecond), s.problem("node "+node))
	await(t, 20*time.Second, "the gateway's word", func() bool {
		s = mustStatus(t, c)
		return len(s.Unhealthy) > 0 && s.Unhealthy[0].Node == node && s.Unhealthy[0].State == "unreachable"
	})
	runFor(t, tester, 2000)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(tester.Verify(t.Context()), tester.Err()); err != nil {
		t.Fatal(err)
	}
	if metric(t, victim.Addr("http"), "sextant_log_failed") != 1 {
		t.Error("the metric says that the disk is well")
	}
	// With six disks in all new groups are placed on the failed one, too, as
	// the last resort, and begin with five copies.
	if err := dial(t, c.URI(0, "v")).Write(bytes.Repeat([]byte{1}, block.Size), 48<<20); err != nil {
		t.Errorf("the first write to a group: %v", err)
	}
}
