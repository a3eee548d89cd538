package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
)

// loopDisk is a disk of its own for one daemon: an ext4 on a loop device, which
// can be made to fail. It needs root.
type loopDisk struct {
	image, device string
}

// failedSize is what is left of a disk that fails: next to nothing of what it
// holds is there.
const failedSize = 64 * block.KiB

// mountDisk makes a disk and mounts it where a daemon's data folder will be.
func mountDisk(tb testing.TB, dir string, size block.ByteCount) *loopDisk {
	tb.Helper()
	d := &loopDisk{image: filepath.Join(tb.TempDir(), "image")}
	if err := os.WriteFile(d.image, nil, 0o600); err != nil {
		tb.Fatal(err)
	}
	if err := os.Truncate(d.image, int64(size)); err != nil {
		tb.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		tb.Fatal(err)
	}
	tool(tb, "e2fsprogs", "mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", d.image)
	d.device = strings.TrimSpace(tool(tb, "util-linux", "losetup", "--find", "--show", d.image))
	tb.Cleanup(func() { // after the cluster's: its daemons have ended
		for _, args := range [][]string{{"umount", "--lazy", dir}, {"losetup", "--detach", d.device}} {
			if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
				tb.Errorf("%v: %v %s", args, err, out)
			}
		}
	})
	tool(tb, "util-linux", "mount", "-o", "errors=continue", d.device, dir)
	return d
}

// fail makes the disk answer with EIO, to nearly all that it is asked: it is
// shorter from now on than the file system believes.
func (d *loopDisk) fail(tb testing.TB) {
	tb.Helper()
	if err := os.Truncate(d.image, int64(failedSize)); err != nil {
		tb.Fatal(err)
	}
	tool(tb, "util-linux", "losetup", "--set-capacity", d.device)
}
