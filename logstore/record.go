package logstore

import (
	"github.com/sextantdisk/sextant/internal/block"
)

// RecordType says what a descriptor in the log is about. The values are part
// of the format.
type RecordType uint8

// The records of a log. The first four are changes to a segment, made by the
// volume's writer; the others are the store's own.
const (
	TypeNone      RecordType = iota // never written
	TypeWrite                       // replaces 1 to block.MaxRecordBlocks blocks
	TypeZero                        // the range reads as zeroes and stays allocated
	TypeTrim                        // the range reads as zeroes and is given back
	TypeEpochOpen                   // a writer's first record; annuls what lies between Prev and LSN (rule R16)
	TypePromise                     // the volume epoch that a segment promised (rule R2)
	TypeConfig                      // a segment's identity and configuration, whole; the first one makes the segment
	TypeStatus                      // a segment's floor, head and promise, as of before its batch
	TypeDrop                        // the segment is gone
	TypeReloc                       // blocks that were moved or mended; names where they were
	TypeSyncMark                    // proof that all before it was durable (trap T14)
	TypeFree                        // a log file was emptied and may be used again: that it is gone is no damage
	TypeCopy                        // blocks of a leaf as a peer has settled them (rule R21)
	TypeHydrate                     // copying begins, or goes on; or all is in and the chain goes on from its cut
	TypeSeal                        // where a log file ended: the one behind it, whose header said so, was freed
	typeEnd
)

var typeNames = [...]string{
	"none", "write", "zero", "trim", "epoch-open", "promise", "config", "status", "drop", "reloc", "syncmark", "free", "copy", "hydrate", "seal",
}

func (t RecordType) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return "unknown"
}

// isChange tells the records that are linked into a segment's chain.
func (t RecordType) isChange() bool { return t >= TypeWrite && t <= TypeEpochOpen }

// Record is one change to one segment.
type Record struct {
	Type  RecordType // TypeWrite, TypeZero, TypeTrim or TypeEpochOpen
	LSN   block.LSN
	Prev  block.LSN   // the record before it in the same protection group
	Block block.Index // first block of the range; EPOCH_OPEN has no range
	Count block.Count
	// Sums has the CRC32C of each block of a WRITE, else it is empty.
	Sums []block.Sum
	// Payload has Count blocks for a WRITE, else it is empty. It should
	// begin on a 4 KiB border of memory (package slab); else it is copied.
	Payload []byte
}

// Check tells whether r is well-formed. It does not verify Sums: who received
// the payload has (rule B3). Error kind: Invalid.
func (r *Record) Check() error {
	switch {
	case !r.Type.isChange():
		return block.Errorf(block.Invalid, "record %v: type %v is not a change to a segment", r.LSN, r.Type)
	case r.LSN == 0 || r.Prev >= r.LSN:
		return block.Errorf(block.Invalid, "record %v follows %v: a record must follow a lower one", r.LSN, r.Prev)
	case r.Type == TypeEpochOpen:
		if r.Block != 0 || r.Count != 0 || len(r.Payload) != 0 || len(r.Sums) != 0 {
			return block.Errorf(block.Invalid, "record %v: an epoch-open has neither range nor payload", r.LSN)
		}
		return nil
	case r.Count == 0 || uint64(r.Block)+uint64(r.Count) > maxBlocks:
		return block.Errorf(block.Invalid, "record %v: range of %d blocks from %d does not lie in a protection group", r.LSN, r.Count, r.Block)
	case r.Type != TypeWrite:
		if len(r.Payload) != 0 || len(r.Sums) != 0 {
			return block.Errorf(block.Invalid, "record %v: a %v has no payload", r.LSN, r.Type)
		}
		return nil
	case r.Count > block.MaxRecordBlocks:
		return block.Errorf(block.Invalid, "record %v: %d blocks are more than the %d of one record", r.LSN, r.Count, block.MaxRecordBlocks)
	case len(r.Sums) != int(r.Count) || len(r.Payload) != int(r.Count)*block.Size:
		return block.Errorf(block.Invalid, "record %v: %d blocks with %d sums and %d bytes of payload", r.LSN, r.Count, len(r.Sums), len(r.Payload))
	}
	return nil
}

// maxBlocks is the blocks of the largest protection group.
const maxBlocks = uint64(block.MaxPGSize / block.Size)

// Op is a step of a Ticket, about one segment: exactly one of its three
// contents is given.
type Op struct {
	Segment *Segment
	Records []Record
	Promise block.VolumeEpoch // raises the promise; a lower one changes nothing
	Config  []byte            // replaces the configuration; at most MaxConfigBytes
}
