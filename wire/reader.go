package wire

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/sextantdisk/sextant/internal/block"
)

const (
	// readBuffer is how much one read call may bring beyond a payload's place.
	readBuffer = 128 << 10
	// longPayload is from which length on what is missing of a payload goes
	// straight from the socket to its place.
	longPayload = 16 << 10
	// shortRead is how much is asked for at a time behind a long payload: the
	// next one shall not be read into the buffer, to be copied.
	shortRead = 4 << 10
)

// Reader takes frames off a connection. It belongs to one goroutine.
type Reader struct {
	conn io.Reader
	buf  []byte // buf[from:to] has been read and not been taken
	from int
	to   int
	long bool // the last payload was long
	meta []byte
	// within: the read call under way, or the last one, is for the rest of a
	// frame.
	within bool
}

// Within tells the connection, when it is read from, whether that is for the
// rest of a frame. Who waits long for it has a peer that stopped half-way.
func (r *Reader) Within() bool { return r.within }

// NewReader reads frames from r.
func NewReader(r io.Reader) *Reader {
	return &Reader{conn: r, buf: make([]byte, readBuffer)}
}

// From has r go on with another object for the same connection, at the place
// where it is.
func (r *Reader) From(conn io.Reader) { r.conn = conn }

// Fetch reads once, for Whole, from a connection whose reads do not wait. It returns
// the connection's errors; io.EOF only between frames.
func (r *Reader) Fetch() error {
	within := r.to > r.from
	err := r.more(within)
	if within {
		return noEOF(err)
	}
	return err
}

// Whole is Next for a frame without its payload that has been read to its end, and
// false if there is none; then Fetch goes on. It is for connections on which
// frames are short: one that is longer than the buffer has kind Invalid.
func (r *Reader) Whole() (h Header, meta []byte, whole bool, err error) {
	if !r.Buffered() {
		if r.to-r.from < HeaderSize {
			return Header{}, nil, false, nil
		}
		h, err = ParseHeader(r.buf[r.from:][:HeaderSize])
		if n := HeaderSize + h.MetaLen + h.PayloadLen; err == nil && n > len(r.buf) {
			err = block.Errorf(block.Invalid, "%v frame of %d bytes where %d are the most", h.Type, n, len(r.buf))
		}
		return Header{}, nil, false, err
	}
	h, meta, err = r.Next()
	return h, meta, err == nil, err
}

// Next reads a header and its meta part and checks both. The meta slice is
// good until the following Next. The payload, if any, is read by Payload,
// which must come before the following Next. Errors: those of the
// connection; io.EOF between frames; kinds Invalid, Version, Corrupt: the
// stream is lost then.
func (r *Reader) Next() (Header, []byte, error) {
	if err := r.atHand(HeaderSize); err != nil {
		return Header{}, nil, err
	}
	h, err := ParseHeader(r.buf[r.from:][:HeaderSize])
	if err != nil {
		return Header{}, nil, err
	}
	r.from += HeaderSize
	if cap(r.meta) < h.MetaLen {
		r.meta = make([]byte, h.MetaLen)
	}
	r.meta = r.meta[:h.MetaLen]
	if err := r.fill(r.meta); err != nil {
		return Header{}, nil, err
	}
	r.long = h.PayloadLen >= longPayload
	return h, r.meta, h.CheckMeta(r.meta)
}

// atHand reads until n bytes are in the buffer; n is at most HeaderSize. It
// returns io.EOF only if there is none.
func (r *Reader) atHand(n int) error {
	for r.to-r.from < n {
		if err := r.Fetch(); err != nil {
			return err
		}
	}
	return nil
}

// more reads something into the buffer; within a frame, or between two.
func (r *Reader) more(within bool) error {
	r.within = within
	if r.from > 0 {
		r.from, r.to = 0, copy(r.buf, r.buf[r.from:r.to])
	}
	room := r.buf[r.to:]
	if r.long && len(room) > shortRead {
		room = room[:shortRead]
	}
	n, err := r.conn.Read(room)
	r.to += n
	switch {
	case n > 0:
		return nil // an error comes again
	case err == nil:
		return io.ErrNoProgress
	}
	return err
}

// fill reads len(dst) bytes, straight to their place if they are many.
func (r *Reader) fill(dst []byte) error {
	for {
		n := copy(dst, r.buf[r.from:r.to])
		r.from += n
		if dst = dst[n:]; len(dst) == 0 {
			return nil
		}
		if len(dst) >= longPayload {
			r.within = true
			_, err := io.ReadFull(r.conn, dst)
			return noEOF(err)
		}
		if err := r.more(true); err != nil {
			return noEOF(err)
		}
	}
}

// Payload reads the payload of the last frame, len(dst) bytes of it.
func (r *Reader) Payload(dst []byte) error { return r.fill(dst) }

// Skip throws n bytes of payload away.
func (r *Reader) Skip(n int) error {
	r.long = false // what is thrown away may go through the buffer, in few reads
	for {
		k := min(n, r.to-r.from)
		r.from += k
		if n -= k; n == 0 {
			return nil
		}
		if err := r.more(true); err != nil {
			return noEOF(err)
		}
	}
}

// Buffered reports whether a whole frame is at hand, so that Next and Payload
// will not wait for the network. Whoever has collected work must send it off
// before waiting for a frame whose rest may never come.
func (r *Reader) Buffered() bool {
	n := r.to - r.from
	if n < HeaderSize {
		return false
	}
	head := r.buf[r.from:]
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
