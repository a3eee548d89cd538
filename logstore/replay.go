package logstore

import (
	"github.com/sextantdisk/sextant/internal/block"
)

// replay brings a store's indexes up from its log: it visits a walk.
type replay struct {
	store *Store
	segs  map[segIndex]*Segment
	byID  map[block.SegmentID]*Segment
	// dropped and orphans are numbers of segments that are not known: what
	// comes for the first is late, what comes for the others is damage.
	dropped, orphans map[segIndex]bool
	top              segIndex // highest number seen
	// freed are the log files that FREE records name.
	freed   map[fileSeq]bool
	damaged bool
}

func newReplay(s *Store) *replay {
	return &replay{store: s, segs: map[segIndex]*Segment{}, byID: map[block.SegmentID]*Segment{}, dropped: map[segIndex]bool{}, orphans: map[segIndex]bool{}, freed: map[fileSeq]bool{}}
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
	r.damaged = true
	r.store.found(d)
	for _, g := range r.segs {
		g.mu.health.damage()
	}
	return nil
}

func (r *replay) batch(f *logFile, fr *frame, sc *scanner) error {
	at, sums := fr.page+pageNo(fr.headerPages), fr.sums
	for i := range fr.recs {
		d := &fr.recs[i]
		n := d.payload()
		switch d.typ {
		case TypeSyncMark:
		case TypeFree:
			r.freed[fileSeq(d.block)] = true
		default:
			if err := r.record(f, d, sums[:n], at, sc); err != nil {
				return err
			}
		}
		at += pageNo(n)
		sums = sums[n:]
	}
	f.end.Store(uint32(fr.end()))
	return nil
}

func (r *replay) record(f *logFile, d *descriptor, sums []block.Sum, at pageNo, sc *scanner) error {
	r.top = max(r.top, d.seg)
	if r.dropped[d.seg] {
		return nil
	}
	if d.typ == TypeConfig {
		return r.config(f, d, sums, at, sc)
	}
	g := r.segs[d.seg]
	if g == nil && d.typ == TypeDrop {
		r.dropped[d.seg] = true // its records were cleaned away
		return nil
	}
	if g == nil {
		r.orphan(f, d, at)
		return nil
	}
	if d.typ == TypeDrop {
		r.drop(g)
		return nil
	}
	if d.typ.isChange() {
		f.note(d.seg, d.lsn)
	}
	g.stale = d.typ != TypeStatus
	g.applyLocked(d, sums, dataAt(f.header.seq, at), nil)
	return nil
}

func (r *replay) drop(g *Segment) {
	g.dropped.Store(true)
	delete(r.segs, g.idx)
	delete(r.byID, g.id)
	r.dropped[g.idx] = true
}

// orphan notes, once, that records name a segment whose creation is lost.
func (r *replay) orphan(f *logFile, d *descriptor, at pageNo) {
	if r.orphans[d.seg] {
		return
	}
	r.orphans[d.seg] = true
	r.store.found(Damage{Kind: DamageOrphan, File: f.name, Offset: at.bytes()})
}

// config makes a segment or changes its configuration. A segment whose first
// configuration is not flagged as its creation lost that to damage.
func (r *replay) config(f *logFile, d *descriptor, sums []block.Sum, at pageNo, sc *scanner) error {
	p, good, err := sc.config(at, sums)
	if err != nil {
		return err
	}
	id, config, ok := decodeConfig(p)
	if !good || !ok {
		return r.damage(Damage{Kind: DamagePayload, File: f.name, Offset: at.bytes(), Length: block.ByteCount(len(sums)) * pageSize})
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
	g.stale = true
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
		if g.mu.health.declared != was {
			g.stale = true
		}
		if g.stale {
			s.stale = append(s.stale, g)
		}
		if g.mu.health.declared {
			s.cfg.Logger.Error("segment is damaged: it may have lost records above its SCL", "segment", g.id, "scl", scl)
		}
	}
	s.mu.nextSeg = r.top + 1
}
