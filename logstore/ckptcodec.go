package logstore

import (
	"encoding/binary"

	"github.com/sextantdisk/sextant/internal/block"
)

// writer appends the fields of a checkpoint's state, little-endian.
type stateWriter struct{ p []byte }

func (w *stateWriter) u8(v uint8)          { w.p = append(w.p, v) }
func (w *stateWriter) u16(v uint16)        { w.p = binary.LittleEndian.AppendUint16(w.p, v) }
func (w *stateWriter) u32(v uint32)        { w.p = binary.LittleEndian.AppendUint32(w.p, v) }
func (w *stateWriter) u64(v uint64)        { w.p = binary.LittleEndian.AppendUint64(w.p, v) }
func (w *stateWriter) lsn(l block.LSN)     { w.u64(uint64(l)) }
func (w *stateWriter) sum(s block.Sum)     { w.u32(uint32(s)) }
func (w *stateWriter) count(n int)         { w.u32(uint32(n)) }
func (w *stateWriter) bytes(p []byte)      { w.p = append(w.p, p...) }
func (w *stateWriter) location(l location) { w.u32(uint32(l.file)); w.u16(l.page); w.u16(l.flags) }

func (w *stateWriter) flag(is bool) {
	if is {
		w.u8(1)
		return
	}
	w.u8(0)
}

// stateReader reads what stateWriter wrote. After a field that is not there
// it gives zeroes, and bad is true.
type stateReader struct {
	p   []byte
	bad bool
}

var noBytes [16]byte

// next is the next n bytes, at most 16 if they are not there.
func (r *stateReader) next(n int) []byte {
	if n > len(r.p) {
		r.p, r.bad = nil, true
		return noBytes[:min(n, len(noBytes))]
	}
	p := r.p[:n]
	r.p = r.p[n:]
	return p
}

func (r *stateReader) u8() uint8      { return r.next(1)[0] }
func (r *stateReader) u16() uint16    { return binary.LittleEndian.Uint16(r.next(2)) }
func (r *stateReader) u32() uint32    { return binary.LittleEndian.Uint32(r.next(4)) }
func (r *stateReader) u64() uint64    { return binary.LittleEndian.Uint64(r.next(8)) }
func (r *stateReader) lsn() block.LSN { return block.LSN(r.u64()) }
func (r *stateReader) sum() block.Sum { return block.Sum(r.u32()) }

func (r *stateReader) location() location {
	return location{fileSeq(r.u32()), r.u16(), r.u16()}
}

// flag reads a byte that is 0 or 1.
func (r *stateReader) flag() bool {
	v := r.u8()
	r.check(v <= 1)
	return v == 1
}

// count reads how many things of at least size bytes follow; more than there
// is room for is refused, so that nobody allocates for them.
func (r *stateReader) count(size int) int {
	n := int(r.u32())
	if n > len(r.p)/size {
		r.p, r.bad = nil, true
		return 0
	}
	return n
}

// check makes the reader bad if a field makes no sense.
func (r *stateReader) check(ok bool) {
	if !ok {
		r.p, r.bad = nil, true
	}
}
