package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/integration/cluster"
	"github.com/sextantdisk/sextant/integration/stamp"
	"github.com/sextantdisk/sextant/internal/block"
)

const (
	// imageBytes is what is written while two of six are down.
	imageBytes = 1 * block.GiB
	// recovery is how long throughput may take to be back.
	recovery = 2 * time.Second
	// sample is for how long a rate is measured.
	sample = 2 * time.Second
)

// TestTwoOfSixKilled kills two segment daemons under load: no client sees an
// error, throughput is back within two seconds. They come back after 1 GiB of
// writes, status tells each phase, they become complete and serve all of it
// alone (B5, B6, R8, R20).
func TestTwoOfSixKilled(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Extra: map[string][]string{"segment": {"--log-file-size", "64MiB"}}})
	mustCreateSized(t, c, "v", "1280MiB", "256MiB")
	image := randomFile(t, imageBytes, 1)
	conn := dial(t, c.URI(0, "v")) // the gateway keeps the volume while somebody is there
	for off := block.Offset(0); off < block.Offset(imageBytes); off += 256 << 20 {
		// A group is placed at its first write: all of them on six nodes.
		if err := conn.Write(bytes.Repeat([]byte{1}, block.Size), off); err != nil {
			t.Fatal(err)
		}
	}
	tester, err := stamp.New(stamp.Config{URI: c.URI(0, "v"), Writer: 1, Seed: 2, First: stamp.Number(imageBytes / block.Size), Blocks: 4096})
	if err != nil {
		t.Fatal(err)
	}
	stop := load(t.Context(), tester)
	runFor(t, tester, 1000)
	before := rate(t, tester)

	killed := []*cluster.Daemon{c.Segments[1], c.Segments[3]}
	watch := watchPhases(t, c, killed)
	for _, d := range killed {
		d.Kill()
	}
	quiet := quietest(t, tester, recovery)
	after := rate(t, tester)
	t.Logf("%.0f writes/s before; longest silence %v after the kill; %.0f writes/s %v later", before, quiet, after, recovery)
	if after < before/2 {
		t.Errorf("%.0f writes/s %v after the kill, %.0f before", after, recovery, before)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}

	await(t, 30*time.Second, "told that both are unreachable", func() bool { return watch.each(true, "down, unreachable") })
	start := time.Now()
	tool(t, "libnbd-bin", "nbdcopy", "--flush", image, c.URI(0, "v"))
	t.Logf("1 GiB written with four of six in %v", time.Since(start))
	start = time.Now()
	stop = load(t.Context(), tester)
	for _, d := range killed {
		if err := d.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	await(t, 4*time.Minute, "complete again", func() bool { return watch.each(false, "up, catching up") && watch.each(true, "up, complete") })
	t.Logf("complete again after %v; phases: %v", time.Since(start), watch)
	watch.stop()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if n := tester.Counts(); n.Refused+n.Unknown != 0 {
		t.Errorf("the client saw errors: %+v", n)
	}
	if !mustStatus(t, c).Healthy {
		t.Errorf("all is complete, but not healthy: %+v", mustStatus(t, c))
	}

	for _, i := range []int{0, 2, 4, 5} {
		c.Segments[i].Kill()
	}
	mustReadBack(t, c.URI(0, "v"), image)
	if err := tester.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := tester.Err(); err != nil {
		t.Fatal(err)
	}
}

// rate measures acknowledged writes a second.
func rate(tb testing.TB, tester *stamp.Tester) float64 {
	tb.Helper()
	n, start := tester.Counts().Writes, time.Now()
	await(tb, time.Minute, "measured", func() bool { return time.Since(start) >= sample })
	return float64(tester.Counts().Writes-n) / time.Since(start).Seconds()
}

// quietest is the longest time without an acknowledged write within a while.
func quietest(tb testing.TB, tester *stamp.Tester, within time.Duration) (longest time.Duration) {
	tb.Helper()
	start := time.Now()
	n, last := tester.Counts().Writes, start
	await(tb, time.Minute, "over", func() bool {
		if now := tester.Counts().Writes; now != n {
			longest = max(longest, time.Since(last))
			n, last = now, time.Now()
		}
		return time.Since(start) >= within
	})
	return max(longest, time.Since(last))
}

// phases collects what status tells of some daemons: "up" or "down", then the
// states of those of their segments that are not well, or "complete".
type phases struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu struct {
		sync.Mutex
		seen map[string][]string // by node, in order, without repetitions
	}
}

// watchPhases asks for status, over and over, until stop is called.
func watchPhases(tb testing.TB, c *cluster.Cluster, daemons []*cluster.Daemon) *phases {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	w := &phases{cancel: cancel, done: make(chan struct{})}
	w.mu.seen = map[string][]string{}
	for _, d := range daemons {
		w.mu.seen[d.Addr("node")] = nil
	}
	go func() {
		defer close(w.done)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			// An error is the end of the watch, or a service that is
			// busy: the next answer tells.
			if s, err := askStatus(ctx, c); err == nil {
				w.note(s)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	}()
	tb.Cleanup(w.stop)
	return w
}

func (w *phases) stop() {
	w.cancel()
	<-w.done
}

// note adds what differs from what was seen before.
func (w *phases) note(s status) {
	states := map[string][]string{}
	for _, u := range s.Unhealthy {
		if !slices.Contains(states[u.Node], u.State) {
			states[u.Node] = append(states[u.Node], u.State)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range s.Nodes {
		seen, watched := w.mu.seen[n.ID]
		if !watched {
			continue
		}
		phase := "down"
		if n.Up {
			phase = "up"
		}
		slices.Sort(states[n.ID])
		phase += ", " + strings.Join(states[n.ID], " and ")
		if len(states[n.ID]) == 0 {
			phase += "complete"
		}
		if len(seen) == 0 || seen[len(seen)-1] != phase {
			w.mu.seen[n.ID] = append(seen, phase)
		}
	}
}

// each tells whether all watched daemons are in a phase now (last), or were
// in one at any time.
func (w *phases) each(last bool, phase string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, seen := range w.mu.seen {
		if last {
			seen = seen[max(0, len(seen)-1):]
		}
		if !slices.ContainsFunc(seen, func(s string) bool { return strings.Contains(s, phase) }) {
			return false
		}
	}
	return true
}

func (w *phases) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return fmt.Sprintf("%q", w.mu.seen)
}

// mustReadBack reads as much of an export as a file is long, several pieces
// at once, and compares.
func mustReadBack(tb testing.TB, uri, file string) {
	tb.Helper()
	const piece, atOnce = 1 << 20, 8
	f, err := os.Open(file)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		tb.Fatal(err)
	}
	conn := dial(tb, uri)
	defer conn.Close() // who reads over and over shall not run out of connections
	errs := make([]error, atOnce)
	var wg sync.WaitGroup
	for i := range atOnce {
		wg.Go(func() {
			got, want := make([]byte, piece), make([]byte, piece)
			for off := int64(i) * piece; off < info.Size() && errs[i] == nil; off += atOnce * piece {
				n := min(piece, info.Size()-off)
				_, fileErr := f.ReadAt(want[:n], off)
				errs[i] = errors.Join(fileErr, conn.Read(got[:n], block.Offset(off)))
				if errs[i] == nil && !bytes.Equal(got[:n], want[:n]) {
					errs[i] = fmt.Errorf("the bytes from %d on are not those that were written", off)
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		tb.Fatal(err)
	}
}
