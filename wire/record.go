package wire

import (
	"encoding/binary"

	"github.com/sextantdisk/sextant/internal/block"
)

// RecordType tells what a record does to its protection group. The numbers
// are part of the protocol; 0 is never sent.
type RecordType uint8

// The records of a protection group's log (protocol §nouns).
const (
	RecordWrite RecordType = iota + 1 // replaces 1 to MaxRecordBlocks blocks
	RecordZero                        // the range reads as zeroes and stays allocated
	RecordTrim                        // the range reads as zeroes and is given back
	RecordOpen                        // EPOCH_OPEN: a writer's first record; annuls what is between Prev and LSN
)

// Record is one change to one protection group. On the wire 32 bytes and a
// 4 byte sum for each block of a WRITE:
//
//	 0  8  lsn
//	 8  8  prev     the LSN before it in the same protection group
//	16  4  block    first block of the range, within the protection group
//	20  4  blocks   length of the range
//	24  1  type
//	25  7  (zero)
//	32     sums     CRC32C of each block; WRITE only
//
// Its payload follows in the payload part of the frame, in record order.
type Record struct {
	Type  RecordType
	LSN   block.LSN
	Prev  block.LSN
	Block block.Index
	Count block.Count
	// Sums has one entry a block for RecordWrite, else none.
	Sums []block.Sum
	// Payload has Count blocks for RecordWrite, else none. After decoding
	// it points into the frame's payload.
	Payload []byte
}

const recordSize = 32

func (r *Record) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(r.LSN))
	b = binary.LittleEndian.AppendUint64(b, uint64(r.Prev))
	b = binary.LittleEndian.AppendUint32(b, uint32(r.Block))
	b = binary.LittleEndian.AppendUint32(b, uint32(r.Count))
	b = append(b, byte(r.Type), 0, 0, 0, 0, 0, 0, 0)
	return appendSums(b, r.Sums)
}

// MetaSize is the room r takes in the meta part of a frame, in bytes.
func (r *Record) MetaSize() int { return recordSize + 4*len(r.Sums) }

// decode reads a record; its payload is cut off the front of *payload.
func (r *Record) decode(d *decoder, payload *[]byte) {
	r.LSN = block.LSN(d.u64())
	r.Prev = block.LSN(d.u64())
	r.Block = block.Index(d.u32())
	r.Count = block.Count(d.u32())
	r.Type = RecordType(d.u8())
	if p := d.take(7); p != nil && [7]byte(p) != [7]byte{} {
		d.fail("record %v: reserved bytes are not zero", r.LSN)
	}
	if d.err != nil {
		return
	}
	if r.Prev >= r.LSN {
		d.fail("record %v follows %v, which is not before it", r.LSN, r.Prev)
		return
	}
	if uint64(r.Block)+uint64(r.Count) > 1<<32 {
		d.fail("record %v: blocks %d+%d are out of range", r.LSN, r.Block, r.Count)
		return
	}
	switch r.Type {
	case RecordWrite:
		r.decodePayload(d, payload)
	case RecordZero, RecordTrim:
		if r.Count == 0 {
			d.fail("record %v has an empty range", r.LSN)
		}
	case RecordOpen:
		if r.Block != 0 || r.Count != 0 {
			d.fail("record %v: an EPOCH_OPEN has no range", r.LSN)
		}
	default:
		d.fail("record %v has unknown type %d", r.LSN, r.Type)
	}
}

func (r *Record) decodePayload(d *decoder, payload *[]byte) {
	n := int(r.Count) * block.Size
	switch {
	case r.Count == 0 || r.Count > block.MaxRecordBlocks:
		d.fail("record %v writes %d blocks: 1 to %d are allowed", r.LSN, r.Count, block.MaxRecordBlocks)
	case n > len(*payload):
		d.fail("record %v wants %d bytes of payload, %d are left", r.LSN, n, len(*payload))
	default:
		r.Sums = d.sums(r.Sums[:0], int(r.Count))
		r.Payload, *payload = (*payload)[:n:n], (*payload)[n:]
	}
}

// Verify checks each payload block against its sum (rule B3). Error kind:
// Corrupt.
func (r *Record) Verify() error { return VerifyBlocks(r.Payload, r.Sums) }

// VerifyBlocks checks whole blocks against their sums. Error kind: Corrupt.
func VerifyBlocks(payload []byte, sums []block.Sum) error {
	for i, want := range sums {
		if got := block.Checksum(payload[i*block.Size : (i+1)*block.Size]); got != want {
			return block.Errorf(block.Corrupt, "block %d of %d: checksum %08x, expected %08x", i, len(sums), uint32(got), uint32(want))
		}
	}
	return nil
}

func appendSums(b []byte, sums []block.Sum) []byte {
	for _, s := range sums {
		b = binary.LittleEndian.AppendUint32(b, uint32(s))
	}
	return b
}

// sums appends n sums to dst.
func (d *decoder) sums(dst []block.Sum, n int) []block.Sum {
	p := d.take(4 * n)
	for ; len(p) >= 4; p = p[4:] {
		dst = append(dst, block.Sum(binary.LittleEndian.Uint32(p)))
	}
	return dst
}
