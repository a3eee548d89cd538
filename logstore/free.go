package logstore

import (
	"math"
	"path"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/mutant"
)

// saveMarks copies a file's ZEROs, TRIMs, EPOCH_OPENs, HYDRATEs and COPYs of zeroes to the cold log, where
// other files still hold older records of their segments: an index made from
// the log alone would bring back what they had wiped (trap T20).
func (s *Store) saveMarks(v *survey, f *logFile) error {
	oldest := s.oldestElsewhere(v, f)
	settled := make(map[*Segment]settledPart, len(v.news))
	for g := range v.news {
		settled[g] = g.settledPart()
	}
	for i := range v.marks {
		m := &v.marks[i]
		if m.seg.dropped.Load() || oldest[m.seg.idx] >= m.d.lsn || v.covered(i, settled[m.seg]) {
			continue
		}
		if err := s.addCold(item{seg: m.seg, d: m.d}); err != nil {
			return err
		}
	}
	v.marks = nil
	return s.markCold()
}

// settledPart is what of a segment can change no more.
type settledPart struct {
	floor block.LSN
	opens []opening
}

func (g *Segment) settledPart() settledPart {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return settledPart{g.mu.index.chain.Floor(), g.mu.index.opens}
}

// has tells whether a record is settled, and was not annulled.
func (p settledPart) has(l block.LSN) bool { return l <= p.floor && !annulled(p.opens, l) }

// covered tells whether one of the marks behind wipes all that this one does:
// of those that cleaning has saved before, most are.
func (v *survey) covered(i int, p settledPart) bool {
	m := &v.marks[i]
	if !m.d.wipes() {
		return false
	}
	for k := i + 1; k < len(v.marks) && k <= i+coveredLook; k++ {
		n := &v.marks[k]
		if n.seg == m.seg && n.d.wipes() && n.d.lsn >= m.d.lsn && p.has(n.d.lsn) &&
			n.d.block <= m.d.block && n.d.block+n.d.count >= m.d.block+m.d.count {
			return true
		}
	}
	return false
}

// wipes tells the marks that are about a range.
func (d *descriptor) wipes() bool { return d.typ == TypeZero || d.typ == TypeTrim }

// coveredLook bounds the marks that one is compared with.
const coveredLook = 256

// oldestElsewhere is the lowest LSN that other files than f have of each
// segment.
func (s *Store) oldestElsewhere(v *survey, f *logFile) map[segIndex]block.LSN {
	oldest := make(map[segIndex]block.LSN, len(v.news))
	for g := range v.news {
		oldest[g.idx] = math.MaxUint64
	}
	for _, o := range s.files.Load().all {
		if o == f {
			continue
		}
		for seg := range oldest {
			if sp, ok := o.span(seg); ok {
				oldest[seg] = min(oldest[seg], sp.min)
			}
		}
	}
	return oldest
}

// ask sees that a checkpoint comes for the files that are empty: with the next
// one that is due anyway, or soon where files are wanted.
func (c *cleaner) ask(p pace) {
	ckpt := &c.store.ckpt
	for i := range c.emptied {
		if e := &c.emptied[i]; e.gen == 0 {
			e.gen = ckpt.next()
		}
		if e := &c.emptied[i]; (p.hurry() || len(c.emptied) >= maxEmptied/2 || c.store.cfg.forgetful) && !e.asked {
			e.asked = true
			ckpt.request()
		}
	}
	if len(c.emptied) > 0 && p.free <= p.throttleBelow()+1 {
		ckpt.urgent.ring()
	}
}

// free lets go of the empty files that no replay needs any more: it logs again
// what else they held, and that they are gone, and takes them out.
func (c *cleaner) free() {
	s := c.store
	durable := s.ckpt.durable()
	t := &Ticket{store: s, upkeep: true}
	var gone []*logFile
	rest := c.emptied[:0]
	for _, e := range c.emptied {
		if (e.gen == 0 || durable < e.gen) && !mutant.On(mutant.VictimBeforeCheckpoint) {
			rest = append(rest, e)
			continue
		}
		t.steps = append(t.steps, s.relog(e)...)
		gone = append(gone, e.file)
	}
	if len(gone) == 0 {
		return
	}
	if err := s.enqueue(t).Wait(); err != nil {
		return // a segment was dropped meanwhile, or there is no room: again later
	}
	clear(c.emptied[len(rest):])
	c.emptied = rest
	for _, f := range gone {
		c.letGo(f)
	}
}

// relog is what must be in the log before a file goes: configurations, floors
// and promises of segments that it speaks of, DROPs while older files may have
// records of the segment, FREEs of files that another one names as the one
// before it, and its own.
func (s *Store) relog(e emptied) (steps []step) {
	for g := range e.survey.news {
		if g.dropped.Load() {
			continue
		}
		steps = append(steps, step{seg: g, own: &ownRecord{d: descriptor{seg: g.idx, typ: TypeStatus}}})
		if e.survey.configs[g] {
			steps = append(steps, step{seg: g, own: &ownRecord{d: descriptor{seg: g.idx, typ: TypeConfig, flags: flagCreated}, again: true}})
		}
	}
	all := s.files.Load().all
	for _, seg := range e.survey.drops {
		if all[0] != e.file {
			steps = append(steps, step{own: &ownRecord{d: descriptor{seg: seg, typ: TypeDrop}}})
		}
	}
	for _, n := range append(e.survey.frees, e.file.header.seq) {
		if n == e.file.header.seq || namedAsPrevious(all, n) {
			steps = append(steps, step{own: &ownRecord{d: descriptor{typ: TypeFree, block: uint32(n)}}})
		}
	}
	return steps
}

func namedAsPrevious(all []*logFile, n fileSeq) bool {
	for _, f := range all {
		if f.header.prevSeq == n {
			return true
		}
	}
	return false
}

// letGo takes a file out of the store. It becomes a spare when the last reader
// has left it.
func (c *cleaner) letGo(f *logFile) {
	s := c.store
	left := func() {
		c.mu.Lock()
		c.mu.left = append(c.mu.left, f)
		c.mu.Unlock()
		c.wake.ring()
	}
	f.left.Store(&left)
	s.removeFile(f)
	s.scans.forget(f)
	s.stats.cleaned.Add(uint64(f.header.pages.bytes()))
	if err := f.unpin(); err != nil {
		s.cfg.Logger.Warn("a cleaned log file could not be closed", "file", f.name, "err", err)
	}
}

// recycleLeft makes spares of the files that the last reader has left.
func (c *cleaner) recycleLeft() {
	c.mu.Lock()
	left := c.mu.left
	c.mu.left = nil
	c.mu.Unlock()
	for _, f := range left {
		if err := c.store.filer.recycle(f.name, f.header.pages.bytes()); err != nil {
			c.store.fail(err)
			return
		}
		c.store.stats.recycled.Add(1)
	}
	if len(left) > 0 {
		c.stuck.Store(false)
		c.store.filer.measure()
		c.refresh()
	}
}

// recycle makes a spare of a log file that nobody needs, or removes it when
// there are enough, or when it has another length than files have now. Its
// bytes stay: a frame names file, nonce and page, so none of its former life
// can pass for one of its next; and its space is written, so an append to it
// needs no journal. The new name is durable before the file is used.
func (r *filer) recycle(name string, size block.ByteCount) error {
	r.mu.Lock()
	keep := size == r.fileSize && len(r.mu.spares) < r.maxSpares && (r.capacity == 0 || r.mu.planned <= r.capacity)
	r.mu.nextNew++
	spare := fileName(sparePrefix, r.mu.nextNew)
	r.mu.Unlock()
	full := path.Join(r.dir, name)
	if keep {
		if err := r.fs.Rename(full, path.Join(r.dir, spare)); err != nil {
			return diskError(err, "renaming", name)
		}
	} else if err := r.fs.Remove(full); err != nil {
		return diskError(err, "removing", name)
	}
	if err := r.fs.SyncDir(r.dir); err != nil {
		return diskError(err, "syncing", r.dir)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if keep {
		r.mu.spares = append(r.mu.spares, spare)
	} else {
		r.mu.planned -= min(r.mu.planned, size)
	}
	return nil
}
