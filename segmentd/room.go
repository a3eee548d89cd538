package segmentd

import (
	"errors"
	"path"
	"syscall"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs"
)

// roomFile is ballast: a daemon counts its starts in its folder, and must be
// able to do so on a full disk, because a full disk can still be read. When
// identity.json cannot be written for lack of space, this file is given up
// for it; the next file is smaller, so the ballast can come back at once.
const roomFile = "identity.room"

// roomBytes is more than identity.json takes, with what a file system adds.
const roomBytes = 32 * block.KiB

// writeWithRoom is writeFile, on a full disk at the expense of the ballast.
func writeWithRoom(fsys vfs.FS, dir, name string, data []byte) error {
	err := writeFile(fsys, name, data)
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return err
	}
	if fsys.Remove(path.Join(dir, roomFile)) != nil {
		return err
	}
	return writeFile(fsys, name, data)
}

// keepRoom makes the ballast if it is not there whole. It is not missed before the
// disk is full, so failing is no error; what it has got by then is kept.
func keepRoom(fsys vfs.FS, dir string) {
	name := path.Join(dir, roomFile)
	if size, err := fsys.Stat(name); err == nil && size >= roomBytes {
		return
	}
	_ = writeFile(fsys, name, make([]byte, roomBytes))
}
