package boxcar

import (
	"io"
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// maxVectors is the number of pieces that one writev takes (Linux
	// UIO_MAXIOV).
	maxVectors = 1024
	// stageBytes is how much a stream gathers for one Write: the largest
	// TLS record.
	stageBytes = 16 << 10
)

// sink is where a batch goes. Both calls return how many bytes went out.
type sink interface {
	// try sends what can be sent without waiting; 0 and no error when
	// nothing can.
	try(b *batch) (int, error)
	// send sends at least one byte, waiting for the peer if need be.
	send(b *batch) (int, error)
}

// newSink chooses by the connection's type. Only the types of package net
// whose writes are plain writes to a socket are written to directly.
func newSink(conn net.Conn) sink {
	var sc syscall.Conn
	switch c := conn.(type) {
	case *net.TCPConn:
		sc = c
	case *net.UnixConn:
		sc = c
	default:
		return &stream{w: conn}
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return &stream{w: conn}
	}
	s := &socket{raw: raw}
	s.tryFn, s.waitFn = s.tryOnce, s.waitOnce
	return s
}

// socket sends with writev on the file descriptor. Only the goroutine that
// has the right to write uses it.
type socket struct {
	raw syscall.RawConn
	iov []unix.Iovec

	// The outcome of the last call, and the two callbacks for raw.Write,
	// made once so that a write allocates nothing.
	n             int
	errno         syscall.Errno
	tryFn, waitFn func(fd uintptr) bool
}

func (s *socket) try(b *batch) (int, error)  { return s.write(b, s.tryFn) }
func (s *socket) send(b *batch) (int, error) { return s.write(b, s.waitFn) }

func (s *socket) write(b *batch, fn func(uintptr) bool) (int, error) {
	s.load(b)
	s.n, s.errno = 0, 0
	err := s.raw.Write(fn)
	clear(s.iov)
	switch {
	case err != nil:
		return s.n, err
	case s.errno != 0 && s.errno != unix.EAGAIN:
		return s.n, s.errno
	}
	return s.n, nil
}

// load fills iov with the next pieces of b.
func (s *socket) load(b *batch) {
	s.iov = s.iov[:0]
	for _, p := range b.pieces[b.next:] {
		if len(s.iov) == maxVectors {
			break
		}
		v := unix.Iovec{Base: unsafe.SliceData(p)}
		v.SetLen(len(p))
		s.iov = append(s.iov, v)
	}
}

// tryOnce is done whatever the outcome; waitOnce asks to be called again
// when the socket can be written to.
func (s *socket) tryOnce(fd uintptr) bool { s.writev(fd); return true }

func (s *socket) waitOnce(fd uintptr) bool { s.writev(fd); return s.errno != unix.EAGAIN }

func (s *socket) writev(fd uintptr) {
	for {
		n, _, errno := unix.Syscall(unix.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&s.iov[0])), uintptr(len(s.iov)))
		if errno == unix.EINTR {
			continue
		}
		s.errno = errno
		if errno == 0 {
			s.n = int(n)
		}
		return
	}
}

// stream sends over what is not a plain socket (TLS, net.Pipe): always from
// the background, small pieces gathered into one Write.
type stream struct {
	w     io.Writer
	stage []byte
}

func (s *stream) try(*batch) (int, error) { return 0, nil }

func (s *stream) send(b *batch) (int, error) {
	first := b.pieces[b.next]
	if len(first) >= stageBytes || b.next+1 == len(b.pieces) {
		return s.w.Write(first)
	}
	s.stage = s.stage[:0]
	for _, p := range b.pieces[b.next:] {
		if len(s.stage)+len(p) > stageBytes {
			break
		}
		s.stage = append(s.stage, p...)
	}
	return s.w.Write(s.stage)
}
