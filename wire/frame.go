package wire

import (
	"encoding/binary"

	"github.com/sextantdisk/sextant/internal/block"
)

// The frame, little endian:
//
//	 0  4  magic      "SXTw": a stray client is told from a Sextant peer
//	 4  1  version    of this protocol; see Version
//	 5  1  type       of the message; 0 is never sent
//	 6  2  (zero)     must be zero
//	 8  4  meta       length in bytes, at most MaxMeta
//	12  4  payload    length in bytes, whole blocks, at most MaxPayload
//	16  8  tag        chosen by who asks, echoed by who answers
//	24  4  (zero)     must be zero
//	28  4  sum        CRC32C of bytes 0 to 28 and of the meta
//	32     meta
//	       payload    summed block by block in the meta
const (
	HeaderSize = 32

	// Version of the protocol.
	//  1  the first
	//  2  READ and MAP tell whether the reader comes back
	Version = 2

	// MaxMeta bounds the meta part: MaxRecords descriptors and the sums of
	// MaxPayload, with room for a message.
	MaxMeta = 64 << 10
	// MaxPayload bounds the block data of one frame.
	MaxPayload = 1 << 20
	// MaxRecords bounds the records of one WRITE or RECORDS frame.
	MaxRecords = 512
)

var frameMagic = [4]byte{'S', 'X', 'T', 'w'}

// Type tells what a frame is.
type Type uint8

// The messages. Requests have odd numbers only by accident: the order is the
// order of their life.
const (
	TypeHello   Type = iota + 1 // dialer → daemon: who I am, whom I want
	TypeWelcome                 // daemon → dialer: who I am
	TypeJoin                    // gateway → segment: fence, and tell me where you stand
	TypeWrite                   // gateway → segment: records
	TypePing                    // gateway → segment: floor, lease
	TypeAck                     // segment → gateway: how far I am, on disk
	TypeRefuse                  // daemon → anyone: no, and why
	TypeRead                    // gateway → segment: blocks as of an LSN
	TypeData                    // segment → gateway: those blocks
	TypeMap                     // gateway → segment: what is allocated as of an LSN
	TypeRuns                    // segment → gateway: that
	TypeCatchUp                 // gateway → segment: fetch what you lack from that peer
	TypeFetch                   // segment → segment: records after an LSN
	TypeRecords                 // segment → segment: those records
	TypeMend                    // gateway → segment: a block that you have damaged

	// The messages from here on came later: a daemon that does not know them
	// ends the connection and names the number.

	TypeLeaves    // segment → segment: what you have settled since an LSN
	TypeMarks     // segment → segment: that
	TypeTake      // segment → segment: a part of a leaf
	TypeLeaf      // segment → segment: that
	TypeStanding  // anyone → daemon: where do these segments stand
	TypeStandings // daemon → anyone: that
	TypeDigest    // anyone → segment: stand-ins for your data as of an LSN
	TypeDigests   // segment → anyone: those
)

var typeNames = [...]string{
	"none", "HELLO", "WELCOME", "JOIN", "WRITE", "PING", "ACK", "REFUSE", "READ", "DATA",
	"MAP", "RUNS", "CATCHUP", "FETCH", "RECORDS", "MEND",
	"LEAVES", "MARKS", "TAKE", "LEAF", "STANDING", "STANDINGS", "DIGEST", "DIGESTS",
}

// String is the name of the message type.
func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return "unknown"
}

// Tag ties an answer to its request. Who asks chooses it freely.
type Tag uint64

// Header is a decoded frame header.
type Header struct {
	Type       Type
	Tag        Tag
	MetaLen    int
	PayloadLen int
	sum        block.Sum
	headSum    block.Sum // CRC of the first 28 bytes, to be extended by the meta
}

// appendHeader reserves a header at the end of b; finish fills it in.
func appendHeader(b []byte, t Type, tag Tag) []byte {
	var h [HeaderSize]byte
	copy(h[0:4], frameMagic[:])
	h[4] = Version
	h[5] = byte(t)
	binary.LittleEndian.PutUint64(h[16:], uint64(tag))
	return append(b, h[:]...)
}

// finish writes lengths and sum into the frame that starts at b[start:],
// whose meta is complete.
func finish(b []byte, start, payload int) []byte {
	f := b[start:]
	binary.LittleEndian.PutUint32(f[8:], uint32(len(f)-HeaderSize))
	binary.LittleEndian.PutUint32(f[12:], uint32(payload))
	sum := block.Checksum(f[:28]).Extend(f[HeaderSize:])
	binary.LittleEndian.PutUint32(f[28:], uint32(sum))
	return b
}

// ParseHeader decodes and checks a header of HeaderSize bytes. Error kinds:
// Invalid (not a frame of ours), Version.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderSize {
		return Header{}, block.Errorf(block.Invalid, "frame header of %d bytes, %d are needed", len(b), HeaderSize)
	}
	if [4]byte(b[0:4]) != frameMagic {
		return Header{}, block.Errorf(block.Invalid, "not a Sextant frame: magic %x", b[0:4])
	}
	if b[4] != Version {
		return Header{}, block.Errorf(block.Version, "peer speaks version %d of the data protocol, this build speaks %d: upgrade the older one", b[4], Version)
	}
	h := Header{
		Type: Type(b[5]),
		Tag:  Tag(binary.LittleEndian.Uint64(b[16:])),
		sum:  block.Sum(binary.LittleEndian.Uint32(b[28:])),
	}
	meta, payload := binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint32(b[12:])
	switch {
	case meta > MaxMeta:
		return Header{}, block.Errorf(block.Invalid, "%v frame announces %d bytes of meta, at most %d are allowed", h.Type, meta, MaxMeta)
	case payload > MaxPayload || payload%block.Size != 0:
		return Header{}, block.Errorf(block.Invalid, "%v frame announces %d bytes of payload: not whole blocks up to %d", h.Type, payload, MaxPayload)
	case b[6] != 0 || b[7] != 0 || binary.LittleEndian.Uint32(b[24:]) != 0:
		return Header{}, block.Errorf(block.Invalid, "%v frame has reserved bytes that are not zero", h.Type)
	}
	h.MetaLen, h.PayloadLen = int(meta), int(payload)
	h.headSum = block.Checksum(b[:28])
	return h, nil
}

// CheckMeta verifies the frame's sum over header and meta. Error kind:
// Corrupt.
func (h Header) CheckMeta(meta []byte) error {
	if got := h.headSum.Extend(meta); got != h.sum {
		return block.Errorf(block.Corrupt, "%v frame damaged on the way: checksum %08x, expected %08x", h.Type, uint32(got), uint32(h.sum))
	}
	return nil
}
