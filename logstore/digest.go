package logstore

import (
	"encoding/binary"

	"github.com/sextantdisk/sextant/internal/block"
)

// LeafDigest stands for all data of a leaf: two copies of a group have the
// same data there at an LSN if, and but for one chance in 2^64 only if, their
// digests are equal (invariant I4). 0: there is no data. What reads as zeroes
// does not count, whether it was written, trimmed or never there.
type LeafDigest uint64

// FNV-1a.
const (
	digestStart LeafDigest = 0xcbf29ce484222325
	digestPrime LeafDigest = 0x100000001b3
)

func (d LeafDigest) add(p []byte) LeafDigest {
	for _, c := range p {
		d = (d ^ LeafDigest(c)) * digestPrime
	}
	return d
}

// Digest gives the digests of n leaves from that of block first on, as of an
// LSN. It reads no data: it is made of numbers and checksums of blocks. Error
// kinds: those of ReadAt but Corrupt.
func (g *Segment) Digest(at block.LSN, first block.Index, n int) ([]LeafDigest, error) {
	first -= first % leafBlocks
	n = min(n, int((maxBlocks-uint64(first))/leafBlocks))
	out := make([]LeafDigest, 0, n)
	for range n {
		d, err := g.leafDigest(at, first)
		if err != nil {
			return nil, err
		}
		out = append(out, d)
		first += leafBlocks
	}
	return out, nil
}

func (g *Segment) leafDigest(at block.LSN, first block.Index) (LeafDigest, error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if err := g.readableLocked(at, first, leafBlocks); err != nil {
		return 0, err
	}
	d, data := digestStart, false
	var p [8]byte
	g.mu.index.resolve(at, first, leafBlocks, func(b block.Index, f found) bool {
		if f.loc.flags == locData {
			data = true
			binary.LittleEndian.PutUint32(p[:], uint32(b))
			binary.LittleEndian.PutUint32(p[4:], uint32(f.sum))
			d = d.add(p[:])
		}
		return true
	})
	if !data {
		return 0, nil
	}
	return d, nil
}
