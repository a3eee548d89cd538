package logstore

import (
	"slices"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/invariant"
	"github.com/sextantdisk/sextant/internal/mutant"
	"github.com/sextantdisk/sextant/internal/slab"
)

// statusEvery is after how many settled records a STATUS rides along with a
// segment's next batch, so that a replay settles them again.
const statusEvery = 512

// batch is what the leader builds, writes and applies. It is used again for
// each batch; whoever leads owns it.
type batch struct {
	items   []item
	used    int    // bytes of the header
	payload pageNo // pages of payload
	mark    bool   // it ends with a SYNCMARK
	tickets []*Ticket
	// without: tickets that bring payload are left out, for want of space.
	without bool

	// Made by encode, for put.
	header []byte
	iov    [][]byte
	lent   []*slab.Buffer
}

// item is one record of a batch.
type item struct {
	seg     *Segment
	d       descriptor
	sums    []block.Sum
	payload []byte
	own     *ownRecord
}

func (b *batch) reset() {
	clear(b.items)
	clear(b.tickets)
	b.items, b.tickets = b.items[:0], b.tickets[:0]
	b.used, b.payload, b.mark, b.without = batchHeaderSize, 0, false, false
}

func (b *batch) headerPages() int { return (b.used + pageSize - 1) / pageSize }

// pages is the length of the batch.
func (b *batch) pages() pageNo { return pageNo(b.headerPages()) + b.payload }

// add puts a record in, if it fits into room pages and a batch.
func (b *batch) add(it item, room pageNo, limit block.ByteCount) bool {
	used, payload := b.used+it.d.size(), b.payload+pageNo(it.d.payload())
	header := (used + pageSize - 1) / pageSize
	switch {
	case pageNo(header)+payload > room || header > maxHeaderPages || len(b.items) == maxBatchRecords:
		return false
	case payload.bytes() > limit && len(b.items) > 0:
		return false
	}
	b.used, b.payload = used, payload
	b.items = append(b.items, it)
	return true
}

// lead writes one batch of what is queued and ends the tickets that are done
// with it. The caller has become the leader; only one goroutine is.
func (s *Store) lead() {
	s.mu.Lock()
	s.backlog = append(s.backlog, s.mu.queue...)
	clear(s.mu.queue)
	s.mu.queue = s.mu.queue[:0]
	failed := s.mu.failed
	s.mu.Unlock()

	err := failed
	s.batch.reset()
	if err == nil {
		err = s.commit()
	}
	if block.KindOf(err) != block.NoSpace && err != nil {
		s.fail(err)
	}
	if err == nil {
		s.apply()
	}
	s.conclude(err)
}

// taker is who the batch is for, as far as space goes.
func (b *batch) taker() taker {
	if b.payload > 0 && slices.ContainsFunc(b.items, func(it item) bool { return it.d.typ == TypeWrite || it.d.typ == TypeCopy }) {
		return takeClient
	}
	return takeControl
}

// build fills s.batch from the backlog, rolling over to a new file when the
// first record does not fit into this one.
func (s *Store) build() {
	b := &s.batch
	room := s.head.room()
	if !s.gather(room) && len(b.items) == 0 {
		room = pageNo(s.cfg.FileSize/pageSize) - headerCopies // write will roll over
		s.gather(room)
	}
	for i := 0; i < len(b.items) && !b.mark; i++ { // b.items grows while it is walked
		if g := b.items[i].seg; g != nil && g.settled.Load() >= statusEvery && !g.dropped.Load() {
			s.addStatus(g, room)
		}
	}
}

// gather takes records from the backlog until one does not fit; it tells
// whether all did.
func (s *Store) gather(room pageNo) bool {
	var held heldBack
	for _, t := range s.backlog {
		if t.done || (s.batch.without && held.holds(t)) {
			continue
		}
		s.batch.tickets = append(s.batch.tickets, t)
		t.from = t.at
		for t.at.step < len(t.steps) {
			st := &t.steps[t.at.step]
			for t.at.rec < st.len() {
				if !s.addRecord(st, t.at.rec, room) {
					return false
				}
				t.at.rec++
			}
			t.at.step, t.at.rec = t.at.step+1, 0
		}
	}
	return true
}

func (s *Store) addRecord(st *step, i int, room pageNo) bool {
	if own := st.own; own != nil {
		return s.addOwn(st.seg, own, room)
	}
	r := &st.recs[i]
	if st.seg.late(r.LSN) {
		return true
	}
	return s.batch.add(item{
		seg:     st.seg,
		d:       descriptor{seg: st.seg.idx, block: uint32(r.Block), lsn: r.LSN, prev: r.Prev, count: uint32(r.Count), typ: r.Type},
		sums:    r.Sums,
		payload: r.Payload,
	}, room, s.cfg.MaxBatchBytes)
}

func (s *Store) addOwn(g *Segment, own *ownRecord, room pageNo) bool {
	if own.again {
		return s.addConfigAgain(g, own, room)
	}
	it := item{seg: g, d: own.d, sums: own.sums, payload: own.payload, own: own}
	switch own.d.typ {
	case TypeSyncMark:
		s.addStatuses(room)
		s.batch.mark = s.batch.add(it, room, s.cfg.MaxBatchBytes)
		return s.batch.mark
	case TypeStatus:
		it.d = g.status()
		it.d.flags = own.d.flags
	case TypeFree:
		it.d = s.freeRecord(fileSeq(own.d.block))
	case TypeConfig:
		if own.d.flags&flagCreated == 0 {
			it.d.block = g.status().block
		}
	}
	return s.batch.add(it, room, s.cfg.MaxBatchBytes)
}

// addConfigAgain adds the configuration that g has now, unless this batch
// changes it: the one that is added must not be older than any before it.
func (s *Store) addConfigAgain(g *Segment, own *ownRecord, room pageNo) bool {
	if slices.ContainsFunc(s.batch.items, func(it item) bool { return it.seg == g && it.d.typ == TypeConfig }) {
		return true
	}
	st := g.State()
	now, err := g.configRecord(st.Config, own.d.flags)
	invariant.That(err == nil, "a configuration that was logged can be logged again")
	now.d.block = uint32(st.Promised)
	return s.batch.add(item{seg: g, d: now.d, sums: now.sums, payload: now.payload, own: now}, room, s.cfg.MaxBatchBytes)
}

// addStatuses adds a STATUS for each segment that has news, keeping room for
// a SYNCMARK.
func (s *Store) addStatuses(room pageNo) {
	s.stale = slices.DeleteFunc(s.stale, func(g *Segment) bool { return g.dropped.Load() })
	for _, g := range s.stale {
		if len(s.batch.items) == maxBatchRecords-1 || !s.addStatus(g, room) {
			return
		}
	}
}

// addStatus adds what g knows as of the last batch. A STATUS speaks of what
// is before its own batch only, also where it says that all is well.
func (s *Store) addStatus(g *Segment, room pageNo) bool {
	g.settled.Store(0)
	return s.batch.add(item{seg: g, d: g.status()}, room, s.cfg.MaxBatchBytes)
}

// write makes the batch durable at the head of the log. Error kinds: NoSpace
// (nothing has happened, or nothing that counts), Unavailable.
func (s *Store) write() error {
	b, h := &s.batch, &s.head
	if len(b.items) == 0 {
		if mutant.On(mutant.TwoFlushes) && s.head.writer != nil {
			return s.head.writer.Sync()
		}
		return nil
	}
	who := b.taker()
	if b.pages() > h.room() {
		if err := s.roll(who); err != nil {
			return err
		}
		if b.pages() > h.room() {
			invariant.Violated("batch of %d pages does not fit into a new file of %d", b.pages(), h.room())
		}
	}
	if err := s.filer.admit(h, who); err != nil {
		return err
	}
	if who == takeClient && !s.cfg.byHand {
		s.brakes.admit(b.payload.bytes(), s.cfg.Clock, s.stop)
	}
	s.stalls.begin(s.cfg.Clock.Now())
	took, err := s.put(b, h, s.nextBatch)
	if err == nil {
		s.timed(took)
		s.flushed(took)
	}
	return err
}

// put writes a batch at a head and makes it durable. Error kinds: NoSpace,
// Unavailable.
func (s *Store) put(b *batch, h *head, seq batchSeq) (took time.Duration, err error) {
	h.file.claims.take(h.next + b.pages())
	b.encode(h, seq)
	defer b.release()
	start := s.cfg.Clock.Now()
	if err := h.writer.WritevAt(b.iov, h.next.at()); err != nil {
		return 0, diskError(err, "writing", h.file.name)
	}
	if !mutant.On(mutant.NoSync) && !s.flushesLater() {
		if err := h.writer.Sync(); err != nil {
			return 0, block.Wrap(block.Unavailable, err, "the disk failed: syncing %s", h.file.name)
		}
	}
	h.hs.add(b.header[:b.used], h.file.header.pages)
	return s.cfg.Clock.Now().Sub(start), nil
}

// flushesLater tells, for a mutant, whether the batch is flushed and
// acknowledged together with the next one.
func (s *Store) flushesLater() bool {
	return mutant.On(mutant.TwoFlushes) && len(s.batch.items)%2 == 1
}

// flushed counts a durable batch.
func (s *Store) flushed(d time.Duration) {
	b := &s.batch
	s.stats.batches.Add(1)
	s.stats.records.Add(uint64(len(b.items)))
	s.stats.bytes.Add(uint64(b.pages().bytes()))
	s.stats.payload.Add(uint64(b.payload.bytes()))
	s.cfg.Observer.Flushed(len(b.items), b.pages().bytes(), d)
}

// timed notes how long a flush took, and whether that was a stall.
func (s *Store) timed(d time.Duration) {
	s.stalls.end(d)
	if d >= StallAfter {
		s.stats.stalls.Add(1)
	}
}

// apply brings the durable batch into the indexes, in the order of the log,
// and moves the head on.
func (s *Store) apply() {
	b, h := &s.batch, &s.head
	if len(b.items) == 0 {
		return
	}
	at := h.next + pageNo(b.headerPages())
	h.file.end.Store(uint32(h.next + b.pages())) // before an SCL shows the batch to scans
	now := s.cfg.Clock.Now()
	for i := 0; i < len(b.items); {
		g := b.items[i].seg
		if g == nil {
			i++
			continue
		}
		g.mu.Lock()
		for i < len(b.items) && b.items[i].seg == g {
			it := &b.items[i]
			h.file.note(&it.d)
			l := dataAt(h.file.header.seq, at)
			g.applyLocked(&it.d, it.sums, l, it.ownConfig())
			s.warmer.appended(g, &it.d, l, now)
			at += pageNo(it.d.payload())
			i++
		}
		g.mu.applied = place{s.nextBatch, i}
		g.publishLocked()
		g.mu.Unlock()
		s.noteStale(g)
	}
	h.lastPage = h.next
	h.next += b.pages()
	if step := min(growStep, h.file.header.pages/4); h.lastPage/step != h.next/step {
		s.filler.wake.ring()
	}
	s.nextBatch++
	s.settleStatuses()
	for i := range b.items {
		it := &b.items[i]
		if it.seg != nil {
			it.seg.inFlight.Store(noneInFlight)
		}
		if it.d.typ == TypeFree {
			s.freedNow(fileSeq(it.d.block))
		}
		if it.own != nil && it.own.done != nil {
			it.own.done()
		}
	}
}

func (it *item) ownConfig() []byte {
	if it.own == nil {
		return nil
	}
	return it.own.config
}

// noteStale remembers that g has news for a STATUS.
func (s *Store) noteStale(g *Segment) {
	if !g.stale {
		g.stale = true
		s.stale = append(s.stale, g)
	}
}

// settleStatuses forgets the news that a SYNCMARK batch has told, and lets
// the keeper know when there is something to prove.
func (s *Store) settleStatuses() {
	if !s.batch.mark {
		s.keeper.unmarked()
		return
	}
	for i := range s.batch.items {
		if it := &s.batch.items[i]; it.d.typ == TypeStatus {
			it.seg.stale = false
		}
	}
	s.stale = slices.DeleteFunc(s.stale, func(g *Segment) bool { return !g.stale })
	s.keeper.marked(len(s.stale) > 0)
}

// conclude ends the tickets that are done with this batch, or that failed
// with it.
func (s *Store) conclude(err error) {
	for _, c := range s.ended(err) {
		inform(c, wordDone)
	}
}

// ended ends them and gives the channels of those who wait, to be told when
// the lock is free again: each needs it for what it writes next.
func (s *Store) ended(err error) []chan word {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.waiters)
	s.waiters = s.waiters[:0]
	if err == nil && s.flushesLater() {
		return nil
	}
	if s.mu.failed != nil { // also when another one found the disk failed meanwhile
		for _, t := range s.backlog {
			s.finishLocked(t, s.mu.failed)
		}
	}
	for _, t := range s.batch.tickets {
		if !t.done && (err != nil || t.at.step == len(t.steps)) {
			if c := s.endLocked(t, err); c != nil {
				s.waiters = append(s.waiters, c)
			}
		}
	}
	s.compactLocked()
	if err == nil && s.head.file != nil {
		s.mu.applied.hot = s.head.position(s.nextBatch - 1)
	}
	return s.waiters
}

// compactLocked takes finished tickets out of the backlog.
func (s *Store) compactLocked() {
	s.backlog = slices.DeleteFunc(s.backlog, func(t *Ticket) bool { return t.done })
}

// roll goes over to the next file of the hot log. What was written is durable:
// the new file's header says where the old one ends. Error kinds: NoSpace,
// Unavailable.
func (s *Store) roll(who taker) error {
	old := s.head
	hd, err := s.filer.make(fileHeader{kind: fileHot, prevSeq: s.lastSeq, prevValid: old.next, firstBatch: s.nextBatch}, who)
	if err != nil {
		return err
	}
	s.head, s.lastSeq = hd, hd.file.header.seq
	s.addFile(hd.file)
	s.filler.work(hd.file)
	s.moveOn(&s.mu.applied.hot, &s.head, s.nextBatch-1)
	s.ckpt.wake.ring()
	s.cleaner.refresh()
	return s.seal(&old)
}

// moveOn notes up to where the log of a head is applied: before the file that
// it leaves can be freed.
func (s *Store) moveOn(at *position, h *head, last batchSeq) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*at = h.position(last)
}

// seal ends a head that has a successor.
func (s *Store) seal(old *head) error {
	if old.file != nil {
		old.file.sealed.Store(true)
		s.sealer.add(old.file, old.hs)
		s.cleaner.wake.ring()
	}
	if old.writer == nil {
		return nil
	}
	return diskError(old.writer.Close(), "closing", old.file.name)
}

// addFile makes a log file known to readers.
func (s *Store) addFile(f *logFile) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files.Store(s.files.Load().with(f))
}

// removeFile takes a log file away from new readers.
func (s *Store) removeFile(f *logFile) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files.Store(s.files.Load().without(f))
}
