package logstore

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs"
)

// formatVersion is written to each file's header. A store refuses files of a
// higher version (kind Version).
//
//	1  files with two header copies; batch frames; 4 bytes of metadata a
//	   block; no footers (a footer is announced in the successor's header).
//	   Checkpoints are files of their own, with a version of their own
//	2  cleaning: files of kind cold, a chain of their own with batch numbers
//	   of their own; FREE records; predecessors that are gone
//	3  hydration: COPY and HYDRATE records
const formatVersion = 3

// fileSeq numbers the log files of a store in the order of their use. It is
// never used twice, also when a file's space is (trap: stale frames). 0: none.
type fileSeq uint32

// pageNo is a position in a log file, in pages of 4 KiB.
type pageNo uint32

// segIndex is the number of a segment within its store, from 1. It is never
// used twice.
type segIndex uint32

// batchSeq numbers the batches of a store, over all files, without gaps.
type batchSeq uint64

const (
	pageSize = block.Size

	// headerCopies is how many pages at the start of a file hold its
	// header: a damaged one must not cost the file.
	headerCopies = 2

	// maxHeaderPages bounds the descriptors of one batch.
	maxHeaderPages = 32
	// maxBatchRecords keeps a batch within one pwritev: 1,024 pieces.
	maxBatchRecords = 1000
)

// at is the byte position of p.
func (p pageNo) at() vfs.Offset { return vfs.Offset(p) * pageSize }

// bytes is p as a length.
func (p pageNo) bytes() block.ByteCount { return block.ByteCount(p) * pageSize }

// location is where a block lies: the page of a file, or that it reads as
// zeroes. In the log and in leaves it takes 8 bytes:
//
//	0  4  file   fileSeq; 0 with the flags saying what the block is
//	4  2  page
//	6  2  flags  0 never written, 1 data, 2 zero, 3 trimmed
type location struct {
	file  fileSeq
	page  uint16
	flags uint16
}

const (
	locNone uint16 = iota
	locData
	locZero
	locTrim
)

func dataAt(f fileSeq, p pageNo) location {
	return location{file: f, page: uint16(p), flags: locData}
}

// plus is the location n pages on in the same file.
func (l location) plus(n int) location {
	l.page += uint16(n)
	return l
}

func (l location) kind() RunKind {
	switch l.flags {
	case locData:
		return RunData
	case locZero:
		return RunZero
	}
	return RunHole
}

// The names of a store's files.
const (
	lockName    = "LOCK"
	logPrefix   = "log-"   // log-0000001a: the log file with fileSeq 26
	sparePrefix = "spare-" // was a log file, waits to become one again
	newPrefix   = "new-"   // being written; of no use after a crash

	manifestPrefix = "manifest-" // manifest-00000000 and -00000001, in turn
	statePrefix    = "state-"    // state-00000007: of checkpoint 7
	leavesPrefix   = "leaves-"   // leaves-00000007: those that checkpoint 7 wrote
)

// fileName is one of our names: a prefix and eight hexadecimal digits.
func fileName(prefix string, n uint32) string { return fmt.Sprintf("%s%08x", prefix, n) }

func logName(s fileSeq) string { return fileName(logPrefix, uint32(s)) }

// parseName reads the number out of one of our names.
func parseName(prefix, name string) (uint32, bool) {
	digits, ok := strings.CutPrefix(name, prefix)
	if !ok || len(digits) != 8 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 16, 32)
	return uint32(n), err == nil && fmt.Sprintf("%08x", n) == digits
}
