package logstore

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs"
	"github.com/sextantdisk/sextant/internal/vfs/vfstest"
)

// TestAllOnExt4 runs this package's tests once more, on ext4 in a loop file:
// there O_DIRECT, fallocate and fdatasync are what production has. Left out is
// what needs a disk that loses something (the crash tests).
func TestAllOnExt4(t *testing.T) {
	if *onExt4 {
		return // this is the run on ext4
	}
	cmd := exec.Command(os.Args[0], "-test.skip", "^(TestCrash|TestB2|TestFullExt4)", "-ext4", "-test.v")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v -ext4: %v\n%s", os.Args[0], err, out)
	}
	passed := len(regexp.MustCompile(`(?m)^--- PASS`).FindAll(out, -1))
	if passed < 50 {
		t.Fatalf("only %d tests ran\n%s", passed, out)
	}
	t.Logf("%d tests passed", passed)
}

// TestFullExt4 fills a real disk to its last block: writes are refused, the
// store goes on, reads too, it opens again, and when somebody makes room it
// takes writes without being opened again.
func TestFullExt4(t *testing.T) {
	root := vfstest.Ext4(t, 16*block.MiB)
	ballast, err := vfs.OS().OpenFile(filepath.Join(root, "ballast"), vfs.Create)
	must(t, err)
	must(t, ballast.Allocate(4*block.MiB))
	dir := filepath.Join(root, "store")
	s, err := Open(vfs.OS(), dir, diskA, small())
	must(t, err)
	g := create(t, s, 1)
	n := block.Seq(0)
	for err == nil {
		n++
		err = g.Enqueue([]Record{write(lsn(1, n), prevOf(n), block.Index(n%40), 8)}).Wait()
	}
	wantKind(t, err, block.NoSpace)
	if n < 100 {
		t.Fatalf("full after %d records", n)
	}
	for range 2 {
		must(t, s.Failed())
		for b := block.Seq(1); b < 40; b++ {
			if got := owner(t, g, g.SCL(), block.Index((n-b)%40)); got.Seq() < n-b {
				t.Fatalf("block %d is of %v", (n-b)%40, got)
			}
		}
		wantKind(t, g.Enqueue([]Record{write(lsn(1, n), prevOf(n), 1, 8)}).Wait(), block.NoSpace)
		must(t, s.Close())
		s, err = Open(vfs.OS(), dir, diskA, small())
		must(t, err)
		g = segment(t, s, 1)
		if g.SCL() != lsn(1, n-1) || len(s.Damage()) > 0 {
			t.Fatalf("SCL %v of %d, damage %v", g.SCL(), n-1, s.Damage())
		}
	}
	must(t, ballast.Truncate(0))
	must(t, ballast.SyncMeta())
	for range 40 {
		put(t, g, write(lsn(1, n), prevOf(n), block.Index(n%40), 8))
		n++
	}
	must(t, s.Close())
	must(t, ballast.Close())
}
