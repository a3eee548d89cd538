package logstore

import (
	"maps"
	"slices"

	"github.com/sextantdisk/sextant/internal/block"
)

// replay brings a store's indexes up from its log, or from a checkpoint and
// the log behind it: it visits a walk.
type replay struct {
	store *Store
	segs  map[segIndex]*Segment
	byID  map[block.SegmentID]*Segment
	// dropped and orphans are numbers of segments that are not known: what
	// comes for the first is late, what comes for the others is damage.
	dropped, orphans map[segIndex]bool
	// restored is the first number that the checkpoint had not given out:
	// a lower one that it does not know was dropped.
	restored segIndex
	// from is where the walks begin.
	from  positions
	top   segIndex // highest number seen
	freed freed
	// end and coldEnd are set when the walks are over.
	end, coldEnd logEnd
}

func newReplay(s *Store) *replay {
	return &replay{store: s, segs: map[segIndex]*Segment{}, byID: map[block.SegmentID]*Segment{}, dropped: map[segIndex]bool{}, orphans: map[segIndex]bool{}, freed: newFreed()}
}

// base begins with what a checkpoint has.
func (r *replay) base(b *restored) {
	r.segs, r.restored, r.from = b.segs, b.manifest.nextSegment, b.manifest.at
	for _, g := range r.segs {
		r.byID[g.id] = g
	}
	r.top = max(r.restored, 1) - 1
}

// adopt takes in the files of one log that lie before the checkpoint's
// position in it, without walking them, and gives the rest.
func (r *replay) adopt(b *restored, parts []logPart, at position) ([]logPart, error) {
	for i := range parts {
		p := &parts[i]
		if p.seq > at.file {
			return parts[i:], nil
		}
		b.adopt(p, at)
		switch {
		case p.seq == at.file:
			return parts[i:], nil
		case p.file == nil:
			r.store.found(Damage{Kind: DamageFile, File: p.name, Length: p.size})
		default:
			if err := r.file(p.file, p.bad); err != nil {
				return nil, err
			}
		}
	}
	return nil, nil
}

// missing reports the files before the checkpoint's positions that blocks lie
// in, now that the log was read, and that are not there. No segment has lost a
// record by that: what it knows is in the checkpoint. Its blocks there are
// damaged, and reads say so. (The walks report those behind.)
func (r *replay) missing(gone map[fileSeq]bool) {
	hot, cold := r.from.hot.file, r.from.cold.file
	for _, f := range slices.Sorted(maps.Keys(gone)) {
		if f < max(hot, cold) && f != hot && f != cold {
			r.store.found(Damage{Kind: DamageFile, File: logName(f)})
		}
	}
}

func (r *replay) file(f *logFile, bad int) error {
	f.sealed.Store(true)
	r.store.addFile(f)
	if bad > 0 {
		r.store.found(Damage{Kind: DamageHeader, File: f.name, Length: pageSize})
	}
	return nil
}

// damage makes all segments that exist here suspect.
func (r *replay) damage(d Damage) error {
	r.store.found(d)
	for _, g := range r.segs {
		g.mu.health.damage()
	}
	return nil
}

// replayed is one record of the log.
type replayed struct {
	logged
	file *logFile
	sc   *scanner
}

func (r *replay) batch(f *logFile, fr *frame, sc *scanner) error {
	for i, rec := range fr.each() {
		d := rec.d
		f.note(d) // also what the checkpoint has: the file may not have been there when that began
		switch {
		case d.typ == TypeSyncMark || d.typ == TypeSeal || r.has(d.seg, fr.seq, i):
		case d.typ == TypeFree:
			r.freed.add(d)
		default:
			if err := r.record(replayed{rec, f, sc}); err != nil {
				return err
			}
		}
	}
	f.end.Store(uint32(fr.end()))
	return nil
}

// has tells whether the checkpoint has taken that record in already.
func (r *replay) has(seg segIndex, b batchSeq, item int) bool {
	g := r.segs[seg]
	return g != nil && g.mu.applied.before(b, item)
}

func (r *replay) record(rec replayed) error {
	d := rec.d
	r.top = max(r.top, d.seg)
	g := r.segs[d.seg]
	switch {
	case r.dropped[d.seg]:
		return nil
	case g == nil && d.seg < r.restored && d.flags&flagCreated == 0:
		return nil // dropped before the checkpoint
	case d.typ == TypeConfig:
		return r.config(rec)
	case g == nil && d.typ == TypeDrop:
		r.dropped[d.seg] = true // its records were cleaned away
		return nil
	case g == nil:
		r.orphan(rec)
		return nil
	case d.typ == TypeDrop:
		r.drop(g)
		return nil
	}
	g.applyLocked(d, rec.sums, dataAt(rec.file.header.seq, rec.at), nil)
	return nil
}

func (r *replay) drop(g *Segment) {
	g.dropped.Store(true)
	delete(r.segs, g.idx)
	delete(r.byID, g.id)
	r.dropped[g.idx] = true
}

// orphan notes, once, that records name a segment whose creation is lost.
func (r *replay) orphan(rec replayed) {
	if r.orphans[rec.d.seg] {
		return
	}
	r.orphans[rec.d.seg] = true
	r.store.found(Damage{Kind: DamageOrphan, File: rec.file.name, Offset: rec.at.bytes()})
}

// config makes a segment or changes its configuration. A segment whose first
// configuration is not flagged as its creation lost that to damage.
func (r *replay) config(rec replayed) error {
	d := rec.d
	p, good, err := rec.sc.config(rec.at, rec.sums)
	if err != nil {
		return err
	}
	id, config, ok := decodeConfig(p)
	if !good || !ok {
		return r.damage(Damage{Kind: DamagePayload, File: rec.file.name, Offset: rec.at.bytes(), Length: block.ByteCount(len(rec.sums)) * pageSize})
	}
	g := r.segs[d.seg]
	if g == nil {
		if old := r.byID[id]; old != nil {
			r.drop(old) // it was before this one was made: the record of it is lost
		}
		g = newSegment(r.store, id, d.seg)
		r.segs[d.seg], r.byID[id] = g, g
		if d.flags&flagCreated == 0 {
			g.mu.health.damage()
		}
	}
	g.applyLocked(d, nil, location{}, config)
	return nil
}

// settle hands the segments over to the store.
func (r *replay) settle() {
	s := r.store
	for _, g := range r.segs {
		scl := g.mu.index.chain.SCL()
		was := g.mu.health.declared
		g.mu.health = health{declared: g.mu.health.damaged(&g.mu.index.chain)}
		g.publishLocked()
		g.settled.Store(0)
		s.mu.segments[g.id], s.mu.byIndex[g.idx] = g, g
		if g.stale = !g.mu.told || g.mu.health.declared != was; g.stale {
			s.stale = append(s.stale, g)
		}
		if g.mu.health.declared {
			s.cfg.Logger.Error("segment is damaged: it may have lost records above its SCL", "segment", g.id, "scl", scl)
		}
	}
	s.mu.nextSeg = r.top + 1
}
