package vfstest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs"
	"github.com/sextantdisk/sextant/internal/vfs/memfs"
)

// sharedSize is the size of the file system that a package's tests share. It
// is sparse: it takes what is written.
const sharedSize = 4 * block.GiB

// Each runs a test on each kind of disk, in an empty folder.
func Each(t *testing.T, run func(t *testing.T, fs vfs.FS, dir string)) {
	t.Run("memfs", func(t *testing.T) {
		fs := memfs.New(0)
		if err := fs.MkdirAll("/dir"); err != nil {
			t.Fatal(err)
		}
		run(t, fs, "/dir")
	})
	t.Run("ext4", func(t *testing.T) { run(t, vfs.OS(), SharedExt4(t)) })
}

// SharedExt4 is an empty folder on the ext4 of this test process, removed with
// the test.
func SharedExt4(t testing.TB) string {
	t.Helper()
	root, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return folder(t, root)
}

// Ext4 is an empty folder on an ext4 of size (at least 2 MiB) that no other
// test uses; it takes less than that of data.
func Ext4(t testing.TB, size block.ByteCount) string {
	t.Helper()
	root, err := mount(size)
	if err != nil {
		t.Fatal(err)
	}
	return folder(t, root)
}

func folder(t testing.TB, root string) string {
	t.Helper()
	dir, err := os.MkdirTemp(root, "test-") //nolint:usetesting // a folder on that disk
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

var shared = sync.OnceValues(func() (string, error) { return mount(sharedSize) })

// mount makes an ext4 of size and gives its root.
func mount(size block.ByteCount) (root string, err error) {
	dir, err := os.MkdirTemp("", "vfstest-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	image, place := filepath.Join(dir, "image"), filepath.Join(dir, "mount")
	if err := os.Mkdir(place, 0o700); err != nil {
		return "", err
	}
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		return "", err
	}
	if err := os.Truncate(image, int64(size)); err != nil {
		return "", err
	}
	// No blocks are kept for root, no table is written later.
	if err := command("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", image); err != nil {
		return "", err
	}
	if err := command("mount", "-o", "loop", image, place); err != nil {
		return "", err
	}
	fd, err := os.Open(place)
	if err != nil {
		return "", err
	}
	if err := command("umount", "--lazy", place); err != nil {
		return "", err
	}
	kept.Lock()
	defer kept.Unlock()
	kept.files = append(kept.files, fd)
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd.Fd()), nil // children can use it, too
}

// kept holds the roots open until the process ends.
var kept struct {
	sync.Mutex
	files []*os.File
}

func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s (run as root, with e2fsprogs and util-linux, see scripts/deps): %w: %s", name, err, out)
	}
	return nil
}
