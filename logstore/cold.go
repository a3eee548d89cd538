package logstore

import (
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/invariant"
)

// coldBatch bounds the payload of a batch of the cold head: short, so that a
// client's flush does not wait long behind it.
const coldBatch = 512 * block.KiB

// coldLog is the second head of a store. What cleaning moves goes there, apart
// from what clients write, because it will live longer. It has files, batch
// numbers and flushes of its own; the cleaner owns it.
//
// It holds RELOC records, and copies of records without payload (ZERO, TRIM,
// EPOCH_OPEN) that were the last in a cleaned file to tell that older ones do
// not count. These copies mean something only to who makes an index from the
// log alone; a replay behind a checkpoint passes over them.
type coldLog struct {
	head  head
	last  fileSeq // number of the newest cold file; 0: there is none
	next  batchSeq
	batch batch
}

// writeCold makes the cold batch durable and applies it. Error kinds: NoSpace,
// Unavailable.
func (s *Store) writeCold() error {
	c := &s.cleaner.cold
	b, h := &c.batch, &c.head
	if len(b.items) == 0 {
		return nil
	}
	if b.pages() > h.room() {
		if err := s.rollCold(); err != nil {
			return err
		}
		if b.pages() > h.room() {
			invariant.Violated("cold batch of %d pages does not fit into a new file of %d", b.pages(), h.room())
		}
	}
	if _, err := s.put(b, h, c.next); err != nil {
		return s.coldError(err)
	}
	s.stats.cold.Add(uint64(b.pages().bytes()))
	s.applyCold()
	return nil
}

// rollCold goes over to the next cold file. Error kinds: NoSpace, Unavailable.
func (s *Store) rollCold() error {
	c := &s.cleaner.cold
	old := c.head
	hd, err := s.filer.make(fileHeader{kind: fileCold, prevSeq: c.last, prevValid: old.next, firstBatch: c.next}, takeCleaner)
	if err != nil {
		return s.coldError(err)
	}
	c.head, c.last = hd, hd.file.header.seq
	s.addFile(hd.file)
	s.moveOn(&s.mu.applied.cold, &c.head, c.next-1)
	return s.coldError(s.seal(&old))
}

// coldError ends the log if the disk failed (rule S3): both heads are on it.
func (s *Store) coldError(err error) error {
	if err != nil && block.KindOf(err) != block.NoSpace {
		s.fail(err)
	}
	return err
}

// applyCold moves what the indexes point to, where they still point to the
// source, and the head on.
func (s *Store) applyCold() {
	c := &s.cleaner.cold
	b, h := &c.batch, &c.head
	at := h.next + pageNo(b.headerPages())
	h.file.end.Store(uint32(h.next + b.pages()))
	for i := range b.items {
		it := &b.items[i]
		if it.seg != nil {
			h.file.note(it.seg.idx, it.d.lsn)
			it.seg.applyReloc(&it.d, dataAt(h.file.header.seq, at))
		}
		at += pageNo(it.d.payload())
	}
	h.lastPage = h.next
	h.next += b.pages()
	c.next++
	s.moveOn(&s.mu.applied.cold, h, c.next-1)
	b.reset()
}

// applyReloc takes in a record of the cold log, if it moves anything.
func (g *Segment) applyReloc(d *descriptor, to location) {
	if d.typ != TypeReloc {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.dropped.Load() {
		g.relocateLocked(d, to)
	}
}

// addCold puts a record into the cold batch, writing it first if that is full.
func (s *Store) addCold(it item) error {
	c := &s.cleaner.cold
	limit := min(coldBatch, s.cfg.MaxBatchBytes)
	if c.batch.add(it, c.head.room(), limit) {
		return nil
	}
	if err := s.writeCold(); err != nil {
		return err
	}
	if c.batch.add(it, c.head.room(), limit) {
		return nil
	}
	if err := s.rollCold(); err != nil {
		return err
	}
	if !c.batch.add(it, c.head.room(), limit) {
		invariant.Violated("a record of %d blocks does not fit into a new cold file", it.d.count)
	}
	return nil
}

// markCold ends a round of cleaning with a SYNCMARK: behind it, what was moved
// is proven durable (trap T14).
func (s *Store) markCold() error {
	if err := s.addCold(item{d: descriptor{typ: TypeSyncMark}}); err != nil {
		return err
	}
	return s.writeCold()
}
