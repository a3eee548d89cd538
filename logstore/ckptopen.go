package logstore

import (
	"cmp"
	"slices"

	"github.com/sextantdisk/sextant/internal/block"
)

// restoreNewest brings back the newest checkpoint that is whole; nil if there
// is none: then the log must tell all. What is damaged is reported, and not
// needed. left are those that do not count as long as the log tells all: see
// restoreLeft. Error kinds: Version, Mismatch, Unavailable.
func (s *Store) restoreNewest(parts []logPart) (r *restored, left []*manifest, err error) {
	found, bad, err := s.foundManifests()
	if err != nil || s.cfg.fromLog {
		s.ckpt.over(found)
		return nil, nil, err
	}
	for i, m := range found {
		if (i > 0 || bad > 0) && !tailWhole(parts, m.at) {
			left = append(left, m) // files were cleaned since that only a newer one can do without
			continue
		}
		if r, err = s.restoreFrom(m); r != nil || err != nil {
			return r, nil, err
		}
	}
	return nil, left, nil
}

// restoreLeft brings back the newest of those checkpoints behind which the log
// has holes. The log alone is damaged, too, and has less: each hole behind the
// position is one in it as well, and what was cleaned before is gone from it. As
// always, chains end at the holes, and segments say so. Error kind: Unavailable.
func (s *Store) restoreLeft(left []*manifest) (*restored, error) {
	for _, m := range left {
		r, err := s.restoreFrom(m)
		if err != nil {
			return nil, err
		}
		if r != nil {
			r.holes = true
			return r, nil
		}
	}
	return nil, nil
}

// foundManifests are those that are there, newest first; bad those that cannot be
// read. Error kinds: Version, Mismatch, Unavailable.
func (s *Store) foundManifests() (found []*manifest, bad int, err error) {
	for slot := range s.ckpt.manifests {
		m, err := s.loadManifest(slot)
		switch {
		case block.KindOf(err) == block.Corrupt:
			bad++
			s.cfg.Logger.Warn("a checkpoint's manifest cannot be read; it was perhaps being written", "file", manifestName(slot), "err", err)
		case err != nil:
			return nil, bad, err
		case m != nil:
			s.ckpt.manifests[slot] = m
			found = append(found, m)
		}
	}
	if bad == len(s.ckpt.manifests) {
		s.found(Damage{Kind: DamageCheckpoint, File: manifestName(0)})
	}
	slices.SortFunc(found, func(a, b *manifest) int { return cmp.Compare(b.generation, a.generation) })
	return found, bad, nil
}

// restoreFrom makes m the checkpoint in force; nil if it is damaged. Error kind:
// Unavailable.
func (s *Store) restoreFrom(m *manifest) (*restored, error) {
	r, err := s.load(m)
	if err == nil {
		s.ckpt.use(m, r)
		return r, nil
	}
	if block.KindOf(err) != block.Corrupt {
		return nil, err
	}
	s.cfg.Logger.Error("a checkpoint is damaged; opening takes longer without it", "generation", uint32(m.generation), "err", err)
	s.found(Damage{Kind: DamageCheckpoint, File: stateName(m.generation)})
	return nil, nil
}

// tailWhole tells whether all log files behind a checkpoint are there.
func tailWhole(parts []logPart, at positions) bool {
	hot, cold := byKind(parts)
	return chained(hot, at.hot.file) && chained(cold, at.cold.file)
}

// chained tells whether the files of one log follow each other, from one on.
func chained(parts []logPart, from fileSeq) bool {
	last, seen := from, from == 0
	for _, p := range parts {
		switch {
		case p.seq < from:
		case p.seq == from:
			seen = true
		case p.file == nil || p.file.header.prevSeq != last:
			return false
		default:
			last = p.seq
		}
	}
	return seen
}

// over makes the next checkpoint take the place of the older one of those that
// were found, newest first.
func (c *checkpointer) over(found []*manifest) {
	c.slot = 0
	if len(found) > 0 && c.manifests[0] == found[0] {
		c.slot = 1
	}
}

// use makes m the checkpoint in force.
func (c *checkpointer) use(m *manifest, r *restored) {
	c.over([]*manifest{m})
	c.mu.durable, c.mu.covered = m.generation, m.at
	live := make(map[generation]int)
	for _, g := range r.segs {
		for i := range g.mu.index.base.slots {
			live[g.mu.index.base.slots[i].saved.part]++
		}
	}
	for _, p := range m.parts {
		c.parts = append(c.parts, partLive{p, live[p.part]})
	}
}

// number makes sure that the next generation and the next log file are above
// all that were ever given out, as far as names and manifests tell.
func (c *checkpointer) number(names []string) {
	for _, m := range c.manifests {
		if m != nil {
			c.mu.started = max(c.mu.started, m.generation)
			c.store.filer.numbered(m.highest())
		}
	}
	for _, name := range names {
		for _, prefix := range []string{statePrefix, leavesPrefix} {
			if n, ok := parseName(prefix, name); ok {
				c.mu.started = max(c.mu.started, generation(n))
			}
		}
	}
}

// adopt gives a log file before the position what the checkpoint knows of it,
// and the one at the position the start of it.
func (b *restored) adopt(p *logPart, at position) {
	f, st := p.file, b.files[p.seq]
	if f == nil || st == nil {
		return
	}
	f.mu.spans, f.mu.gaps = st.spans, st.gaps
	end := st.end
	if p.seq == at.file {
		end = at.page
		f.mu.gaps = slices.DeleteFunc(f.mu.gaps, func(g gap) bool { return g.from >= at.page })
	}
	f.end.Store(uint32(end))
}
