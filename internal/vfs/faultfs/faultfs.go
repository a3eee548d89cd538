package faultfs

import (
	"io"
	"path"
	"slices"
	"sync"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/slab"
	"github.com/sextantdisk/sextant/internal/vfs"
)

// Op is a set of operations.
type Op uint32

// The operations that a rule may name.
const (
	Open Op = 1 << iota
	Create
	Rename
	Remove
	List
	MkdirAll
	SyncDir
	Stat
	Lock
	Space
	Read
	Write
	Sync
	SyncMeta
	Truncate
	Allocate
	WillNeed
)

// Rule says which calls fail and how.
type Rule struct {
	Ops Op
	// Pattern is matched with the file's base name, as by path.Match; ""
	// matches all.
	Pattern string
	// Skip lets that many matching calls pass first; Times is how many
	// fail after them, 0 for all.
	Skip, Times int

	// Err is returned instead of doing the operation.
	Err error
	// Short lets a Write that fails with Err, or is lost, write this many
	// bytes first.
	Short int
	// Lose makes a Write, Sync or SyncMeta succeed without being done, as a
	// disk that lies does.
	Lose bool
	// Shift makes a Write succeed that many bytes behind where it should go.
	Shift vfs.Offset
	// Rot changes what a Read has read, or what a Write writes (not the
	// caller's memory); the call succeeds.
	Rot func(p []byte, off vfs.Offset)
	// Advice is told what a WillNeed asks for, which has no faults.
	Advice func(off vfs.Offset, n int)
	// Stall is waited for before the operation goes on: with Err if it is
	// set, else unharmed.
	Stall <-chan struct{}
}

// FS is a file system with faults.
type FS struct {
	under vfs.FS

	mu struct {
		sync.Mutex
		rules []*active
		calls map[Op]int
	}
}

type active struct {
	Rule
	seen, acted int
}

// Wrap makes a file system that has no faults yet.
func Wrap(under vfs.FS) *FS {
	f := &FS{under: under}
	f.mu.calls = map[Op]int{}
	return f
}

// Add puts a rule behind those that are there; remove takes it out again.
func (f *FS) Add(r Rule) (remove func()) {
	a := &active{Rule: r}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.rules = append(f.mu.rules, a)
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.mu.rules = slices.DeleteFunc(f.mu.rules, func(b *active) bool { return a == b })
	}
}

// Calls counts the calls of one or more operations so far, those that failed too.
func (f *FS) Calls(op Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for o, calls := range f.mu.calls {
		if o&op != 0 {
			n += calls
		}
	}
	return n
}

// fault finds the rule that acts on this call, if any, and waits out its
// stall.
func (f *FS) fault(op Op, name string) (Rule, error) {
	r := f.match(op, path.Base(name))
	if r.Stall != nil {
		<-r.Stall
	}
	return r, r.Err
}

func (f *FS) match(op Op, base string) Rule {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.calls[op]++
	for _, a := range f.mu.rules {
		if a.Ops&op == 0 || !matches(a.Pattern, base) {
			continue
		}
		a.seen++
		if a.seen <= a.Skip || (a.Times > 0 && a.acted >= a.Times) {
			continue
		}
		a.acted++
		return a.Rule
	}
	return Rule{}
}

func matches(pattern, base string) bool {
	if pattern == "" {
		return true
	}
	ok, err := path.Match(pattern, base)
	return ok && err == nil
}

// OpenFile is Open, or Create if mode says so.
func (f *FS) OpenFile(name string, mode vfs.Mode) (vfs.File, error) {
	op := Open
	if mode&vfs.Create != 0 {
		op = Create
	}
	if _, err := f.fault(op, name); err != nil {
		return nil, err
	}
	under, err := f.under.OpenFile(name, mode)
	if err != nil {
		return nil, err
	}
	return &file{File: under, fs: f, name: name}, nil
}

// Rename matches by the new name.
func (f *FS) Rename(from, to string) error {
	if _, err := f.fault(Rename, to); err != nil {
		return err
	}
	return f.under.Rename(from, to)
}

// Remove deletes a file.
func (f *FS) Remove(name string) error {
	if _, err := f.fault(Remove, name); err != nil {
		return err
	}
	return f.under.Remove(name)
}

// List names a folder's entries.
func (f *FS) List(dir string) ([]string, error) {
	if _, err := f.fault(List, dir); err != nil {
		return nil, err
	}
	return f.under.List(dir)
}

// MkdirAll makes a folder.
func (f *FS) MkdirAll(dir string) error {
	if _, err := f.fault(MkdirAll, dir); err != nil {
		return err
	}
	return f.under.MkdirAll(dir)
}

// SyncDir makes a folder's names durable.
func (f *FS) SyncDir(dir string) error {
	if _, err := f.fault(SyncDir, dir); err != nil {
		return err
	}
	return f.under.SyncDir(dir)
}

// Stat tells a file's size.
func (f *FS) Stat(name string) (block.ByteCount, error) {
	if _, err := f.fault(Stat, name); err != nil {
		return 0, err
	}
	return f.under.Stat(name)
}

// Lock takes a lock.
func (f *FS) Lock(name string) (io.Closer, error) {
	if _, err := f.fault(Lock, name); err != nil {
		return nil, err
	}
	return f.under.Lock(name)
}

// Space tells the room on the disk.
func (f *FS) Space(dir string) (vfs.Space, error) {
	if _, err := f.fault(Space, dir); err != nil {
		return vfs.Space{}, err
	}
	return f.under.Space(dir)
}

type file struct {
	vfs.File
	fs   *FS
	name string
}

func (f *file) ReadAt(p []byte, off vfs.Offset) (int, error) {
	r, err := f.fs.fault(Read, f.name)
	if err != nil {
		return 0, err
	}
	n, err := f.File.ReadAt(p, off)
	if r.Rot != nil {
		r.Rot(p[:n], off)
	}
	return n, err
}

func (f *file) ReadvAt(bufs [][]byte, off vfs.Offset) (int, error) {
	r, err := f.fs.fault(Read, f.name)
	if err != nil {
		return 0, err
	}
	n, err := f.File.ReadvAt(bufs, off)
	for left := n; r.Rot != nil && left > 0; bufs = bufs[1:] {
		p := bufs[0][:min(left, len(bufs[0]))]
		r.Rot(p, off)
		off += vfs.Offset(len(p))
		left -= len(p)
	}
	return n, err
}

// ReadCached has nothing at hand, so that ReadAt shows the faults.
func (f *file) ReadCached([]byte, vfs.Offset) int { return 0 }

// Cached: see ReadCached.
func (f *file) Cached(vfs.Offset, int) bool { return false }

func (f *file) WillNeed(off vfs.Offset, n int) {
	if r := f.fs.match(WillNeed, path.Base(f.name)); r.Advice != nil {
		r.Advice(off, n)
	}
	f.File.WillNeed(off, n)
}

func (f *file) WritevAt(bufs [][]byte, off vfs.Offset) error {
	r, err := f.fs.fault(Write, f.name)
	if err != nil || r.Lose {
		if werr := f.File.WritevAt(head(bufs, r.Short), off); werr != nil {
			return werr
		}
		return err
	}
	if r.Rot != nil {
		bufs = rotten(bufs, off, r.Rot)
	}
	return f.File.WritevAt(bufs, off+r.Shift)
}

// head is the first n bytes of bufs.
func head(bufs [][]byte, n int) (all [][]byte) {
	for _, p := range bufs {
		p = p[:min(n, len(p))]
		all = append(all, p)
		n -= len(p)
	}
	return all
}

// rotten is a copy of bufs that rot has changed, in memory that a Direct file
// takes.
func rotten(bufs [][]byte, off vfs.Offset, rot func([]byte, vfs.Offset)) (all [][]byte) {
	for _, p := range bufs {
		if len(p) == 0 {
			continue
		}
		c := slab.Get(len(p)).Bytes() // never given back: the collector takes it
		copy(c, p)
		rot(c, off)
		all = append(all, c)
		off += vfs.Offset(len(c))
	}
	return all
}

func (f *file) Sync() error {
	if r, err := f.fs.fault(Sync, f.name); err != nil || r.Lose {
		return err
	}
	return f.File.Sync()
}

func (f *file) SyncMeta() error {
	if r, err := f.fs.fault(SyncMeta, f.name); err != nil || r.Lose {
		return err
	}
	return f.File.SyncMeta()
}

func (f *file) Allocate(size block.ByteCount) error {
	if _, err := f.fs.fault(Allocate, f.name); err != nil {
		return err
	}
	return f.File.Allocate(size)
}

func (f *file) Truncate(size block.ByteCount) error {
	if _, err := f.fs.fault(Truncate, f.name); err != nil {
		return err
	}
	return f.File.Truncate(size)
}
