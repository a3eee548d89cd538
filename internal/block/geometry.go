package block

import (
	"fmt"
	"strconv"
	"strings"
)

// Size is the unit of checksums, versions and placement: 4 KiB.
const Size = 4096

// ByteCount is a length in bytes.
type ByteCount uint64

// Offset is a position on a volume, in bytes from its start.
type Offset uint64

// Index is the number of a 4 KiB block within one protection group.
type Index uint32

// Count is a number of 4 KiB blocks within one protection group.
type Count uint32

// Bounds of a volume's shape.
const (
	KiB ByteCount = 1 << 10
	MiB ByteCount = 1 << 20
	GiB ByteCount = 1 << 30
	TiB ByteCount = 1 << 40

	// MaxVolumeSize is 128 TiB, as Aurora's volumes.
	MaxVolumeSize = 128 * TiB
	// MinPGSize is for tests; MaxPGSize keeps a block index in 32 bits
	// with room to spare.
	MinPGSize = 1 * MiB
	MaxPGSize = 64 * GiB
	// DefaultPGSize is the paper's segment size (SIGMOD 2017 §2.2).
	DefaultPGSize = 10 * GiB
	// MaxPGs bounds the protection groups of one volume.
	MaxPGs = 1 << 20
	// MaxRecordBytes is the longest payload of one record (rule B2).
	MaxRecordBytes = 256 * KiB
	// MaxRecordBlocks is MaxRecordBytes in blocks.
	MaxRecordBlocks Count = Count(MaxRecordBytes / Size)
)

// String prints a byte count exactly, in the largest binary unit that
// divides it: "10GiB", "1536MiB", "4097".
func (n ByteCount) String() string {
	for _, u := range units {
		if n >= u.size && n%u.size == 0 {
			return strconv.FormatUint(uint64(n/u.size), 10) + u.name
		}
	}
	return strconv.FormatUint(uint64(n), 10)
}

var units = []struct {
	name string
	size ByteCount
}{{"TiB", TiB}, {"GiB", GiB}, {"MiB", MiB}, {"KiB", KiB}}

// ParseSize reads "512MiB", "10GiB", "1TiB", "64KiB" or plain bytes. Error
// kind: Invalid.
func ParseSize(s string) (ByteCount, error) {
	digits, unit := s, ByteCount(1)
	for _, u := range units {
		if rest, ok := strings.CutSuffix(s, u.name); ok {
			digits, unit = rest, u.size
			break
		}
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return 0, Errorf(Invalid, "size %q is not understood: give bytes or a whole number with KiB, MiB, GiB or TiB, such as 512MiB", s)
	}
	if n > uint64(^ByteCount(0)/unit) {
		return 0, Errorf(Invalid, "size %q is too large", s)
	}
	return ByteCount(n) * unit, nil
}

// Geometry is the shape of a volume. The last protection group may be
// shorter than the others.
type Geometry struct {
	Size   ByteCount // a multiple of the block size
	PGSize ByteCount // a multiple of 1 MiB
}

// Check says whether the geometry is one that Sextant can serve. Error kind:
// Invalid.
func (g Geometry) Check() error {
	switch {
	case g.Size == 0:
		return Errorf(Invalid, "volume size must not be zero")
	case g.Size > MaxVolumeSize:
		return Errorf(Invalid, "volume size %v is above the limit of %v", g.Size, MaxVolumeSize)
	case g.Size%Size != 0:
		return Errorf(Invalid, "volume size %d is not a multiple of %d bytes", uint64(g.Size), Size)
	case g.PGSize < MinPGSize || g.PGSize > MaxPGSize || g.PGSize%MiB != 0:
		return Errorf(Invalid, "protection group size %v must be a multiple of 1MiB from %v to %v", g.PGSize, MinPGSize, MaxPGSize)
	case g.PGs() > MaxPGs:
		return Errorf(Invalid, "volume of %v in groups of %v makes %d groups, more than %d: choose larger groups", g.Size, g.PGSize, g.PGs(), MaxPGs)
	}
	return nil
}

// PGs is the number of protection groups that cover the volume.
func (g Geometry) PGs() uint64 { return uint64((g.Size + g.PGSize - 1) / g.PGSize) }

// Locate maps a position to its protection group and the byte within it.
func (g Geometry) Locate(off Offset) (PGIndex, ByteCount) {
	return PGIndex(uint64(off) / uint64(g.PGSize)), ByteCount(uint64(off) % uint64(g.PGSize))
}

// PGBytes is the length of protection group i.
func (g Geometry) PGBytes(i PGIndex) ByteCount {
	start := ByteCount(i) * g.PGSize
	if start >= g.Size {
		return 0
	}
	return min(g.PGSize, g.Size-start)
}

// Piece is the part of a byte range that lies in one protection group.
type Piece struct {
	PG     PGIndex
	Start  ByteCount // within the protection group
	Length ByteCount
}

// Split cuts [off, off+n) at the borders of protection groups, in order,
// calling fn for each piece. The range must lie within the volume.
func (g Geometry) Split(off Offset, n ByteCount, fn func(Piece)) {
	for n > 0 {
		pg, start := g.Locate(off)
		l := min(n, g.PGSize-start)
		fn(Piece{PG: pg, Start: start, Length: l})
		off += Offset(l)
		n -= l
	}
}

// String prints "1TiB in 10GiB groups".
func (g Geometry) String() string { return fmt.Sprintf("%v in %v groups", g.Size, g.PGSize) }
