package vfstest

import (
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs"
	"github.com/sextantdisk/sextant/internal/vfs/memfs"
)

// Disk is a file system that a test may cut the power of, and damage.
type Disk interface {
	vfs.FS
	// CrashClone is the disk after a power cut that leaves each thing that is
	// not durable with probability keep. On ext4 all of it is left: what the
	// page cache has was written, and a cut may spare it.
	CrashClone(rng *rand.Rand, keep float64) Disk
	// Damage flips the bits of mask in a byte of a file, as bit rot does. It
	// tells whether there is such a byte.
	Damage(name string, off int, mask byte) bool
	// Describe lists the files.
	Describe() string
}

// Memory is a Disk in memory; capacity bounds its files, 0 is no bound.
func Memory(capacity block.ByteCount) Disk { return memory{memfs.New(capacity)} }

type memory struct{ *memfs.FS }

func (m memory) CrashClone(rng *rand.Rand, keep float64) Disk {
	return memory{m.FS.CrashClone(rng, keep)}
}

// OnExt4 is an empty Disk on the ext4 of this test process. It goes with the
// process. Without root, or without the tools, it panics.
func OnExt4() Disk {
	root, err := shared()
	if err == nil {
		root, err = os.MkdirTemp(root, "disk-")
	}
	if err != nil {
		panic(err)
	}
	return onExt4{root}
}

// onExt4 has its root where others have "/".
type onExt4 struct{ root string }

func (d onExt4) at(name string) string { return filepath.Join(d.root, name) }

func (d onExt4) OpenFile(name string, mode vfs.Mode) (vfs.File, error) {
	return vfs.OS().OpenFile(d.at(name), mode)
}
func (d onExt4) Rename(from, to string) error      { return vfs.OS().Rename(d.at(from), d.at(to)) }
func (d onExt4) Remove(name string) error          { return vfs.OS().Remove(d.at(name)) }
func (d onExt4) List(dir string) ([]string, error) { return vfs.OS().List(d.at(dir)) }
func (d onExt4) MkdirAll(dir string) error         { return vfs.OS().MkdirAll(d.at(dir)) }
func (d onExt4) SyncDir(dir string) error          { return vfs.OS().SyncDir(d.at(dir)) }
func (d onExt4) Stat(name string) (block.ByteCount, error) {
	return vfs.OS().Stat(d.at(name))
}
func (d onExt4) Lock(name string) (io.Closer, error) { return vfs.OS().Lock(d.at(name)) }
func (d onExt4) Space(dir string) (vfs.Space, error) { return vfs.OS().Space(d.at(dir)) }

func (d onExt4) CrashClone(*rand.Rand, float64) Disk {
	c := OnExt4()
	if err := command("cp", "-a", d.root+"/.", c.(onExt4).root); err != nil { // holes stay holes
		panic(err)
	}
	return c
}

func (d onExt4) Damage(name string, off int, mask byte) bool {
	f, err := os.OpenFile(d.at(name), os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], int64(off)); err != nil {
		return false
	}
	b[0] ^= mask
	_, err = f.WriteAt(b[:], int64(off))
	return err == nil && f.Sync() == nil
}

func (d onExt4) Describe() string {
	all := ""
	_ = filepath.Walk(d.root, func(name string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			all += name + " " + block.ByteCount(info.Size()).String() + "\n"
		}
		return nil
	})
	return all
}
