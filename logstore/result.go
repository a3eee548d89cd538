package logstore

import (
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs"
)

// RunKind is what a run of blocks holds.
type RunKind uint8

// The kinds of runs. Zero and Hole both read as zeroes; which of the two is
// told where nothing was ever written is advice only.
const (
	RunHole RunKind = iota // nothing is allocated
	RunZero                // written as zeroes
	RunData                // blocks with bytes
)

func (k RunKind) String() string { return [...]string{"hole", "zero", "data"}[k] }

// Run is a number of neighbouring blocks of one kind.
type Run struct {
	Count block.Count
	Kind  RunKind
}

// ReadResult is what ReadAt fills. It may be used again for the next read.
type ReadResult struct {
	// Buf is the caller's memory, of at least as many blocks as are read.
	Buf []byte
	// Gentle: few of the places where the bytes lie are read at a time. All at
	// once, a hundred reads are in the way of whoever waits for a flush.
	Gentle bool
	// Held: what the index holds as of the LSN is read though the segment may lack
	// what was written up to then, may have settled more, or be half-way in a
	// hydration. It is for who can tell by its sum whether a block is the one that
	// it wants: what an LSN wrote is the same everywhere (rule S2).
	Held bool
	// Runs cover the range that was read, in order.
	Runs []Run
	// Sums has one entry for each block of data; their bytes are packed in
	// Buf one after the other, Data() of them, without the runs between.
	Sums []block.Sum

	// A read under way.
	seg   *Segment
	first block.Index
	plan  []piece // in the order of the blocks
	todo  []piece // what memory did not have, in the order of the log
	vec   [][]byte
	spans []vfs.Span
	junk  []byte // a page for what is between pieces
}

// Data is the part of Buf that was filled.
func (r *ReadResult) Data() []byte { return r.Buf[:len(r.Sums)*block.Size] }

func (r *ReadResult) block(i int) []byte { return r.Buf[i*block.Size : (i+1)*block.Size] }

// State is what a segment knows of itself.
type State struct {
	SCL      block.LSN // highest complete LSN; all up to it is durable here
	Floor    block.LSN // versions below it are settled; reads below it fail
	Head     block.LSN // highest LSN that ever arrived
	Promised block.VolumeEpoch
	Config   []byte // must not be changed
	// Damaged: the log lost a part in which records of this segment may
	// have been. SCL and Promised may then have been higher before; the
	// segment must answer nothing as complete until ClearDamage (trap T14).
	Damaged bool
	// BadBlocks counts the blocks found damaged; Bad tells which of them
	// still are.
	BadBlocks int
	// Hydrating: leaves are taken over from peers; nothing can be read.
	Hydrating bool
	// Readable is the lowest LSN as of which the segment can be read, if the
	// SCL has reached it.
	Readable block.LSN
	// Bytes is the data that the segment's newest versions hold, with the
	// versions above the floor counted each.
	Bytes block.ByteCount
	// Pending and Annulled count the records above the floor that are not
	// on the chain: waiting for one before them, or of a branch that lost.
	Pending, Annulled int
}
