package memfs_test

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/sextantdisk/sextant/internal/slab"
	"github.com/sextantdisk/sextant/internal/vfs"
	"github.com/sextantdisk/sextant/internal/vfs/memfs"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func rng(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

func create(t *testing.T, f vfs.FS, name string, mode vfs.Mode) vfs.File {
	t.Helper()
	file, err := f.OpenFile(name, mode|vfs.Create)
	must(t, err)
	return file
}

func fill(b byte, n int) []byte { return bytes.Repeat([]byte{b}, n) }

func read(t *testing.T, f vfs.FS, name string) []byte {
	t.Helper()
	file, err := f.OpenFile(name, vfs.ReadOnly)
	must(t, err)
	defer file.Close()
	size, err := file.Size()
	must(t, err)
	p := make([]byte, size)
	_, err = file.ReadAt(p, 0)
	must(t, err)
	return p
}

func TestCrashKeepsWhatWasSynced(t *testing.T) {
	f := memfs.New(0)
	file := create(t, f, "/a", 0)
	must(t, file.WritevAt([][]byte{fill(1, 4096)}, 0))
	must(t, file.SyncMeta())
	must(t, f.SyncDir("/"))
	must(t, file.WritevAt([][]byte{fill(2, 2048)}, 1024))
	must(t, file.Sync())
	must(t, file.WritevAt([][]byte{fill(3, 4096)}, 0))
	want := bytes.Join([][]byte{fill(1, 1024), fill(2, 2048), fill(1, 1024)}, nil)
	if got := read(t, f.CrashClone(rng(1), 0), "/a"); !bytes.Equal(got, want) {
		t.Fatal("a clone that keeps nothing unsynced differs from what was synced")
	}
	if got := read(t, f.CrashClone(rng(1), 1), "/a"); !bytes.Equal(got, fill(3, 4096)) {
		t.Fatal("a clone that keeps all differs from what was written")
	}
}

func TestCrashTearsAtSectors(t *testing.T) {
	f := memfs.New(0)
	file := create(t, f, "/a", 0)
	must(t, file.WritevAt([][]byte{fill(1, 16384)}, 0))
	must(t, file.SyncMeta())
	must(t, f.SyncDir("/"))
	must(t, file.WritevAt([][]byte{fill(2, 16384)}, 0))
	got := read(t, f.CrashClone(rng(7), 0.5), "/a")
	news := 0
	for s := 0; s < len(got); s += memfs.Sector {
		sector := got[s : s+memfs.Sector]
		if !bytes.Equal(sector, fill(1, memfs.Sector)) && !bytes.Equal(sector, fill(2, memfs.Sector)) {
			t.Fatalf("sector at %d is torn within", s)
		}
		if sector[0] == 2 {
			news++
		}
	}
	if news == 0 || news == 32 {
		t.Fatalf("%d of 32 sectors survived: the batch is not torn", news)
	}
	again := read(t, f.CrashClone(rng(7), 0.5), "/a")
	if !bytes.Equal(got, again) {
		t.Fatal("the same seed gave another clone")
	}
}

func TestT18SyncDoesNotMoveTheSize(t *testing.T) {
	f := memfs.New(0)
	file := create(t, f, "/a", 0)
	must(t, f.SyncDir("/"))
	must(t, file.WritevAt([][]byte{fill(1, 4096)}, 0))
	must(t, file.Sync())
	if got := read(t, f.CrashClone(rng(1), 0), "/a"); len(got) != 0 {
		t.Fatalf("%d bytes survived though their size was never synced", len(got))
	}
	must(t, file.SyncMeta())
	if got := read(t, f.CrashClone(rng(1), 0), "/a"); !bytes.Equal(got, fill(1, 4096)) {
		t.Fatal("bytes were lost after SyncMeta")
	}
}

func TestCrashLosesNames(t *testing.T) {
	f := memfs.New(0)
	file := create(t, f, "/a", 0)
	must(t, file.WritevAt([][]byte{fill(1, 10)}, 0))
	must(t, file.SyncMeta())
	open := func(f vfs.FS, name string) error {
		_, err := f.OpenFile(name, vfs.ReadOnly)
		return err
	}
	if err := open(f.CrashClone(rng(1), 0), "/a"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("a name survived without SyncDir: %v", err)
	}
	must(t, f.SyncDir("/"))
	must(t, f.Rename("/a", "/b"))
	c := f.CrashClone(rng(1), 0)
	if open(c, "/a") != nil || open(c, "/b") == nil {
		t.Fatal("a rename survived without SyncDir")
	}
	must(t, f.SyncDir("/"))
	c = f.CrashClone(rng(1), 0)
	if open(c, "/a") == nil || open(c, "/b") != nil {
		t.Fatal("a rename was lost after SyncDir")
	}
}

func TestDirectRefusesUnaligned(t *testing.T) {
	f := memfs.New(0)
	file := create(t, f, "/a", vfs.Direct)
	ok := slab.Get(8192).Bytes()
	must(t, file.WritevAt([][]byte{ok}, 4096))
	for name, err := range map[string]error{
		"offset": file.WritevAt([][]byte{ok}, 512),
		"length": file.WritevAt([][]byte{ok[:512]}, 0),
		"memory": file.WritevAt([][]byte{ok[512 : 512+4096]}, 0),
	} {
		if !errors.Is(err, syscall.EINVAL) {
			t.Fatalf("unaligned %s: %v", name, err)
		}
	}
}

func TestCapacityIsKept(t *testing.T) {
	f := memfs.New(8192)
	a := create(t, f, "/a", 0)
	must(t, a.WritevAt([][]byte{fill(1, 8192)}, 0))
	must(t, a.WritevAt([][]byte{fill(2, 8192)}, 0))
	b := create(t, f, "/b", 0)
	if err := b.WritevAt([][]byte{fill(1, 1)}, 0); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("write to a full disk: %v", err)
	}
	must(t, f.Remove("/a"))
	must(t, b.WritevAt([][]byte{fill(1, 8192)}, 0))
	must(t, a.Truncate(0)) // nobody's bytes any more
	if s, err := f.Space("/"); err != nil || s.Free != 0 {
		t.Fatalf("full disk has %+v, %v", s, err)
	}
	must(t, b.Truncate(4096))
	c := create(t, f, "/c", 0)
	must(t, c.WritevAt([][]byte{fill(1, 4096)}, 0))
	must(t, f.Rename("/c", "/b")) // what had the name is gone
	if s, err := f.Space("/"); err != nil || s.Free != 4096 {
		t.Fatalf("after a rename over a file: %+v, %v", s, err)
	}
	f.SetCapacity(4096)
	if err := c.Allocate(4097); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("growing on a disk that shrank: %v", err)
	}
	f.SetCapacity(0)
	must(t, c.Allocate(1<<20))
}

func TestOnlyWritersChangeFiles(t *testing.T) {
	f := memfs.New(0)
	must(t, create(t, f, "/a", 0).WritevAt([][]byte{fill(1, 4096)}, 0))
	file, err := f.OpenFile("/a", vfs.ReadOnly)
	must(t, err)
	for name, err := range map[string]error{
		"write":    file.WritevAt([][]byte{fill(2, 1)}, 0),
		"allocate": file.Allocate(8192),
		"truncate": file.Truncate(0),
	} {
		if !errors.Is(err, syscall.EBADF) {
			t.Fatalf("%s through a descriptor for reading: %v", name, err)
		}
	}
	if got := read(t, f, "/a"); !bytes.Equal(got, fill(1, 4096)) {
		t.Fatal("the file changed")
	}
	must(t, file.Close())
	if _, err := file.ReadAt(make([]byte, 1), 0); !errors.Is(err, syscall.EBADF) {
		t.Fatalf("read of a closed file: %v", err)
	}
}
