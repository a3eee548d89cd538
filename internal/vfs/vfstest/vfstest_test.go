package vfstest_test

import (
	"bytes"
	"errors"
	"path"
	"strings"
	"syscall"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs"
	"github.com/sextantdisk/sextant/internal/vfs/vfstest"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestEachGivesAnEmptyFolder(t *testing.T) {
	vfstest.Each(t, func(t *testing.T, fs vfs.FS, dir string) {
		names, err := fs.List(dir)
		must(t, err)
		if len(names) != 0 {
			t.Fatalf("%q", names)
		}
		f, err := fs.OpenFile(path.Join(dir, "f"), vfs.Create|vfs.Direct)
		must(t, err)
		if !f.Direct() {
			t.Fatal("no O_DIRECT: this is not the disk that it should be")
		}
		must(t, f.Close())
	})
}

// TestExt4IsFull: space ends, reserved space does not, and comes back.
func TestExt4IsFull(t *testing.T) {
	fs, dir := vfs.OS(), vfstest.Ext4(t, 8*block.MiB)
	f, err := fs.OpenFile(path.Join(dir, "f"), vfs.Create)
	must(t, err)
	must(t, f.Allocate(1*block.MiB))
	for n := block.ByteCount(1); err == nil; n++ {
		if n > 64 {
			t.Fatal("8 MiB have no end")
		}
		err = f.Allocate((1 + n/2) * block.MiB)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	g, err := fs.OpenFile(path.Join(dir, "g"), vfs.Create)
	must(t, err)
	for n := vfs.Offset(0); err == nil; n += 4096 { // what is left
		if err = g.WritevAt([][]byte{make([]byte, 4096)}, n); err == nil {
			err = g.Sync()
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	must(t, g.Close())
	must(t, f.WritevAt([][]byte{bytes.Repeat([]byte{1}, int(block.MiB))}, 0)) // has its space
	must(t, f.Sync())
	must(t, f.Truncate(0))
	must(t, f.Allocate(1*block.MiB))
	must(t, f.Close())
}

func TestDisks(t *testing.T) {
	for name, disk := range map[string]vfstest.Disk{"memory": vfstest.Memory(0), "ext4": vfstest.OnExt4()} {
		t.Run(name, func(t *testing.T) {
			must(t, disk.MkdirAll("/a"))
			f, err := disk.OpenFile("/a/f", vfs.Create)
			must(t, err)
			must(t, f.WritevAt([][]byte{[]byte("abc")}, 0))
			must(t, f.SyncMeta())
			must(t, disk.SyncDir("/a"))
			must(t, f.Close())
			c := disk.CrashClone(nil, 1)
			if !disk.Damage("/a/f", 1, 3) || disk.Damage("/a/f", 3, 1) || disk.Damage("/a/g", 0, 1) {
				t.Fatal("damage where there is nothing, or none where there is")
			}
			for want, d := range map[string]vfstest.Disk{"aac": disk, "abc": c} {
				f, err := d.OpenFile("/a/f", vfs.ReadOnly)
				must(t, err)
				p := make([]byte, 3)
				_, err = f.ReadAt(p, 0)
				must(t, err)
				must(t, f.Close())
				if string(p) != want || !strings.Contains(d.Describe(), "/a/f 3") {
					t.Fatalf("%q, want %q, on\n%s", p, want, d.Describe())
				}
			}
		})
	}
}
