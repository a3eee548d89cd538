package memfs

import (
	"bytes"
	"maps"
	"math/bits"
	"slices"

	"github.com/sextantdisk/sextant/internal/block"
)

// inode is a file's content, as programs see it and as the disk has it.
type inode struct {
	data    content // now
	durable content // at most as long as data was at a SyncMeta
	// dirty has, for each page, the sectors in which data may differ from
	// durable; no empty sets.
	dirty map[int]uint8
	named bool // it has a name now: its length counts
}

func (n *inode) length() block.ByteCount { return block.ByteCount(n.data.size) }

// write changes bytes within the length.
func (n *inode) write(p []byte, off int) {
	n.data.writeAt(p, off)
	n.touch(off, len(p))
}

// touch marks the sectors of a range dirty.
func (n *inode) touch(off, length int) {
	if length == 0 {
		return
	}
	if n.dirty == nil {
		n.dirty = make(map[int]uint8)
	}
	for s := off / Sector; s <= (off+length-1)/Sector; s++ {
		n.dirty[s/sectorsPerPage] |= 1 << (s % sectorsPerPage)
	}
}

// resize sets the length. Bytes that are cut off are dirty: they are on the
// disk until the new length is.
func (n *inode) resize(size int) {
	if cut := n.data.size - size; cut > 0 {
		n.touch(size, cut)
	}
	n.data.resize(size)
}

func (n *inode) syncSize() { n.durable.resize(n.data.size) }

// sync makes the dirty sectors durable that lie within the durable length.
func (n *inode) sync() {
	for i, set := range n.dirty {
		done := set
		if n.data.size != n.durable.size { // what is behind the shorter waits for SyncMeta
			done &= within(i, min(n.data.size, n.durable.size))
		}
		if done != 0 {
			n.durable.take(&n.data, i, done)
		}
		if left := set &^ done; left != 0 {
			n.dirty[i] = left
		} else {
			delete(n.dirty, i)
		}
	}
}

// within is the sectors of page i that lie wholly below size.
func within(i, size int) uint8 {
	sectors := min(max(size-i*pageSize, 0), pageSize) / Sector
	return uint8(1<<sectors - 1)
}

// doubtful is the dirty sectors of page i that a crash may leave either way:
// what was overwritten with the same bytes is the same either way.
func (n *inode) doubtful(i int) (set uint8) {
	var now, disk [Sector]byte
	for s := range sectorsPerPage {
		if n.dirty[i]&(1<<s) == 0 {
			continue
		}
		off := i*pageSize + s*Sector
		k := n.data.readAt(now[:], off)
		clear(disk[:])
		n.durable.readAt(disk[:k], off)
		if !bytes.Equal(now[:k], disk[:k]) {
			set |= 1 << s
		}
	}
	return set
}

// unsynced is how many questions crash may ask.
func (n *inode) unsynced() int {
	sum := 0
	if n.data.size != n.durable.size {
		sum++
	}
	for i := range n.dirty {
		sum += bits.OnesCount8(n.doubtful(i))
	}
	return sum
}

// crash is the file after a power cut: keep is asked for the new length and
// for each doubtful sector, in the order of the file.
func (n *inode) crash(keep func() bool) *inode {
	disk := n.durable.share()
	if n.data.size != n.durable.size && keep() {
		disk.resize(n.data.size)
	}
	for _, i := range slices.Sorted(maps.Keys(n.dirty)) {
		set, doubtful := uint8(0), n.doubtful(i)
		for s := range sectorsPerPage {
			if doubtful&(1<<s) != 0 && keep() {
				set |= 1 << s
			}
		}
		if set != 0 {
			disk.take(&n.data, i, set)
		}
	}
	return &inode{data: disk, durable: disk.share(), named: true}
}
