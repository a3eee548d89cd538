package integration

import (
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/integration/stamp"
	"github.com/sextantdisk/sextant/internal/block"
)

var (
	hydrateAway  = flag.Duration("hydrate.away", 2*time.Second, "how long a daemon is away under load")
	hydrateSize  = flag.Int("hydrate.size", 64, "MiB of the volume")
	hydrateRatio = flag.Float64("hydrate.ratio", 0, "the least rate of a full hydration, as a part of what cp with fsync reaches")
)

// hydrating is a cluster whose disks are small, so that logs are cleaned.
type hydrating struct {
	*replacing
	tester *stamp.Tester
	image  string
}

// overwrite writes the first half of the volume.
func (h *hydrating) overwrite() {
	h.tb.Helper()
	tool(h.tb, "libnbd-bin", "nbdcopy", "--flush", h.image, h.c.URI(0, "v"))
}

// TestHydrationShow: a daemon that was away comes back by records, and what
// moves is what it missed; one that was away so long that the logs are gone, by
// leaves; a lost disk's copy is made anew from the others. In the end all six
// copies are equal (R20, R21, R22; make hydrate-show has the long version).
func TestHydrationShow(t *testing.T) {
	size := block.ByteCount(*hydrateSize) * block.MiB
	capacity := min(6*size, max(3*size, 8*block.GiB))
	h := &hydrating{
		replacing: newReplacing(t, size.String(), "--capacity", capacity.String(), "--log-file-size", max(8*block.MiB, size/16).String()),
		image:     randomFile(t, size/2, 1),
	}
	dial(t, h.c.URI(0, "v")) // the gateway keeps the volume while somebody is there
	h.overwrite()
	var err error
	h.tester, err = stamp.New(stamp.Config{URI: h.c.URI(0, "v"), Writer: 1, Seed: 2, First: stamp.Number(size / 2 / block.Size), Blocks: 8192})
	if err != nil {
		t.Fatal(err)
	}
	h.byRecords(t)
	h.byLeaves(t)
	if err := h.tester.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.fromNothing(t)
}

// byRecords: away under load, then back.
func (h *hydrating) byRecords(t *testing.T) {
	away, stays := h.member(0), h.member(1)
	stop := load(t.Context(), h.tester)
	runFor(t, h.tester, 200)
	h.daemon(away).Kill()
	before, start := h.bytesOf(stays, "log_client_bytes_total"), time.Now()
	await(t, *hydrateAway+time.Minute, "away for long enough", func() bool { return time.Since(start) >= *hydrateAway })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	missed := h.bytesOf(stays, "log_client_bytes_total") - before
	start = time.Now()
	if err := h.daemon(away).Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.whole("back by records")
	moved, leaves := h.bytesOf(away, "log_client_bytes_total"), h.bytesOf(away, "hydrated_bytes_total")
	t.Logf("away for %v under load: %v missed, %v moved (of it %v from peers, %v in leaves), complete after %v",
		*hydrateAway, missed, moved, h.bytesOf(away, "caught_up_bytes_total"), leaves, time.Since(start).Round(time.Millisecond))
	if leaves > 0 || moved < missed*8/10 || moved > missed*13/10+16*block.MiB {
		t.Errorf("%v were missed and %v moved, %v in leaves", missed, moved, leaves)
	}
}

// byLeaves: away until the logs of the others are cleaned.
func (h *hydrating) byLeaves(t *testing.T) {
	away, stays := h.member(0), h.member(1)
	h.daemon(away).Kill()
	before := h.bytesOf(stays, "log_client_bytes_total")
	for range 16 {
		h.overwrite()
	}
	missed := h.bytesOf(stays, "log_client_bytes_total") - before
	start := time.Now()
	if err := h.daemon(away).Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.whole("back by leaves")
	records, leaves := h.bytesOf(away, "caught_up_bytes_total"), h.bytesOf(away, "hydrated_bytes_total")
	t.Logf("away for %v of writes: %v came in leaves, %v in records, complete after %v", missed, leaves, records, time.Since(start).Round(time.Millisecond))
	if leaves == 0 || leaves+records > missed/2 {
		t.Errorf("%v were missed; %v came in leaves, %v in records", missed, leaves, records)
	}
}

// fromNothing: a disk is lost, and a new node's takes its place.
func (h *hydrating) fromNothing(t *testing.T) {
	lost, fresh := h.member(2), h.free(2)
	h.daemon(lost).Kill()
	if err := os.RemoveAll(h.c.DataDir(h.daemon(lost))); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	h.begin(lost, fresh)
	h.replaced(lost, fresh)
	took := time.Since(start)
	h.whole("made anew")
	moved := h.bytesOf(fresh, "hydrated_bytes_total")
	copied := copyTime(t, h.image)
	rate, peer := float64(moved)/1e6/took.Seconds(), float64(*hydrateSize)/2*float64(block.MiB)/1e6/copied.Seconds()
	ratio := rate / peer
	t.Logf("disk lost: %v in %v, from the order to the end of the change, %.0f MB/s; cp with fsync of %d MiB took %v, %.0f MB/s; ratio %.2f",
		moved, took.Round(time.Millisecond), rate, *hydrateSize/2, copied.Round(time.Millisecond), peer, ratio)
	if moved == 0 || ratio < *hydrateRatio {
		t.Errorf("%v came in leaves, at %.2f of what cp reaches; %.2f are wanted", moved, ratio, *hydrateRatio)
	}
}

// copyTime is how long a copy of a file takes that ends with an fsync.
func copyTime(t *testing.T, name string) time.Duration {
	t.Helper()
	from, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.Create(filepath.Join(t.TempDir(), "copy"))
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	start := time.Now()
	if _, err := io.Copy(struct{ io.Writer }{to}, struct{ io.Reader }{from}); err != nil {
		t.Fatal(err)
	}
	if err := to.Sync(); err != nil {
		t.Fatal(err)
	}
	return time.Since(start)
}
