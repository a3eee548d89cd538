package logstore

import (
	"encoding/binary"

	"github.com/sextantdisk/sextant/internal/block"
)

// A part is a file of leaves, one behind the other without gaps, then zeroes to
// the end of the page. It is never changed. A leaf takes 12 bytes a block:
//
//	   0 4096  locations  file 4, page 2, flags 2
//	4096 2048  sums
const leafSize = leafBlocks * 12

const (
	// leavesPerChunk is how many leaves are read at once: 1.5 MiB.
	leavesPerChunk = 256
	chunkSize      = leavesPerChunk * leafSize
	// leavesPerWrite is how many are written at once: 384 KiB, so that a
	// client's flush waits no longer behind them than behind another client's.
	// Each write begins at a page.
	leavesPerWrite = 64
)

func (l *leaf) encode(p []byte) block.Sum {
	le := binary.LittleEndian
	for i := range l.locs {
		at := &l.locs[i]
		q := p[i*8 : i*8+8]
		le.PutUint64(q, uint64(at.file)|uint64(at.page)<<32|uint64(at.flags)<<48)
	}
	sums := p[leafBlocks*8:]
	for i := range l.sums {
		le.PutUint32(sums[i*4:], uint32(l.sums[i]))
	}
	return block.Checksum(p[:leafSize])
}

// decodeLeaf reads a leaf whose checksum was verified, and tells how many
// blocks of data it has. It fails if one lies in a file above the highest.
func decodeLeaf(p []byte, highest fileSeq) (l *leaf, data int, ok bool) {
	le := binary.LittleEndian
	l = new(leaf)
	for i := range l.locs {
		v := le.Uint64(p[i*8:])
		at := location{file: fileSeq(v), page: uint16(v >> 32), flags: uint16(v >> 48)}
		l.locs[i] = at
		if at.flags != locData {
			continue
		}
		if at.file > highest {
			return nil, 0, false
		}
		data++
	}
	sums := p[leafBlocks*8:]
	for i := range l.sums {
		l.sums[i] = block.Sum(le.Uint32(sums[i*4:]))
	}
	return l, data, true
}

// leavesSize is what n leaves take at the start of a part, in whole pages.
func leavesSize(n int) block.ByteCount {
	return (block.ByteCount(n)*leafSize + pageSize - 1) / pageSize * pageSize
}
