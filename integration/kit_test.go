package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sextantdisk/sextant/integration/cluster"
	"github.com/sextantdisk/sextant/integration/stamp"
	"github.com/sextantdisk/sextant/internal/block"
)

func TestMain(m *testing.M) {
	// Connections that are kept for a next request are no leak.
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		http.DefaultClient.CloseIdleConnections()
		os.Exit(code)
	}))
}

// rollingLogs makes logs roll over often.
func rollingLogs() map[string][]string {
	return map[string][]string{"segment": {"--log-file-size", "8MiB"}}
}

// mustCreate makes a volume of four small groups.
func mustCreate(tb testing.TB, c *cluster.Cluster, name string) {
	tb.Helper()
	mustCreateSized(tb, c, name, "64MiB", "16MiB")
}

func mustCreateSized(tb testing.TB, c *cluster.Cluster, name, size, pgSize string) {
	tb.Helper()
	if _, err := c.Sextant(tb.Context(), "volume", "create", name, "--size", size, "--pg-size", pgSize); err != nil {
		tb.Fatal(err)
	}
}

// await polls until done says true.
func await(tb testing.TB, within time.Duration, what string, done func() bool) {
	tb.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(within); !done(); {
		if time.Now().After(end) {
			tb.Fatalf("after %v: still not %s", within, what)
		}
		select {
		case <-tb.Context().Done():
			tb.Fatal(tb.Context().Err())
		case <-tick.C:
		}
	}
}

// tool runs a program of a Debian package to its end and gives what it
// prints on both streams.
func tool(tb testing.TB, pkg, name string, args ...string) string {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 3*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		tb.Fatalf("%s (of Debian's %s; scripts/deps installs it) %q: %v\n%s", name, pkg, args, err, out)
	}
	return string(out)
}

// status is what `sextant status --output json` prints, as far as it is used.
type status struct {
	Healthy bool
	Nodes   []struct {
		ID       string
		Up       bool
		Damaged  uint64
		Unmended uint64
		Folder   string
		Failed   string
		Fullness string
		Live     uint64
	}
	Unhealthy []struct {
		Node, State string
	} `json:"unhealthy_segments"`
	Damage []struct {
		Node, State string
		BadBlocks   uint64 `json:"bad_blocks"`
	}
	Problems []struct {
		Subject, What, Do string
	}
}

// problem finds what status tells of a subject, with all of these words in
// what it says and what is to be done; empty if there is no such problem.
func (s *status) problem(subject string, words ...string) string {
	for _, p := range s.Problems {
		line := p.Subject + ": " + p.What + " -> " + p.Do
		has := p.Subject == subject
		for _, w := range words {
			has = has && strings.Contains(line, w)
		}
		if has {
			return line
		}
	}
	return ""
}

func askStatus(ctx context.Context, c *cluster.Cluster) (s status, err error) {
	out, err := c.Sextant(ctx, "status", "--output", "json")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(out, &s)
}

func mustStatus(tb testing.TB, c *cluster.Cluster) status {
	tb.Helper()
	s, err := askStatus(tb.Context(), c)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// metric reads one value from a daemon's /metrics.
func metric(tb testing.TB, addr, name string) float64 {
	tb.Helper()
	resp, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	for s := bufio.NewScanner(resp.Body); s.Scan(); {
		value, ok := strings.CutPrefix(s.Text(), name+" ")
		if !ok {
			continue
		}
		f, err := strconv.ParseFloat(value, 64)
		if err != nil {
			tb.Fatal(err)
		}
		return f
	}
	tb.Fatalf("%s has no metric %s", addr, name)
	return 0
}

// randomFile makes a file of random bytes, the same for the same seed.
func randomFile(tb testing.TB, size block.ByteCount, seed byte) string {
	tb.Helper()
	name := filepath.Join(tb.TempDir(), "image")
	f, err := os.Create(name)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	if _, err := io.CopyN(f, rand.NewChaCha8([32]byte{seed}), int64(size)); err != nil {
		tb.Fatal(err)
	}
	return name
}

// dial connects to an export until the test ends.
func dial(tb testing.TB, uri string) *stamp.Conn {
	tb.Helper()
	c, err := stamp.Dial(tb.Context(), uri)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Close)
	return c
}
