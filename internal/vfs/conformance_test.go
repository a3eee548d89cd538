package vfs_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"testing"

	"github.com/sextantdisk/sextant/internal/slab"
	"github.com/sextantdisk/sextant/internal/vfs"
	"github.com/sextantdisk/sextant/internal/vfs/faultfs"
	"github.com/sextantdisk/sextant/internal/vfs/memfs"
	"github.com/sextantdisk/sextant/internal/vfs/vfstest"
)

// implementations are the file systems that must behave alike.
func implementations(t *testing.T, run func(t *testing.T, f vfs.FS, dir string)) {
	t.Run("os", func(t *testing.T) { run(t, vfs.OS(), t.TempDir()) })
	vfstest.Each(t, run)
	t.Run("faultfs", func(t *testing.T) { run(t, faultfs.Wrap(memfs.New(0)), "/") })
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func page(fill byte, n int) []byte {
	b := slab.Get(n).Bytes()
	for i := range b {
		b[i] = fill
	}
	return b
}

func TestConformanceReadWrite(t *testing.T) {
	implementations(t, func(t *testing.T, f vfs.FS, dir string) {
		for _, mode := range []vfs.Mode{vfs.Create, vfs.Create | vfs.Direct} {
			name := path.Join(dir, "f")
			file, err := f.OpenFile(name, mode)
			must(t, err)
			_, err = f.OpenFile(name, mode)
			if !errors.Is(err, fs.ErrExist) {
				t.Fatalf("second create: %v", err)
			}
			must(t, file.WritevAt([][]byte{page(1, 4096), page(2, 8192)}, 4096))
			must(t, file.SyncMeta())
			must(t, file.WritevAt([][]byte{page(3, 4096)}, 8192))
			must(t, file.Sync())
			if size, err := file.Size(); err != nil || size != 16384 {
				t.Fatalf("size %v, %v", size, err)
			}
			got := page(9, 16384)
			n, err := file.ReadAt(got, 0)
			must(t, err)
			want := slices.Concat(page(0, 4096), page(1, 4096), page(3, 4096), page(2, 4096))
			if n != len(got) || !bytes.Equal(got, want) {
				t.Fatal("bytes differ from what was written")
			}
			if n, err := file.ReadAt(got, 12288); n != 4096 || err != io.EOF {
				t.Fatalf("read over the end gave %d, %v", n, err)
			}
			reader, err := f.OpenFile(name, vfs.ReadOnly)
			must(t, err)
			checkReadv(t, file, want)
			checkReadv(t, reader, want)
			if n := reader.ReadCached(got[:8192], 4096); n > 8192 || !bytes.Equal(got[:n], want[4096:4096+n]) {
				t.Fatalf("cached read gave %d bytes, or wrong ones", n)
			}
			if n := file.ReadCached(got[:4096], 0); n != 0 && file.Direct() {
				t.Fatalf("cached read past the cache gave %d bytes", n)
			}
			if file.Direct() && file.Cached(0, 4096) {
				t.Fatal("memory is said to have what bypasses it")
			}
			if n, err := reader.ReadAt(got[:100], 4000); n != 100 || err != nil || got[95] != 0 || got[96] != 1 {
				t.Fatalf("unaligned buffered read gave %d, %v", n, err)
			}
			must(t, file.Allocate(32768))
			must(t, file.Allocate(4096)) // long enough already
			if size, err := file.Size(); err != nil || size != 32768 {
				t.Fatalf("size after allocate: %v, %v", size, err)
			}
			if n, err := file.ReadAt(got, 16384); n != 16384 || err != nil || !bytes.Equal(got, page(0, 16384)) {
				t.Fatalf("what was never written reads %d, %v, or not as zeroes", n, err)
			}
			must(t, file.Truncate(4096))
			if size, err := f.Stat(name); err != nil || size != 4096 {
				t.Fatalf("stat after truncate: %v, %v", size, err)
			}
			must(t, reader.Close())
			must(t, file.Close())
			must(t, f.Remove(name))
		}
	})
}

// checkReadv reads file, which holds want, in pieces of different lengths.
func checkReadv(t *testing.T, file vfs.File, want []byte) {
	t.Helper()
	got := page(9, 16384)
	n, err := file.ReadvAt([][]byte{got[:4096], got[4096:12288], got[12288:16384]}, 0)
	if n != 16384 || err != nil || !bytes.Equal(got, want) {
		t.Fatalf("vectored read gave %d, %v, or wrong bytes", n, err)
	}
	clear(got)
	n, err = file.ReadvAt([][]byte{got[:4096], got[4096:12288]}, 8192)
	if n != 8192 || err != io.EOF || !bytes.Equal(got[:8192], want[8192:]) {
		t.Fatalf("vectored read over the end gave %d, %v, or wrong bytes", n, err)
	}
}

func TestConformanceManyPieces(t *testing.T) {
	implementations(t, func(t *testing.T, f vfs.FS, dir string) {
		file, err := f.OpenFile(path.Join(dir, "f"), vfs.Create)
		must(t, err)
		var bufs [][]byte
		var want []byte
		for i := range 3000 { // more than one pwritev takes
			p := bytes.Repeat([]byte{byte(i)}, 1+i%7)
			if i%50 == 0 {
				p = nil
			}
			bufs = append(bufs, p)
			want = append(want, p...)
		}
		must(t, file.WritevAt(bufs, 5))
		got := make([]byte, len(want))
		_, err = file.ReadAt(got, 5)
		must(t, err)
		if !bytes.Equal(got, want) {
			t.Fatal("bytes differ from what was written")
		}
		must(t, file.Close())
	})
}

func TestConformanceNames(t *testing.T) {
	implementations(t, func(t *testing.T, f vfs.FS, dir string) {
		sub := path.Join(dir, "a", "b")
		must(t, f.MkdirAll(sub))
		must(t, f.MkdirAll(sub))
		for _, n := range []string{"y", "x"} {
			file, err := f.OpenFile(path.Join(sub, n), vfs.Create)
			must(t, err)
			must(t, file.WritevAt([][]byte{[]byte(n)}, 0))
			must(t, file.Close())
		}
		must(t, f.Rename(path.Join(sub, "x"), path.Join(sub, "y")))
		must(t, f.SyncDir(sub))
		names, err := f.List(sub)
		must(t, err)
		if !slices.Equal(names, []string{"y"}) {
			t.Fatalf("names after rename: %q", names)
		}
		if _, err := f.OpenFile(path.Join(sub, "x"), vfs.ReadOnly); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("open of a renamed file: %v", err)
		}
		if _, err := f.List(path.Join(dir, "nowhere")); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("list of no folder: %v", err)
		}
		if _, err := f.Stat(path.Join(sub, "x")); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("stat of no file: %v", err)
		}
	})
}

func TestConformanceLock(t *testing.T) {
	implementations(t, func(t *testing.T, f vfs.FS, dir string) {
		name := path.Join(dir, "LOCK")
		l, err := f.Lock(name)
		must(t, err)
		if _, err := f.Lock(name); !errors.Is(err, vfs.ErrLocked) {
			t.Fatalf("second lock: %v", err)
		}
		must(t, l.Close())
		if _, err := f.Lock(path.Join(dir, "nowhere", "LOCK")); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("lock in no folder: %v", err)
		}
		l, err = f.Lock(name)
		must(t, err)
		must(t, l.Close())
	})
}

func TestConformanceSpace(t *testing.T) {
	implementations(t, func(t *testing.T, f vfs.FS, dir string) {
		s, err := f.Space(dir)
		must(t, err)
		if s.Total == 0 || s.Free > s.Total {
			t.Fatalf("space %+v", s)
		}
	})
}
