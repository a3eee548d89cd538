package vm

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
)

// TestDamageIsFound: when the blocks of fio's files change behind the file
// system's back, between detaching and attaching again, the verify step and
// nothing before it fails.
func TestDamageIsFound(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(disk, 512<<20); err != nil {
		t.Fatal(err)
	}
	calls, err := filesCalls(Volumes{Ext4: nbdkit(t, "file", disk)})
	if err != nil {
		t.Fatal(err)
	}
	damaged := 0
	out, err := Run(t.Context(), Options{Script: filesScript + calls, OnLine: func(line string) {
		if strings.HasPrefix(line, "@@ ext4-umount") {
			damaged = damage(t, disk)
		}
	}})
	if !errors.Is(err, block.Invalid) {
		t.Errorf("error %v", err)
	}
	if damaged < 1000 || out.Values["ext4-write"] == "" || out.Values["ext4-verify"] != "" || !strings.Contains(out.Console, "verify:") {
		t.Errorf("%d blocks damaged, the guest said:\n%s", damaged, out.Console)
	}
}

// damage flips a bit in each block of a disk that begins as fio's verify
// header does, and tells in how many.
func damage(t *testing.T, disk string) int {
	t.Helper()
	f, err := os.OpenFile(disk, os.O_RDWR, 0)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer f.Close()
	n := 0
	chunk := make([]byte, 1<<20)
	for off := int64(0); ; off += int64(len(chunk)) {
		if _, err := io.ReadFull(f, chunk); err != nil {
			return n // the end of the disk
		}
		for i := 0; i < len(chunk); i += block.Size {
			if chunk[i] != 0xca || chunk[i+1] != 0xac {
				continue
			}
			n++
			if _, err := f.WriteAt([]byte{chunk[i+2000] ^ 1}, off+int64(i)+2000); err != nil {
				t.Error(err)
				return 0
			}
		}
	}
}

func TestFilesCallsAreValidated(t *testing.T) {
	for _, v := range []Volumes{{}, {Ext4: Volume{Addr: "192.0.2.1:1"}}, {XFS: Volume{Addr: "127.0.0.1:1", Export: "a'b"}}} {
		if calls, err := filesCalls(v); !errors.Is(err, block.Invalid) {
			t.Errorf("%+v: %q, %v", v, calls, err)
		}
	}
	calls, err := filesCalls(Volumes{XFS: Volume{"127.0.0.1:7", "a b"}, Large: Volume{"127.0.0.1:8", ""}})
	if want := "use xfs 10.0.2.2 7 'a b'\nlarge 10.0.2.2 8 ''\n"; err != nil || calls != want {
		t.Errorf("%q, %v", calls, err)
	}
}

// nbdkit serves a plugin on a port of loopback until the test ends.
func nbdkit(t *testing.T, plugin ...string) Volume {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().(*net.TCPAddr)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"--foreground", "--exit-with-parent", "-i", "127.0.0.1", "-p", fmt.Sprint(addr.Port)}, plugin...)
	cmd := exec.CommandContext(t.Context(), "nbdkit", args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v (scripts/deps installs nbdkit)", err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Errorf("nbdkit: %v %s", err, &stderr)
		}
		// It was killed, so it ends with an error.
		_ = cmd.Wait()
	})
	await(t, addr.String())
	return Volume{Addr: addr.String()}
}

// await waits until somebody listens at addr.
func await(t *testing.T, addr string) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("nobody listens at %s: %v", addr, err)
		}
	}
}
