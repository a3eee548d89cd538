package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
)

// readBuffer is how much one read call may bring. Payloads longer than what
// is buffered go straight from the socket to their place.
const readBuffer = 128 << 10

// Reader takes frames off a connection. It belongs to one goroutine.
type Reader struct {
	r    *bufio.Reader
	head [HeaderSize]byte
	meta []byte
}

// NewReader reads frames from r.
func NewReader(r io.Reader) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, readBuffer)}
}

// Next reads a header and its meta part and checks both. The meta slice is
// good until the following Next. The payload, if any, is read by Payload,
// which must come before the following Next. Errors: those of the
// connection; io.EOF between frames; kinds Invalid, Version, Corrupt: the
// stream is lost then.
func (r *Reader) Next() (Header, []byte, error) {
	if _, err := io.ReadFull(r.r, r.head[:]); err != nil {
		return Header{}, nil, err
	}
	h, err := ParseHeader(r.head[:])
	if err != nil {
		return Header{}, nil, err
	}
	if cap(r.meta) < h.MetaLen {
		r.meta = make([]byte, h.MetaLen)
	}
	r.meta = r.meta[:h.MetaLen]
	if _, err := io.ReadFull(r.r, r.meta); err != nil {
		return Header{}, nil, noEOF(err)
	}
	return h, r.meta, h.CheckMeta(r.meta)
}

// Payload reads the payload of the last frame, len(dst) bytes of it.
func (r *Reader) Payload(dst []byte) error {
	_, err := io.ReadFull(r.r, dst)
	return noEOF(err)
}

// Skip throws n bytes of payload away.
func (r *Reader) Skip(n int) error {
	_, err := r.r.Discard(n)
	return noEOF(err)
}

// Buffered reports whether a whole frame is at hand, so that Next and Payload
// will not wait for the network. Whoever has collected work must send it off
// before waiting for a frame whose rest may never come.
func (r *Reader) Buffered() bool {
	n := r.r.Buffered()
	if n < HeaderSize {
		return false
	}
	head, err := r.r.Peek(HeaderSize)
	if err != nil {
		return false
	}
	meta := binary.LittleEndian.Uint32(head[8:])
	payload := binary.LittleEndian.Uint32(head[12:])
	return uint64(n) >= HeaderSize+uint64(meta)+uint64(payload)
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
