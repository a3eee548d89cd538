package memfs

import (
	"io"
	"syscall"
	"unsafe"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs"
)

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

// checkWrite is check for what changes the file.
func (f *file) checkWrite(op string) error {
	if err := f.check(op); err != nil {
		return err
	}
	if f.mode&(vfs.ReadWrite|vfs.Create) == 0 {
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
	n := f.node.data.readAt(p, int(off))
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
	n, _ := f.ReadAt(p, off) // an error is for ReadAt's caller
	return n
}

// Cached: see ReadCached.
func (f *file) Cached(vfs.Offset, int) bool { return !f.Direct() }

// WillNeed: see ReadCached.
func (f *file) WillNeed(vfs.Offset, int) {}

func (f *file) WritevAt(bufs [][]byte, off vfs.Offset) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.checkWrite("pwritev"); err != nil {
		return err
	}
	for _, p := range bufs {
		if off < 0 || !f.aligned(p, off) {
			return fail("pwritev", f.name, syscall.EINVAL)
		}
		if len(p) == 0 {
			continue
		}
		if err := f.fs.resizeLocked(f.node, max(f.node.data.size, int(off)+len(p))); err != nil {
			return fail("pwritev", f.name, err)
		}
		f.node.write(p, int(off))
		off += vfs.Offset(len(p))
	}
	return nil
}

// Allocate makes the file longer. Space on this disk is the files' length.
func (f *file) Allocate(size block.ByteCount) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return f.resizeLocked("fallocate", max(f.node.data.size, int(size)))
}

func (f *file) Truncate(size block.ByteCount) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return f.resizeLocked("ftruncate", int(size))
}

func (f *file) resizeLocked(op string, size int) error {
	if err := f.checkWrite(op); err != nil {
		return err
	}
	if err := f.fs.resizeLocked(f.node, size); err != nil {
		return fail(op, f.name, err)
	}
	return nil
}

func (f *file) Size() (block.ByteCount, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return f.node.length(), f.check("fstat")
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

func (f *file) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	err := f.check("close")
	f.closed = true
	return err
}
