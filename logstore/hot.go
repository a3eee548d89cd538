package logstore

import (
	"github.com/sextantdisk/sextant/internal/block"
)

// version is what the index keeps of a change to a segment: the value that
// travels with it through the chain.
type version struct {
	typ   RecordType
	block block.Index
	count block.Count
	loc   location    // of the first block of a WRITE; the others follow
	sum   block.Sum   // of the first block
	sums  []block.Sum // of all blocks, if there is more than one
	// places tell where each block lies, if they do not follow each other
	// any more: some were mended or moved.
	places []location
}

// versionOf is the version that a change makes.
func versionOf(d *descriptor, sums []block.Sum, loc location) version {
	v := version{typ: d.typ, block: block.Index(d.block), count: block.Count(d.count)}
	if d.typ == TypeWrite {
		v.loc, v.sum = loc, sums[0]
		if len(sums) > 1 {
			v.sums = append([]block.Sum(nil), sums...)
		}
	}
	return v
}

// narrowBlocks is up to how many blocks a ZERO or TRIM is indexed by block,
// like a WRITE; longer ones are kept as ranges.
const narrowBlocks = block.MaxRecordBlocks

func (v *version) narrow() bool { return v.count <= narrowBlocks }

// data is how many blocks of data v has.
func (v *version) data() int {
	if v.typ != TypeWrite {
		return 0
	}
	return int(v.count)
}

// at is the location and checksum of the version's block i.
func (v *version) at(i int) (location, block.Sum) {
	switch {
	case v.typ == TypeZero:
		return location{flags: locZero}, 0
	case v.typ == TypeTrim:
		return location{flags: locTrim}, 0
	case v.sums == nil:
		return v.place(i), v.sum
	}
	return v.place(i), v.sums[i]
}

// place is where block i of a WRITE lies.
func (v *version) place(i int) location {
	if v.places != nil {
		return v.places[i]
	}
	return v.loc.plus(i)
}

// move changes where block i lies, if it still lies at from.
func (v *version) move(i int, from, to location) bool {
	if v.typ != TypeWrite || i < 0 || i >= int(v.count) || v.place(i) != from {
		return false
	}
	if v.count == 1 {
		v.loc, v.places = to, nil
		return true
	}
	if v.places == nil {
		v.places = make([]location, v.count)
		for k := range v.places {
			v.places[k] = v.loc.plus(k)
		}
	}
	v.places[i] = to
	v.tidy()
	return true
}

// tidy gives places up if they follow each other again.
func (v *version) tidy() {
	for i, l := range v.places {
		if l != v.places[0].plus(i) {
			return
		}
	}
	v.loc, v.places = v.places[0], nil
}

// hot is the part of a segment's index above the floor: for each block its
// versions on the chain, and the long zeroed ranges.
//
// A block's versions form a list through nodes, newest first; records join at
// the new end, settle at the old end, and leave at the new end, all in one
// step however long the list is. Nodes have no pointers.
//
// Invariant: each list descends by LSN; wide ascends by LSN.
type hot struct {
	leaves []*hotLeaf // by block / leafBlocks; nil where nothing is hot
	spare  []*hotLeaf // at most spareLeaves, all empty
	used   int        // nodes in lists
	nodes  []node     // nodes[0] is not used: 0 is no node
	free   uint32     // list of unused nodes, through older
	wide   []wide
	data   int // nodes of data
}

// hotLeaf has the lists of leafBlocks neighbouring blocks. Most writes are of
// neighbours, and a look-up in an array costs a tenth of one in a map.
type hotLeaf struct {
	ends [leafBlocks]ends
	used int // blocks with a list
}

type ends struct{ newest, oldest uint32 }

// spareLeaves bounds the empty leaves that are kept, 4 KiB each.
const spareLeaves = 32

type node struct {
	lsn          block.LSN
	loc          location
	sum          block.Sum
	newer, older uint32
}

// wide is a zeroed range of more than narrowBlocks.
type wide struct {
	lsn   block.LSN
	first block.Index
	count block.Count
	flags uint16
}

func (w *wide) covers(b block.Index) bool { return b >= w.first && uint64(b) < w.end() }

func (w *wide) end() uint64 { return uint64(w.first) + uint64(w.count) }

// find is the newest version of b at or below lsn, or nil.
func (h *hot) find(b block.Index, at block.LSN) *node {
	for i := h.newest(b); i != 0; i = h.nodes[i].older {
		if h.nodes[i].lsn <= at {
			return &h.nodes[i]
		}
	}
	return nil
}

// newest is the head of b's list, or 0.
func (h *hot) newest(b block.Index) uint32 {
	if l := h.leafOf(b); l != nil {
		return l.ends[b%leafBlocks].newest
	}
	return 0
}

// leafOf is the leaf of b, or nil.
func (h *hot) leafOf(b block.Index) *hotLeaf {
	if i := int(b / leafBlocks); i < len(h.leaves) {
		return h.leaves[i]
	}
	return nil
}

// warm tells whether any block of b's leaf has a list.
func (h *hot) warm(b block.Index) bool { return h.leafOf(b) != nil }

// heat makes sure that b has a leaf.
func (h *hot) heat(b block.Index) *hotLeaf {
	i := int(b / leafBlocks)
	if i >= len(h.leaves) {
		h.leaves = append(h.leaves, make([]*hotLeaf, i+1-len(h.leaves))...)
	}
	if h.leaves[i] == nil {
		if k := len(h.spare) - 1; k >= 0 {
			h.leaves[i], h.spare[k] = h.spare[k], nil
			h.spare = h.spare[:k]
		} else {
			h.leaves[i] = new(hotLeaf)
		}
	}
	return h.leaves[i]
}

// push adds the newest version of b.
func (h *hot) push(b block.Index, lsn block.LSN, loc location, sum block.Sum) {
	if h.nodes == nil {
		h.nodes = make([]node, 1, 64)
	}
	i := h.free
	if i != 0 {
		h.free = h.nodes[i].older
	} else {
		h.nodes = append(h.nodes, node{})
		i = uint32(len(h.nodes) - 1)
	}
	l := h.heat(b)
	e := &l.ends[b%leafBlocks]
	h.nodes[i] = node{lsn: lsn, loc: loc, sum: sum, older: e.newest}
	if e.newest != 0 {
		h.nodes[e.newest].newer = i
	} else {
		e.oldest = i
		l.used++
	}
	e.newest = i
	h.used++
	if loc.flags == locData {
		h.data++
	}
}

// pop takes the newest version of b away; b must have one.
func (h *hot) pop(b block.Index) node {
	e := &h.leafOf(b).ends[b%leafBlocks]
	i := e.newest
	n := h.nodes[i]
	e.newest = n.older
	if n.older != 0 {
		h.nodes[n.older].newer = 0
	}
	h.drop(b, i)
	return n
}

// shift takes the oldest version of b away; b must have one.
func (h *hot) shift(b block.Index) node {
	e := &h.leafOf(b).ends[b%leafBlocks]
	i := e.oldest
	n := h.nodes[i]
	e.oldest = n.newer
	if n.newer != 0 {
		h.nodes[n.newer].older = 0
	}
	h.drop(b, i)
	return n
}

// drop gives node i back, which was unlinked at one end of b's list, and the
// leaf if that was its last.
func (h *hot) drop(b block.Index, i uint32) {
	l := h.leafOf(b)
	if e := &l.ends[b%leafBlocks]; e.newest == 0 || e.oldest == 0 {
		*e = ends{}
		l.used--
	}
	if l.used == 0 {
		h.leaves[b/leafBlocks] = nil
		if len(h.spare) < spareLeaves {
			h.spare = append(h.spare, l)
		}
	}
	if h.nodes[i].loc.flags == locData {
		h.data--
	}
	h.nodes[i] = node{older: h.free}
	h.free = i
	if h.used--; h.used == 0 {
		h.nodes, h.free = h.nodes[:1], 0
	}
}

// at is the version of b that lies at l, or nil.
func (h *hot) at(b block.Index, l location) *node {
	for i := h.newest(b); i != 0; i = h.nodes[i].older {
		if h.nodes[i].loc == l {
			return &h.nodes[i]
		}
	}
	return nil
}

// wideAt is the newest of the ranges in ws that covers b.
func wideAt(ws []wide, b block.Index) *wide {
	for i := len(ws) - 1; i >= 0; i-- {
		if ws[i].covers(b) {
			return &ws[i]
		}
	}
	return nil
}

// overlapping appends the ranges at or below lsn that touch [first, end).
func (h *hot) overlapping(dst []wide, at block.LSN, first block.Index, end uint64) []wide {
	for i := range h.wide {
		w := &h.wide[i]
		if w.lsn > at {
			break
		}
		if w.end() > uint64(first) && uint64(w.first) < end {
			dst = append(dst, *w)
		}
	}
	return dst
}
