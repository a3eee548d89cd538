package logstore

import (
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/invariant"
)

// coldBatch bounds the payload of a batch of the cold head: short, so that a
// client's flush does not wait long behind it, and as many blocks as have
// descriptors in two pages of header when each was moved alone.
const coldBatch = coldEach * pageSize

const (
	coldHeader = 2
	coldEach   = (coldHeader*pageSize - batchHeaderSize) / (descriptorSize + sumSize + sourceSize)
)

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
	// moving is how often what is being moved now was moved, this time
	// included: the next file is for its like.
	moving moveCount
	// unproven: something was written since the last SYNCMARK.
	unproven bool
}

// writeCold makes the cold batch durable and applies it, or lets it go: who has
// filled it begins again, and what it names may be another's by then. Error
// kinds: NoSpace, Unavailable.
func (s *Store) writeCold() error {
	c := &s.cleaner.cold
	b, h := &c.batch, &c.head
	defer b.reset()
	if len(b.items) == 0 {
		return nil
	}
	if err := s.Failed(); err != nil {
		return err
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
	if err := s.Failed(); err != nil { // the file that was to be the next one may have its name already
		return err
	}
	c := &s.cleaner.cold
	old := c.head
	hd, err := s.filer.make(fileHeader{kind: fileCold, prevSeq: c.last, prevValid: old.next, firstBatch: c.next}, takeCleaner)
	if err != nil {
		return s.coldError(err)
	}
	c.head, c.last = hd, hd.file.header.seq
	hd.file.moved = max(c.moving, 1)
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
			h.file.note(&it.d)
			it.seg.applyReloc(&it.d, dataAt(h.file.header.seq, at))
		}
		at += pageNo(it.d.payload())
	}
	h.lastPage = h.next
	h.next += b.pages()
	c.next++
	s.moveOn(&s.mu.applied.cold, h, c.next-1)
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
	c.unproven = true
	if c.batch.add(it, c.head.room(), limit) {
		return nil
	}
	if n := c.fits(&it); n > 0 { // files are filled to their last page: else cleaning might win nothing
		if err := s.addCold(it.cut(0, n)); err != nil {
			return err
		}
		it = it.cut(n, len(it.sums))
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

// fillsWith is how often what goes to the open file was moved; 0 if it is full,
// or there is none.
func (c *coldLog) fillsWith() moveCount {
	if c.head.file == nil || c.head.room() < c.head.file.header.pages/16 {
		return 0
	}
	return c.head.file.moved
}

// fits is how many blocks of a RELOC that is too long for the rest of the file
// can go there all the same.
func (c *coldLog) fits(it *item) int {
	left := c.head.room() - min(c.head.room(), c.batch.pages()+1) // it may take one more page of header
	if int(left) >= len(it.sums) {
		return 0 // then something else is full: the batch, or its header
	}
	return int(left)
}

// cut is blocks [from, to) of a RELOC.
func (it *item) cut(from, to int) item {
	c := *it
	c.d.block, c.d.count, c.d.source = it.d.block+uint32(from), uint32(to-from), it.d.source.plus(from)
	c.sums, c.payload = it.sums[from:to], it.payload[from*pageSize:to*pageSize]
	return c
}

// markCold ends a round of cleaning with a SYNCMARK: behind it, what was moved
// is proven durable (trap T14).
func (s *Store) markCold() error {
	if err := s.addCold(item{d: descriptor{typ: TypeSyncMark}}); err != nil {
		return err
	}
	err := s.writeCold()
	s.cleaner.cold.unproven = err != nil
	return err
}
