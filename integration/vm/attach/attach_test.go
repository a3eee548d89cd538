package attach

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sextantdisk/sextant/integration/cluster"
	"github.com/sextantdisk/sextant/integration/vm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// maxLargeMkfs is how long making an ext4 of 1 TiB may take in the guest.
const maxLargeMkfs = time.Minute

// TestFilesystems: ext4, XFS and Btrfs each on a fresh volume of a cluster:
// attached with four connections, made, mounted, written with checksums,
// detached, attached again, read back, trimmed, checked, detached. A volume
// of 1 TiB gets an ext4 in under a minute.
func TestFilesystems(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Extra: map[string][]string{"segment": {"--log-file-size", "16MiB"}}})
	fresh := func(name, size, pgSize string) vm.Volume {
		if _, err := c.Sextant(t.Context(), "volume", "create", name, "--size", size, "--pg-size", pgSize); err != nil {
			t.Fatal(err)
		}
		return vm.Volume{Addr: c.Gateways[0].Addr("listen"), Export: name}
	}
	// Groups of 64 MiB, so that a file system lies on many of them.
	steps := vm.FilesystemTest(t, vm.Volumes{
		Ext4: fresh("ext4", "1GiB", "64MiB"), XFS: fresh("xfs", "1GiB", "64MiB"), Btrfs: fresh("btrfs", "1GiB", "64MiB"),
		Large: fresh("large", "1TiB", "10GiB"),
	})
	for _, fs := range []string{"ext4", "xfs", "btrfs"} {
		for _, step := range []string{"attach", "mkfs", "write", "verify", "trim", "check", "detach"} {
			if _, ok := steps[fs+"-"+step]; !ok {
				t.Errorf("step %s-%s was not done", fs, step)
			}
		}
	}
	if d, ok := steps["large-mkfs"]; !ok || d > maxLargeMkfs {
		t.Errorf("mkfs of 1 TiB took %v, want at most %v", d, maxLargeMkfs)
	}
	t.Logf("steps: %v", steps)
}
