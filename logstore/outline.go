package logstore

import (
	"github.com/sextantdisk/sextant/internal/block"
)

// outline visits the first walk of a rebuild. The order of the hot log counts
// for what it tells: the last configuration, the last floor.
type outline struct {
	*rebuild
	cold bool
}

// file forgets what a walk before this one found.
func (o outline) file(f *logFile, _ int) error {
	f.forget()
	return nil
}

// damage is for the second walk to tell: only then it is known which files were
// freed.
func (o outline) damage(Damage) error {
	o.holes = true
	return nil
}

func (o outline) batch(f *logFile, fr *frame, sc *scanner) error {
	for _, rec := range fr.each() {
		f.note(rec.d)
		switch d := rec.d; d.typ {
		case TypeSyncMark:
		case TypeFree:
			o.freed.add(d)
		case TypeSeal:
			o.freed.ends[fileSeq(d.block)] = pageNo(d.count)
		case TypeDrop:
			o.top = max(o.top, d.seg)
			o.dropped[d.seg] = true
		default:
			if err := o.record(replayed{rec, f, sc}); err != nil {
				return err
			}
		}
	}
	f.end.Store(uint32(fr.end()))
	return nil
}

// of is the segment of a number, as far as it is known.
func (b *rebuild) of(seg segIndex) *remade {
	m := b.segs[seg]
	if m == nil {
		m = &remade{g: newSegment(b.store, block.SegmentID{}, seg), above: map[block.LSN]*fragment{}}
		b.segs[seg], b.top = m, max(b.top, seg)
	}
	return m
}

func (o outline) record(rec replayed) error {
	d, m := rec.d, o.of(rec.d.seg)
	switch d.typ {
	case TypePromise:
		m.promise(d)
	case TypeStatus:
		m.promise(d)
		m.g.mu.health.status(d.flags, d.prev, m.head)
		m.floor, m.head = d.lsn, max(m.head, d.prev)
	case TypeConfig:
		return o.config(m, rec)
	case TypeEpochOpen:
		m.opens = append(m.opens, opening{d.prev, d.lsn})
		m.head = max(m.head, d.lsn)
	case TypeCopy, TypeHydrate:
		m.hydrated = true
	default:
		if d.typ == TypeReloc && d.prev == d.lsn {
			m.hydrated = true
		}
		m.head = max(m.head, d.lsn)
		if uint64(d.block)+uint64(d.count) > maxBlocks {
			o.lost(Damage{Kind: DamageBatch, File: rec.file.name, Offset: rec.at.bytes()})
		}
	}
	return nil
}

func (m *remade) promise(d *descriptor) {
	m.g.mu.promised = max(m.g.mu.promised, block.VolumeEpoch(d.block))
}

func (o outline) config(m *remade, rec replayed) error {
	p, good, err := rec.sc.config(rec.at, rec.sums)
	if err != nil {
		return err
	}
	id, config, ok := decodeConfig(p)
	if !good || !ok {
		o.lost(Damage{Kind: DamagePayload, File: rec.file.name, Offset: rec.at.bytes(), Length: pageNo(len(rec.sums)).bytes()})
		return nil
	}
	m.promise(rec.d)
	m.g.id, m.g.mu.config = id, config
	return nil
}
