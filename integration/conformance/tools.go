package conformance

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// copyBytes is the length of the image that Tools copies in and out.
const copyBytes = 48 << 20

// Tools uses the export at uri with nbdinfo, nbdcopy, qemu-img and qemu-io.
// The export must be writable and of 64 MiB or more; its contents are
// destroyed.
func Tools(t *testing.T, uri string) {
	t.Run("nbdinfo", func(t *testing.T) { nbdinfo(t, uri) })
	t.Run("qemu-io", func(t *testing.T) { qemuIO(t, uri) })
	t.Run("copy", func(t *testing.T) { copies(t, uri) })
	t.Run("map", func(t *testing.T) { blockMap(t, uri) })
}

// described is what nbdinfo says of an export.
type described struct {
	Name      string   `json:"export-name"`
	Size      uint64   `json:"export-size"`
	Contexts  []string `json:"contexts"`
	CanCache  bool     `json:"can_cache"`
	CanDF     bool     `json:"can_df"`
	FastZero  bool     `json:"can_fast_zero"`
	CanFlush  bool     `json:"can_flush"`
	CanFUA    bool     `json:"can_fua"`
	MultiConn bool     `json:"can_multi_conn"`
	CanTrim   bool     `json:"can_trim"`
	CanZero   bool     `json:"can_zero"`
	ReadOnly  bool     `json:"is_read_only"`
	Minimum   uint32   `json:"block_size_minimum"`
	Preferred uint32   `json:"block_size_preferred"`
	Maximum   uint32   `json:"block_size_maximum"`
}

func parseInfo(t *testing.T, text string) []described {
	t.Helper()
	var all struct {
		Protocol   string
		Structured bool
		Exports    []described
	}
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	if all.Protocol != "newstyle-fixed" || !all.Structured {
		t.Errorf("protocol %q, structured %v", all.Protocol, all.Structured)
	}
	return all.Exports
}

func nbdinfo(t *testing.T, uri string) {
	one := parseInfo(t, must(t, "libnbd-bin", "nbdinfo", "--json", uri))
	if len(one) != 1 {
		t.Fatalf("%d exports, want 1", len(one))
	}
	e := one[0]
	if can := e.CanCache && e.CanDF && e.FastZero && e.CanFlush && e.CanFUA && e.MultiConn && e.CanTrim && e.CanZero; !can || e.ReadOnly {
		t.Errorf("something is missing in %+v", e)
	}
	if len(e.Contexts) != 1 || e.Contexts[0] != "base:allocation" {
		t.Errorf("contexts %q", e.Contexts)
	}
	if e.Minimum != 1 || e.Preferred != 4096 || e.Maximum != 32<<20 {
		t.Errorf("block sizes %d, %d, %d, want 1, 4096, 32 MiB", e.Minimum, e.Preferred, e.Maximum)
	}
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, x := range parseInfo(t, must(t, "libnbd-bin", "nbdinfo", "--list", "--json", "nbd://"+u.Host)) {
		found = found || x.Name == strings.TrimPrefix(u.Path, "/") && x.Size == e.Size
	}
	if !found {
		t.Errorf("the export is not in the list")
	}
}

// qemuIO writes and checks patterns, aligned and not.
func qemuIO(t *testing.T, uri string) {
	out := must(t, "qemu-utils", "qemu-io", "-f", "raw",
		"-c", "write -z 0 8M", "-c", "read -P 0 0 8M",
		"-c", "write -P 0x5a 1M 1M", "-c", "read -P 0x5a 1M 1M", "-c", "read -P 0 0 1M", "-c", "read -P 0 2M 1M",
		"-c", "write -P 0x33 1234567 54321", "-c", "read -P 0x33 1234567 54321", "-c", "read -P 0x5a 1M 185991",
		"-c", "write -f -P 0x77 4096 512", "-c", "read -P 0x77 4096 512", "-c", "read -P 0 4608 3584",
		"-c", "write -z -u 1M 512k", "-c", "read -P 0 1M 512k", "-c", "discard 3M 1M", "-c", "read -P 0 3M 1M",
		"-c", "aio_write -P 0x11 4M 1M", "-c", "aio_write -P 0x12 5M 1M", "-c", "aio_write -P 0x13 6M 64k", "-c", "aio_flush",
		"-c", "read -P 0x11 4M 1M", "-c", "read -P 0x12 5M 1M", "-c", "read -P 0x13 6M 64k", "-c", "flush", uri)
	if strings.Contains(out, "verification failed") || strings.Contains(out, "failed:") {
		t.Errorf("qemu-io: %s", out)
	}
}

// image makes a file of copyBytes: data, holes, and data that is all zeroes.
func image(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rng := rand.NewChaCha8([32]byte{1})
	p := make([]byte, 1<<20)
	for i := int64(0); i < copyBytes>>20; i++ {
		switch i % 4 {
		case 0, 1:
			_, _ = rng.Read(p) // never fails
		case 2:
			clear(p)
		default:
			continue
		}
		if _, err := f.WriteAt(p, i<<20); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(copyBytes); err != nil {
		t.Fatal(err)
	}
	return path
}

// copies brings an image in and out again, over one connection and over four.
func copies(t *testing.T, uri string) {
	in := image(t)
	want, err := os.ReadFile(in)
	if err != nil {
		t.Fatal(err)
	}
	for _, connections := range []string{"1", "4"} {
		must(t, "qemu-utils", "qemu-io", "-f", "raw", "-c", "write -P 0xff 0 48M", uri)
		must(t, "libnbd-bin", "nbdcopy", "--connections="+connections, "--flush", in, uri)
		out := filepath.Join(t.TempDir(), "out")
		must(t, "libnbd-bin", "nbdcopy", "--connections="+connections, uri, out)
		f, err := os.Open(out)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, copyBytes)
		_, err = f.ReadAt(got, 0)
		f.Close()
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s connections: the image came back different (%v)", connections, err)
		}
		must(t, "qemu-utils", "qemu-img", "compare", "-f", "raw", "-F", "raw", out, uri)
	}
}

// blockMap asks for the map of an export with one allocated MiB.
func blockMap(t *testing.T, uri string) {
	must(t, "qemu-utils", "qemu-io", "-f", "raw", "-c", "discard 0 48M", "-c", "write -P 1 16M 1M", uri)
	var extents []struct{ Offset, Length, Type uint64 }
	text := must(t, "libnbd-bin", "nbdinfo", "--map", "--json", uri)
	if err := json.Unmarshal([]byte(text), &extents); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	if len(extents) < 3 || extents[0].Length != 16<<20 || extents[0].Type&2 == 0 ||
		extents[1].Length != 1<<20 || extents[1].Type != 0 || extents[2].Type&2 == 0 {
		t.Errorf("map %s, want a hole of 16 MiB, 1 MiB of data, a hole", text)
	}
}
