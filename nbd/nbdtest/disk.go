package nbdtest

import (
	"sync"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/nbd"
)

const (
	// ChunkSize is the unit of allocation, in bytes.
	ChunkSize = 32 << 10
	shards    = 64
)

type chunk [ChunkSize]byte

// Disk is a thin disk in memory.
type Disk struct {
	size   block.ByteCount
	shards [shards]shard
}

type shard struct {
	mu struct {
		sync.RWMutex
		chunks map[uint64]*chunk
	}
}

// NewDisk makes an empty disk.
func NewDisk(size block.ByteCount) *Disk {
	d := &Disk{size: size}
	for i := range d.shards {
		d.shards[i].mu.chunks = make(map[uint64]*chunk)
	}
	return d
}

// part is the piece of a byte range that lies in one chunk.
type part struct {
	index      uint64 // of the chunk
	start, end int    // within the chunk
	at         int    // within the range
}

// parts cuts [off, off+n) at chunk borders.
func parts(off block.Offset, n block.ByteCount, fn func(part)) {
	at := block.ByteCount(0)
	for at < n {
		pos := uint64(off) + uint64(at)
		start := pos % ChunkSize
		l := min(uint64(n-at), ChunkSize-start)
		fn(part{index: pos / ChunkSize, start: int(start), end: int(start + l), at: int(at)})
		at += block.ByteCount(l)
	}
}

func (d *Disk) shard(index uint64) *shard { return &d.shards[index%shards] }

// Read copies the disk's bytes at off into p.
func (d *Disk) Read(off block.Offset, p []byte) {
	clear(p)
	d.read(off, p, nil)
}

// read copies what is allocated into p, leaves the rest of p as it is, and
// returns x with the extents appended.
func (d *Disk) read(off block.Offset, p []byte, x []nbd.Extent) []nbd.Extent {
	parts(off, block.ByteCount(len(p)), func(q part) {
		s := d.shard(q.index)
		s.mu.RLock()
		c := s.mu.chunks[q.index]
		if c != nil {
			copy(p[q.at:], c[q.start:q.end])
		}
		s.mu.RUnlock()
		x = appendExtent(x, q, c == nil)
	})
	return x
}

// Write stores p at off.
func (d *Disk) Write(off block.Offset, p []byte) {
	parts(off, block.ByteCount(len(p)), func(q part) {
		s := d.shard(q.index)
		s.mu.Lock()
		c := s.mu.chunks[q.index]
		if c == nil {
			c = new(chunk)
			s.mu.chunks[q.index] = c
		}
		copy(c[q.start:q.end], p[q.at:])
		s.mu.Unlock()
	})
}

// zero makes a range read as zeroes. Whole chunks are freed unless keep.
func (d *Disk) zero(off block.Offset, n block.ByteCount, keep bool) {
	parts(off, n, func(q part) {
		s := d.shard(q.index)
		s.mu.Lock()
		if c := s.mu.chunks[q.index]; c != nil {
			if q.end-q.start == ChunkSize && !keep {
				delete(s.mu.chunks, q.index)
			} else {
				clear(c[q.start:q.end])
			}
		}
		s.mu.Unlock()
	})
}

// status appends the extents of a range.
func (d *Disk) status(off block.Offset, n block.ByteCount, x []nbd.Extent) []nbd.Extent {
	parts(off, n, func(q part) {
		s := d.shard(q.index)
		s.mu.RLock()
		hole := s.mu.chunks[q.index] == nil
		s.mu.RUnlock()
		x = appendExtent(x, q, hole)
	})
	return x
}

func appendExtent(x []nbd.Extent, q part, hole bool) []nbd.Extent {
	n := block.ByteCount(q.end - q.start)
	if last := len(x) - 1; last >= 0 && x[last].Hole == hole {
		x[last].Length += n
		return x
	}
	return append(x, nbd.Extent{Length: n, Hole: hole, Zero: hole})
}

// Do carries out r, but does not complete it.
func (d *Disk) Do(r *nbd.Request) {
	switch r.Op {
	case nbd.OpRead:
		r.Extents = d.read(r.Offset, r.Data.Bytes(), r.Extents[:0])
	case nbd.OpWrite:
		d.Write(r.Offset, r.Data.Bytes())
	case nbd.OpTrim:
		d.zero(r.Offset, r.Length, false)
	case nbd.OpWriteZeroes:
		d.zero(r.Offset, r.Length, r.NoHole)
	case nbd.OpBlockStatus:
		r.Extents = d.status(r.Offset, r.Length, r.Extents[:0])
	}
}
