package logstore

import (
	"log/slog"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
)

// DirectMode says whether the log is written past the page cache.
type DirectMode uint8

// The modes of writing the log. Short reads always go through the page cache,
// long ones past it where the file system can.
const (
	DirectAuto DirectMode = iota // where the file system can
	DirectOff                    // never
)

// Bounds and defaults of a Config.
const (
	// MaxFileSize keeps a page number within 16 bits.
	MaxFileSize     = 256 * block.MiB
	DefaultFileSize = MaxFileSize
	// MinFileSize is for tests: two header pages and a few small batches.
	MinFileSize = 64 * block.KiB
	// MaxBatch and DefaultBatch bound the payload of one group commit.
	MaxBatch     = 16 * block.MiB
	DefaultBatch = 4 * block.MiB
	// DefaultSpares is how many cleaned files are kept to be used again.
	DefaultSpares = 16
	// MaxConfigBytes bounds the configuration of one segment.
	MaxConfigBytes = 16 << 10
	// MaxSegments bounds the segments of one store.
	MaxSegments = 1 << 20
)

// Config is how a store is run. The zero value is good for production.
type Config struct {
	// FileSize is the length of new log files: a multiple of 4 KiB from
	// MinFileSize to MaxFileSize. Files of other lengths are read as well.
	// 0: DefaultFileSize, less where Capacity is less than 128 GiB.
	FileSize block.ByteCount
	// Capacity bounds the bytes that all log files take; 0 is no bound but
	// the disk's. Checkpoints take up to 1 % besides.
	Capacity block.ByteCount
	// MaxBatchBytes bounds the payload written before one flush.
	MaxBatchBytes block.ByteCount
	// Spares is how many cleaned files wait at most to be used again, -1
	// none; more go back to the file system.
	Spares int
	// CheckpointEvery is the least that is logged between two checkpoints. 0:
	// a file, or a 32nd of what log files may take, but no more than 256 MiB.
	// There is more between them if they are large.
	CheckpointEvery block.ByteCount
	// Direct says whether appends bypass the page cache.
	Direct DirectMode
	// ReadOnly opens the store to look at it: nothing is written, Enqueue
	// fails with kind ReadOnly.
	ReadOnly bool
	// fromLog makes the index from the log alone, for Rebuild.
	fromLog bool
	// forgetful is for tests: empty files go at once, whatever room there is.
	forgetful bool
	// byHand is for tests: filler, cleaner, checkpointer, sealer and warmer do
	// nothing by themselves, and nothing waits for them.
	byHand bool
	// footerFrom is from how many pages on a file gets a footer; 0: footerFrom.
	// It is for tests, whose files are small.
	footerFrom pageNo
	Clock      clock.Clock
	Logger     *slog.Logger
	Observer   Observer
}

// Observer is told what happens, for metrics. Its methods are called on the
// data path and must return quickly; they may be called from any goroutine.
type Observer interface {
	// Flushed: a batch of that many records and bytes (headers included)
	// took d from its write to the end of its fdatasync.
	Flushed(records int, bytes block.ByteCount, d time.Duration)
	// Corrupt: damage was found, at opening or by a read.
	Corrupt(d Damage)
	// Failed: the log has ended (rule S3); called once.
	Failed(err error)
}

type silent struct{}

func (silent) Flushed(int, block.ByteCount, time.Duration) {}
func (silent) Corrupt(Damage)                              {}
func (silent) Failed(error)                                {}

// smallFile is the smallest length that log files have by themselves.
const smallFile = 16 * block.MiB

// fileSizeFor is the length of log files on a disk of that capacity: so long
// that there are some 512 of them, since cleaning and the reserve go by files.
func fileSizeFor(capacity block.ByteCount) block.ByteCount {
	size := DefaultFileSize
	for capacity != 0 && size > smallFile && capacity/size < 512 {
		size /= 2
	}
	return size
}

// normal fills in defaults and checks bounds. Error kind: Invalid.
func (c Config) normal() (Config, error) {
	if c.FileSize == 0 {
		c.FileSize = fileSizeFor(c.Capacity)
	}
	if c.MaxBatchBytes == 0 {
		c.MaxBatchBytes = DefaultBatch
	}
	if c.Spares == 0 {
		c.Spares = DefaultSpares
	}
	if c.footerFrom == 0 {
		c.footerFrom = footerFrom
	}
	if c.Clock == nil {
		c.Clock = clock.Real()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Observer == nil {
		c.Observer = silent{}
	}
	switch {
	case c.FileSize < MinFileSize || c.FileSize > MaxFileSize || c.FileSize%block.Size != 0:
		return c, block.Errorf(block.Invalid, "log file size %v must be a multiple of 4KiB from %v to %v", c.FileSize, MinFileSize, MaxFileSize)
	case c.Capacity != 0 && c.Capacity < c.FileSize:
		return c, block.Errorf(block.Invalid, "capacity %v is less than one log file of %v", c.Capacity, c.FileSize)
	case c.MaxBatchBytes < block.MaxRecordBytes || c.MaxBatchBytes > MaxBatch:
		return c, block.Errorf(block.Invalid, "batch size %v must be from %v to %v", c.MaxBatchBytes, block.MaxRecordBytes, MaxBatch)
	case c.Spares < -1 || c.Spares > 64:
		return c, block.Errorf(block.Invalid, "%d spare log files: must be at most 64, or -1 for none", c.Spares)
	}
	c.Spares = max(c.Spares, 0)
	return c, nil
}
