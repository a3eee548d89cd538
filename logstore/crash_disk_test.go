package logstore

import (
	"fmt"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs"
	"github.com/sextantdisk/sextant/internal/vfs/memfs"
)

// tapFS is a disk in memory that calls tap after each change, durable or not:
// each is a moment at which the power may go.
type tapFS struct {
	*memfs.FS
	tap func(what string)
}

func (f *tapFS) OpenFile(name string, mode vfs.Mode) (vfs.File, error) {
	file, err := f.FS.OpenFile(name, mode)
	if mode&vfs.Create != 0 {
		f.tap("create " + name)
	}
	return &tapFile{file, f, name}, err
}

func (f *tapFS) Rename(from, to string) error {
	err := f.FS.Rename(from, to)
	f.tap("rename to " + to)
	return err
}

func (f *tapFS) Remove(name string) error {
	err := f.FS.Remove(name)
	f.tap("remove " + name)
	return err
}

func (f *tapFS) SyncDir(dir string) error {
	err := f.FS.SyncDir(dir)
	f.tap("sync dir")
	return err
}

type tapFile struct {
	vfs.File
	fs   *tapFS
	name string
}

func (f *tapFile) did(format string, args ...any) {
	f.fs.tap(fmt.Sprintf(format, args...) + " " + f.name)
}

func (f *tapFile) WritevAt(bufs [][]byte, off vfs.Offset) error {
	err := f.File.WritevAt(bufs, off)
	f.did("write at %d of", off)
	return err
}

func (f *tapFile) Allocate(size block.ByteCount) error {
	err := f.File.Allocate(size)
	f.did("allocate")
	return err
}

func (f *tapFile) Truncate(size block.ByteCount) error {
	err := f.File.Truncate(size)
	f.did("truncate")
	return err
}

func (f *tapFile) Sync() error {
	err := f.File.Sync()
	f.did("sync")
	return err
}

func (f *tapFile) SyncMeta() error {
	err := f.File.SyncMeta()
	f.did("sync meta")
	return err
}
