package bench

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/sextantdisk/sextant/internal/block"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestCompareMeasuresBothSides: a short run of nbdkit beside itself.
func TestCompareMeasuresBothSides(t *testing.T) {
	dir := t.TempDir()
	jobs := []Job{Jobs[1], Jobs[7]}
	run, err := compareAt(t.Context(), Config{Dir: dir, Quick: true, Progress: io.Discard}, scale{16 * block.MiB, 200 * time.Millisecond, 2, jobs})
	if err != nil {
		t.Fatal(err)
	}
	if len(run.Results) != 2 || run.Ours != "nbdkit-too" || run.Peer != "nbdkit" || run.Machine.Cores == 0 {
		t.Fatalf("%+v", run)
	}
	for _, r := range run.Results {
		if len(r.Rounds.Ours) != 2 || len(r.Rounds.Peers) != 2 {
			t.Errorf("%s: rounds %+v", r.Job, r.Rounds)
		}
		for _, m := range []Measure{r.Ours, r.Peers} {
			if f := m.Write; f == nil || f.Ops <= 0 || f.BytesSecond < 4096 || f.P50 <= 0 || f.P99 < f.P50 {
				t.Errorf("%s: writes %+v", r.Job, f)
			}
			if mixed := r.Job == "randrw-qd16"; mixed != (m.Read != nil) {
				t.Errorf("%s: reads %+v", r.Job, m.Read)
			}
		}
		if r.Ratio < 0.02 || r.Ratio > 50 {
			t.Errorf("%s: ratio %v of a server with itself", r.Job, r.Ratio)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	file, err := run.WriteJSON(dir+"/results", "x")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var again Run
	if err := json.Unmarshal(text, &again); err != nil || len(again.Results) != 2 || again.Results[0].Ours.Write.Ops != run.Results[0].Ours.Write.Ops {
		t.Errorf("%+v, %v", again, err)
	}
}

func TestFailuresAreTold(t *testing.T) {
	c := Config{Dir: t.TempDir(), Progress: io.Discard, URI: "nbd://127.0.0.1:1/none"}
	if _, err := compareAt(t.Context(), c, scale{16 * block.MiB, time.Second, 1, nil}); !errors.Is(err, block.Unavailable) {
		t.Errorf("nobody listens: %v", err)
	}
	c.Sextant = "/nonexistent"
	if _, err := Compare(t.Context(), c); !errors.Is(err, block.Invalid) {
		t.Errorf("a binary and a URI: %v", err)
	}
	c.URI = ""
	if _, err := Compare(t.Context(), c); !errors.Is(err, block.Unavailable) {
		t.Errorf("a binary that is not there: %v", err)
	}
}

const fioText = `fio: a note
{"jobs":[{"error":0,
 "read":{"total_ios":0,"iops":0,"bw_bytes":0,"lat_ns":{}},
 "write":{"total_ios":1000,"iops":500.5,"bw_bytes":2050048,"lat_ns":{"percentile":{"50.000000":20000,"99.000000":90000}}},
 "sync":{"lat_ns":{"percentile":{"50.000000":300000,"99.000000":1000000}}}}]}`

func TestParseFio(t *testing.T) {
	m, total, err := parseFio([]byte(fioText), Job{FlushEach: true})
	if err != nil || total != 1000 || m.Read != nil || *m.Write != (Figures{500.5, 2050048, 320, 1090}) {
		t.Errorf("%+v, %v, %v", m.Write, total, err)
	}
	m, _, err = parseFio([]byte(fioText), Job{})
	if err != nil || m.Write.P50 != 20 || m.ops() != 500.5 {
		t.Errorf("%+v, %v", m.Write, err)
	}
	for name, text := range map[string]string{
		"no JSON":  "fio: it broke",
		"cut off":  fioText[:100],
		"an error": strings.Replace(fioText, `"error":0`, `"error":5`, 1),
		"no work":  strings.Replace(fioText, `"total_ios":1000`, `"total_ios":0`, 1),
		"no jobs":  `{"jobs":[]}`,
	} {
		if _, _, err := parseFio([]byte(text), Job{}); !errors.Is(err, block.Unavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseCPU(t *testing.T) {
	got, err := parseCPU("cpu  100 10 50 9999 8888 5 5 77 3 3\ncpu0 1 2 3\n")
	if want := 1700 * time.Millisecond; err != nil || got != want {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	for _, text := range []string{"", "cpu 1 2", "intr 1 2 3 4 5 6 7 8", "cpu a b c d e f g h"} {
		if _, err := parseCPU(text); !errors.Is(err, block.Unavailable) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestRatioIsAgainstTheNamedJob(t *testing.T) {
	write := func(ops ...float64) (all []Measure) {
		for _, n := range ops {
			all = append(all, Measure{Write: &Figures{Ops: n}})
		}
		return all
	}
	results := compare(Jobs[:2],
		rounds{"randwrite-qd1": write(1100, 10, 1000), flushed: write(900)},
		rounds{"randwrite-qd1": write(10000), flushed: write(2500, 2600)})
	if results[0].Ratio != 0.4 || results[1].Ratio != 0.36 || !slices.Equal(results[0].Rounds.Ours, []float64{1100, 10, 1000}) {
		t.Errorf("%+v", results)
	}
	run := Run{Results: results}
	if missed := run.Missed(); len(missed) != 2 || !strings.Contains(missed[0], "0.40, floor 0.50") {
		t.Errorf("%q", missed)
	}
	var b strings.Builder
	if err := run.WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(b.String(), "\n")
	if !strings.Contains(lines[2], "4k random write QD1 ") || !strings.Contains(lines[2], " 1000 ") || !strings.Contains(lines[2], "0.50 missed") {
		t.Errorf("line %q", lines[2])
	}
	for i := 1; i < 4; i++ {
		if len([]rune(lines[i])) != len([]rune(lines[0])) {
			t.Errorf("line %d is not as long as the first:\n%s", i, b.String())
		}
	}
}

// TestJobsAreWellFormed: names are unique, and Against names a job.
func TestJobsAreWellFormed(t *testing.T) {
	names := map[string]bool{}
	for _, j := range Jobs {
		if names[j.Name] {
			t.Errorf("%s stands twice", j.Name)
		}
		names[j.Name] = true
	}
	for _, j := range Jobs {
		if !names[j.Against] {
			t.Errorf("%s is compared with %q, which is no job", j.Name, j.Against)
		}
	}
	if len(eight) != 8 || len(Jobs) != 8+2*3 {
		t.Errorf("%d and %d jobs, want 8, and the 3 that only read twice more", len(eight), len(Jobs))
	}
	for i, j := range Jobs {
		if (j.Cache != AsLeft) != (i >= len(eight)) || j.Cache != AsLeft && strings.Contains(j.Pattern, "w") {
			t.Errorf("%s, number %d: cache %v", j.Name, i, j.Cache)
		}
	}
}

// TestReadsColdAndWarm: what is in the page cache of a side's file before a
// job that reads from disk is not there when it begins; what a job reads from
// memory is.
func TestReadsColdAndWarm(t *testing.T) {
	const size = 16 * block.MiB
	s, err := nbdkitSide(t.Context(), "nbdkit", t.TempDir(), size)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	}()
	for _, state := range []struct {
		cache    Cache
		resident int
	}{{Warm, int(size / block.Size)}, {Cold, 0}, {Warm, int(size / block.Size)}} {
		over, err := prepare(t.Context(), Job{Cache: state.cache}, s, size)
		if err != nil || over != size {
			t.Fatal(over, err)
		}
		if n := resident(t, s.files, size); n != state.resident {
			t.Errorf("state %v: %d pages are in memory, want %d", state.cache, n, state.resident)
		}
	}
	if over, err := prepare(t.Context(), Job{Cache: Cold}, s, 10*warmPart); err != nil || over != 10*warmPart {
		t.Errorf("a cold job goes over %v: %v", over, err)
	}
	s.files = "/nonexistent"
	if err := s.dropCaches(); err != nil {
		t.Errorf("files that are gone: %v", err)
	}
}

// resident counts the pages of a file that are in memory.
func resident(t *testing.T, name string, size block.ByteCount) (n int) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Munmap(p) }()
	in := make([]byte, int(size/block.Size))
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&p[0])), uintptr(size), uintptr(unsafe.Pointer(&in[0]))); errno != 0 {
		t.Fatal(errno)
	}
	for _, b := range in {
		n += int(b & 1)
	}
	return n
}
