package torture

import (
	"encoding/binary"
	"fmt"

	"github.com/sextantdisk/sextant/integration/history"
	"github.com/sextantdisk/sextant/integration/stamp"
	"github.com/sextantdisk/sextant/internal/block"
)

// A unit is what a history is about: whole blocks, or sectors of 512 bytes,
// eight of which lie in a block. Writes of sectors are read, modified and
// written by the gateway (B1); if it did so with an old image of the block, a
// write of a neighbour would be lost. Blocks and sectors lie in different places.
type unit int

const (
	wholeBlocks unit = block.Size
	sectors     unit = 512
)

// sectorSpace sets the numbers of sectors apart from those of blocks.
const sectorSpace history.Block = 1 << 48

// register is the history's name of the unit that lies at an offset.
func (u unit) register(at block.Offset) history.Block {
	if u == sectors {
		return sectorSpace + history.Block(at)/history.Block(sectors)
	}
	return history.Block(at) / history.Block(wholeBlocks)
}

// encode fills p, one unit long, with what says of itself where it belongs and
// which write it is from.
func (u unit) encode(p []byte, at history.Block, v history.Value) {
	if u == wholeBlocks {
		stamp.Stamp{Number: stamp.Number(at), Version: stamp.Version(v.Count()), Writer: stamp.Writer(v.Client())}.Encode(p)
		return
	}
	encodeSector(p, at, v)
}

// decode is what p says of itself.
func (u unit) decode(p []byte, at history.Block) (history.Value, error) {
	if u == sectors {
		return decodeSector(p, at)
	}
	s, err := stamp.Decode(p)
	if err != nil {
		return 0, err
	}
	if s != (stamp.Stamp{}) && s.Number != stamp.Number(at) {
		return 0, fmt.Errorf("it holds %v", s)
	}
	return history.NewValue(history.Client(s.Writer), uint64(s.Version)), nil
}

// A sector:
//
//	0 register 8, little endian · 8 value 8 · 16 noise made of them, 488 ·
//	504 zero 4 · 508 CRC32C of all before
const sectorSum = int(sectors) - 4

func encodeSector(p []byte, at history.Block, v history.Value) {
	clear(p[:sectors])
	binary.LittleEndian.PutUint64(p, uint64(at))
	binary.LittleEndian.PutUint64(p[8:], uint64(v))
	noise := uint64(at)*0x9E3779B97F4A7C15 ^ uint64(v)*0xC2B2AE3D27D4EB4F | 1
	for i := 16; i < sectorSum-8; i += 8 {
		noise ^= noise << 13
		noise ^= noise >> 7
		noise ^= noise << 17
		binary.LittleEndian.PutUint64(p[i:], noise)
	}
	binary.LittleEndian.PutUint32(p[sectorSum:], uint32(block.Checksum(p[:sectorSum])))
}

func decodeSector(p []byte, at history.Block) (history.Value, error) {
	zero := true
	for _, b := range p[:sectors] {
		zero = zero && b == 0
	}
	if zero {
		return 0, nil
	}
	if sum := uint32(block.Checksum(p[:sectorSum])); sum != binary.LittleEndian.Uint32(p[sectorSum:]) {
		return 0, fmt.Errorf("torn: a sector that begins with %x has a wrong checksum", p[:16])
	}
	if n := history.Block(binary.LittleEndian.Uint64(p)); n != at {
		return 0, fmt.Errorf("it holds sector %d", n-sectorSpace)
	}
	return history.Value(binary.LittleEndian.Uint64(p[8:])), nil
}
