package integration

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/integration/cluster"
	"github.com/sextantdisk/sextant/internal/block"
)

// page fetches one page of a daemon.
func page(tb testing.TB, addr, path string) (status int, text string) {
	tb.Helper()
	resp, err := http.Get("http://" + addr + path)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return resp.StatusCode, string(raw)
}

// shown are the metrics of ours on a page: each name with the row that
// docs/METRICS.md must have for it.
func shown(tb testing.TB, text string) map[string]string {
	tb.Helper()
	help, kind, labels := map[string]string{}, map[string]string{}, map[string][]string{}
	sample := regexp.MustCompile(`^(sextant_[a-z_]+?)(?:_bucket|_sum|_count)?(?:\{(.*)\})? `)
	label := regexp.MustCompile(`([a-z]+)="`)
	for s := bufio.NewScanner(strings.NewReader(text)); s.Scan(); {
		line := s.Text()
		if f := strings.SplitN(line, " ", 4); len(f) == 4 && f[0] == "#" && strings.HasPrefix(f[2], "sextant_") {
			if f[1] == "HELP" {
				help[f[2]] = f[3]
			} else {
				kind[f[2]] = f[3]
			}
			continue
		}
		if m := sample.FindStringSubmatch(line); m != nil {
			name := m[1]
			if kind[name] == "" {
				tb.Errorf("sample of no metric: %s", line)
			}
			for _, l := range label.FindAllStringSubmatch(m[2], -1) {
				if l[1] != "le" && !slices.Contains(labels[name], l[1]) {
					labels[name] = append(labels[name], l[1])
				}
			}
		}
	}
	rows := map[string]string{}
	for name := range kind {
		slices.Sort(labels[name])
		rows[name] = fmt.Sprintf("| `%s` | %s | %s | %s |", name, kind[name], strings.Join(labels[name], ", "), help[name])
	}
	return rows
}

// documented are the rows of a section of docs/METRICS.md, by name.
func documented(tb testing.TB, section string) map[string]string {
	tb.Helper()
	root, err := cluster.ModuleRoot()
	if err != nil {
		tb.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "docs", "METRICS.md"))
	if err != nil {
		tb.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "\n## "+section+"\n")
	if !found {
		tb.Fatalf("docs/METRICS.md has no section %s", section)
	}
	rest, _, _ = strings.Cut(rest, "\n## ")
	rows := map[string]string{}
	for _, line := range strings.Split(rest, "\n") {
		if name, ok := strings.CutPrefix(line, "| `"); ok {
			name, _, _ = strings.Cut(name, "`")
			rows[name] = line
		}
	}
	return rows
}

// TestMetricsAreDocumented: each daemon shows what docs/METRICS.md says of
// it, no more and no less, with the same words.
func TestMetricsAreDocumented(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Extra: rollingLogs()})
	mustCreate(t, c, "v")
	conn := dial(t, c.URI(0, "v"))
	if err := conn.Write(bytes.Repeat([]byte{1}, 3*block.Size), 0); err != nil {
		t.Fatal(err)
	}
	for section, d := range map[string]*cluster.Daemon{"Metadata": c.Metadata[0], "Segment daemon": c.Segments[0], "Gateway": c.Gateways[0]} {
		_, text := page(t, d.Addr("http"), "/metrics")
		got, want := shown(t, text), documented(t, section)
		for _, name := range slices.Sorted(maps.Keys(got)) {
			if got[name] != want[name] {
				t.Errorf("docs/METRICS.md, section %s, must have\n%s\nand has\n%s", section, got[name], want[name])
			}
		}
		for _, name := range slices.Sorted(maps.Keys(want)) {
			if got[name] == "" {
				t.Errorf("docs/METRICS.md, section %s, tells of %s, which is not shown", section, name)
			}
		}
		if !strings.Contains(text, "\ngo_goroutines ") || !strings.Contains(text, "\nprocess_resident_memory_bytes ") {
			t.Errorf("%s does not show what its process takes", section)
		}
	}
}

// TestMetricsTell: the figures follow what happens.
func TestMetricsTell(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Extra: rollingLogs()})
	mustCreate(t, c, "v")
	conn := dial(t, c.URI(0, "v"))
	const writes = 10
	for i := range writes {
		if err := conn.Write(bytes.Repeat([]byte{1}, 2*block.Size), block.Offset(i*2*block.Size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := conn.Read(make([]byte, block.Size), 0); err != nil {
		t.Fatal(err)
	}
	if err := conn.Read(make([]byte, block.Size), block.Offset(1*block.TiB)); err == nil {
		t.Fatal("a read beyond the end was answered")
	}
	gw, seg, meta := c.Gateways[0].Addr("http"), c.Segments[0].Addr("http"), c.Metadata[0].Addr("http")
	for _, want := range []struct {
		addr, name string
		value      float64
	}{
		{gw, `sextant_nbd_requests_total{command="write",result="ok"}`, writes},
		{gw, `sextant_nbd_request_seconds_count{command="write"}`, writes},
		{gw, `sextant_nbd_bytes_total{command="write"}`, writes * 2 * block.Size},
		{gw, `sextant_nbd_requests_total{command="read",result="einval"}`, 1},
		{gw, `sextant_nbd_connections`, 1},
		{gw, `sextant_nbd_handshakes`, 0},
		{gw, `sextant_nbd_connections_opened_total`, 1},
		{gw, `sextant_volumes_open`, 1},
		{gw, `sextant_volume_groups{phase="open",volume="v"}`, 1},
		{gw, `sextant_volume_segments{state="streaming",volume="v"}`, 6},
		{gw, `sextant_volume_groups_held{volume="v"}`, 0},
		{seg, `sextant_segments`, 1},
		{seg, `sextant_log_failed`, 0},
		{meta, `sextant_metadata_leader`, 1},
		{meta, `sextant_metadata_groups`, 1},
		{meta, `sextant_metadata_nodes{state="active"}`, 6},
		{meta, `sextant_metadata_nodes_up`, 6},
		{meta, `sextant_metadata_volumes{state="open"}`, 1},
	} {
		if got := metric(t, want.addr, want.name); got != want.value {
			t.Errorf("%s is %v, want %v", want.name, got, want.value)
		}
	}
	await(t, time.Minute, "all is appended to this segment", func() bool {
		return metric(t, seg, "sextant_log_records_total") >= writes && metric(t, seg, "sextant_live_bytes") == writes*2*block.Size
	})
	if flushes, batches := metric(t, seg, "sextant_log_flush_seconds_count"), metric(t, seg, "sextant_log_batches_total"); flushes == 0 || flushes > batches {
		t.Errorf("%v flushes timed, %v batches", flushes, batches)
	}

	// Three of six gone: writes wait, and the gateway shows it, segment by
	// segment, with the lag of those that are gone.
	for _, d := range c.Segments[:3] {
		d.Kill()
	}
	wrote := make(chan error, 1)
	go func() { wrote <- conn.Write(bytes.Repeat([]byte{2}, block.Size), 0) }()
	await(t, time.Minute, "the group is held", func() bool { return metric(t, gw, `sextant_volume_groups_held{volume="v"}`) == 1 })
	await(t, time.Minute, "three segments lag", func() bool {
		_, text := page(t, gw, "/metrics")
		lagging := regexp.MustCompile(`(?m)^sextant_quorum_lag_records\{.*volume="v"\} [1-9]`).FindAllString(text, -1)
		gone := regexp.MustCompile(`(?m)^sextant_quorum_segment_state\{.*volume="v"\} 0$`).FindAllString(text, -1)
		return len(lagging) == 3 && len(gone) == 3 && metric(t, gw, `sextant_volume_lag_max_bytes{volume="v"}`) > 0 &&
			metric(t, gw, `sextant_volume_segments{state="unreachable",volume="v"}`) == 3
	})
	if err := c.Segments[0].Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
	await(t, time.Minute, "no group is held", func() bool { return metric(t, gw, `sextant_volume_groups_held{volume="v"}`) == 0 })
}

// TestHealthPages: a daemon is ready when it serves, not before; profiles are
// shown only when asked for.
func TestHealthPages(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{Segments: 1, Zones: 1, Gateways: 1, Extra: map[string][]string{
		"segment": {"--log-file-size", "1MiB"}, "nbd": {"--pprof"},
	}})
	for _, d := range c.All() {
		for _, path := range []string{"/healthz", "/readyz"} {
			if status, text := page(t, d.Addr("http"), path); status != http.StatusOK || text != "ok\n" {
				t.Errorf("%s of %s: %d %q", path, d.Name(), status, text)
			}
		}
		want := http.StatusNotFound
		if d == c.Gateways[0] {
			want = http.StatusOK
		}
		for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/goroutine?debug=1"} {
			if status, _ := page(t, d.Addr("http"), path); status != want {
				t.Errorf("%s of %s: %d, want %d", path, d.Name(), status, want)
			}
		}
	}

	// A segment daemon that cannot register yet: alive, not ready.
	c.Segments[0].Kill()
	c.Metadata[0].Kill()
	started := make(chan error, 1)
	go func() { started <- c.Segments[0].Start(t.Context()) }()
	addr := c.Segments[0].Addr("http")
	await(t, time.Minute, "the daemon shows its pages", func() bool {
		resp, err := (&http.Client{Timeout: time.Second}).Get("http://" + addr + "/healthz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	if status, text := page(t, addr, "/readyz"); status != http.StatusServiceUnavailable {
		t.Errorf("/readyz of a daemon that is not registered: %d %q", status, text)
	}
	if status, _ := page(t, addr, "/metrics"); status != http.StatusOK {
		t.Errorf("/metrics of a daemon that starts: %d", status)
	}
	if err := c.Metadata[0].Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	if status, text := page(t, addr, "/readyz"); status != http.StatusOK {
		t.Errorf("/readyz: %d %q", status, text)
	}
}
