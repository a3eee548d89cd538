package vfs_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sextantdisk/sextant/internal/vfs"
)

// TestCachedTellsWhatMemoryHas: as far as the kernel tells, and asking has
// nothing read.
func TestCachedTellsWhatMemoryHas(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	must(t, os.WriteFile(name, page(1, 1<<16), 0o600))
	raw, err := os.OpenFile(name, os.O_RDWR, 0)
	must(t, err)
	defer raw.Close()
	f, err := vfs.OS().OpenFile(name, vfs.ReadOnly)
	must(t, err)
	defer f.Close()
	var stat unix.Cachestat_t
	known := !errors.Is(unix.Cachestat(uint(raw.Fd()), &unix.CachestatRange{Len: 1}, &stat, 0), unix.ENOSYS)
	if f.Cached(0, 1<<16) != known || f.Cached(5000, 3) != known || f.Cached(0, 1<<17) {
		t.Errorf("what was just written: %v, a part of it %v; beyond its end: %v; the kernel tells: %v",
			f.Cached(0, 1<<16), f.Cached(5000, 3), f.Cached(0, 1<<17), known)
	}
	must(t, raw.Sync())
	must(t, unix.Fadvise(int(raw.Fd()), 0, 0, unix.FADV_DONTNEED))
	var fs unix.Statfs_t
	must(t, unix.Fstatfs(int(raw.Fd()), &fs))
	inMemory := fs.Type == unix.TMPFS_MAGIC && known
	for range 3 {
		if f.Cached(8192, 4096) != inMemory {
			t.Errorf("what has left memory is said to be there")
		}
	}
	f.WillNeed(4096, 12<<10)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for n := 0; known && !f.Cached(4096, 12<<10); n++ {
		if <-tick.C; n == 10_000 {
			t.Fatal("what will be needed does not come into memory")
		}
	}
}
