package memfs

import (
	"io"
	"syscall"
	"unsafe"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs"
)

// inode is a file's content, as programs see it and as the disk has it.
type inode struct {
	data    []byte // now
	durable []byte // at most as long as data was at a SyncMeta
	// dirty has the sectors in which data may differ from durable.
	dirty map[int]struct{}
}

// file is an open inode. The disk's lock guards it.
type file struct {
	fs     *FS
	node   *inode
	name   string
	mode   vfs.Mode
	closed bool
}

func (f *file) Direct() bool { return f.mode&vfs.Direct != 0 }

func (f *file) check(op string) error {
	if f.closed {
		return fail(op, f.name, syscall.EBADF)
	}
	return nil
}

// aligned tells whether O_DIRECT would take p at off.
func (f *file) aligned(p []byte, off vfs.Offset) bool {
	if !f.Direct() || len(p) == 0 {
		return true
	}
	return len(p)%vfs.DirectAlign == 0 && off%vfs.DirectAlign == 0 &&
		uintptr(unsafe.Pointer(&p[0]))%vfs.DirectAlign == 0
}

func (f *file) ReadAt(p []byte, off vfs.Offset) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.check("pread"); err != nil {
		return 0, err
	}
	if off < 0 || !f.aligned(p, off) {
		return 0, fail("pread", f.name, syscall.EINVAL)
	}
	if len(p) == 0 {
		return 0, nil
	}
	if off >= vfs.Offset(len(f.node.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.node.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// ReadvAt reads piece by piece.
func (f *file) ReadvAt(bufs [][]byte, off vfs.Offset) (int, error) {
	if len(bufs) > vfs.MaxPieces {
		return 0, fail("preadv", f.name, syscall.EINVAL)
	}
	done := 0
	for _, p := range bufs {
		n, err := f.ReadAt(p, off+vfs.Offset(done))
		if done += n; err != nil {
			return done, err
		}
	}
	return done, nil
}

// ReadCached has all bytes at hand, as a page cache that never forgets; past
// it nothing is.
func (f *file) ReadCached(p []byte, off vfs.Offset) int {
	if f.Direct() {
		return 0
	}
	n, err := f.ReadAt(p, off)
	if err != nil {
		return 0
	}
	return n
}

func (f *file) WritevAt(bufs [][]byte, off vfs.Offset) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.check("pwritev"); err != nil {
		return err
	}
	if f.mode&(vfs.ReadWrite|vfs.Create) == 0 {
		return fail("pwritev", f.name, syscall.EBADF)
	}
	for _, p := range bufs {
		if off < 0 || !f.aligned(p, off) {
			return fail("pwritev", f.name, syscall.EINVAL)
		}
		if err := f.fs.resizeLocked(f.node, max(len(f.node.data), int(off)+len(p))); err != nil {
			return fail("pwritev", f.name, err)
		}
		copy(f.node.data[off:], p)
		f.node.touch(int(off), len(p))
		off += vfs.Offset(len(p))
	}
	return nil
}

// touch marks the sectors of a range dirty.
func (n *inode) touch(off, length int) {
	if length == 0 {
		return
	}
	if n.dirty == nil {
		n.dirty = make(map[int]struct{})
	}
	for s := off / Sector; s <= (off+length-1)/Sector; s++ {
		n.dirty[s] = struct{}{}
	}
}

func (f *FS) resizeLocked(n *inode, size int) error {
	grow := size - len(n.data)
	if grow > 0 && f.capacity > 0 && f.mu.used+block.ByteCount(grow) > f.capacity {
		return syscall.ENOSPC
	}
	if grow > 0 {
		n.data = append(n.data, make([]byte, grow)...)
		f.mu.used += block.ByteCount(grow)
	} else if grow < 0 {
		n.touch(size, -grow)
		n.data = n.data[:size]
		f.mu.used -= block.ByteCount(-grow)
	}
	return nil
}

// Allocate makes the file longer. Space on this disk is the files' length.
func (f *file) Allocate(size block.ByteCount) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.check("fallocate"); err != nil {
		return err
	}
	if f.mode&(vfs.ReadWrite|vfs.Create) == 0 {
		return fail("fallocate", f.name, syscall.EBADF)
	}
	if err := f.fs.resizeLocked(f.node, max(len(f.node.data), int(size))); err != nil {
		return fail("fallocate", f.name, err)
	}
	return nil
}

func (f *file) Truncate(size block.ByteCount) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.check("ftruncate"); err != nil {
		return err
	}
	if err := f.fs.resizeLocked(f.node, int(size)); err != nil {
		return fail("ftruncate", f.name, err)
	}
	return nil
}

func (f *file) Size() (block.ByteCount, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return block.ByteCount(len(f.node.data)), f.check("fstat")
}

// Sync makes the dirty sectors within the durable length durable.
func (f *file) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.check("fdatasync"); err != nil {
		return err
	}
	f.node.sync()
	return nil
}

// SyncMeta makes the length durable, then all dirty sectors.
func (f *file) SyncMeta() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.check("fsync"); err != nil {
		return err
	}
	f.node.syncSize()
	f.node.sync()
	return nil
}

func (n *inode) syncSize() {
	if grow := len(n.data) - len(n.durable); grow > 0 {
		n.durable = append(n.durable, make([]byte, grow)...)
		return
	}
	n.durable = n.durable[:len(n.data)]
}

func (n *inode) sync() {
	for s := range n.dirty {
		if s*Sector < len(n.durable) || s*Sector >= len(n.data) {
			n.keep(s)
			delete(n.dirty, s)
		}
	}
}

// keep copies sector s from data to durable, as far as both have it.
func (n *inode) keep(s int) {
	lo, hi := s*Sector, min((s+1)*Sector, len(n.data), len(n.durable))
	if lo < hi {
		copy(n.durable[lo:hi], n.data[lo:hi])
	}
}

func (f *file) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	err := f.check("close")
	f.closed = true
	return err
}
