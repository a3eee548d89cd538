package wire

import (
	"encoding/binary"

	"github.com/sextantdisk/sextant/internal/block"
)

// Identity stands at the head of every message after the greeting (rule R1):
// to whom it is said and under which epochs. 64 bytes:
//
//	 0 16  cluster
//	16 16  volume
//	32 16  segment
//	48  4  protection group
//	52  4  volume epoch
//	56  4  membership epoch
//	60  4  (zero)
type Identity struct {
	Cluster block.ClusterID
	Volume  block.VolumeID
	Segment block.SegmentID
	PG      block.PGIndex
	Epoch   block.VolumeEpoch
	Member  block.MembershipEpoch
}

const identitySize = 64

func (id *Identity) append(b []byte) []byte {
	b = append(b, id.Cluster[:]...)
	b = append(b, id.Volume[:]...)
	b = append(b, id.Segment[:]...)
	b = binary.LittleEndian.AppendUint32(b, uint32(id.PG))
	b = binary.LittleEndian.AppendUint32(b, uint32(id.Epoch))
	b = binary.LittleEndian.AppendUint32(b, uint32(id.Member))
	return binary.LittleEndian.AppendUint32(b, 0)
}

func (id *Identity) decode(d *decoder) {
	d.bytes(id.Cluster[:])
	d.bytes(id.Volume[:])
	d.bytes(id.Segment[:])
	id.PG = block.PGIndex(d.u32())
	id.Epoch = block.VolumeEpoch(d.u32())
	id.Member = block.MembershipEpoch(d.u32())
	d.zero32()
	if id.Epoch > block.MaxVolumeEpoch {
		d.fail("volume epoch %d is out of range", id.Epoch)
	}
}

// decoder walks over a meta part. After the first error it gives zeroes; the
// error is asked for once, at the end.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = block.Errorf(block.Invalid, format, args...)
	}
	d.b = nil
}

// take gives the next n bytes, or nil after an error.
func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.b) {
		d.fail("message ends early: %d bytes wanted, %d left", n, len(d.b))
		return nil
	}
	p := d.b[:n:n]
	d.b = d.b[n:]
	return p
}

func (d *decoder) bytes(dst []byte) {
	if p := d.take(len(dst)); p != nil {
		copy(dst, p)
	}
}

func (d *decoder) u8() uint8 {
	if p := d.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (d *decoder) u16() uint16 {
	if p := d.take(2); p != nil {
		return binary.LittleEndian.Uint16(p)
	}
	return 0
}

func (d *decoder) u32() uint32 {
	if p := d.take(4); p != nil {
		return binary.LittleEndian.Uint32(p)
	}
	return 0
}

func (d *decoder) u64() uint64 {
	if p := d.take(8); p != nil {
		return binary.LittleEndian.Uint64(p)
	}
	return 0
}

func (d *decoder) zero32() {
	if d.u32() != 0 {
		d.fail("reserved field is not zero")
	}
}

// text reads a string with a 16 bit length, at most maxText bytes.
func (d *decoder) text() string {
	n := int(d.u16())
	if n > maxText {
		d.fail("text of %d bytes, at most %d are allowed", n, maxText)
		return ""
	}
	return string(d.take(n))
}

// end gives the first error; bytes left over are one.
func (d *decoder) end() error {
	if d.err == nil && len(d.b) > 0 {
		d.fail("%d bytes too many", len(d.b))
	}
	return d.err
}

// maxText bounds names, addresses and error messages on the wire.
const maxText = 1024

func appendText(b []byte, s string) []byte {
	if len(s) > maxText {
		s = s[:maxText]
	}
	b = binary.LittleEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}
