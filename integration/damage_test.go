package integration

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/integration/cluster"
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs"
	"github.com/sextantdisk/sextant/logstore"
)

// damagedBytes is how much the volume holds whose log is damaged.
const damagedBytes = 32 * block.MiB

// TestDamageIsMet flips one byte in the log of one of six daemons: the client
// reads what it wrote, status and a metric tell of the damage (B3, S2, T14).
func TestDamageIsMet(t *testing.T) {
	for name, d := range map[string]struct {
		place   func(t *testing.T, dir, segment string) place
		running bool // the byte changes under a daemon that runs
	}{
		"payload":                  {payloadPlace, false},
		"payload of a live daemon": {payloadPlace, true},
		"descriptor":               {descriptorPlace, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := cluster.Start(t, cluster.Options{Extra: rollingLogs()})
			mustCreate(t, c, "v")
			image := randomFile(t, damagedBytes, 2)
			tool(t, "libnbd-bin", "nbdcopy", "--flush", image, c.URI(0, "v"))
			// The one that clients read from: what lies in another's log is
			// met only now and then before it is needed.
			victim, segment := mustHome(t, c, "v")
			log := filepath.Join(c.DataDir(victim), "log")
			// A log can be looked into only while nobody has it open.
			if err := victim.Stop(); err != nil {
				t.Fatal(err)
			}
			at := d.place(t, log, segment)
			if !d.running {
				at.flip(t)
			}
			if err := victim.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			if d.running {
				mustReadBack(t, c.URI(0, "v"), image)
				at.flip(t)
			}
			mustBeMet(t, c, victim, image)
		})
	}
}

// mustBeMet reads all until the victim has met its damage, and all is told.
func mustBeMet(t *testing.T, c *cluster.Cluster, victim *cluster.Daemon, image string) {
	t.Helper()
	await(t, time.Minute, "found by the daemon", func() bool {
		mustReadBack(t, c.URI(0, "v"), image)
		return metric(t, victim.Addr("http"), "sextant_log_damages") > 0
	})
	var s status
	await(t, 10*time.Second, "told by status", func() bool {
		s = mustStatus(t, c)
		for _, n := range s.Nodes {
			if n.ID == victim.Addr("node") && n.Damaged > 0 {
				return true
			}
		}
		return false
	})
	// It is a problem as long as it is not mended, which may be over by now.
	for _, n := range s.Nodes {
		if n.ID == victim.Addr("node") && n.Unmended > 0 && (s.Healthy || s.problem("node "+n.ID, "damaged", "not mended") == "") {
			t.Errorf("damage is no problem to status: %+v", s)
		}
	}
	// What was damaged comes back whole: the daemon serves all by itself.
	await(t, time.Minute, "mended", func() bool {
		mustReadBack(t, c.URI(0, "v"), image)
		// A header that a checkpoint has made needless costs no block: then
		// there is nothing to mend.
		whole := metric(t, victim.Addr("http"), "sextant_bad_blocks") == 0
		return whole && len(mustStatus(t, c).Unhealthy) == 0
	})
	for _, d := range c.Segments {
		if d != victim {
			d.Kill()
		}
	}
	mustReadBack(t, c.URI(0, "v"), image)
}

// place is a byte in a log file.
type place struct {
	file string
	off  int64
}

// flip changes one bit of the byte, on the disk and in the page cache.
func (p place) flip(t *testing.T) {
	t.Helper()
	f, err := os.OpenFile(p.file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, p.off); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x10
	if _, err := f.WriteAt(b, p.off); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}

// errFound ends an inspection.
var errFound = errors.New("found")

// payloadPlace is in the middle of what a write of client data holds, some
// way into the log.
func payloadPlace(t *testing.T, dir, segment string) (p place) {
	t.Helper()
	number := -1
	inspect(t, dir, func(b logstore.BatchInfo, r logstore.RecordInfo) bool {
		if r.Type == "config" && r.SegmentID == segment {
			number = r.Segment
		}
		if r.Type != "write" || r.Count < 8 || b.Batch < 4 || r.Segment != number {
			return false
		}
		p = place{filepath.Join(dir, b.File), int64(r.Payload) + 3*block.Size + 1234}
		return true
	})
	return p
}

// descriptorPlace is in the descriptor of a record, in the header of a batch.
func descriptorPlace(t *testing.T, dir, _ string) (p place) {
	t.Helper()
	inspect(t, dir, func(b logstore.BatchInfo, r logstore.RecordInfo) bool {
		if r.Type != "write" || b.Batch < 4 {
			return false
		}
		p = place{filepath.Join(dir, b.File), int64(b.Offset) + 64 + 9}
		return true
	})
	return p
}

// mustHome is the daemon from which the first group of a volume is read, and
// the segment that it has of it.
func mustHome(t *testing.T, c *cluster.Cluster, volume string) (*cluster.Daemon, string) {
	t.Helper()
	out, err := c.Sextant(t.Context(), "pg", "show", volume, "0", "--output", "json")
	if err != nil {
		t.Fatal(err)
	}
	var group struct {
		Segments []struct{ ID, Node string }
	}
	if err := json.Unmarshal(out, &group); err != nil || len(group.Segments) != 6 {
		t.Fatalf("%v in %s", err, out)
	}
	for _, d := range c.Segments {
		if d.Addr("node") == group.Segments[0].Node {
			return d, group.Segments[0].ID
		}
	}
	t.Fatalf("no daemon is node %s", group.Segments[0].Node)
	return nil, ""
}

// inspect shows the records of a log until found says true, which it must.
func inspect(t *testing.T, dir string, found func(logstore.BatchInfo, logstore.RecordInfo) bool) {
	t.Helper()
	var batch logstore.BatchInfo
	_, err := logstore.Inspect(vfs.OS(), dir, logstore.Inspector{
		Batch: func(b logstore.BatchInfo) error { batch = b; return nil },
		Record: func(r logstore.RecordInfo) error {
			if found(batch, r) {
				return errFound
			}
			return nil
		},
	})
	if !errors.Is(err, errFound) {
		t.Fatalf("no such record in %s (%v)", dir, err)
	}
}
