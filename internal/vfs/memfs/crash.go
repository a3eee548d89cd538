package memfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// CrashClone is the disk as found after a power cut now. Each sector that is
// not durable survives with probability keep, and so does each file's new
// length; of the names' changes the first ones survive, each next one with
// probability keep. With keep 0 it is the least that was promised, with 1 all
// that was written. The same state and rng give the same clone.
func (f *FS) CrashClone(rng *rand.Rand, keep float64) *FS {
	return f.Crash(func() bool { return rng.Float64() < keep })
}

// Crash is the disk as found after a power cut now: keep is asked about each
// thing that is not durable whether it survives, in an order that depends on
// the state and the answers alone: first the names' changes, the oldest first,
// which end with the first one that does not survive, then, file by file in
// the order of names, the new length and each sector that would differ.
func (f *FS) Crash(keep func() bool) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := New(f.mu.capacity)
	maps.Copy(c.mu.dirs, f.mu.dirs)
	names := maps.Clone(f.mu.durable)
	for _, op := range f.mu.pending {
		if !keep() {
			break
		}
		op.apply(names)
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		node := names[name].crash(keep)
		c.mu.names[name] = node
		c.mu.durable[name] = node
		c.mu.used += node.length()
	}
	return c
}

// Unsynced is how many things are not durable: no Crash asks more often. So
// answering with the bits of each number below 1<<Unsynced() gives every disk
// that a power cut may leave.
func (f *FS) Unsynced() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	nodes := map[*inode]bool{}
	for _, node := range f.mu.durable {
		nodes[node] = true
	}
	for _, op := range f.mu.pending {
		if op.node != nil {
			nodes[op.node] = true
		}
	}
	n := len(f.mu.pending)
	for node := range nodes {
		n += node.unsynced()
	}
	return n
}

// Damage flips the bits of mask in the byte at off of a file, durably, as bit
// rot does. It tells whether there is such a byte.
func (f *FS) Damage(name string, off int, mask byte) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.mu.names[name]
	if n == nil || off >= n.data.size {
		return false
	}
	for _, c := range []*content{&n.data, &n.durable} {
		if off < c.size {
			c.own(off / pageSize).b[off%pageSize] ^= mask
		}
	}
	return true
}
