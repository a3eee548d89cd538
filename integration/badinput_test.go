package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/integration/cluster"
	"github.com/sextantdisk/sextant/integration/stamp"
	"github.com/sextantdisk/sextant/internal/block"
)

// problems are what sextant status complains about, a line each.
func problems(tb testing.TB, c *cluster.Cluster) string {
	tb.Helper()
	out, err := c.Sextant(tb.Context(), "status", "--output", "json")
	if err != nil {
		tb.Fatal(err)
	}
	var st struct {
		Problems []struct{ Subject, What, Do string }
	}
	if err := json.Unmarshal(out, &st); err != nil {
		tb.Fatal(err)
	}
	var all strings.Builder
	for _, p := range st.Problems {
		fmt.Fprintf(&all, "%s: %s\n  %s\n", p.Subject, p.What, p.Do)
	}
	return all.String()
}

// logOf is a daemon's log.
func logOf(tb testing.TB, c *cluster.Cluster, d *cluster.Daemon) string {
	tb.Helper()
	text, err := os.ReadFile(c.DataDir(d) + ".log")
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

// TestUnknownVolume: who asks for a volume that does not exist is told so,
// and nobody else notices.
func TestUnknownVolume(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{Extra: rollingLogs()})
	mustCreate(t, c, "v")
	for _, name := range []string{"nobody", "", "no/name", strings.Repeat("x", 300), "v\x00"} {
		conn, err := stamp.Dial(t.Context(), c.URI(0, name))
		if err == nil {
			conn.Close()
			t.Errorf("volume %q was opened", name)
		}
	}
	conn := dial(t, c.URI(0, "v"))
	p := make([]byte, block.Size)
	for off, want := range map[block.Offset]block.Kind{block.Offset(64 * block.MiB): block.NoSpace, ^block.Offset(0) - 4095: block.NoSpace} {
		if err := conn.Write(p, off); !errors.Is(err, want) {
			t.Errorf("write at %d: %v, want kind %v", off, err, want)
		}
		if err := conn.Read(p, off); !errors.Is(err, block.Invalid) {
			t.Errorf("read at %d: %v, want kind %v", off, err, block.Invalid)
		}
	}
	if err := conn.Write(p, 0); err != nil {
		t.Error(err)
	}
}

// TestTooFewNodes: with a zone missing, making a volume is refused and a first
// write waits; both say what is missing, so does status, and the write goes
// on when that comes.
func TestTooFewNodes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c, err := cluster.New(cluster.Options{Binary: cluster.Build(t), Dir: dir, Extra: rollingLogs()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		for _, problem := range c.Close() {
			t.Error(problem)
		}
	}()
	start := func(ds ...*cluster.Daemon) {
		t.Helper()
		for _, d := range ds {
			if err := d.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	start(c.Metadata[0], c.Segments[0], c.Segments[1], c.Segments[3], c.Segments[4], c.Gateways[0])

	const missing = "6 copies need 2 usable nodes in each of 3 zones"
	if _, err := c.Sextant(t.Context(), "volume", "create", "v", "--size", "64MiB"); err == nil || !strings.Contains(err.Error(), missing) {
		t.Errorf("a volume that cannot be placed: %v", err)
	}
	if _, err := c.Sextant(t.Context(), "volume", "create", "v", "--size", "64MiB", "--force"); err != nil {
		t.Fatal(err)
	}
	conn := dial(t, c.URI(0, "v"))
	data := bytes.Repeat([]byte{7}, block.Size)
	wrote := make(chan error, 1)
	go func() { wrote <- conn.Write(data, 0) }()
	await(t, time.Minute, "told by the gateway's log what is missing", func() bool {
		return strings.Contains(logOf(t, c, c.Gateways[0]), missing)
	})
	await(t, time.Minute, "told by status what is missing", func() bool { return strings.Contains(problems(t, c), missing) })
	select {
	case err := <-wrote:
		t.Fatalf("the write did not wait: %v", err)
	default:
	}
	start(c.Segments[2], c.Segments[5])
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
	got := make([]byte, block.Size)
	if err := conn.Read(got, 0); err != nil || !bytes.Equal(got, data) {
		t.Errorf("read: %v, same data: %v", err, bytes.Equal(got, data))
	}
}

// TestZonesBeyondThree: nodes in more zones than are needed are no trouble;
// one node in each of six zones is not what six copies need.
func TestZonesBeyondThree(t *testing.T) {
	t.Parallel()
	t.Run("two nodes in each of four", func(t *testing.T) {
		c := cluster.Start(t, cluster.Options{Segments: 8, Zones: 4, Extra: rollingLogs()})
		mustCreate(t, c, "v")
		conn := dial(t, c.URI(0, "v"))
		if err := conn.Write(bytes.Repeat([]byte{1}, block.Size), 0); err != nil {
			t.Error(err)
		}
	})
	t.Run("one node in each of six", func(t *testing.T) {
		c := cluster.Start(t, cluster.Options{Segments: 6, Zones: 6, Gateways: -1, Extra: rollingLogs()})
		_, err := c.Sextant(t.Context(), "volume", "create", "v", "--size", "64MiB")
		if err == nil || !strings.Contains(err.Error(), "2 usable nodes in each of 3 zones") {
			t.Errorf("a volume that cannot be placed: %v", err)
		}
	})
}

// TestClientVanishes cuts connections in the middle of payloads: none of such
// a write is ever seen, and other clients go on.
func TestClientVanishes(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{Extra: rollingLogs()})
	mustCreate(t, c, "v")
	conn := dial(t, c.URI(0, "v"))
	const length = int(1 * block.MiB)
	before := bytes.Repeat([]byte{1}, length)
	if err := conn.Write(before, 0); err != nil {
		t.Fatal(err)
	}
	for i, sent := range []int{0, 1, block.Size, length / 2, length - 1} {
		raw := dialNBD(t, c.Gateways[0].Addr("listen"), "v")
		// A whole write before it is done, or the reading of what follows
		// would prove nothing.
		raw.put(append(header(nbdWrite, 1, 0, block.Size), before[:block.Size]...))
		raw.take(16)
		raw.put(append(header(nbdWrite, 2, 0, length), bytes.Repeat([]byte{byte(i + 2)}, sent)...))
		raw.vanish()
		if err := conn.Flush(); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, length)
		if err := conn.Read(got, 0); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, before) {
			t.Errorf("a part of a write is visible of which %d bytes were sent", sent)
		}
	}
}

// TestClientStopsReading: clients that never take their replies hold up
// nobody else, and take bounded memory.
func TestClientStopsReading(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{Extra: rollingLogs()})
	mustCreate(t, c, "v")
	tester, err := stamp.New(stamp.Config{URI: c.URI(0, "v"), Writer: 1, Seed: 4, Blocks: 2048, Depth: 4})
	if err != nil {
		t.Fatal(err)
	}
	stop := load(t.Context(), tester)
	runFor(t, tester, 200)
	before := peak(t, c.Gateways[0])
	for range 8 {
		raw := dialNBD(t, c.Gateways[0].Addr("listen"), "v")
		go func() { // ends when the connection is closed
			for i := range 4096 {
				if _, err := raw.Write(header(nbdRead, i, 0, int(1*block.MiB))); err != nil {
					return
				}
			}
		}()
	}
	runFor(t, tester, 2000)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if n := tester.Counts(); n.Refused+n.Unknown != 0 {
		t.Errorf("other clients saw errors: %+v", n)
	}
	// 512 MiB for the server's requests in flight, and what the garbage
	// collector leaves for a while.
	if grown := peak(t, c.Gateways[0]) - before; grown > 1536<<20 {
		t.Errorf("the gateway took %d MiB more", grown>>20)
	}
	if err := tester.Err(); err != nil {
		t.Fatal(err)
	}
}

// smallDisk mounts a memory disk of that size at dir until the test ends.
func smallDisk(tb testing.TB, dir string, size block.ByteCount) {
	tb.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		tb.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", uint64(size))); err != nil {
		tb.Fatalf("mounting a small disk (this test needs root): %v", err)
	}
	tb.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			tb.Error(err)
		}
	})
}

// fillDisk takes all room in dir with a file; removing it gives the room back.
func fillDisk(tb testing.TB, dir string) (empty func()) {
	tb.Helper()
	name := filepath.Join(dir, "others")
	f, err := os.Create(name)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	for piece := make([]byte, 1<<20); len(piece) > 0; {
		if _, err := f.Write(piece); errors.Is(err, syscall.ENOSPC) {
			piece = piece[:len(piece)/2]
		} else if err != nil {
			tb.Fatal(err)
		}
	}
	return func() {
		if err := os.Remove(name); err != nil {
			tb.Error(err)
		}
	}
}

// full is a cluster of which some daemons have small disks of their own.
func full(t *testing.T, disks int, size block.ByteCount) (*cluster.Cluster, *stamp.Tester) {
	t.Helper()
	dir := t.TempDir()
	for i := range disks {
		smallDisk(t, filepath.Join(dir, fmt.Sprintf("segment-%d", i)), size)
	}
	c := cluster.Start(t, cluster.Options{Dir: dir, Extra: map[string][]string{
		"segment": {"--log-file-size", "4MiB"}, "nbd": {"--hold", "2s"},
	}})
	mustCreate(t, c, "v")
	tester, err := stamp.New(stamp.Config{URI: c.URI(0, "v"), Writer: 1, Seed: 5, Blocks: 2048, Depth: 8})
	if err != nil {
		t.Fatal(err)
	}
	return c, tester
}

// TestOneDiskFull: with one disk full the gateway goes on, the daemon can be
// started again, and becomes complete when there is room.
func TestOneDiskFull(t *testing.T) {
	t.Parallel()
	c, tester := full(t, 1, 256*block.MiB)
	stop := load(t.Context(), tester)
	runFor(t, tester, 200)
	d := c.Segments[0]
	empty := fillDisk(t, c.DataDir(d))
	// What the tester overwrites finds room in files that are there, since they
	// are cleaned. More than they hold does not.
	rest := bytes.Repeat([]byte{7}, int(block.MiB))
	conn := dial(t, c.URI(0, "v"))
	for off := block.Offset(8 * block.MiB); off < block.Offset(64*block.MiB); off += block.Offset(block.MiB) {
		if err := conn.Write(rest, off); err != nil {
			t.Fatal(err)
		}
	}
	await(t, time.Minute, "told by the daemon's log that its disk is full", func() bool {
		runFor(t, tester, 100)
		return strings.Contains(logOf(t, c, d), "full")
	})
	runFor(t, tester, 1000)
	await(t, time.Minute, "told by status", func() bool { return strings.Contains(problems(t, c), "fewer than 6 complete copies") })
	for range 2 {
		if err := d.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		runFor(t, tester, 500)
	}
	// The load ends first: logs only grow, and it would fill the disk again.
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	dial(t, c.URI(0, "v"))
	empty()
	await(t, time.Minute, "healthy when there is room again", func() bool { return problems(t, c) == "" })
	if n := tester.Counts(); n.Refused+n.Unknown != 0 {
		t.Errorf("the client saw errors: %+v", n)
	}
	verify(t, tester)
}

// TestAllDisksFull: with all disks full writes wait and then fail, reads go
// on, no daemon ends, and writes go on when there is room.
func TestAllDisksFull(t *testing.T) {
	t.Parallel()
	c, tester := full(t, 6, 64*block.MiB)
	// Keeps the volume open: opening it anew takes promises and an EPOCH_OPEN
	// on the disk, so that would wait for room.
	conn := dial(t, c.URI(0, "v"))
	stop := load(t.Context(), tester)
	runFor(t, tester, 200)
	var empty []func()
	for _, d := range c.Segments {
		empty = append(empty, fillDisk(t, c.DataDir(d)))
	}
	await(t, time.Minute, "refused a write", func() bool { return tester.Counts().Refused > 0 })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	verify(t, tester)
	for _, d := range c.Segments {
		if d.Pid() == 0 {
			t.Errorf("%s has ended", d.Name())
		}
		if err := d.Restart(t.Context()); err != nil {
			t.Error(err)
		}
	}
	verify(t, tester)
	for _, e := range empty {
		e()
	}
	past := block.Offset(32 * block.MiB) // beyond what the tester uses
	await(t, time.Minute, "writing again", func() bool { return conn.Write(bytes.Repeat([]byte{1}, block.Size), past) == nil })
	stop = load(t.Context(), tester)
	runFor(t, tester, 500)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	verify(t, tester)
}

// verify reads all back.
func verify(tb testing.TB, tester *stamp.Tester) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), time.Minute)
	defer cancel()
	if err := tester.Verify(ctx); err != nil {
		tb.Fatal(err)
	}
	if err := tester.Err(); err != nil {
		tb.Fatal(err)
	}
}
