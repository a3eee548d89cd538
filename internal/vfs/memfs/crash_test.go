package memfs_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs"
	"github.com/sextantdisk/sextant/internal/vfs/memfs"
)

// subset answers with the bits of a number.
func subset(bits int) func() bool {
	return func() bool {
		b := bits&1 != 0
		bits >>= 1
		return b
	}
}

// TestCrashGivesEverySubset: the bits of all numbers below 1<<Unsynced are all
// the disks that a power cut may leave, and no others.
func TestCrashGivesEverySubset(t *testing.T) {
	f := memfs.New(0)
	a := create(t, f, "/a", 0)
	must(t, a.WritevAt([][]byte{fill(1, 1536)}, 0))
	must(t, a.SyncMeta())
	must(t, f.SyncDir("/"))
	must(t, a.WritevAt([][]byte{fill(1, 512), fill(2, 1024)}, 0)) // two sectors that differ
	must(t, a.Allocate(2048))                                     // a length
	create(t, f, "/b", 0)                                         // two names, in order
	must(t, f.Rename("/b", "/c"))
	n := f.Unsynced()
	if n != 5 {
		t.Fatalf("%d things are not durable, want 5", n)
	}
	seen := map[string]bool{}
	for bits := range 1 << n {
		c := f.Crash(subset(bits))
		names, err := c.List("/")
		must(t, err)
		p := read(t, c, "/a")
		if !bytes.Equal(p[:512], fill(1, 512)) || len(p) > 1536 && !bytes.Equal(p[1536:], fill(0, 512)) {
			t.Fatalf("subset %b: what was synced changed, or what was never written is there", bits)
		}
		seen[fmt.Sprintf("%v %d %d %d", names, len(p), p[512], p[1024])] = true
	}
	if len(seen) != 3*2*2*2 { // none, b, c; the length; a sector; a sector
		t.Fatalf("%d different disks", len(seen))
	}
}

// plain is a disk of one file by definition: an array for what is there, and
// for each sector what a crash may leave.
type plain struct {
	now     []byte
	durable []byte
}

func (p *plain) resize(n int) {
	p.now = append(p.now[:min(n, len(p.now))], make([]byte, max(n-len(p.now), 0))...)
}

func (p *plain) sync(meta bool) {
	if meta {
		p.durable = slices.Clone(p.now)
		return
	}
	if len(p.now) == len(p.durable) {
		copy(p.durable, p.now)
		return
	}
	end := min(len(p.now), len(p.durable)) / memfs.Sector * memfs.Sector
	copy(p.durable[:end], p.now[:end])
}

// TestQuickAgainstArrays: contents that share pages behave like arrays, and a
// clone never changes with its origin.
func TestQuickAgainstArrays(t *testing.T) {
	for seed := range uint64(200) {
		r := rng(seed)
		f, want := memfs.New(0), &plain{}
		file := create(t, f, "/a", 0)
		must(t, f.SyncDir("/"))
		type clone struct {
			fs   *memfs.FS
			want []byte
		}
		var clones []clone
		for range 60 {
			switch r.IntN(6) {
			case 0:
				n := r.IntN(20_000)
				must(t, file.Truncate(block.ByteCount(n)))
				want.resize(n)
			case 1:
				must(t, file.Sync())
				want.sync(false)
			case 2:
				must(t, file.SyncMeta())
				want.sync(true)
			case 3:
				clones = append(clones, clone{f.CrashClone(r, 0), slices.Clone(want.durable)},
					clone{f.CrashClone(r, 1), slices.Clone(want.now)})
			default:
				off, p := r.IntN(16_000), fill(byte(r.IntN(255)+1), r.IntN(9000))
				must(t, file.WritevAt([][]byte{p}, vfs.Offset(off)))
				if len(p) > 0 {
					want.resize(max(len(want.now), off+len(p)))
					copy(want.now[off:], p)
				}
			}
			if got := read(t, f, "/a"); !bytes.Equal(got, want.now) {
				t.Fatalf("seed %d: the file is not what was written", seed)
			}
		}
		for i, c := range clones {
			if got := read(t, c.fs, "/a"); !bytes.Equal(got, c.want) {
				t.Fatalf("seed %d: clone %d: %d bytes that differ from the %d of its time", seed, i, len(got), len(c.want))
			}
		}
	}
}
