package memfs

import (
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/sextantdisk/sextant/internal/block"
)

// CrashClone is the disk as found after a power cut now. Each sector that is
// not durable survives with probability keep, and so does each file's new
// length; of the names' changes the first ones survive, each next one with
// probability keep. With keep 0 it is the least that was promised, with 1 all
// that was written. The same state and rng give the same clone.
func (f *FS) CrashClone(rng *rand.Rand, keep float64) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := New(f.capacity)
	maps.Copy(c.mu.dirs, f.mu.dirs)
	names := maps.Clone(f.mu.durable)
	for _, op := range f.mu.pending {
		if rng.Float64() >= keep {
			break
		}
		op.apply(names)
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		node := names[name].crash(rng, keep)
		c.mu.names[name] = node
		c.mu.durable[name] = node
		c.mu.used += block.ByteCount(len(node.data))
	}
	return c
}

func (n *inode) crash(rng *rand.Rand, keep float64) *inode {
	disk := &inode{data: n.data, durable: slices.Clone(n.durable)}
	if len(n.data) != len(n.durable) && rng.Float64() < keep {
		disk.syncSize()
	}
	for _, s := range slices.Sorted(maps.Keys(n.dirty)) {
		if rng.Float64() < keep {
			disk.keep(s)
		}
	}
	disk.data = slices.Clone(disk.durable)
	return disk
}

// Damage flips the bits of mask in the byte at off of a file, durably, as bit
// rot does. It tells whether there is such a byte.
func (f *FS) Damage(name string, off int, mask byte) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.mu.names[name]
	if n == nil || off >= len(n.data) {
		return false
	}
	n.data[off] ^= mask
	if off < len(n.durable) {
		n.durable[off] ^= mask
	}
	return true
}
