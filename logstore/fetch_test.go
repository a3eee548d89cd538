package logstore

import (
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/slab"
	"github.com/sextantdisk/sextant/internal/vfs"
	"github.com/sextantdisk/sextant/internal/vfs/faultfs"
)

// countingFS counts the reads that wait for the disk, and the questions for
// what memory has, which it does not.
type countingFS struct {
	vfs.FS
	reads, asked atomic.Int64
}

type countingFile struct {
	vfs.File
	fs *countingFS
}

func (c *countingFS) OpenFile(name string, mode vfs.Mode) (vfs.File, error) {
	f, err := c.FS.OpenFile(name, mode)
	return countingFile{f, c}, err
}

func (f countingFile) ReadAt(p []byte, off vfs.Offset) (int, error) {
	f.fs.reads.Add(1)
	return f.File.ReadAt(p, off)
}

func (f countingFile) ReadvAt(bufs [][]byte, off vfs.Offset) (int, error) {
	f.fs.reads.Add(1)
	return f.File.ReadvAt(bufs, off)
}

// Nothing is at hand, so that all must be fetched.
func (f countingFile) ReadCached([]byte, vfs.Offset) int {
	f.fs.asked.Add(1)
	return 0
}

func (f countingFile) Cached(vfs.Offset, int) bool { return false }

// counted is a segment on a disk whose reads are counted.
func counted(t *testing.T) (*countingFS, *Segment) {
	t.Helper()
	fs := &countingFS{FS: newDisk()}
	cfg := small()
	cfg.FileSize = 8 * block.MiB
	return fs, create(t, open(t, fs, cfg), 1)
}

// TestNeighboursAreReadTogether: blocks written one after the other lie a
// batch header apart. Reading them all takes few calls, and gives the right
// bytes, also where others were written between.
func TestNeighboursAreReadTogether(t *testing.T) {
	fs, g := counted(t)
	const n = 200
	seq := block.Seq(0)
	next := func(first block.Index, count int) {
		seq++
		var prev block.LSN
		if seq > 1 {
			prev = lsn(1, seq-1)
		}
		put(t, g, write(lsn(1, seq), prev, first, count))
	}
	for i := range n {
		if i%50 == 49 { // elsewhere: the next in line lies beyond a gap
			next(5000, 20)
		}
		next(block.Index(i), 1)
	}
	fs.reads.Store(0)
	buf := slab.Get(n * block.Size)
	defer buf.Release()
	r := ReadResult{Buf: buf.Bytes()}
	done, err := g.TryReadAt(lsn(1, seq), 0, n, &r)
	if done || err != nil || fs.reads.Load() != 0 {
		t.Fatalf("done %v, %v, %d reads of the disk before Finish", done, err, fs.reads.Load())
	}
	must(t, r.Finish())
	if k := fs.reads.Load(); k > 6 {
		t.Errorf("%d calls read %d neighbours", k, n)
	}
	for i := range n {
		one := ReadResult{Buf: r.block(i), Sums: r.Sums[i : i+1]}
		if ownerOf(t, &one, block.Index(i)) == 0 {
			t.Errorf("block %d has no owner", i)
		}
	}
}

// TestGentleReads: what lies in many places, read a few places at a time, is the
// same; and what cannot be read is told.
func TestGentleReads(t *testing.T) {
	faults := faultfs.Wrap(newDisk())
	g := create(t, open(t, &countingFS{FS: faults}, small()), 1)
	const n = 5*gentleSpans + 1
	for i := range n { // what lies between is longer than a gap that is read over
		k := block.Seq(2*i + 1)
		put(t, g, write(lsn(1, k), g.SCL(), block.Index(i), 1), write(lsn(1, k+1), lsn(1, k), 5000, maxGap+1))
	}
	buf := slab.Get(n * block.Size)
	defer buf.Release()
	at := g.SCL()
	for _, gentle := range []bool{false, true} {
		clear(buf.Bytes())
		r := ReadResult{Buf: buf.Bytes(), Gentle: gentle}
		must(t, g.ReadAt(at, 0, n, &r))
		for i := range n {
			one := ReadResult{Buf: r.block(i), Sums: r.Sums[i : i+1]}
			if ownerOf(t, &one, block.Index(i)) == 0 {
				t.Errorf("gentle %v: block %d has no owner", gentle, i)
			}
		}
	}
	remove := faults.Add(faultfs.Rule{Ops: faultfs.Read, Skip: n - 1, Err: syscall.EIO})
	defer remove()
	r := ReadResult{Buf: buf.Bytes(), Gentle: true}
	if err := g.ReadAt(at, 0, n, &r); err == nil {
		t.Error("the last place cannot be read, and nobody says so")
	}
}

// TestLongReadsLeaveThePageCacheAlone: asking the kernel to read from memory
// what is not there makes it read ahead, which is in vain if the read goes past
// the page cache.
func TestLongReadsLeaveThePageCacheAlone(t *testing.T) {
	fs, g := counted(t)
	put(t, g, write(lsn(1, 1), 0, 0, 40))
	buf := slab.Get(40 * block.Size)
	defer buf.Release()
	for _, c := range []struct {
		n     block.Count
		asked int64
	}{{40, 0}, {pastCacheFrom / pageSize, 0}, {pastCacheFrom/pageSize - 1, 1}, {1, 1}} {
		fs.asked.Store(0)
		r := ReadResult{Buf: buf.Bytes()}
		must(t, g.ReadAt(lsn(1, 1), 0, c.n, &r))
		if fs.asked.Load() != c.asked || r.Runs[0] != (Run{c.n, RunData}) {
			t.Errorf("%d blocks: %d questions for what memory has, want %d; runs %v", c.n, fs.asked.Load(), c.asked, r.Runs)
		}
	}
}

// TestMemoryMayRot: a wrong checksum is damage only if the disk has it, too.
func TestMemoryMayRot(t *testing.T) {
	fs := faultfs.Wrap(newDisk())
	s := open(t, fs, small())
	g := create(t, s, 1)
	put(t, g, write(lsn(1, 1), 0, 4, 3))
	flip := func(p []byte, _ vfs.Offset) { p[block.Size+9] ^= 1 }
	fs.Add(faultfs.Rule{Ops: faultfs.Read, Pattern: "log-*", Times: 1, Rot: flip})
	buf := slab.Get(3 * block.Size)
	defer buf.Release()
	r := ReadResult{Buf: buf.Bytes()}
	must(t, g.ReadAt(lsn(1, 1), 4, 3, &r))
	one := ReadResult{Buf: r.block(1), Sums: r.Sums[1:2]}
	if ownerOf(t, &one, 5) != lsn(1, 1) || len(s.Damage()) != 0 || g.State().BadBlocks != 0 {
		t.Fatalf("damage %v", s.Damage())
	}
}

// twoFacedFS gives other bytes through the page cache than past it.
type twoFacedFS struct {
	vfs.FS
	cache vfs.FS // what the page cache has; nil: what the disk has
}

type cachedFile struct {
	vfs.File
	fs   *twoFacedFS
	name string
}

func (f *twoFacedFS) OpenFile(name string, mode vfs.Mode) (vfs.File, error) {
	file, err := f.FS.OpenFile(name, mode)
	if mode != vfs.ReadOnly || err != nil {
		return file, err
	}
	return cachedFile{file, f, name}, nil
}

func (f cachedFile) ReadAt(p []byte, off vfs.Offset) (int, error) {
	if f.fs.cache == nil {
		return f.File.ReadAt(p, off)
	}
	file, err := f.fs.cache.OpenFile(f.name, vfs.ReadOnly)
	if err != nil {
		return 0, err
	}
	return file.ReadAt(p, off)
}

// TestS2MendingLooksAtTheDisk: a block that is rotten on the disk is mended
// though the page cache still has it whole.
func TestS2MendingLooksAtTheDisk(t *testing.T) {
	disk := newDisk()
	fs := &twoFacedFS{FS: disk}
	s := open(t, fs, small())
	g := create(t, s, 1)
	r := write(lsn(1, 1), 0, 4, 1)
	put(t, g, r)
	must(t, s.mark())
	fs.cache = crash(disk)
	all, _ := batches(t, crash(disk))
	rot(t, disk, all[1].File, all[1].Offset+all[1].Header+77)
	must(t, g.Mend(4, r.Payload))
	fs.cache = nil
	if owner(t, g, lsn(1, 1), 4) != lsn(1, 1) {
		t.Fatal("the block was not mended")
	}
}
