package logstore

import (
	"path"
	"slices"

	"github.com/sextantdisk/sextant/internal/block"
)

// saveMarks copies a file's ZEROs, TRIMs, EPOCH_OPENs, HYDRATEs and COPYs of
// zeroes to the cold log, for who makes an index from the log alone. Above the
// floor they are links of the chain; below it they count where other files still
// hold older records of their segments, which else would bring back what was wiped
// (trap T20). That a segment was hydrated is told for ever: rebuild.reset.
func (s *Store) saveMarks(v *survey, f *logFile) error {
	settled := make(map[*Segment]settledPart, len(v.news))
	for g := range v.news {
		settled[g] = g.settledPart()
	}
	oldest := s.oldestElsewhere(v, f) // after the floors: see Segment.late
	for i := range v.marks {
		m := &v.marks[i]
		p := settled[m.seg]
		needed := m.d.lsn > p.floor || m.d.typ == TypeHydrate
		if m.seg.dropped.Load() || !needed && (oldest[m.seg.idx] >= m.d.lsn || v.covered(i, p)) {
			continue
		}
		if err := s.addCold(item{seg: m.seg, d: m.d}); err != nil {
			return err
		}
	}
	v.marks = nil
	if !s.cleaner.cold.unproven {
		return nil
	}
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
// segment, or are about to get.
func (s *Store) oldestElsewhere(v *survey, f *logFile) map[segIndex]block.LSN {
	oldest := make(map[segIndex]block.LSN, len(v.news))
	for g := range v.news {
		oldest[g.idx] = block.LSN(g.inFlight.Load())
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

// free lets go of the files that are empty: it logs again what else they held,
// and that they are gone, and takes them out. False if some must wait: a
// segment was dropped meanwhile, or there is no room.
//
// No replay misses them. It begins with a checkpoint that lies behind them, so
// it does not read them; and whatever that checkpoint still finds in them, a
// record behind its position moves or replaces: RELOCs and changes were durable
// before the index followed them, and the STATUS here tells a floor at or above
// all versions that were forgotten.
func (c *cleaner) free() bool {
	if len(c.emptied) == 0 {
		return true
	}
	s := c.store
	t := &Ticket{store: s, upkeep: true}
	for _, e := range c.emptied {
		t.steps = append(t.steps, s.relog(e)...)
	}
	done := s.brakes.hurry()
	err := s.enqueue(t).Wait()
	done()
	if err != nil {
		return false
	}
	for _, e := range c.emptied {
		c.letGo(e.file)
	}
	clear(c.emptied)
	c.emptied = c.emptied[:0]
	return true
}

// relog is what must be in the log before a file goes: configurations, floors
// and promises of segments that it speaks of, DROPs while other files speak of
// the segment, where the file before it ended, SEALs of other files, FREEs of
// files that another one names as the one before it, and its own.
func (s *Store) relog(e emptied) (steps []step) {
	for g := range e.survey.news {
		if g.dropped.Load() {
			continue
		}
		steps = append(steps, step{seg: g, own: &ownRecord{d: descriptor{seg: g.idx, typ: TypeStatus}}})
		if e.survey.configs[g] {
			steps = append(steps, step{seg: g, own: &ownRecord{d: descriptor{seg: g.idx, typ: TypeConfig}, again: true}})
		}
	}
	all := s.files.Load().all
	for _, seg := range e.survey.drops {
		if slices.ContainsFunc(all, func(f *logFile) bool { _, ok := f.span(seg); return f != e.file && ok }) {
			steps = append(steps, step{own: &ownRecord{d: descriptor{seg: seg, typ: TypeDrop}}})
		}
	}
	h := &e.file.header
	seals := append(slices.Clip(e.survey.seals), descriptor{typ: TypeSeal, block: uint32(h.prevSeq), count: uint32(h.prevValid)})
	for _, d := range seals {
		if of := fileSeq(d.block); of != h.seq && s.files.Load().find(of) != nil {
			steps = append(steps, step{own: &ownRecord{d: d}})
		}
	}
	for _, n := range append(e.survey.frees, h.seq) {
		if n == h.seq || n == s.cleaner.cold.last || namedAsPrevious(all, n) {
			steps = append(steps, step{own: &ownRecord{d: descriptor{typ: TypeFree, block: uint32(n)}}})
		}
	}
	return steps
}

// freeRecord is a FREE of log file n, as of this batch. It tells what must be
// there from now on, so that what is lost later leaves a trace: how far the cold
// log has come, which has what was moved, and how many files remain. The leader
// makes it, and the cleaner waits for it: so neither head goes over to a next file
// meanwhile.
func (s *Store) freeRecord(n fileSeq) descriptor {
	going := map[fileSeq]bool{n: true}
	for i := range s.batch.items {
		if d := &s.batch.items[i].d; d.typ == TypeFree {
			going[fileSeq(d.block)] = true
		}
	}
	d := descriptor{typ: TypeFree, block: uint32(n), lsn: block.LSN(s.cleaner.cold.next - 1)}
	for _, f := range s.files.Load().all {
		d.prev = max(d.prev, block.LSN(f.header.seq))
		if !f.going && !going[f.header.seq] {
			d.count++
		}
	}
	return d
}

// freedNow notes that a FREE of log file n is durable.
func (s *Store) freedNow(n fileSeq) {
	if f := s.files.Load().find(n); f != nil {
		f.going = true
	}
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
	c.mu.Lock()
	c.mu.returning++
	c.mu.Unlock()
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
	if len(left) == 0 {
		return
	}
	if err := c.store.filer.recycle(left...); err != nil {
		c.store.fail(err)
		return
	}
	c.mu.Lock()
	c.mu.returning -= len(left)
	c.mu.Unlock()
	c.store.stats.recycled.Add(uint64(len(left)))
	c.stuck.Store(false)
	c.store.filer.measure()
	c.refresh()
}

// recycle makes spares of log files that nobody needs, or removes them when
// there are enough, or when they have another length than files have now. Their
// bytes stay: a frame names file, nonce and page, so none of its former life
// can pass for one of its next; and their space is written, so an append to it
// needs no journal. The new names are durable before the files are used.
func (r *filer) recycle(files ...*logFile) error {
	spares := make([]string, len(files))
	for i, f := range files {
		var err error
		if spares[i], err = r.rename(f.name, f.header.pages.bytes()); err != nil {
			return err
		}
	}
	if err := r.fs.SyncDir(r.dir); err != nil {
		return diskError(err, "syncing", r.dir)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, f := range files {
		if spares[i] != "" {
			r.mu.spares = append(r.mu.spares, spares[i])
			r.mu.making--
		} else {
			size := f.header.pages.bytes()
			r.mu.planned -= min(r.mu.planned, size)
		}
	}
	return nil
}

// rename gives a log file the name of a spare, or removes it: then there is no
// name. A folder on a full disk may have no room for one.
func (r *filer) rename(name string, size block.ByteCount) (spare string, err error) {
	r.mu.Lock()
	keep := size == r.fileSize && len(r.mu.spares)+r.mu.making < r.maxSpares && (r.capacity == 0 || r.mu.planned <= r.capacity)
	if keep {
		r.mu.making++
		r.mu.nextNew++
		spare = fileName(sparePrefix, r.mu.nextNew)
	}
	r.mu.Unlock()
	full := path.Join(r.dir, name)
	if keep {
		err = diskError(r.fs.Rename(full, path.Join(r.dir, spare)), "renaming", name)
		if block.KindOf(err) != block.NoSpace {
			return spare, err
		}
		r.mu.Lock()
		r.mu.making--
		r.mu.Unlock()
	}
	return "", diskError(r.fs.Remove(full), "removing", name)
}
