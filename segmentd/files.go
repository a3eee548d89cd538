package segmentd

import (
	"errors"
	"io"
	"io/fs"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs"
)

// maxSmallFile bounds the files that are read whole.
const maxSmallFile = 64 << 10

// readFile reads a small file whole.
func readFile(fsys vfs.FS, name string) ([]byte, error) {
	f, err := fsys.OpenFile(name, vfs.ReadOnly)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > maxSmallFile {
		return nil, block.Errorf(block.Corrupt, "%s has %v, at most %d bytes were expected", name, size, maxSmallFile)
	}
	buf := make([]byte, size)
	if _, err := f.ReadAt(buf, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return buf, nil
}

// writeFile writes a small file anew and makes its contents durable; its name
// is durable after SyncDir.
func writeFile(fsys vfs.FS, name string, data []byte) error {
	if err := fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := fsys.OpenFile(name, vfs.Create)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.WritevAt([][]byte{data}, 0); err != nil {
		return err
	}
	return f.SyncMeta()
}
