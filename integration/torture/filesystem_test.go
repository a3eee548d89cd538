package torture

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

var takeovers = flag.Int("torture.takeovers", 3, "how often the gateway is killed under a file system")

// fsOps are done at least with each gateway.
const fsOps = 400

// TestFileSystems: ext4 and xfs on volumes whose gateway is killed again and
// again, and taken over by another one, see nothing of it. What they hold is
// what was written to them, and they find themselves whole.
func TestFileSystems(t *testing.T) {
	w := mustWorld(t)
	var disks []*fsDisk
	for i, d := range []*fsDisk{
		{kind: "ext4", make: []string{"mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1"}, check: []string{"e2fsck", "-fn"}},
		{kind: "xfs", make: []string{"mkfs.xfs", "-q", "-f"}, check: []string{"xfs_repair", "-n"}},
	} {
		if err := w.create(t.Context(), d.kind); err != nil {
			t.Fatal(err)
		}
		d.attach(t, w, uint64(i))
		disks = append(disks, d)
	}
	for round := range *takeovers + 1 {
		over := make(chan struct{})
		var busy sync.WaitGroup
		for _, d := range disks {
			busy.Go(func() { d.err = d.work(fsOps, over) })
		}
		if round < *takeovers {
			takeOver(t, w, disks, round)
		}
		close(over)
		busy.Wait()
		for _, d := range disks {
			if d.err != nil {
				t.Fatalf("%s, after %d operations: %v", d.kind, d.load.ops.Load(), d.err)
			}
			d.run(t, "fstrim", d.mount)
		}
	}
	for _, d := range disks {
		d.judge(t)
	}
}

// takeOver kills the gateway of a round in the middle of the work; clients
// find the next one in its place.
func takeOver(t *testing.T, w *World, disks []*fsDisk, round int) {
	t.Helper()
	before := disks[0].load.ops.Load()
	more := func(n int64) func() bool { return func() bool { return disks[0].load.ops.Load() > before+n } }
	await(t, "some work done", more(fsOps/4))
	old, next := round%gateways, (round+1)%gateways
	w.Cluster.Gateways[old].Kill()
	for _, d := range disks {
		d.point(t, w, next)
	}
	if err := w.Cluster.Gateways[old].Start(t.Context()); err != nil {
		t.Error(err)
	}
	before = disks[0].load.ops.Load()
	await(t, "work done with the next gateway", more(fsOps/4))
}

// fsDisk is a volume with a file system: QEMU's NBD client, which connects
// anew and sends again what was not answered, shows it as a file by FUSE; a
// loop device makes a disk of that.
type fsDisk struct {
	kind        string
	make, check []string

	dir, socket, file, device, mount string
	load                             *fsLoad
	err                              error
}

func (d *fsDisk) attach(t *testing.T, w *World, seed uint64) {
	t.Helper()
	d.dir = t.TempDir()
	d.socket, d.file, d.mount = filepath.Join(d.dir, "nbd.sock"), filepath.Join(d.dir, "disk"), filepath.Join(d.dir, "mount")
	if err := os.WriteFile(d.file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(d.mount, 0o700); err != nil {
		t.Fatal(err)
	}
	d.point(t, w, 0)
	d.startQEMU(t)
	await(t, "shown as a file", func() bool {
		st, err := os.Stat(d.file)
		return err == nil && st.Size() == int64(groups*pgSize)
	})
	d.device = d.run(t, "losetup", "--find", "--show", d.file)
	d.run(t, append(d.make, d.device)...)
	d.run(t, "mount", d.device, d.mount)
	d.load = newFSLoad(filepath.Join(d.mount, "files"), seed)
	if err := os.Mkdir(d.load.dir, 0o700); err != nil {
		t.Fatal(err)
	}
}

// point brings clients to a gateway.
func (d *fsDisk) point(t *testing.T, w *World, gateway int) {
	t.Helper()
	fresh := d.socket + ".new"
	if err := os.Symlink(w.Cluster.Socket(gateway), fresh); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(fresh, d.socket); err != nil {
		t.Fatal(err)
	}
}

// startQEMU starts what shows the volume as a file, until the test ends.
func (d *fsDisk) startQEMU(t *testing.T) {
	t.Helper()
	var out strings.Builder
	cmd := exec.Command("qemu-storage-daemon",
		"--blockdev", fmt.Sprintf("driver=nbd,node-name=n,server.type=unix,server.path=%s,export=%s,reconnect-delay=60,discard=unmap", d.socket, d.kind),
		"--export", fmt.Sprintf("type=fuse,id=f,node-name=n,mountpoint=%s,writable=on", d.file))
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v (of Debian's qemu-system-x86; scripts/deps installs it)", err)
	}
	t.Cleanup(func() {
		// What is in use goes when nobody uses it: in a test that failed
		// any of this may be in any state.
		for _, args := range [][]string{{"umount", "--lazy", d.mount}, {"losetup", "--detach", d.device}} {
			if text, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil && !t.Failed() {
				t.Errorf("%v: %v %s", args, err, text)
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // it was killed
		if text, err := exec.Command("umount", "--lazy", d.file).CombinedOutput(); err != nil {
			t.Errorf("umount %s: %v %s", d.file, err, text)
		}
		if t.Failed() {
			t.Logf("qemu-storage-daemon of %s: %s", d.kind, out.String())
		}
	})
}

// run runs a tool and gives what it prints.
func (d *fsDisk) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%q (scripts/deps installs the tools): %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// work does n operations at least, and goes on until over is closed.
func (d *fsDisk) work(n int, over <-chan struct{}) error {
	for i := 0; ; i++ {
		if err := d.load.step(); err != nil {
			return err
		}
		if i < n {
			continue
		}
		select {
		case <-over:
			return nil
		default:
		}
	}
}

// judge has the file system find itself whole, and compares all files after
// the kernel has forgotten them.
func (d *fsDisk) judge(t *testing.T) {
	t.Helper()
	if err := d.load.verify(); err != nil {
		t.Errorf("%s: %v", d.kind, err)
	}
	d.run(t, "umount", d.mount)
	d.run(t, append(d.check, d.device)...)
	d.run(t, "blockdev", "--flushbufs", d.device)
	d.run(t, "mount", d.device, d.mount)
	if err := d.load.verify(); err != nil {
		t.Errorf("%s, mounted again: %v", d.kind, err)
	}
	t.Logf("%s: %d operations, %d files", d.kind, d.load.ops.Load(), len(d.load.want))
}
