package wire

import (
	"encoding/binary"

	"github.com/sextantdisk/sextant/internal/block"
)

// MaxMapRuns bounds the runs of one answer; what does not fit is asked for
// again.
const MaxMapRuns = 4096

// MaxReadBlocks bounds one READ, as MaxPayload bounds its answer.
const MaxReadBlocks = block.Count(MaxPayload / block.Size)

// Read asks for blocks as of an LSN (rule R11). MAP has the same shape and
// may span a whole protection group.
//
//	 0 64  identity
//	64  8  at       the read-point
//	72  4  block
//	76  4  blocks
//	80  1  flags: 1: home, 2: mending
//	81  3  (zero)
type Read struct {
	Identity
	At    block.LSN
	Block block.Index
	Count block.Count
	// Home: the reader comes back to this copy as long as it is fast, rather
	// than to another; so it is worth having at hand what will be read.
	Home bool
	// Mending: the reader has the sum of the version that it wants, and takes
	// no other. So what the segment has as of At is welcome though it is not
	// whole as of then. A daemon that does not know this ends the connection.
	Mending bool
}

const (
	readHome = 1 << iota
	readMending
)

// Append adds the message as a frame to b. typ is TypeRead or TypeMap.
func (m *Read) Append(b []byte, typ Type, tag Tag) []byte {
	start := len(b)
	b = appendHeader(b, typ, tag)
	b = m.Identity.append(b)
	b = binary.LittleEndian.AppendUint64(b, uint64(m.At))
	b = binary.LittleEndian.AppendUint32(b, uint32(m.Block))
	b = binary.LittleEndian.AppendUint32(b, uint32(m.Count))
	flags := uint32(0)
	if m.Home {
		flags |= readHome
	}
	if m.Mending {
		flags |= readMending
	}
	return finish(binary.LittleEndian.AppendUint32(b, flags), start, 0)
}

// Decode reads the meta part of a READ or MAP frame. Error kind: Invalid.
func (m *Read) Decode(meta []byte, typ Type) error {
	d := decoder{b: meta}
	m.Identity.decode(&d)
	m.At = block.LSN(d.u64())
	m.Block = block.Index(d.u32())
	m.Count = block.Count(d.u32())
	flags := d.u32()
	m.Home, m.Mending = flags&readHome != 0, flags&readMending != 0
	switch {
	case d.err != nil:
	case flags&^(readHome|readMending) != 0:
		d.fail("flags %#x are not known", flags)
	case m.Count == 0 || uint64(m.Block)+uint64(m.Count) > 1<<32:
		d.fail("blocks %d+%d are out of range", m.Block, m.Count)
	case typ == TypeRead && m.Count > MaxReadBlocks:
		d.fail("read of %d blocks, at most %d are allowed", m.Count, MaxReadBlocks)
	}
	return d.end()
}

// RunKind tells what a run of blocks holds.
type RunKind uint8

// Kinds of runs. Numbers are part of the protocol.
const (
	RunData RunKind = iota + 1 // written bytes
	RunZero                    // zeroes that are allocated
	RunHole                    // never written, or trimmed: zeroes, not allocated
)

// Run is a number of blocks of one kind: 8 bytes on the wire.
type Run struct {
	Count block.Count
	Kind  RunKind
}

// Data answers READ with runs that cover the range and the sums of the data
// blocks, which follow packed as the payload. RUNS, the answer to MAP, has
// runs only, which may cover less than was asked.
//
//	0  2  runs    1 to MaxMapRuns
//	2  2  sums    0 to MaxReadBlocks
//	4     runs, 8 bytes each: blocks u32, kind u32
//	      sums
type Data struct {
	Runs []Run
	Sums []block.Sum
}

// Append adds the frame's header and meta to b; one block of payload for
// each sum is to be sent right after it. typ is TypeData or TypeRuns.
func (m *Data) Append(b []byte, typ Type, tag Tag) []byte {
	start := len(b)
	return finish(m.append(appendHeader(b, typ, tag)), start, len(m.Sums)*block.Size)
}

func (m *Data) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint16(b, uint16(len(m.Runs)))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(m.Sums)))
	for _, r := range m.Runs {
		b = binary.LittleEndian.AppendUint32(b, uint32(r.Count))
		b = binary.LittleEndian.AppendUint32(b, uint32(r.Kind))
	}
	return appendSums(b, m.Sums)
}

// Decode reads the meta part of a frame with payloadLen bytes of payload,
// which must be one block for each sum and each block of a data run. Slices
// in m are used again. Error kind: Invalid.
func (m *Data) Decode(meta []byte, typ Type, payloadLen int) error {
	return m.decode(&decoder{b: meta}, typ, payloadLen)
}

// decode reads the rest of d.
func (m *Data) decode(d *decoder, typ Type, payloadLen int) error {
	runs, sums := int(d.u16()), int(d.u16())
	if runs == 0 || runs > MaxMapRuns || 8*runs+4*sums > len(d.b) {
		d.fail("%d runs and %d sums in %d bytes", runs, sums, len(d.b))
	}
	if d.err != nil {
		return d.err
	}
	m.Runs = m.Runs[:0]
	var data uint64
	for range runs {
		count, kind := block.Count(d.u32()), d.u32()
		if count == 0 || kind < uint32(RunData) || kind > uint32(RunHole) {
			d.fail("run of %d blocks of kind %d", count, kind)
			return d.err
		}
		r := Run{Count: count, Kind: RunKind(kind)}
		if r.Kind == RunData {
			data += uint64(r.Count)
		}
		m.Runs = append(m.Runs, r)
	}
	m.Sums = d.sums(m.Sums[:0], sums)
	switch {
	case payloadLen != sums*block.Size:
		d.fail("%d sums for %d bytes of payload", sums, payloadLen)
	case typ == TypeData && data != uint64(sums):
		d.fail("%d data blocks in runs, %d sums", data, sums)
	case typ == TypeRuns && sums != 0:
		d.fail("a map has no sums, %d announced", sums)
	}
	return d.end()
}
