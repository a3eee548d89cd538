package wire

import (
	"encoding/binary"

	"github.com/sextantdisk/sextant/internal/block"
)

// Bounds of hydration's messages.
const (
	// LeafBlocks is how many blocks a leaf has, the unit of hydration: 2 MiB.
	LeafBlocks = block.Count(512)
	// MaxMarks bounds the leaves that one MARKS names; the rest is asked for
	// again.
	MaxMarks = 4096
)

// Leaves asks a peer which leaves it has settled since an LSN, for one whose
// records are not in the peer's log any more (rule R21). Identity as in FETCH.
//
//	 0 64  identity
//	64  8  after
//	72  4  block    where the list is to begin: the first block of a leaf
//	76  4  (zero)
type Leaves struct {
	Identity
	After block.LSN
	Block block.Index
}

// Append adds the message as a frame to b.
func (m *Leaves) Append(b []byte, tag Tag) []byte {
	start := len(b)
	b = appendHeader(b, TypeLeaves, tag)
	b = m.Identity.append(b)
	b = binary.LittleEndian.AppendUint64(b, uint64(m.After))
	b = binary.LittleEndian.AppendUint32(b, uint32(m.Block))
	return finish(binary.LittleEndian.AppendUint32(b, 0), start, 0)
}

// Decode reads the meta part of a frame. Error kind: Invalid.
func (m *Leaves) Decode(meta []byte) error {
	d := decoder{b: meta}
	m.Identity.decode(&d)
	m.After = block.LSN(d.u64())
	m.Block = d.leaf()
	d.zero32()
	return d.end()
}

// leaf reads the first block of a leaf.
func (d *decoder) leaf() block.Index {
	b := block.Index(d.u32())
	if b%block.Index(LeafBlocks) != 0 {
		d.fail("block %d does not begin a leaf", b)
	}
	return b
}

// Mark names a leaf by its first block, and up to where it is settled,
// tombstones included. 12 bytes on the wire.
type Mark struct {
	Block  block.Index
	MaxLSN block.LSN
}

// Marks answers LEAVES: all leaves as of cut, ascending; MaxMarks of them say
// that there may be more.
//
//	 0  8  cut     the peer's floor
//	 8  2  marks
//	10  .  marks: block 4, max LSN 8
type Marks struct {
	Cut   block.LSN
	Marks []Mark
}

// Append adds the message as a frame to b.
func (m *Marks) Append(b []byte, tag Tag) []byte {
	start := len(b)
	b = appendHeader(b, TypeMarks, tag)
	b = binary.LittleEndian.AppendUint64(b, uint64(m.Cut))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(m.Marks)))
	for _, k := range m.Marks {
		b = binary.LittleEndian.AppendUint32(b, uint32(k.Block))
		b = binary.LittleEndian.AppendUint64(b, uint64(k.MaxLSN))
	}
	return finish(b, start, 0)
}

// Decode reads the meta part of a frame. Error kind: Invalid.
func (m *Marks) Decode(meta []byte) error {
	d := decoder{b: meta}
	m.Cut = block.LSN(d.u64())
	n := int(d.u16())
	if n > MaxMarks || 12*n > len(d.b) {
		d.fail("%d marks in %d bytes", n, len(d.b))
	}
	if d.err != nil {
		return d.err
	}
	m.Marks = make([]Mark, n)
	for i := range m.Marks {
		k := Mark{d.leaf(), block.LSN(d.u64())}
		if i > 0 && k.Block <= m.Marks[i-1].Block || k.MaxLSN > m.Cut {
			d.fail("leaf of block %d, settled up to %v of %v, is out of order", k.Block, k.MaxLSN, m.Cut)
		}
		m.Marks[i] = k
	}
	return d.end()
}

// Take asks a peer for a part of a leaf as it has settled it (rules R21, R22).
// Identity as in FETCH.
//
//	 0 64  identity
//	64  4  block
//	68  4  blocks   at most MaxReadBlocks, all in one leaf
type Take struct {
	Identity
	Block block.Index
	Count block.Count
}

// Append adds the message as a frame to b.
func (m *Take) Append(b []byte, tag Tag) []byte {
	start := len(b)
	b = appendHeader(b, TypeTake, tag)
	b = m.Identity.append(b)
	b = binary.LittleEndian.AppendUint32(b, uint32(m.Block))
	return finish(binary.LittleEndian.AppendUint32(b, uint32(m.Count)), start, 0)
}

// Decode reads the meta part of a frame. Error kind: Invalid.
func (m *Take) Decode(meta []byte) error {
	d := decoder{b: meta}
	m.Identity.decode(&d)
	m.Block = block.Index(d.u32())
	m.Count = block.Count(d.u32())
	if n := m.Count; n == 0 || n > MaxReadBlocks || block.Count(m.Block)%LeafBlocks+n > LeafBlocks {
		d.fail("blocks %d+%d are no part of a leaf", m.Block, m.Count)
	}
	return d.end()
}

// Leaf answers TAKE. Its data is as in DATA, with the payload.
//
//	 0  8  cut     the peer's floor when it read them
//	 8  8  max     up to where the leaf was settled then
//	16  .  as DATA
type Leaf struct {
	Cut, MaxLSN block.LSN
	Data
}

// Append adds the frame's header and meta to b; one block of payload for each
// sum is to be sent right after it.
func (m *Leaf) Append(b []byte, tag Tag) []byte {
	start := len(b)
	b = appendHeader(b, TypeLeaf, tag)
	b = binary.LittleEndian.AppendUint64(b, uint64(m.Cut))
	b = binary.LittleEndian.AppendUint64(b, uint64(m.MaxLSN))
	return finish(m.Data.append(b), start, len(m.Sums)*block.Size)
}

// Decode reads the meta part of a frame with payloadLen bytes of payload.
// Slices in m are used again. Error kind: Invalid.
func (m *Leaf) Decode(meta []byte, payloadLen int) error {
	d := decoder{b: meta}
	m.Cut, m.MaxLSN = block.LSN(d.u64()), block.LSN(d.u64())
	if m.MaxLSN > m.Cut {
		d.fail("leaf settled up to %v as of %v", m.MaxLSN, m.Cut)
	}
	return m.Data.decode(&d, TypeData, payloadLen)
}
