package pollset

import (
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sextantdisk/sextant/internal/block"
)

// Key is the name of a socket in a Set, as its owner chose it.
type Key uint64

// maxTold is how many sockets one Wait tells of at most.
const maxTold = 64

// Set is a number of sockets, and waits for any of them.
type Set struct {
	file *os.File
	raw  syscall.RawConn

	// Of Wait, which one goroutine calls.
	events [maxTold]unix.EpollEvent
	told   int
	errno  syscall.Errno
	lookFn func(fd uintptr) bool
}

// New makes an empty set. Error kind: Unavailable (no descriptors are left).
func New() (*Set, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, block.Wrap(block.Unavailable, err, "epoll_create1")
	}
	// Only what does not block is watched by the runtime's poller.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, block.Wrap(block.Unavailable, err, "epoll descriptor")
	}
	s := &Set{file: os.NewFile(uintptr(fd), "epoll")}
	if s.raw, err = s.file.SyscallConn(); err != nil {
		s.file.Close()
		return nil, block.Wrap(block.Unavailable, err, "epoll descriptor")
	}
	if err := s.file.SetReadDeadline(time.Time{}); err != nil { // it is not watched
		s.file.Close()
		return nil, block.Wrap(block.Unavailable, err, "epoll descriptor cannot be watched (fs.epoll.max_user_watches)")
	}
	s.lookFn = s.look
	return s, nil
}

// Add has Wait tell key whenever c can be read, also when it has come to its end
// or failed. Error kinds: Unavailable, Closed (the set, or c).
func (s *Set) Add(c *Socket, key Key) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP, Fd: int32(uint32(key)), Pad: int32(uint32(key >> 32))}
	return s.control(unix.EPOLL_CTL_ADD, c, &event)
}

// Remove ends that. A Wait that is under way may still tell the key. Error kinds:
// those of Add; one that was closed is no longer in the set.
func (s *Set) Remove(c *Socket) error { return s.control(unix.EPOLL_CTL_DEL, c, nil) }

func (s *Set) control(op int, c *Socket, event *unix.EpollEvent) error {
	var inner, failed error
	err := s.raw.Control(func(set uintptr) {
		inner = c.raw.Control(func(fd uintptr) { failed = unix.EpollCtl(int(set), op, int(fd), event) })
	})
	switch {
	case err != nil:
		return block.Wrap(block.Closed, err, "set of sockets")
	case inner != nil:
		return block.Wrap(block.Closed, inner, "socket")
	case failed != nil:
		return block.Wrap(block.Unavailable, failed, "epoll_ctl")
	}
	return nil
}

// Wait waits until sockets can be read, and appends their keys. Error kind:
// Closed.
func (s *Set) Wait(keys []Key) ([]Key, error) {
	if err := s.raw.Read(s.lookFn); err != nil {
		return keys, block.Wrap(block.Closed, err, "set of sockets")
	}
	if s.errno != 0 {
		return keys, block.Wrap(block.Unavailable, s.errno, "epoll_wait")
	}
	for i := range s.events[:s.told] {
		e := &s.events[i]
		keys = append(keys, Key(uint32(e.Fd))|Key(uint32(e.Pad))<<32)
	}
	return keys, nil
}

// look asks without waiting; false if there is nothing. It is a matter of a
// microsecond, so the runtime need not hear of the system call. While one thread
// asks the kernel for events, another one may be told that there are none; so only
// one goroutine calls Wait.
func (s *Set) look(fd uintptr) bool {
	for {
		n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, fd, uintptr(unsafe.Pointer(&s.events[0])), maxTold, 0, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		s.told, s.errno = int(n), errno
		return errno != 0 || n > 0
	}
}

// Close ends the set and a Wait that is under way. The sockets stay open.
func (s *Set) Close() error {
	if err := s.file.Close(); err != nil {
		return block.Wrap(block.Closed, err, "set of sockets")
	}
	return nil
}
