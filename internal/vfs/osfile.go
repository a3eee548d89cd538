package vfs

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/slab"
)

// osFile is a file descriptor. It is not an os.File, because that one's
// poller and locks cost more than the system calls on the data path.
type osFile struct {
	fd     int
	name   string
	direct bool
}

// zeroStep is what writeZeroes writes at a time.
const zeroStep = 1 * block.MiB

func (f *osFile) Direct() bool { return f.direct }

func (f *osFile) ReadAt(p []byte, off Offset) (int, error) {
	done := 0
	for done < len(p) {
		n, err := unix.Pread(f.fd, p[done:], int64(off)+int64(done))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return done, pathError("pread", f.name, err)
		}
		if n == 0 {
			return done, io.EOF
		}
		done += n
	}
	return done, nil
}

// ReadvAt fills the rest piece by piece when the kernel reads less than it
// was asked for.
func (f *osFile) ReadvAt(bufs [][]byte, off Offset) (int, error) {
	n, err := unix.Preadv(f.fd, bufs, int64(off))
	if err != nil && !errors.Is(err, unix.EINTR) {
		return 0, pathError("preadv", f.name, err)
	}
	done, skip := max(n, 0), max(n, 0)
	for _, p := range bufs {
		if skip >= len(p) {
			skip -= len(p)
			continue
		}
		n, err := f.ReadAt(p[skip:], off+Offset(done))
		if done += n; err != nil {
			return done, err
		}
		skip = 0
	}
	return done, nil
}

// ReadCached asks the page cache (preadv2(2), RWF_NOWAIT). File systems that
// cannot answer without waiting say so, and fill nothing.
func (f *osFile) ReadCached(p []byte, off Offset) int {
	if f.direct {
		return 0
	}
	done := 0
	for done < len(p) {
		n, err := unix.Preadv2(f.fd, [][]byte{p[done:]}, int64(off)+int64(done), unix.RWF_NOWAIT)
		if err != nil || n <= 0 {
			break
		}
		done += n
	}
	return done
}

// Cached asks cachestat(2), which Linux has since 6.5.
func (f *osFile) Cached(off Offset, n int) bool {
	if f.direct {
		return false
	}
	var stat unix.Cachestat_t
	err := unix.Cachestat(uint(f.fd), &unix.CachestatRange{Off: uint64(off), Len: uint64(n)}, &stat, 0)
	page := int64(os.Getpagesize())
	pages := (int64(off)+int64(n)+page-1)/page - int64(off)/page
	return err == nil && stat.Cache >= uint64(pages)
}

// adviceStep is what one piece of advice asks for: the kernel takes no more of it
// than its read-ahead, which is 128 KiB where nobody has set it.
const adviceStep = 128 << 10

// WillNeed begins to read into the page cache (posix_fadvise(2)).
func (f *osFile) WillNeed(off Offset, n int) {
	for at := 0; at < n && !f.direct; at += adviceStep {
		_ = unix.Fadvise(f.fd, int64(off)+int64(at), int64(min(n-at, adviceStep)), unix.FADV_WILLNEED) // advice
	}
}

func (f *osFile) WritevAt(bufs [][]byte, off Offset) error {
	return writeAll(bufs, off, func(bufs [][]byte, off Offset) (int, error) {
		n, err := unix.Pwritev(f.fd, bufs, int64(off))
		if errors.Is(err, unix.EINTR) {
			return 0, nil
		}
		return n, pathError("pwritev", f.name, err)
	})
}

// writeAll calls write, which takes at most maxIovecs pieces and may write
// less than it was given, until all is written. bufs is left unchanged.
func writeAll(bufs [][]byte, off Offset, write func([][]byte, Offset) (int, error)) error {
	skip := 0 // bytes of bufs[0] that are written already
	for len(bufs) > 0 {
		if len(bufs[0]) == skip {
			bufs, skip = bufs[1:], 0
			continue
		}
		now := bufs[:min(len(bufs), maxIovecs)]
		if skip > 0 {
			now = append([][]byte{bufs[0][skip:]}, now[1:]...)
		}
		n, err := write(now, off)
		if err != nil {
			return err
		}
		off += Offset(n)
		skip += n
		for len(bufs) > 0 && skip >= len(bufs[0]) {
			skip -= len(bufs[0])
			bufs = bufs[1:]
		}
	}
	return nil
}

func (f *osFile) Sync() error     { return pathError("fdatasync", f.name, unix.Fdatasync(f.fd)) }
func (f *osFile) SyncMeta() error { return pathError("fsync", f.name, unix.Fsync(f.fd)) }

func (f *osFile) Size() (block.ByteCount, error) {
	var st unix.Stat_t
	if err := again(func() error { return unix.Fstat(f.fd, &st) }); err != nil {
		return 0, pathError("fstat", f.name, err)
	}
	return block.ByteCount(st.Size), nil
}

func (f *osFile) Allocate(size block.ByteCount) error {
	had, err := f.Size()
	if err != nil {
		return err
	}
	err = again(func() error { return unix.Fallocate(f.fd, 0, 0, int64(size)) })
	if errors.Is(err, unix.EOPNOTSUPP) { // some network and FUSE file systems
		err = f.writeZeroes(had, size)
	}
	if err != nil && had < size {
		_ = f.Truncate(had) // the space goes back as far as it can
	}
	return pathError("fallocate", f.name, err)
}

// writeZeroes is Allocate by writing.
func (f *osFile) writeZeroes(from, to block.ByteCount) error {
	buf := slab.Get(int(zeroStep))
	defer buf.Release()
	zeroes := buf.Bytes()
	clear(zeroes)
	for ; from < to; from += zeroStep {
		n := min(zeroStep, to-from)
		if err := f.WritevAt([][]byte{zeroes[:n]}, Offset(from)); err != nil {
			return err
		}
	}
	return nil
}

func (f *osFile) Truncate(size block.ByteCount) error {
	return pathError("ftruncate", f.name, again(func() error { return unix.Ftruncate(f.fd, int64(size)) }))
}

// Close does not repeat an interrupted close: Linux has released the
// descriptor then, and it may be somebody else's already.
func (f *osFile) Close() error {
	if err := unix.Close(f.fd); err != nil && !errors.Is(err, unix.EINTR) {
		return pathError("close", f.name, err)
	}
	return nil
}
