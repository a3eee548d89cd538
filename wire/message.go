package wire

import (
	"encoding/binary"

	"github.com/sextantdisk/sextant/internal/block"
)

// Stamp is a point on the sender's own clock, in nanoseconds. Only
// its sender can read it; an answer echoes the newest one that it covers, so
// the sender learns when it last spoke with the authority of its epoch (the
// read lease of rule R14).
type Stamp uint64

// Progress is what a gateway tells each segment with every message. In a Join
// floor and committed are zero: before the gateway knows where the segment
// stands, the segment must conclude nothing from what others have.
//
//	 0  8  floor      PGMRPL: no read below it will come (rule R13)
//	 8  8  committed  PGCL: on a write quorum
//	16  8  stamp
type Progress struct {
	Floor     block.LSN
	Committed block.LSN
	Stamp     Stamp
}

func (p *Progress) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(p.Floor))
	b = binary.LittleEndian.AppendUint64(b, uint64(p.Committed))
	return binary.LittleEndian.AppendUint64(b, uint64(p.Stamp))
}

func (p *Progress) decode(d *decoder) {
	p.Floor = block.LSN(d.u64())
	p.Committed = block.LSN(d.u64())
	p.Stamp = Stamp(d.u64())
	if p.Floor > p.Committed {
		d.fail("floor %v is above what is committed, %v", p.Floor, p.Committed)
	}
}

// Join fences the segment to the identity's volume epoch and asks where it
// stands (protocol §2.5 step 2). A segment that does not exist is made, empty
// and with this epoch as its promise (R24): the connection is to the very disk
// that the metadata service has placed it on.
//
//	 0 64  identity
//	64 24  progress  only its stamp says something: see Progress
type Join struct {
	Identity
	Progress
}

// Append adds the message as a frame to b.
func (m *Join) Append(b []byte, tag Tag) []byte {
	start := len(b)
	b = appendHeader(b, TypeJoin, tag)
	b = m.Identity.append(b)
	return finish(m.Progress.append(b), start, 0)
}

// Decode reads the meta part of a frame. Error kind: Invalid.
func (m *Join) Decode(meta []byte) error {
	d := decoder{b: meta}
	m.Identity.decode(&d)
	m.Progress.decode(&d)
	return d.end()
}

// Ping keeps the read lease alive and moves the floor while nothing is
// written.
//
//	 0 64  identity
//	64 24  progress
type Ping struct {
	Identity
	Progress
}

// Append adds the message as a frame to b.
func (m *Ping) Append(b []byte, tag Tag) []byte {
	start := len(b)
	b = appendHeader(b, TypePing, tag)
	b = m.Identity.append(b)
	return finish(m.Progress.append(b), start, 0)
}

// Decode reads the meta part of a frame. Error kind: Invalid.
func (m *Ping) Decode(meta []byte) error {
	d := decoder{b: meta}
	m.Identity.decode(&d)
	m.Progress.decode(&d)
	return d.end()
}

// Ack tells how far a segment is, on disk (rules R6, I9). It answers JOIN,
// WRITE, PING, MEND, and comes by itself when a catch-up has moved the SCL.
//
//	 0 64  identity   as the segment knows it; epoch is the promised one
//	64  8  scl
//	72  8  floor
//	80  8  stamp      echoed
//	88  1  state      bits: 0 damaged, 1 gap, 2 catching up, 3 full
//	89  7  (zero)
type Ack struct {
	Identity
	// SCL is the highest LSN whose chain is complete on this disk.
	SCL   block.LSN
	Floor block.LSN
	Stamp Stamp
	// Damaged: the SCL may be below what this segment once acknowledged;
	// it counts for a fence, not for data (protocol §2.5 step 3).
	Damaged bool
	// Gap: records above the SCL are here that do not link to it.
	Gap bool
	// CatchingUp: the segment is fetching from a peer.
	CatchingUp bool
	// Full: its disk is short of space and is to be sent no more data.
	Full bool
}

func flag(v bool) byte {
	if v {
		return 1
	}
	return 0
}

// Append adds the message as a frame to b.
func (m *Ack) Append(b []byte, tag Tag) []byte {
	start := len(b)
	b = appendHeader(b, TypeAck, tag)
	b = m.Identity.append(b)
	b = binary.LittleEndian.AppendUint64(b, uint64(m.SCL))
	b = binary.LittleEndian.AppendUint64(b, uint64(m.Floor))
	b = binary.LittleEndian.AppendUint64(b, uint64(m.Stamp))
	state := flag(m.Damaged) | flag(m.Gap)<<1 | flag(m.CatchingUp)<<2 | flag(m.Full)<<3
	b = append(b, state, 0, 0, 0, 0, 0, 0, 0)
	return finish(b, start, 0)
}

// Decode reads the meta part of a frame. Error kind: Invalid.
func (m *Ack) Decode(meta []byte) error {
	d := decoder{b: meta}
	m.Identity.decode(&d)
	m.SCL = block.LSN(d.u64())
	m.Floor = block.LSN(d.u64())
	m.Stamp = Stamp(d.u64())
	state := d.u8()
	if p := d.take(7); p != nil && [7]byte(p) != [7]byte{} || state > 15 {
		d.fail("reserved bits are not zero")
	}
	m.Damaged, m.Gap, m.CatchingUp, m.Full = state&1 != 0, state&2 != 0, state&4 != 0, state&8 != 0
	return d.end()
}

// CatchUp tells a segment to fetch what it lacks up to UpTo from a peer that
// has it (rule R20). Progress comes back as Acks.
//
//	 0 64  identity
//	64  8  upTo
//	72 16  donor segment
//	88 16  donor disk
//	    .  donor node     text
//	    .  donor address  text
type CatchUp struct {
	Identity
	UpTo         block.LSN
	DonorSegment block.SegmentID
	DonorDisk    block.DiskID
	DonorNode    block.NodeID
	DonorAddress string
}

// Append adds the message as a frame to b.
func (m *CatchUp) Append(b []byte, tag Tag) []byte {
	start := len(b)
	b = appendHeader(b, TypeCatchUp, tag)
	b = m.Identity.append(b)
	b = binary.LittleEndian.AppendUint64(b, uint64(m.UpTo))
	b = append(b, m.DonorSegment[:]...)
	b = append(b, m.DonorDisk[:]...)
	b = appendText(b, string(m.DonorNode))
	return finish(appendText(b, m.DonorAddress), start, 0)
}

// Decode reads the meta part of a frame. Error kind: Invalid.
func (m *CatchUp) Decode(meta []byte) error {
	d := decoder{b: meta}
	m.Identity.decode(&d)
	m.UpTo = block.LSN(d.u64())
	d.bytes(m.DonorSegment[:])
	d.bytes(m.DonorDisk[:])
	m.DonorNode = block.NodeID(d.text())
	m.DonorAddress = d.text()
	return d.end()
}

// Fetch asks a peer for records of its complete chain in (After, UpTo]. The
// identity names the donor's segment and carries the asker's promised epoch,
// which must be the donor's too (rule R20).
//
//	 0 64  identity
//	64  8  after
//	72  8  upTo
type Fetch struct {
	Identity
	After, UpTo block.LSN
}

// Append adds the message as a frame to b.
func (m *Fetch) Append(b []byte, tag Tag) []byte {
	start := len(b)
	b = appendHeader(b, TypeFetch, tag)
	b = m.Identity.append(b)
	b = binary.LittleEndian.AppendUint64(b, uint64(m.After))
	return finish(binary.LittleEndian.AppendUint64(b, uint64(m.UpTo)), start, 0)
}

// Decode reads the meta part of a frame. Error kind: Invalid.
func (m *Fetch) Decode(meta []byte) error {
	d := decoder{b: meta}
	m.Identity.decode(&d)
	m.After = block.LSN(d.u64())
	m.UpTo = block.LSN(d.u64())
	if m.After > m.UpTo {
		d.fail("range (%v, %v] runs backwards", m.After, m.UpTo)
	}
	return d.end()
}
