package segment

import (
	"encoding/binary"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/wire"
)

// Meta is what a segment knows of its place, kept in the log's CONFIG record
// of the segment. 56 bytes, little endian:
//
//	 0  4  format   of this record; see metaFormat
//	 4 16  cluster
//	20 16  volume
//	36  4  protection group
//	40  4  membership epoch
//	44  4  born     volume epoch in which the segment was made (R24)
//	48  4  flags    bit 0: doubtful
//	52  4  (zero)   room for what later versions need
type Meta struct {
	Cluster block.ClusterID
	Volume  block.VolumeID
	PG      block.PGIndex
	Member  block.MembershipEpoch
	Born    block.VolumeEpoch
	// Doubtful: the segment was made anew on a log that had lost a part,
	// so it may have existed before and have acknowledged records.
	Doubtful bool
}

// metaFormat is the version of Meta's encoding.
//
//	1  the first
const (
	metaFormat = 1
	metaSize   = 56
)

// Encode gives the 56 bytes.
func (m *Meta) Encode() []byte {
	b := make([]byte, 0, metaSize)
	b = binary.LittleEndian.AppendUint32(b, metaFormat)
	b = append(b, m.Cluster[:]...)
	b = append(b, m.Volume[:]...)
	b = binary.LittleEndian.AppendUint32(b, uint32(m.PG))
	b = binary.LittleEndian.AppendUint32(b, uint32(m.Member))
	b = binary.LittleEndian.AppendUint32(b, uint32(m.Born))
	flags := uint64(0)
	if m.Doubtful {
		flags = 1
	}
	return binary.LittleEndian.AppendUint64(b, flags)
}

// DecodeMeta reads what Encode wrote. Error kinds: Version, Corrupt.
func DecodeMeta(b []byte) (Meta, error) {
	if len(b) < 4 {
		return Meta{}, block.Errorf(block.Corrupt, "segment configuration of %d bytes, %d are needed", len(b), metaSize)
	}
	if f := binary.LittleEndian.Uint32(b); f > metaFormat {
		return Meta{}, block.Errorf(block.Version, "segment configuration has format %d, this build knows up to %d: use a newer sextant", f, metaFormat)
	}
	if len(b) != metaSize || binary.LittleEndian.Uint32(b) != metaFormat || binary.LittleEndian.Uint64(b[48:]) > 1 {
		return Meta{}, block.Errorf(block.Corrupt, "segment configuration of %d bytes is not understood", len(b))
	}
	return Meta{
		Cluster: block.ClusterID(b[4:20]),
		Volume:  block.VolumeID(b[20:36]),
		PG:      block.PGIndex(binary.LittleEndian.Uint32(b[36:])),
		Member:  block.MembershipEpoch(binary.LittleEndian.Uint32(b[40:])),
		Born:    block.VolumeEpoch(binary.LittleEndian.Uint32(b[44:])),

		Doubtful: b[48] != 0,
	}, nil
}

// MemberIn is the membership epoch in what Encode wrote, 0 if it is not that.
func MemberIn(config []byte) block.MembershipEpoch {
	if len(config) != metaSize {
		return 0
	}
	return block.MembershipEpoch(binary.LittleEndian.Uint32(config[40:]))
}

// NewMeta is the place of a segment that a message asks to be made: born in
// the epoch of that message.
func NewMeta(id *wire.Identity) Meta {
	return Meta{Cluster: id.Cluster, Volume: id.Volume, PG: id.PG, Member: id.Member, Born: id.Epoch}
}
