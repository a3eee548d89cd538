package nbd

import (
	"errors"
	"io"
)

const (
	// handshakeBuffer and requestBuffer are the sizes of a connection's
	// read buffer before and after the handshake.
	handshakeBuffer = 4 << 10
	requestBuffer   = 128 << 10
	// directMin is the rest of a payload from which on it is read straight
	// into its place; less goes through the buffer, so that one system call
	// may bring many small requests.
	directMin = 16 << 10
)

// reader is a buffered reader that says when it is about to wait. One
// goroutine uses it.
type reader struct {
	src io.Reader
	// idle, if not nil, is called before each read of src.
	idle func()
	buf  []byte
	r, w int // buf[r:w] has been read and not yet been taken
}

// resize changes the buffer's size to n, which must hold what is buffered.
func (d *reader) resize(n int) {
	buf := make([]byte, n)
	d.w = copy(buf, d.buf[d.r:d.w])
	d.r = 0
	d.buf = buf
}

// fill reads once into the buffer, which must not be full of unread bytes.
func (d *reader) fill() error {
	switch {
	case d.r == d.w:
		d.r, d.w = 0, 0
	case d.w == len(d.buf) || d.r > len(d.buf)/2:
		d.w = copy(d.buf, d.buf[d.r:d.w])
		d.r = 0
	}
	n, err := d.read(d.buf[d.w:])
	d.w += n
	if n > 0 {
		return nil
	}
	return err
}

func (d *reader) read(p []byte) (int, error) {
	if d.idle != nil {
		d.idle()
	}
	n, err := d.src.Read(p)
	if n == 0 && err == nil {
		err = io.ErrNoProgress
	}
	return n, err
}

// next takes n bytes, at most half a buffer; they are valid until the next
// call. The error is io.EOF only when the stream ended before the first one.
func (d *reader) next(n int) ([]byte, error) {
	for d.w-d.r < n {
		if err := d.fill(); err != nil {
			if errors.Is(err, io.EOF) && d.w > d.r {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	p := d.buf[d.r : d.r+n]
	d.r += n
	return p, nil
}

// full takes len(p) bytes into p.
func (d *reader) full(p []byte) error {
	for len(p) > 0 {
		if d.r < d.w {
			n := copy(p, d.buf[d.r:d.w])
			d.r += n
			p = p[n:]
			continue
		}
		var n int
		var err error
		if len(p) >= directMin {
			n, err = d.read(p)
			p = p[n:]
		} else {
			err = d.fill()
		}
		if err != nil && n == 0 {
			return unexpected(err)
		}
	}
	return nil
}

// skip takes n bytes and forgets them.
func (d *reader) skip(n int64) error {
	for n > 0 {
		if d.r == d.w {
			if err := d.fill(); err != nil {
				return unexpected(err)
			}
		}
		k := min(n, int64(d.w-d.r))
		d.r += int(k)
		n -= k
	}
	return nil
}

// unexpected is err where the stream must not end.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
