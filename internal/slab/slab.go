package slab

import (
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Align is the alignment of every buffer, in bytes.
const Align = 4096

const (
	minClass = 12 // 4 KiB
	maxClass = 25 // 32 MiB, the largest NBD payload
	// arenaBytes is taken from the heap at once for the small classes, so
	// that the garbage collector sees few objects.
	arenaBytes = 4 << 20
	// hugePage is what the processor maps as one page if it may.
	hugePage = 2 << 20
	// retainBytes bounds what one class keeps for later, beyond what is
	// lent; the rest goes back to the garbage collector.
	retainBytes = 64 << 20
)

// MaxSize is the largest buffer that Get lends, in bytes.
const MaxSize = 1 << maxClass

// Buffer is a lent piece of memory. Its methods may be called from any
// goroutine; who writes to the bytes when is up to its holders.
type Buffer struct {
	data  []byte // full capacity of its class
	n     int    // length asked for
	refs  atomic.Int32
	class int
}

type class struct {
	mu struct {
		sync.Mutex
		free []*Buffer
	}
}

var classes [maxClass + 1]class

// Get lends a buffer of n bytes (1 to MaxSize) with one reference. The
// contents are undefined. It panics when n is out of range: a length from
// outside must be checked before it is allocated for.
func Get(n int) *Buffer {
	if n <= 0 || n > MaxSize {
		panic(fmt.Sprintf("slab: length %d out of range 1..%d", n, MaxSize))
	}
	k := max(bits.Len(uint(n-1)), minClass)
	c := &classes[k]
	c.mu.Lock()
	if last := len(c.mu.free) - 1; last >= 0 {
		b := c.mu.free[last]
		c.mu.free[last] = nil
		c.mu.free = c.mu.free[:last]
		c.mu.Unlock()
		b.n = n
		b.refs.Store(1)
		return b
	}
	b := c.growLocked(k)
	c.mu.Unlock()
	b.n = n
	b.refs.Store(1)
	return b
}

// growLocked makes buffers of class k, keeps all but one and returns that.
func (c *class) growLocked(k int) *Buffer {
	size := 1 << k
	total := max(size, arenaBytes)
	arena := hugeBytes(total)
	var first *Buffer
	for off := 0; off < total; off += size {
		b := &Buffer{data: arena[off : off+size : off+size], class: k}
		if first == nil {
			first = b
			continue
		}
		c.mu.free = append(c.mu.free, b)
	}
	return first
}

// hugeBytes is n bytes in huge pages, if the kernel has them: a disk's or a
// socket's driver then meets a few long pieces of memory where it would meet
// one for each 4 KiB. They are of the heap, so they live as long as anybody
// has a slice of them.
func hugeBytes(n int) []byte {
	raw := make([]byte, n+hugePage)
	skip := -int(uintptr(unsafe.Pointer(&raw[0]))) & (hugePage - 1)
	arena := raw[skip : skip+n : skip+n]
	_ = unix.Madvise(arena, unix.MADV_HUGEPAGE) // without them all works as well, but slower
	return arena
}

// Bytes is the buffer's memory, of the length that was asked for.
func (b *Buffer) Bytes() []byte { return b.data[:b.n] }

// Len is the length that was asked for.
func (b *Buffer) Len() int { return b.n }

// Retain adds a reference and returns b.
func (b *Buffer) Retain() *Buffer {
	if b.refs.Add(1) <= 1 {
		panic("slab: Retain of a released buffer")
	}
	return b
}

// Release gives a reference back; the last one returns the memory.
func (b *Buffer) Release() {
	switch n := b.refs.Add(-1); {
	case n > 0:
		return
	case n < 0:
		panic("slab: buffer released more often than retained")
	}
	c := &classes[b.class]
	c.mu.Lock()
	if len(c.mu.free)<<b.class < retainBytes {
		c.mu.free = append(c.mu.free, b)
	}
	c.mu.Unlock()
}
