package vm

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sextantdisk/sextant/internal/block"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRunTellsTheScriptsStatus(t *testing.T) {
	var lines []string
	out, err := Run(t.Context(), Options{
		Script: "echo '@@ kernel' \"$(uname -r)\"\necho 'last words'\nfalse\necho 'not reached'\n",
		OnLine: func(l string) { lines = append(lines, l) },
	})
	if !errors.Is(err, block.Invalid) || !strings.Contains(err.Error(), "ended with status 1") || !strings.Contains(err.Error(), "last words") {
		t.Errorf("error %v", err)
	}
	if v := out.Values["kernel"]; !strings.HasSuffix(v, "-cloud-amd64") {
		t.Errorf("kernel %q", v)
	}
	if strings.Contains(out.Console, "not reached") || !slices.Contains(lines, "last words") {
		t.Errorf("console:\n%s\nlines: %q", out.Console, lines)
	}
	if bad, ok := out.Values["module-failed"]; ok {
		t.Errorf("module %s did not load", bad)
	}
}

func TestRunTellsAPanic(t *testing.T) {
	_, err := Run(t.Context(), Options{Script: "echo c > /proc/sysrq-trigger\nsleep 60\n"})
	if !errors.Is(err, block.Unavailable) || !strings.Contains(err.Error(), "without telling its status") {
		t.Errorf("error %v", err)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	start := time.Now()
	_, err := Run(ctx, Options{
		Script: "echo here\nsleep 600\n",
		OnLine: func(l string) {
			if l == "here" {
				cancel()
			}
		},
	})
	if !errors.Is(err, context.Canceled) || time.Since(start) > time.Minute {
		t.Errorf("error %v after %v", err, time.Since(start))
	}
}

func TestGuestAddr(t *testing.T) {
	for addr, want := range map[string]string{"127.0.0.1:10809": "10.0.2.2:10809", "localhost:1": "10.0.2.2:1", "[::1]:2": "10.0.2.2:2"} {
		if got, err := GuestAddr(addr); err != nil || got != want {
			t.Errorf("%s: %q, %v", addr, got, err)
		}
	}
	for _, addr := range []string{"127.0.0.1", "192.0.2.1:80", ""} {
		if _, err := GuestAddr(addr); !errors.Is(err, block.Invalid) {
			t.Errorf("%q: %v", addr, err)
		}
	}
}

func TestLoadOrder(t *testing.T) {
	dep := "kernel/a.ko: kernel/b-x.ko kernel/c.ko\nkernel/b-x.ko: kernel/c.ko\nkernel/c.ko:\nkernel/d.ko.xz:\n"
	got, err := loadOrder(dep, "kernel/fs/ext4.ko\n", []string{"d", "a", "b_x", "ext4"})
	if want := []string{"kernel/d.ko.xz", "kernel/c.ko", "kernel/b-x.ko", "kernel/a.ko"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := loadOrder(dep, "", []string{"ext4"}); !errors.Is(err, block.NotFound) {
		t.Errorf("a module that is nowhere: %v", err)
	}
}

func TestParseLDD(t *testing.T) {
	got, err := parseLDD("\tlinux-vdso.so.1 (0x1)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x2)\n\t/lib64/ld.so (0x3)\n")
	if want := []string{"/lib/x/libc.so.6", "/lib64/ld.so"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := parseLDD("\tlibx.so => not found\n"); !errors.Is(err, block.NotFound) {
		t.Errorf("a library that lacks: %v", err)
	}
}

// TestCpioIsReadByOthers: what we write, cpio unpacks.
func TestCpioIsReadByOthers(t *testing.T) {
	var b bytes.Buffer
	c := &cpioWriter{w: &b}
	c.folder("dir")
	for _, n := range []string{"", "1", "22", "333", "4444"} {
		c.file("dir/"+n+"f", []byte(n))
	}
	c.link("link", "dir/1f")
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "cpio", "-i", "--quiet")
	cmd.Dir, cmd.Stdin = dir, &b
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v %s (scripts/deps installs cpio)", err, out)
	}
	for _, n := range []string{"", "1", "22", "333", "4444"} {
		if got, err := os.ReadFile(filepath.Join(dir, "dir", n+"f")); err != nil || string(got) != n {
			t.Errorf("%q, %v", got, err)
		}
	}
	if got, err := os.ReadFile(filepath.Join(dir, "link")); err != nil || string(got) != "1" {
		t.Errorf("through the link: %q, %v", got, err)
	}
}
