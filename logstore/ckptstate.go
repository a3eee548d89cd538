package logstore

import (
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/logstore/chain"
	"github.com/sextantdisk/sextant/logstore/hydration"
)

// place is a record's place in the hot log: the batch, and how many records
// of it come before.
type place struct {
	batch batchSeq
	items int
}

// before tells whether the record of that batch and number is before p.
func (p place) before(b batchSeq, item int) bool {
	return b < p.batch || (b == p.batch && item < p.items)
}

// segmentState is a segment as it was at one moment between two records.
type segmentState struct {
	idx      segIndex
	id       block.SegmentID
	promised block.VolumeEpoch
	declared bool // damaged
	told     bool // the last record was a STATUS
	// applied is up to where the log is in here: at or behind the
	// checkpoint's position, because segments are taken one by one while
	// the log goes on.
	applied   place
	config    []byte
	chain     chain.Contents[version]
	opens     []opening
	slots     []savedSlot
	hydration hydration.State
	since     block.LSN // of the base
}

// savedSlot is a slot of a base with the place of its leaf.
type savedSlot struct {
	maxLSN block.LSN
	kind   RunKind
	leaf   savedLeaf
}

// savedLeaf is where a leaf lies in the parts of a checkpoint; part 0: there
// is none.
type savedLeaf struct {
	part generation
	at   uint32 // in leaves
	sum  block.Sum
}

// fileState is what a checkpoint knows of a log file.
type fileState struct {
	seq   fileSeq
	end   pageNo
	spans map[segIndex]span
	gaps  []gap
}

// The state of a checkpoint is one run of bytes, little-endian, covered by a
// checksum in the manifest:
//
//	files     count 4, then each:
//	            number 4, end page 4
//	            spans  count 4, each: segment 4, lowest LSN 8, highest LSN 8
//	            gaps   count 4, each: from page 4, to page 4
//	segments  count 4, then each:
//	            number 4, id 16, promise 4, damaged 1, told 1
//	            applied: batch 8, records of it 4
//	            configuration: length 4, bytes
//	            floor 8, head 8
//	            path, branches, pending: each a count 4, then entries
//	            opens  count 4, each: prev 8, lsn 8
//	            slots  count 4, each: max LSN 8, kind 1, part 4, leaf 4, crc32c 4
//	            since 8, first 8, solid 8, round 4, hydrating 1, and if it is 1:
//	              after 8, copies 4, high 8
//	              filled count 4, each: leaf 4, blocks 4, max LSN 8
//	            (format 1 ends with the slots, format 2 has no round)
//	entry     lsn 8, prev 8, type 1, block 4, count 4, and for a WRITE
//	          scattered 1, location 8 of the first block, or of each one if
//	          scattered, crc32c 4 of each block
//
// What is above the floor is not in here but as entries: hot is what their
// joining makes of it.
const (
	spanSize     = 20
	gapSize      = 8
	minFileState = 16
	minSegment   = 70
	minEntry     = 25
	fillingSize  = 16
	openSize     = 16
	slotSize     = 21
	// maxLeaves bounds the leaves of a part: 2 EiB of data.
	maxLeaves = 1 << 30
)

func encodeState(files []fileState, segs []*segmentState) []byte {
	var w stateWriter
	w.count(len(files))
	for i := range files {
		files[i].encode(&w)
	}
	w.count(len(segs))
	for _, s := range segs {
		s.encode(&w)
	}
	return w.p
}

// decodeState is the inverse of encodeState, for a checkpoint of that version.
// Error kind: Corrupt.
func decodeState(p []byte, version uint32) (files []fileState, segs []*segmentState, err error) {
	r := stateReader{p: p}
	for range r.count(minFileState) {
		files = append(files, decodeFileState(&r))
	}
	for range r.count(minSegment) {
		s := decodeSegmentState(&r)
		if version > 1 {
			s.decodeHydration(&r, version)
		}
		segs = append(segs, s)
	}
	if r.bad || len(r.p) != 0 {
		return nil, nil, block.Errorf(block.Corrupt, "state of a checkpoint says what format %d has no place for", version)
	}
	return files, segs, nil
}

func (f *fileState) encode(w *stateWriter) {
	w.u32(uint32(f.seq))
	w.u32(uint32(f.end))
	w.count(len(f.spans))
	for seg, s := range f.spans {
		w.u32(uint32(seg))
		w.lsn(s.min)
		w.lsn(s.max)
	}
	w.count(len(f.gaps))
	for _, g := range f.gaps {
		w.u32(uint32(g.from))
		w.u32(uint32(g.to))
	}
}

func decodeFileState(r *stateReader) (f fileState) {
	f.seq, f.end = fileSeq(r.u32()), pageNo(r.u32())
	n := r.count(spanSize)
	f.spans = make(map[segIndex]span, n)
	for range n {
		f.spans[segIndex(r.u32())] = span{r.lsn(), r.lsn()}
	}
	for range r.count(gapSize) {
		f.gaps = append(f.gaps, gap{pageNo(r.u32()), pageNo(r.u32())})
	}
	return f
}

func (s *segmentState) encode(w *stateWriter) {
	w.u32(uint32(s.idx))
	w.bytes(s.id[:])
	w.u32(uint32(s.promised))
	w.flag(s.declared)
	w.flag(s.told)
	w.u64(uint64(s.applied.batch))
	w.count(s.applied.items)
	w.count(len(s.config))
	w.bytes(s.config)
	w.lsn(s.chain.Floor)
	w.lsn(s.chain.Head)
	for _, entries := range [][]chain.Entry[version]{s.chain.Path, s.chain.Branches, s.chain.Pending} {
		w.count(len(entries))
		for i := range entries {
			encodeEntry(w, &entries[i])
		}
	}
	w.count(len(s.opens))
	for _, o := range s.opens {
		w.lsn(o.prev)
		w.lsn(o.lsn)
	}
	w.count(len(s.slots))
	for i := range s.slots {
		t := &s.slots[i]
		w.lsn(t.maxLSN)
		w.u8(uint8(t.kind))
		w.u32(uint32(t.leaf.part))
		w.u32(t.leaf.at)
		w.sum(t.leaf.sum)
	}
	s.encodeHydration(w)
}

func (s *segmentState) encodeHydration(w *stateWriter) {
	h := &s.hydration
	w.lsn(s.since)
	w.lsn(h.First)
	w.lsn(h.Solid)
	w.u32(uint32(h.Round))
	w.flag(h.On)
	if !h.On {
		return
	}
	w.lsn(h.After)
	w.u32(h.Copies)
	w.lsn(h.High)
	w.count(len(h.Filled))
	for i, f := range h.Filled {
		w.u32(uint32(i))
		w.count(int(f.Blocks))
		w.lsn(f.MaxLSN)
	}
}

func (s *segmentState) decodeHydration(r *stateReader, version uint32) {
	h := &s.hydration
	s.since, h.First, h.Solid = r.lsn(), r.lsn(), r.lsn()
	if version > 2 {
		h.Round = hydration.Round(r.u32())
	}
	if h.On = r.flag(); !h.On {
		return
	}
	h.After, h.Copies, h.High = r.lsn(), r.u32(), r.lsn()
	n := r.count(fillingSize)
	h.Filled = make(map[int]hydration.Filling, n)
	for range n {
		leaf, f := int(r.u32()), hydration.Filling{Blocks: block.Count(r.u32()), MaxLSN: r.lsn()}
		r.check(leaf < int(maxBlocks/leafBlocks) && f.Blocks < leafBlocks)
		h.Filled[leaf] = f
	}
}

func decodeSegmentState(r *stateReader) *segmentState {
	s := &segmentState{idx: segIndex(r.u32())}
	copy(s.id[:], r.next(len(s.id)))
	s.promised = block.VolumeEpoch(r.u32())
	s.declared, s.told = r.flag(), r.flag()
	s.applied = place{batchSeq(r.u64()), int(r.u32())}
	s.config = append([]byte{}, r.next(r.count(1))...)
	s.chain.Floor, s.chain.Head = r.lsn(), r.lsn()
	for _, entries := range []*[]chain.Entry[version]{&s.chain.Path, &s.chain.Branches, &s.chain.Pending} {
		for range r.count(minEntry) {
			*entries = append(*entries, decodeEntry(r))
		}
	}
	for range r.count(openSize) {
		s.opens = append(s.opens, opening{r.lsn(), r.lsn()})
	}
	n := r.count(slotSize)
	s.slots = make([]savedSlot, n)
	for i := range s.slots {
		t := &s.slots[i]
		t.maxLSN, t.kind = r.lsn(), RunKind(r.u8())
		t.leaf = savedLeaf{generation(r.u32()), r.u32(), r.sum()}
		r.check(t.kind == RunHole || t.kind == RunZero)
	}
	r.check(s.idx != 0 && !s.id.IsZero() && len(s.config) <= MaxConfigBytes && n <= int(maxBlocks/leafBlocks))
	return s
}

func encodeEntry(w *stateWriter, e *chain.Entry[version]) {
	v := &e.Value
	w.lsn(e.LSN)
	w.lsn(e.Prev)
	w.u8(uint8(v.typ))
	w.u32(uint32(v.block))
	w.u32(uint32(v.count))
	if v.typ != TypeWrite {
		return
	}
	w.flag(v.places != nil)
	if v.places == nil {
		w.location(v.loc)
	}
	for _, l := range v.places {
		w.location(l)
	}
	if v.sums == nil {
		w.sum(v.sum)
	}
	for _, s := range v.sums {
		w.sum(s)
	}
}

func decodeEntry(r *stateReader) chain.Entry[version] {
	e := chain.Entry[version]{LSN: r.lsn(), Prev: r.lsn()}
	v := &e.Value
	v.typ, v.block, v.count = RecordType(r.u8()), block.Index(r.u32()), block.Count(r.u32())
	r.check(v.typ.isChange() && uint64(v.block)+uint64(v.count) <= maxBlocks)
	if v.typ != TypeWrite {
		return e
	}
	r.check(v.count > 0 && v.count <= block.MaxRecordBlocks)
	scattered := r.flag()
	if r.bad {
		return e
	}
	v.loc = r.location()
	if scattered {
		v.places = append(make([]location, 0, v.count), v.loc)
		for range v.count - 1 {
			v.places = append(v.places, r.location())
		}
	}
	v.sum = r.sum()
	if v.count > 1 {
		v.sums = append(make([]block.Sum, 0, v.count), v.sum)
		for range v.count - 1 {
			v.sums = append(v.sums, r.sum())
		}
	}
	return e
}
