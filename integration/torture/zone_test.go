package torture

import (
	"context"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/integration/cluster"
	"github.com/sextantdisk/sextant/integration/netns"
	"github.com/sextantdisk/sextant/integration/stamp"
	"github.com/sextantdisk/sextant/internal/block"
)

// patience is for what takes a moment on a machine that is not busy.
const patience = time.Minute

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); {
		if time.Now().After(end) {
			t.Fatalf("after %v: still not %s", patience, what)
		}
		if err := pause(t.Context(), 10*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
}

// mustWorld is a running cluster, until the test ends.
func mustWorld(t *testing.T) *World {
	t.Helper()
	w, err := NewWorld(1, cluster.Build(t), t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(w.Cluster.Logs())
		}
	})
	if err := w.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w
}

// working starts load; stop waits for its end.
func working(t *testing.T, tester *stamp.Tester) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- tester.Run(ctx) }()
	return func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

func moreWrites(t *testing.T, tester *stamp.Tester, n int) {
	t.Helper()
	n += tester.Counts().Writes
	await(t, "enough writes acknowledged", func() bool { return tester.Counts().Writes >= n })
}

// TestZoneAndOneMore: a zone is cut off: writes go on. Then one node more: no
// write is acknowledged, but all that was can be read. One is back: writes go
// on. All are back: all six copies become the same, each read alone (R7, B5, I4).
func TestZoneAndOneMore(t *testing.T) {
	w := mustWorld(t)
	tester, err := stamp.New(stamp.Config{URI: w.Cluster.URI(0, volumeName), Writer: 1, Seed: 1, Blocks: 3 * int(pgSize/block.Size)})
	if err != nil {
		t.Fatal(err)
	}
	stop := working(t, tester)
	moreWrites(t, tester, 1000)
	zone := w.Net.Impose(netns.Around("zone-2"), netns.Rule{Cut: true})
	moreWrites(t, tester, 1000)
	stop()

	node := w.hosts[daemon{"segment", 1}]
	if err := node.SetLink(false); err != nil {
		t.Fatal(err)
	}
	before := tester.Counts()
	if err := tester.Verify(t.Context()); err != nil { // all of it, with three of six
		t.Fatal(err)
	}
	stop = working(t, tester)
	await(t, "refused", func() bool { return tester.Counts().Refused > before.Refused })
	if n := tester.Counts().Writes; n != before.Writes {
		t.Errorf("%d writes were acknowledged with three of six", n-before.Writes)
	}
	start := time.Now()
	if err := node.SetLink(true); err != nil {
		t.Fatal(err)
	}
	moreWrites(t, tester, 1)
	t.Logf("writes went on %v after a quorum was back", time.Since(start))
	moreWrites(t, tester, 1000)
	zone.Lift()
	moreWrites(t, tester, 1000)
	stop()
	if err := tester.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	start = time.Now()
	if err := w.settle(t.Context(), backMax); err != nil {
		t.Fatal(err)
	}
	t.Logf("all copies complete after %v; %+v", time.Since(start), tester.Counts())

	digests := map[[sha256.Size]byte][]int{}
	for i := range segments {
		d := aloneDigest(t, w, tester, i)
		digests[d] = append(digests[d], i)
	}
	if len(digests) != 1 {
		t.Errorf("the copies differ: %v", digests)
	}
}

// aloneDigest is what the volume holds when only one copy can be read.
func aloneDigest(t *testing.T, w *World, tester *stamp.Tester, alone int) [sha256.Size]byte {
	t.Helper()
	conn, err := stamp.Dial(t.Context(), w.Cluster.URI(0, volumeName))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// Whoever has the volume open keeps it: the last segments go under it.
	buf := make([]byte, 3*pgSize)
	read := func() {
		for at := 0; at < len(buf); at += int(block.MiB) {
			if err := conn.Read(buf[at:at+int(block.MiB)], block.Offset(at)); err != nil {
				t.Fatalf("segment %d alone: %v", alone, err)
			}
		}
	}
	read()
	for i, d := range w.Cluster.Segments {
		if i != alone {
			d.Kill()
		}
	}
	read()
	if err := tester.Verify(t.Context()); err != nil {
		t.Fatalf("segment %d alone: %v", alone, err)
	}
	if err := w.Cluster.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.settle(t.Context(), backMax); err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(buf)
}
