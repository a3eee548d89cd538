package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/sextantdisk/sextant/internal/block"
)

// OS is the operating system's file system.
func OS() FS { return osFS{} }

type osFS struct{}

const (
	filePerm = 0o640
	dirPerm  = 0o750
	// maxIovecs bounds the pieces of one pwritev.
	maxIovecs = MaxPieces
)

func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// again repeats fn while a signal interrupts it before it has done anything.
func again(fn func() error) error {
	for {
		if err := fn(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func (osFS) OpenFile(name string, mode Mode) (File, error) {
	flags := unix.O_CLOEXEC
	if mode&(ReadWrite|Create) != 0 {
		flags |= unix.O_RDWR
	}
	if mode&Create != 0 {
		flags |= unix.O_CREAT | unix.O_EXCL
	}
	direct := mode&Direct != 0
	fd, err := open(name, flags, direct)
	if direct && errors.Is(err, unix.EINVAL) { // tmpfs and some FUSE file systems
		direct = false
		if mode&Create != 0 {
			flags &^= unix.O_EXCL // the refused open may have made the file
		}
		fd, err = open(name, flags, false)
	}
	if err != nil {
		return nil, pathError("open", name, err)
	}
	return &osFile{fd: fd, name: name, direct: direct}, nil
}

func open(name string, flags int, direct bool) (fd int, err error) {
	if direct {
		flags |= unix.O_DIRECT
	}
	err = again(func() error {
		fd, err = unix.Open(name, flags, filePerm)
		return err
	})
	return fd, err
}

func (osFS) Rename(from, to string) error { return os.Rename(from, to) }
func (osFS) Remove(name string) error     { return os.Remove(name) }

func (osFS) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir) // sorted
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

func (o osFS) MkdirAll(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := o.MkdirAll(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, dirPerm); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return o.SyncDir(parent)
}

func (osFS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return pathError("fsync", dir, unix.Fsync(int(d.Fd())))
}

func (osFS) Stat(name string) (block.ByteCount, error) {
	info, err := os.Stat(name)
	if err != nil {
		return 0, err
	}
	return block.ByteCount(info.Size()), nil
}

func (osFS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, filePerm)
	if err != nil {
		return nil, err
	}
	err = again(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
	if err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrLocked
		}
		return nil, pathError("flock", name, err)
	}
	return f, nil
}

func (osFS) Space(dir string) (Space, error) {
	var st unix.Statfs_t
	if err := again(func() error { return unix.Statfs(dir, &st) }); err != nil {
		return Space{}, pathError("statfs", dir, err)
	}
	unit := block.ByteCount(st.Bsize)
	return Space{Total: block.ByteCount(st.Blocks) * unit, Free: block.ByteCount(st.Bavail) * unit}, nil
}
