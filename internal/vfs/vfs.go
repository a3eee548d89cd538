package vfs

import (
	"io"

	"github.com/sextantdisk/sextant/internal/block"
)

// Offset is a position in a file, in bytes from its start.
type Offset int64

// DirectAlign is what offsets, lengths and memory addresses of a Direct
// file's reads and writes must be multiples of.
const DirectAlign = 4096

// MaxPieces is how many buffers ReadvAt takes: IOV_MAX of Linux.
const MaxPieces = 1024

// Mode says how a file is opened.
type Mode uint8

// The bits of a Mode.
const (
	ReadOnly  Mode = 0
	ReadWrite Mode = 1 << iota
	// Create makes a new, empty file and fails with fs.ErrExist if there is
	// one. It implies ReadWrite. The new name is durable after SyncDir.
	Create
	// Direct asks that reads and writes bypass the page cache. A file
	// system that cannot do so opens the file without it; File.Direct tells.
	Direct
)

// FS is a file system. Names are slash-separated paths.
type FS interface {
	// OpenFile opens name. Errors: fs.ErrNotExist, fs.ErrExist.
	OpenFile(name string, mode Mode) (File, error)
	// Rename gives a file another name in the same folder, replacing what
	// has it. It is atomic; it is durable after SyncDir.
	Rename(from, to string) error
	// Remove deletes a file; it is durable after SyncDir.
	Remove(name string) error
	// List names the entries of a folder, sorted, without their folder.
	List(dir string) ([]string, error)
	// MkdirAll makes a folder and those above it, durably.
	MkdirAll(dir string) error
	// SyncDir makes the creations, renames and removals in dir durable.
	SyncDir(dir string) error
	// Stat tells the size of a file. Error: fs.ErrNotExist.
	Stat(name string) (block.ByteCount, error)
	// Lock takes an exclusive lock that is named by a file, which is made
	// if need be, and held until Close or the end of the process. Error:
	// ErrLocked when somebody else has it; fs.ErrNotExist without a folder.
	Lock(name string) (io.Closer, error)
	// Space tells how much room the disk under dir has.
	Space(dir string) (Space, error)
}

// Space is the room on a disk.
type Space struct {
	Total block.ByteCount
	Free  block.ByteCount // that an ordinary user may still fill
}

// File is an open file.
type File interface {
	// ReadAt fills p from off. It returns io.EOF, with the count, when the
	// file ends before p is full.
	ReadAt(p []byte, off Offset) (int, error)
	// ReadvAt is ReadAt into bufs one after the other, at most MaxPieces.
	ReadvAt(bufs [][]byte, off Offset) (int, error)
	// ReadCached fills p from off as far as memory has the bytes, from the
	// start on, and never waits for the disk. It tells how much it filled;
	// the rest, an error too, is for ReadAt to find out.
	// It may make the kernel read ahead what is not there.
	ReadCached(p []byte, off Offset) int
	// Cached tells whether memory has all n bytes from off on, as far as
	// that can be known without any reading.
	Cached(off Offset, n int) bool
	// WillNeed advises that n bytes from off on will be read soon, so that
	// memory has them by then. It does not wait for them, and may do nothing.
	WillNeed(off Offset, n int)
	// WritevAt writes all of bufs one after the other from off, growing the
	// file if need be. Nothing of it is durable before Sync; after a crash
	// each sector of 512 bytes may be old or new. On an error any part of
	// it may have been written.
	WritevAt(bufs [][]byte, off Offset) error
	// Sync makes all writes durable that returned before it was called,
	// as far as they lie within the file's durable size (fdatasync). After
	// an error nothing may be assumed of them, now or later: never retry.
	Sync() error
	// SyncMeta is Sync, and makes the file's size durable (fsync).
	SyncMeta() error
	// Size is the file's length.
	Size() (block.ByteCount, error)
	// Allocate makes the file at least so long and takes the disk's space
	// for all of it, so that writes within do not run out of space. What was
	// never written reads as zeroes. Durable after SyncMeta; undone as far
	// as possible when there is not so much space.
	Allocate(size block.ByteCount) error
	// Truncate sets the file's length; durable after SyncMeta.
	Truncate(size block.ByteCount) error
	// Direct tells whether the page cache is bypassed.
	Direct() bool
	// Close gives the file back. It makes nothing durable.
	Close() error
}

// ErrLocked is what Lock returns when the lock is held elsewhere.
var ErrLocked = block.Errorf(block.Unavailable, "locked by another process")
