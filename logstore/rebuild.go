package logstore

import (
	"fmt"
	"maps"
	"slices"

	"github.com/sextantdisk/sextant/internal/block"
)

// rebuild makes the indexes from the logs alone, where files were cleaned and no
// checkpoint says what was in them. What is left does not follow the order of
// the log any more, so it is put together by LSN:
//
//	first walk (outline)   which segments there are, up to where each is settled
//	                       (its last STATUS), what was annulled (EPOCH_OPENs),
//	                       which files were freed (FREEs); once more where it went
//	                       past the end of a file that a later SEAL tells
//	second walk (refill)    up to that floor, for each block the record of the
//	                       highest LSN that was not annulled; above it, all
//	                       records, whatever their order
//
// That is enough because of what cleaning leaves: all that an index pointed to
// is in a RELOC with the LSNs of its record; marks above the floor are copied,
// below it those that wipe something; behind each freed file comes a STATUS
// that tells a floor above all that was forgotten with it, and the CONFIGs and
// DROPs that were in it.
//
// All of it holds only where nothing is damaged: a missing batch below the floor
// would leave no trace. So damage ends a rebuild, and the logs are replayed as
// they are: then the chains end where something is missing, and the segments say
// that they are damaged.
type rebuild struct {
	store     *Store
	hot, cold []logPart
	// damaged: so it is; damage is what was found first.
	damaged bool
	damage  Damage
	holes   bool // the first walk has met damage, which may be what was freed
	freed   freed
	dropped map[segIndex]bool
	segs    map[segIndex]*remade
	top     segIndex // highest number seen

	end, coldEnd logEnd
}

// remade is a segment of a rebuild. Its index is filled when all is known.
type remade struct {
	g           *Segment
	floor, head block.LSN
	opens       []opening // ascending; up to the floor those that count, none above
	settled     drafts
	above       map[block.LSN]*fragment
	// hydrated: it took leaves over from peers; see reset.
	hydrated bool
}

// rebuilt brings the indexes up from the logs alone; not done where they can be
// replayed as they are, or have holes. Error kinds: Unavailable.
func (s *Store) rebuilt(hot, cold []logPart, r *replay) (done, holes bool, err error) {
	if len(cold) == 0 && chained(hot, 0) {
		return false, false, nil // nothing is gone
	}
	b, err := s.outlined(hot, cold)
	if err != nil {
		return false, false, err
	}
	if len(b.freed.files) == 0 {
		b.leave(r)
		return false, b.holes, nil // moved, perhaps, but nothing was freed
	}
	b.judge()
	if !b.damaged {
		if err := b.walk(func(bool) visitor { return refill{b} }); err != nil {
			return false, false, err
		}
		b.filled()
	}
	if b.damaged {
		b.leave(r)
		s.cfg.Logger.Error("the index cannot be made from a damaged log; what follows the damage waits for peers", "dir", s.dir, "damage", b.damage.String())
		return false, true, nil
	}
	for _, p := range b.parts() {
		if err := r.file(p.file, p.bad); err != nil {
			return false, false, err
		}
	}
	b.hand(r)
	s.cfg.Logger.Warn("index made from the log, without a checkpoint", "dir", s.dir, "segments", len(r.segs), "files", len(b.parts()))
	return true, false, nil
}

// outlined makes the first walk. Behind the end of a file may stand a batch that
// was torn: refused, and never taken back. If the file that followed was freed, a
// SEAL in a later one tells the end; by then the walk has taken for a part of the
// log what is none: configurations, DROPs, even FREEs. Then it begins anew.
func (s *Store) outlined(hot, cold []logPart) (*rebuild, error) {
	ends := map[fileSeq]pageNo{}
	for {
		b := &rebuild{
			store: s, hot: hot, cold: cold, freed: newFreed(), dropped: map[segIndex]bool{}, segs: map[segIndex]*remade{},
		}
		maps.Copy(b.freed.ends, ends)
		if err := b.walk(func(cold bool) visitor { return outline{b, cold} }); err != nil {
			return nil, err
		}
		if len(b.freed.ends) == len(ends) || !b.overran() {
			return b, nil
		}
		ends = b.freed.ends
	}
}

// parts are all files, those of the hot log first.
func (b *rebuild) parts() []logPart { return slices.Concat(b.hot, b.cold) }

// overran tells whether a walk went past where a file ended.
func (b *rebuild) overran() bool {
	return slices.ContainsFunc(b.parts(), func(p logPart) bool {
		end, ok := b.freed.ends[p.seq]
		return ok && p.file != nil && pageNo(p.file.end.Load()) > end
	})
}

// walk visits the hot log, then the cold one.
func (b *rebuild) walk(v func(cold bool) visitor) error {
	w := b.store.walker(b.hot, position{}, v(false), b.freed.ends)
	w.freed = b.freed.files
	if err := w.walk(); err != nil {
		return err
	}
	c := b.store.walker(b.cold, position{}, v(true), b.freed.ends)
	c.freed = b.freed.files
	err := c.walk()
	b.end, b.coldEnd = w.end, c.end
	return err
}

// lost notes damage.
func (b *rebuild) lost(d Damage) {
	if !b.damaged {
		b.damaged, b.damage = true, d
	}
}

// judge ends the first walk.
func (b *rebuild) judge() {
	if b.coldEnd.batch < b.freed.cold {
		b.lost(coldLost(b.coldEnd.seq))
	}
	if n := b.freed.missing(b.parts()); n != 0 {
		b.lost(Damage{Kind: DamageFile, File: fmt.Sprintf("%d log files up to %s", n, logName(b.freed.top))})
	}
	byID := make(map[block.SegmentID]*remade, len(b.segs))
	for _, seg := range slices.Sorted(maps.Keys(b.segs)) {
		m := b.segs[seg]
		switch old := byID[m.g.id]; {
		case b.dropped[seg] || m.g.id.IsZero(): // without a configuration it was dropped: others are kept
			delete(b.segs, seg)
			continue
		case old != nil: // it was dropped before this one was made
			delete(b.segs, old.g.idx)
		}
		byID[m.g.id] = m
		m.settleOpens()
		if m.hydrated {
			b.reset(m)
		}
	}
}

// reset makes a segment damaged and empty, to be hydrated from nothing. A leaf
// that was taken over has blocks as of an LSN of a peer's, which a block's own
// record, once moved, does not tell any more: what is above is not to be told from
// what is in it.
func (b *rebuild) reset(m *remade) {
	b.store.cfg.Logger.Error("a segment that was hydrated cannot be made anew from the log; it begins again", "segment", m.g.id)
	m.g.mu.health = health{declared: true}
	m.g.mu.index.spoil()
	m.floor, m.opens, m.head = 0, nil, 0
}

// settleOpens keeps the EPOCH_OPENs up to the floor that were not annulled by a
// later one.
func (m *remade) settleOpens() {
	slices.SortFunc(m.opens, func(a, b opening) int { return cmpLSN(b.lsn, a.lsn) })
	var kept []opening
	for _, o := range m.opens {
		below := len(kept) == 0 || o.lsn <= kept[len(kept)-1].prev
		if o.lsn <= m.floor && below {
			kept = append(kept, o)
		}
	}
	slices.Reverse(kept)
	m.opens = kept
}

// leave gives up in favour of a replay, which begins with nothing but where files
// ended.
func (b *rebuild) leave(r *replay) {
	for _, p := range b.parts() {
		if p.file != nil {
			p.file.forget()
		}
	}
	r.freed.ends = b.freed.ends
}

// hand gives what was made to a replay, which settles it.
func (b *rebuild) hand(r *replay) {
	for seg, m := range b.segs {
		r.segs[seg], r.byID[m.g.id] = m.g, m.g
	}
	r.top, r.freed, r.end, r.coldEnd = b.top, b.freed, b.end, b.coldEnd
	for f := range b.freed.files {
		b.store.filer.numbered(f)
	}
}

// freed is what FREE and SEAL records tell.
type freed struct {
	files map[fileSeq]bool
	// ends are where files ended whose successor is one of those.
	ends map[fileSeq]pageNo
	cold batchSeq // how far the cold log must reach
	// remain is how many files up to top there are, as the last one says.
	top    fileSeq
	remain int
}

func newFreed() freed { return freed{files: map[fileSeq]bool{}, ends: map[fileSeq]pageNo{}} }

func (r *freed) add(d *descriptor) {
	r.files[fileSeq(d.block)] = true
	r.cold = max(r.cold, batchSeq(d.lsn))
	r.top, r.remain = fileSeq(d.prev), int(d.count)
}

// missing is how many files are not there that should be.
func (r *freed) missing(parts []logPart) int {
	n := r.remain
	for _, p := range parts {
		if p.seq <= r.top && !r.files[p.seq] {
			n--
		}
	}
	return n
}

// coldLost is the damage of a cold log that ends before it should.
func coldLost(last fileSeq) Damage {
	return Damage{Kind: DamageFile, File: "the cold log file behind " + logName(last)}
}
