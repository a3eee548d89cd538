package logstore

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"slices"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/mutant"
	"github.com/sextantdisk/sextant/internal/slab"
	"github.com/sextantdisk/sextant/internal/vfs"
)

// restored is a store as a checkpoint has it.
type restored struct {
	manifest *manifest
	files    map[fileSeq]*fileState
	segs     map[segIndex]*Segment
	// holes: the log behind it has some, also where files were freed.
	holes bool
}

// highest is the highest number of a log file when m was made, or later.
func (m *manifest) highest() fileSeq {
	top := max(m.at.hot.file, m.at.cold.file)
	if n := len(m.files); n > 0 {
		top = max(top, m.files[n-1])
	}
	return top
}

// loadManifest reads one of the two manifests; nil if it is not there. Error
// kinds: Corrupt, Version, Mismatch (another disk's), Unavailable.
func (s *Store) loadManifest(slot int) (*manifest, error) {
	name := manifestName(slot)
	p, err := s.readWhole(name, maxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m, err := decodeManifest(p)
	if err == nil && m.disk != s.disk {
		err = block.Errorf(block.Mismatch, "%s belongs to disk %v, not to %v: is this another daemon's folder?", name, m.disk, s.disk)
	}
	return m, err
}

// readWhole reads a file of at most so many bytes. Error kinds: Corrupt (it is
// longer), Unavailable; fs.ErrNotExist is in the tree.
func (s *Store) readWhole(name string, most block.ByteCount) ([]byte, error) {
	f, err := s.fs.OpenFile(s.file(name), vfs.ReadOnly)
	if err != nil {
		return nil, block.Wrap(block.Unavailable, err, "%s cannot be opened", name)
	}
	defer func() { _ = f.Close() }() // it was only read
	size, err := f.Size()
	if err != nil {
		return nil, diskError(err, "examining", name)
	}
	if size > most {
		return nil, block.Errorf(block.Corrupt, "%s of %v is longer than %v", name, size, most)
	}
	p := make([]byte, size)
	if _, err := f.ReadAt(p, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, block.Wrap(block.Unavailable, err, "%s cannot be read", name)
	}
	return p, nil
}

// load brings back what m is about. Error kinds: Corrupt, Unavailable.
func (s *Store) load(m *manifest) (*restored, error) {
	name := stateName(m.generation)
	p, err := s.readWhole(name, m.stateLength)
	if err != nil {
		return nil, lost(err, name)
	}
	if got := block.Checksum(p); got != m.stateSum || block.ByteCount(len(p)) != m.stateLength {
		return nil, block.Errorf(block.Corrupt, "%s has checksum %08x instead of %08x", name, uint32(got), uint32(m.stateSum))
	}
	files, segs, err := decodeState(p, m.version)
	if err != nil {
		return nil, err
	}
	r := &restored{manifest: m, files: make(map[fileSeq]*fileState, len(files)), segs: make(map[segIndex]*Segment, len(segs))}
	for i := range files {
		r.files[files[i].seq] = &files[i]
	}
	ll := leafLoader{store: s, highest: m.highest()}
	for _, st := range segs {
		g, ok := s.restore(st, ll.highest)
		if !ok || r.segs[st.idx] != nil {
			return nil, block.Errorf(block.Corrupt, "%s has a segment %v that makes no sense", name, st.id)
		}
		r.segs[st.idx] = g
		ll.want(g, st.slots)
	}
	return r, ll.load(m.parts)
}

// lost makes a missing file what it is: a part of the checkpoint that is lost.
func lost(err error, name string) error {
	if errors.Is(err, fs.ErrNotExist) {
		return block.Errorf(block.Corrupt, "%s is missing", name)
	}
	return err
}

// restore makes the segment of a state, without its leaves; false if the state
// breaks an invariant.
func (s *Store) restore(st *segmentState, highest fileSeq) (*Segment, bool) {
	g := newSegment(s, st.id, st.idx)
	g.mu.promised, g.mu.config, g.mu.applied = st.promised, st.config, st.applied
	g.mu.health.declared, g.mu.told = st.declared, st.told
	g.stale = !st.told
	x := &g.mu.index
	x.base.since = st.since
	x.opens, x.hydration = st.opens, st.hydration
	for _, entries := range [][]chainEntry{st.chain.Path, st.chain.Branches, st.chain.Pending} {
		for i := range entries {
			known := true
			entries[i].Value.references(func(l location, _ int) { known = known && l.file <= highest })
			if !known {
				return nil, false
			}
		}
	}
	x.base.slots = make([]slot, len(st.slots))
	for i := range st.slots {
		x.base.slots[i] = slot{maxLSN: st.slots[i].maxLSN, kind: st.slots[i].kind}
	}
	return g, x.chain.Restore(st.chain, x)
}

// leafLoader reads leaves in the order in which they lie in their parts.
type leafLoader struct {
	store   *Store
	highest fileSeq // that a block can lie in
	todo    []wantedLeaf
}

type wantedLeaf struct {
	base *base
	slot int
	at   savedLeaf
}

// want notes what g needs.
func (l *leafLoader) want(g *Segment, slots []savedSlot) {
	for i := range slots {
		if at := slots[i].leaf; at.part != 0 {
			l.todo = append(l.todo, wantedLeaf{&g.mu.index.base, i, at})
		}
	}
}

func (l *leafLoader) load(parts []partUse) error {
	slices.SortFunc(l.todo, func(a, b wantedLeaf) int {
		return cmp.Or(cmp.Compare(a.at.part, b.at.part), cmp.Compare(a.at.at, b.at.at))
	})
	for _, p := range parts {
		n := 0
		for n < len(l.todo) && l.todo[n].at.part == p.part {
			n++
		}
		if err := l.part(p, l.todo[:n]); err != nil {
			return err
		}
		l.todo = l.todo[n:]
	}
	if len(l.todo) > 0 {
		return block.Errorf(block.Corrupt, "checkpoint needs %s, which its manifest does not name", leavesName(l.todo[0].at.part))
	}
	return nil
}

// part reads the leaves that are wanted of one part, ascending.
func (l *leafLoader) part(p partUse, want []wantedLeaf) error {
	if len(want) == 0 {
		return nil
	}
	name := leavesName(p.part)
	f, err := l.store.fs.OpenFile(l.store.file(name), l.store.filer.mode)
	if err != nil {
		return lost(block.Wrap(block.Unavailable, err, "%s cannot be opened", name), name)
	}
	defer func() { _ = f.Close() }() // it was only read
	buf := slab.Get(chunkSize)
	defer buf.Release()
	for len(want) > 0 {
		first := int(want[0].at.at) / leavesPerChunk * leavesPerChunk
		n := min(leavesPerChunk, p.leaves-first)
		if n <= 0 {
			return block.Errorf(block.Corrupt, "checkpoint needs leaf %d of the %d of %s", want[0].at.at, p.leaves, name)
		}
		b := buf.Bytes()[:leavesSize(n)]
		if _, err := f.ReadAt(b, vfs.Offset(first)*leafSize); err != nil {
			if errors.Is(err, io.EOF) {
				return block.Errorf(block.Corrupt, "%s ends before its leaf %d", name, first+n)
			}
			return block.Wrap(block.Unavailable, err, "%s cannot be read", name)
		}
		if want, err = l.chunk(name, b, first, n, want); err != nil {
			return err
		}
	}
	return nil
}

// chunk takes leaves [first, first+n) from b and gives what is still wanted.
func (l *leafLoader) chunk(name string, b []byte, first, n int, want []wantedLeaf) ([]wantedLeaf, error) {
	for len(want) > 0 && int(want[0].at.at) < first+n {
		at := want[0].at
		p := b[(int(at.at)-first)*leafSize:][:leafSize]
		if got := block.Checksum(p); got != at.sum && !mutant.On(mutant.RottenLeaf) {
			return nil, block.Errorf(block.Corrupt, "leaf %d of %s has checksum %08x instead of %08x", at.at, name, uint32(got), uint32(at.sum))
		}
		leaf, data, ok := decodeLeaf(p, l.highest)
		if !ok {
			return nil, block.Errorf(block.Corrupt, "leaf %d of %s names a log file that never was", at.at, name)
		}
		t := &want[0].base.slots[want[0].slot]
		t.leaf, t.saved = leaf, at
		want[0].base.data += data
		want = want[1:]
	}
	return want, nil
}
