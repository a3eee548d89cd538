package stamp

import (
	"encoding/binary"
	"fmt"

	"github.com/sextantdisk/sextant/internal/block"
)

// Number is the number of a 4 KiB block on a volume.
type Number uint64

// Version counts the writes to one block; 0 is the block before the first
// one, all zeroes.
type Version uint64

// Writer tells apart the testers that share a volume.
type Writer uint32

// Stamp is what a block says of itself.
//
//	offset  size  field
//	     0     8  magic "SXSTAMP1"
//	     8     8  block number, big endian: a block in a wrong place is found
//	    16     8  version: an old or a new one is told apart
//	    24     4  writer
//	    28     4  CRC32C of the block with this field zero: a torn block is found
//	    32  4064  noise made of the fields above: no two stamps share content,
//	              so nothing between can compress, deduplicate or guess them
type Stamp struct {
	Number  Number
	Version Version
	Writer  Writer
}

const (
	magic      = "SXSTAMP1"
	offNumber  = 8
	offVersion = 16
	offWriter  = 24
	offSum     = 28
	offNoise   = 32
)

// Encode fills p, of block.Size bytes, with the stamp.
func (s Stamp) Encode(p []byte) {
	_ = p[block.Size-1]
	copy(p, magic)
	binary.BigEndian.PutUint64(p[offNumber:], uint64(s.Number))
	binary.BigEndian.PutUint64(p[offVersion:], uint64(s.Version))
	binary.BigEndian.PutUint32(p[offWriter:], uint32(s.Writer))
	binary.BigEndian.PutUint32(p[offSum:], 0)
	noise := uint64(s.Number)*0x9E3779B97F4A7C15 ^ uint64(s.Version)*0xC2B2AE3D27D4EB4F ^ uint64(s.Writer)<<32 | 1
	for i := offNoise; i < block.Size; i += 8 {
		noise ^= noise << 13
		noise ^= noise >> 7
		noise ^= noise << 17
		binary.LittleEndian.PutUint64(p[i:], noise)
	}
	binary.BigEndian.PutUint32(p[offSum:], uint32(block.Checksum(p[:block.Size])))
}

// Decode reads the stamp of p, of block.Size bytes. A block of zeroes is the
// zero Stamp. Error kind: Corrupt, for bytes that never were one stamp.
func Decode(p []byte) (Stamp, error) {
	if len(p) != block.Size {
		return Stamp{}, block.Errorf(block.Invalid, "a stamp of %d bytes, want %d", len(p), block.Size)
	}
	if string(p[:len(magic)]) != magic {
		for i, b := range p {
			if b != 0 {
				return Stamp{}, block.Errorf(block.Corrupt, "neither a stamp nor zeroes: byte %d is %#02x", i, b)
			}
		}
		return Stamp{}, nil
	}
	found := block.Sum(binary.BigEndian.Uint32(p[offSum:]))
	sum := block.Checksum(p[:offSum]).Extend([]byte{0, 0, 0, 0}).Extend(p[offNoise:])
	s := Stamp{
		Number:  Number(binary.BigEndian.Uint64(p[offNumber:])),
		Version: Version(binary.BigEndian.Uint64(p[offVersion:])),
		Writer:  Writer(binary.BigEndian.Uint32(p[offWriter:])),
	}
	if sum != found {
		return s, block.Errorf(block.Corrupt, "torn: begins as %v, but its checksum is %08x and should be %08x", s, sum, found)
	}
	return s, nil
}

// String prints "block 7 version 3 of writer 1".
func (s Stamp) String() string {
	if s == (Stamp{}) {
		return "zeroes"
	}
	return fmt.Sprintf("block %d version %d of writer %d", s.Number, s.Version, s.Writer)
}
