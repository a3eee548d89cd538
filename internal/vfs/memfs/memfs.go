package memfs

import (
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs"
)

// Sector is the unit that a disk writes wholly or not at all, in bytes.
const Sector = 512

// FS is a disk in memory.
type FS struct {
	mu struct {
		sync.Mutex
		capacity block.ByteCount
		dirs     map[string]bool
		names    map[string]*inode // now
		durable  map[string]*inode // after a crash that loses all it can
		pending  []dirOp           // what leads from durable to now, in order
		locks    map[string]bool
		used     block.ByteCount
	}
}

// dirOp is a change of names in a folder that SyncDir has not covered.
type dirOp struct {
	dir      string
	from, to string // from is "" for a creation, to is "" for a removal
	node     *inode
}

// New makes an empty disk; capacity bounds its files' lengths together, 0 is
// no bound.
func New(capacity block.ByteCount) *FS {
	f := &FS{}
	f.mu.capacity = capacity
	f.mu.dirs = map[string]bool{".": true, "/": true}
	f.mu.names = map[string]*inode{}
	f.mu.durable = map[string]*inode{}
	f.mu.locks = map[string]bool{}
	return f
}

// SetCapacity makes the disk larger or smaller; files that are longer than
// that together stay, and cannot grow.
func (f *FS) SetCapacity(capacity block.ByteCount) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.capacity = capacity
}

// resizeLocked sets a file's length if there is room.
func (f *FS) resizeLocked(n *inode, size int) error {
	grow := size - n.data.size
	if grow > 0 && f.mu.capacity > 0 && f.mu.used+block.ByteCount(grow) > f.mu.capacity {
		return syscall.ENOSPC
	}
	if n.named {
		f.mu.used = block.ByteCount(int64(f.mu.used) + int64(grow))
	}
	n.resize(size)
	return nil
}

func fail(op, name string, err error) error { return &fs.PathError{Op: op, Path: name, Err: err} }

// OpenFile opens or makes a file.
func (f *FS) OpenFile(name string, mode vfs.Mode) (vfs.File, error) {
	name = path.Clean(name)
	f.mu.Lock()
	defer f.mu.Unlock()
	node := f.mu.names[name]
	switch {
	case mode&vfs.Create != 0 && node != nil:
		return nil, fail("open", name, fs.ErrExist)
	case mode&vfs.Create != 0 && !f.mu.dirs[path.Dir(name)]:
		return nil, fail("open", name, fs.ErrNotExist)
	case mode&vfs.Create != 0:
		node = &inode{named: true}
		f.mu.names[name] = node
		f.mu.pending = append(f.mu.pending, dirOp{dir: path.Dir(name), to: name, node: node})
	case node == nil:
		return nil, fail("open", name, fs.ErrNotExist)
	}
	return &file{fs: f, node: node, name: name, mode: mode}, nil
}

// Rename gives a file another name in its folder.
func (f *FS) Rename(from, to string) error {
	from, to = path.Clean(from), path.Clean(to)
	f.mu.Lock()
	defer f.mu.Unlock()
	node := f.mu.names[from]
	if node == nil {
		return fail("rename", from, fs.ErrNotExist)
	}
	if path.Dir(from) != path.Dir(to) {
		return fail("rename", to, syscall.EXDEV)
	}
	if old := f.mu.names[to]; old != nil && old != node {
		f.forgetLocked(old)
	}
	delete(f.mu.names, from)
	f.mu.names[to] = node
	f.mu.pending = append(f.mu.pending, dirOp{dir: path.Dir(from), from: from, to: to, node: node})
	return nil
}

// Remove deletes a file.
func (f *FS) Remove(name string) error {
	name = path.Clean(name)
	f.mu.Lock()
	defer f.mu.Unlock()
	node := f.mu.names[name]
	if node == nil {
		return fail("remove", name, fs.ErrNotExist)
	}
	delete(f.mu.names, name)
	f.forgetLocked(node)
	f.mu.pending = append(f.mu.pending, dirOp{dir: path.Dir(name), from: name})
	return nil
}

// forgetLocked gives back the space of a file that has lost its name. (A disk
// would keep it while the file is open.)
func (f *FS) forgetLocked(n *inode) {
	n.named = false
	f.mu.used -= n.length()
}

// List names the files of a folder, sorted.
func (f *FS) List(dir string) ([]string, error) {
	dir = path.Clean(dir)
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.mu.dirs[dir] {
		return nil, fail("list", dir, fs.ErrNotExist)
	}
	names := []string{}
	for name := range f.mu.names {
		if path.Dir(name) == dir {
			names = append(names, path.Base(name))
		}
	}
	for name := range f.mu.dirs {
		if name != dir && path.Dir(name) == dir {
			names = append(names, path.Base(name))
		}
	}
	slices.Sort(names)
	return names, nil
}

// MkdirAll makes a folder, durably.
func (f *FS) MkdirAll(dir string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for d := path.Clean(dir); !f.mu.dirs[d]; d = path.Dir(d) {
		f.mu.dirs[d] = true
	}
	return nil
}

// SyncDir makes the names in dir durable.
func (f *FS) SyncDir(dir string) error {
	dir = path.Clean(dir)
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.mu.dirs[dir] {
		return fail("fsync", dir, fs.ErrNotExist)
	}
	f.mu.pending = slices.DeleteFunc(f.mu.pending, func(op dirOp) bool {
		if op.dir != dir {
			return false
		}
		op.apply(f.mu.durable)
		return true
	})
	return nil
}

func (op dirOp) apply(names map[string]*inode) {
	delete(names, op.from)
	if op.to != "" {
		names[op.to] = op.node
	}
}

// Stat tells the size of a file.
func (f *FS) Stat(name string) (block.ByteCount, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	node := f.mu.names[path.Clean(name)]
	if node == nil {
		return 0, fail("stat", name, fs.ErrNotExist)
	}
	return node.length(), nil
}

// Lock takes the lock named name. It needs no file, but a folder.
func (f *FS) Lock(name string) (io.Closer, error) {
	name = path.Clean(name)
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.mu.dirs[path.Dir(name)] {
		return nil, fail("lock", name, fs.ErrNotExist)
	}
	if f.mu.locks[name] {
		return nil, vfs.ErrLocked
	}
	f.mu.locks[name] = true
	return unlocker{f, name}, nil
}

type unlocker struct {
	fs   *FS
	name string
}

func (u unlocker) Close() error {
	u.fs.mu.Lock()
	defer u.fs.mu.Unlock()
	delete(u.fs.mu.locks, u.name)
	return nil
}

// Space tells the capacity, or 1 TiB if there is no bound.
func (f *FS) Space(string) (vfs.Space, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	total := f.mu.capacity
	if total == 0 {
		total = block.TiB
	}
	return vfs.Space{Total: total, Free: total - min(total, f.mu.used)}, nil
}

// Describe lists the files and their lengths, for tests.
func (f *FS) Describe() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var lines []string
	for name, node := range f.mu.names {
		lines = append(lines, name+" "+node.length().String())
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
