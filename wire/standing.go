package wire

import (
	"encoding/binary"

	"github.com/sextantdisk/sextant/internal/block"
)

// MaxStandings bounds the segments of one STANDING.
const MaxStandings = 1024

// Place names a segment and where it belongs: 36 bytes on the wire, volume,
// segment and group.
type Place struct {
	Volume  block.VolumeID
	Segment block.SegmentID
	PG      block.PGIndex
}

// Standing asks a daemon where its segments stand (rule R20). It promises
// nothing and asks for nothing but that, so it names no epochs.
//
//	0  2  places   1 to MaxStandings
//	2  .  places
type Standing struct {
	Places []Place
}

const placeSize = 36

// Append adds the message as a frame to b.
func (m *Standing) Append(b []byte, tag Tag) []byte {
	start := len(b)
	b = appendHeader(b, TypeStanding, tag)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(m.Places)))
	for i := range m.Places {
		p := &m.Places[i]
		b = append(b, p.Volume[:]...)
		b = append(b, p.Segment[:]...)
		b = binary.LittleEndian.AppendUint32(b, uint32(p.PG))
	}
	return finish(b, start, 0)
}

// Decode reads the meta part of a frame. Error kind: Invalid.
func (m *Standing) Decode(meta []byte) error {
	d := decoder{b: meta}
	n := d.places(placeSize)
	m.Places = make([]Place, n)
	for i := range m.Places {
		p := &m.Places[i]
		d.bytes(p.Volume[:])
		d.bytes(p.Segment[:])
		p.PG = block.PGIndex(d.u32())
	}
	return d.end()
}

// places reads how many places follow, of that many bytes each.
func (d *decoder) places(size int) int {
	n := int(d.u16())
	if n == 0 || n > MaxStandings || n*size > len(d.b) {
		d.fail("%d places in %d bytes", n, len(d.b))
		return 0
	}
	return n
}

// Stand is where one segment stands: 32 bytes on the wire.
//
//	 0  4  epoch      the promised one
//	 4  4  membership
//	 8  8  scl
//	16  8  readable   the lowest LSN as of which it can be read
//	24  1  state      bits: 0 it is here, 1 damaged, 2 hydrating
//	25  7  (zero)
type Stand struct {
	Here      bool
	Damaged   bool
	Hydrating bool
	Epoch     block.VolumeEpoch
	Member    block.MembershipEpoch
	SCL       block.LSN
	Readable  block.LSN
}

const standSize = 32

// Standings answers STANDING, in its order.
//
//	0  2  stands
//	2  .  stands
type Standings struct {
	Stands []Stand
}

// Append adds the message as a frame to b.
func (m *Standings) Append(b []byte, tag Tag) []byte {
	start := len(b)
	b = appendHeader(b, TypeStandings, tag)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(m.Stands)))
	for i := range m.Stands {
		s := &m.Stands[i]
		b = binary.LittleEndian.AppendUint32(b, uint32(s.Epoch))
		b = binary.LittleEndian.AppendUint32(b, uint32(s.Member))
		b = binary.LittleEndian.AppendUint64(b, uint64(s.SCL))
		b = binary.LittleEndian.AppendUint64(b, uint64(s.Readable))
		b = append(b, flag(s.Here)|flag(s.Damaged)<<1|flag(s.Hydrating)<<2, 0, 0, 0, 0, 0, 0, 0)
	}
	return finish(b, start, 0)
}

// Decode reads the meta part of a frame. Error kind: Invalid.
func (m *Standings) Decode(meta []byte) error {
	d := decoder{b: meta}
	n := d.places(standSize)
	m.Stands = make([]Stand, n)
	for i := range m.Stands {
		s := &m.Stands[i]
		s.Epoch = block.VolumeEpoch(d.u32())
		s.Member = block.MembershipEpoch(d.u32())
		s.SCL = block.LSN(d.u64())
		s.Readable = block.LSN(d.u64())
		state := d.u8()
		if p := d.take(7); p != nil && [7]byte(p) != [7]byte{} || state > 7 {
			d.fail("reserved bits are not zero")
		}
		s.Here, s.Damaged, s.Hydrating = state&1 != 0, state&2 != 0, state&4 != 0
	}
	return d.end()
}

// MaxDigests bounds the leaves of one DIGEST.
const MaxDigests = 4096

// LeafDigest stands for the data of a leaf: see logstore.LeafDigest.
type LeafDigest uint64

// Digest asks a segment for the digests of leaves as of an LSN (invariant I4,
// rule S1). It is admitted like a READ, under the epoch that the segment has
// promised.
//
//	 0 64  identity
//	64  8  at
//	72  4  block    the first leaf's first
//	76  4  leaves   1 to MaxDigests
type Digest struct {
	Identity
	At     block.LSN
	Block  block.Index
	Leaves int
}

// Append adds the message as a frame to b.
func (m *Digest) Append(b []byte, tag Tag) []byte {
	start := len(b)
	b = appendHeader(b, TypeDigest, tag)
	b = m.Identity.append(b)
	b = binary.LittleEndian.AppendUint64(b, uint64(m.At))
	b = binary.LittleEndian.AppendUint32(b, uint32(m.Block))
	return finish(binary.LittleEndian.AppendUint32(b, uint32(m.Leaves)), start, 0)
}

// Decode reads the meta part of a frame. Error kind: Invalid.
func (m *Digest) Decode(meta []byte) error {
	d := decoder{b: meta}
	m.Identity.decode(&d)
	m.At = block.LSN(d.u64())
	m.Block = d.leaf()
	n := d.u32()
	if n == 0 || n > MaxDigests {
		d.fail("digests of %d leaves, 1 to %d are allowed", n, MaxDigests)
	}
	m.Leaves = int(n)
	return d.end()
}

// Digests answers DIGEST: fewer than were asked for if the group ends there.
//
//	0  2  digests
//	2  .  digests, 8 bytes each
type Digests struct {
	Digests []LeafDigest
}

// Append adds the message as a frame to b.
func (m *Digests) Append(b []byte, tag Tag) []byte {
	start := len(b)
	b = appendHeader(b, TypeDigests, tag)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(m.Digests)))
	for _, x := range m.Digests {
		b = binary.LittleEndian.AppendUint64(b, uint64(x))
	}
	return finish(b, start, 0)
}

// Decode reads the meta part of a frame. Error kind: Invalid.
func (m *Digests) Decode(meta []byte) error {
	d := decoder{b: meta}
	n := int(d.u16())
	if n > MaxDigests || 8*n > len(d.b) {
		d.fail("%d digests in %d bytes", n, len(d.b))
	}
	if d.err != nil {
		return d.err
	}
	m.Digests = make([]LeafDigest, n)
	for i := range m.Digests {
		m.Digests[i] = LeafDigest(d.u64())
	}
	return d.end()
}
