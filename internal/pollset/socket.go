package pollset

import (
	"errors"
	"io"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sextantdisk/sextant/internal/block"
)

// ErrEmpty tells that nothing has come yet.
var ErrEmpty = errors.New("nothing to read yet")

// Socket reads a connection of package net without waiting. Reads of the
// connection itself must have ended before.
type Socket struct {
	raw    syscall.RawConn
	p      []byte
	n      int
	errno  syscall.Errno
	readFn func(fd uintptr) bool
}

// NewSocket is for a connection that is a plain socket (TCP, Unix). Error kind:
// Closed.
func NewSocket(c syscall.Conn) (*Socket, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, block.Wrap(block.Closed, err, "socket")
	}
	s := &Socket{raw: raw}
	s.readFn = s.read
	return s, nil
}

// Read reads what is there. Errors: ErrEmpty, io.EOF, kinds Closed and
// Unavailable.
func (s *Socket) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	s.p = p
	err := s.raw.Read(s.readFn)
	s.p = nil
	switch {
	case err != nil:
		return 0, block.Wrap(block.Closed, err, "read")
	case s.errno == unix.EAGAIN:
		return 0, ErrEmpty
	case s.errno != 0:
		return 0, block.Wrap(block.Unavailable, s.errno, "read")
	case s.n == 0:
		return 0, io.EOF
	}
	return s.n, nil
}

// read never asks to be called again: who has nothing waits in a Set.
func (s *Socket) read(fd uintptr) bool {
	for {
		n, _, errno := syscall.Syscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&s.p[0])), uintptr(len(s.p)))
		if errno == unix.EINTR {
			continue
		}
		s.n, s.errno = int(n), errno
		return true
	}
}
