package vfs

import (
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sextantdisk/sextant/internal/invariant"
)

// Linux's asynchronous reads, io_submit(2): made for files that bypass the
// page cache, and there since long before io_uring, which many container
// runtimes forbid.

const (
	// aioDepth is how many reads one queue has under way.
	aioDepth = 128
	// aioQueues bounds the queues of the process. Who finds none reads one
	// span after the other.
	aioQueues = 32

	aioReadv = 7 // IOCB_CMD_PREADV
)

// aioRequest is struct iocb of linux/aio_abi.h, little-endian.
//
//	 0  8  data     given back with the event: our number of the span
//	 8  8  key, flags
//	16  2  opcode
//	18  2  priority
//	20  4  file descriptor
//	24  8  address of the iovecs
//	32  8  how many
//	40  8  offset
//	48 16  reserved, flags, eventfd
type aioRequest struct {
	data   uint64
	_      uint64
	opcode uint16
	_      int16
	fd     uint32
	vecs   *unix.Iovec
	nvecs  uint64
	offset int64
	_      [2]uint64
}

// aioEvent is struct io_event.
type aioEvent struct {
	data uint64
	obj  uint64
	res  int64
	res2 int64
}

// aioQueue is a queue of the kernel. It belongs to one goroutine at a time.
type aioQueue struct {
	ctx      uintptr
	requests [aioDepth]aioRequest
	pointers [aioDepth]*aioRequest
	events   [aioDepth]aioEvent
	vecs     []unix.Iovec
}

// aio are the queues that nobody uses, and how many there are.
var aio struct {
	mu   sync.Mutex
	idle []*aioQueue
	made int
	none bool // the kernel has none for us
}

// takeQueue gives a queue, or nil when there is none to be had.
func takeQueue() *aioQueue {
	aio.mu.Lock()
	defer aio.mu.Unlock()
	if k := len(aio.idle) - 1; k >= 0 {
		q := aio.idle[k]
		aio.idle = aio.idle[:k]
		return q
	}
	if aio.none || aio.made == aioQueues {
		return nil
	}
	q := new(aioQueue)
	if _, _, errno := unix.Syscall(unix.SYS_IO_SETUP, aioDepth, uintptr(unsafe.Pointer(&q.ctx)), 0); errno != 0 {
		aio.none = true // forbidden, or fs.aio-max-nr is used up
		return nil
	}
	aio.made++
	return q
}

func giveQueue(q *aioQueue) {
	aio.mu.Lock()
	defer aio.mu.Unlock()
	aio.idle = append(aio.idle, q)
}

// readTogether reads the first spans, as many as are of files that bypass the
// page cache, and gives the others.
func readTogether(spans []Span) (left []Span) {
	n := 0
	for n < len(spans) {
		if f, ok := spans[n].File.(*osFile); !ok || !f.direct || len(spans[n].Bufs) == 0 {
			break
		}
		n++
	}
	if n < 2 {
		return spans
	}
	q := takeQueue()
	if q == nil {
		return spans
	}
	defer giveQueue(q)
	for done := 0; done < n; {
		part := spans[done:min(done+aioDepth, n)]
		q.read(part)
		done += len(part)
	}
	return spans[n:]
}

// read does at most aioDepth reads. A read that was not accepted, or did not
// come out whole, is done again by itself, which tells why.
func (q *aioQueue) read(spans []Span) {
	q.load(spans)
	accepted := q.submit(len(spans))
	q.wait(spans, accepted)
	runtime.KeepAlive(spans)
	clear(q.vecs)
	for i := range spans {
		if s := &spans[i]; s.N != s.size() {
			s.read()
		}
	}
}

// load fills in the requests. Memory of the Go heap does not move.
func (q *aioQueue) load(spans []Span) {
	q.vecs = q.vecs[:0]
	for i := range spans {
		for _, b := range spans[i].Bufs {
			v := unix.Iovec{Base: unsafe.SliceData(b)}
			v.SetLen(len(b))
			q.vecs = append(q.vecs, v)
		}
	}
	vecs := q.vecs
	for i := range spans {
		s := &spans[i]
		s.N, s.Err = 0, nil
		q.requests[i] = aioRequest{
			data: uint64(i), opcode: aioReadv, fd: uint32(s.File.(*osFile).fd),
			vecs: &vecs[0], nvecs: uint64(len(s.Bufs)), offset: int64(s.Off),
		}
		q.pointers[i] = &q.requests[i]
		vecs = vecs[len(s.Bufs):]
	}
}

// submit hands n requests over and tells how many the kernel took.
func (q *aioQueue) submit(n int) (accepted int) {
	for accepted < n {
		k, _, errno := unix.Syscall(unix.SYS_IO_SUBMIT, q.ctx, uintptr(n-accepted), uintptr(unsafe.Pointer(&q.pointers[accepted])))
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 || k == 0 {
			break
		}
		accepted += int(k)
	}
	return accepted
}

// wait takes n outcomes. It must not return before: the kernel writes to the
// buffers until then.
func (q *aioQueue) wait(spans []Span, n int) {
	for n > 0 {
		k, _, errno := unix.Syscall6(unix.SYS_IO_GETEVENTS, q.ctx, uintptr(n), uintptr(n), uintptr(unsafe.Pointer(&q.events[0])), 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			invariant.Violated("io_getevents fails on a queue of our own: %v", errno)
		}
		for _, e := range q.events[:k] {
			if e.res > 0 {
				spans[e.data].N = int(e.res)
			}
		}
		n -= int(k)
	}
}
