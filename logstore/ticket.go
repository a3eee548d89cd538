package logstore

import (
	"runtime"
	"sync"
	"time"
	"unsafe"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/invariant"
	"github.com/sextantdisk/sextant/internal/vfs"
)

// Ticket is a place in the log's order: some records that Wait makes durable.
// Wait must be called on each ticket, by one goroutine: it is what writes.
type Ticket struct {
	store *Store
	steps []step
	one   [1]step         // room for the usual case
	bytes block.ByteCount // of all payloads
	// upkeep: the store logs for itself what is true whenever it is logged.
	upkeep bool

	// at is how far the leaders have got: steps[at.step], record at.rec.
	// from is how far before the batch that is being built.
	at, from struct{ step, rec int }

	// Guarded by store.mu: done with err; wake is made by who waits for
	// another leader, and gets a value when t is done or should lead.
	done bool
	err  error
	wake chan word
}

// step is some records of one segment, or one record of the store's own.
type step struct {
	seg  *Segment
	recs []Record
	own  *ownRecord
}

func (s *step) len() int {
	if s.own != nil {
		return 1
	}
	return len(s.recs)
}

// ownRecord is a record that is not a change: its descriptor and payload.
type ownRecord struct {
	d       descriptor
	sums    []block.Sum
	payload []byte
	config  []byte // TypeConfig: what payload holds of it
	again   bool   // TypeConfig: the segment's own of that time, for one that a cleaned file had
	done    func() // called when the record is durable, before Wait returns
}

const (
	// maxQueued bounds what may wait in the log's queue, in bytes. Callers
	// have bounds of their own; this one catches those that lost them.
	maxQueued = 4 * block.GiB
	// maxOffPath bounds the records of a segment that wait for one before
	// them or are annulled.
	maxOffPath = 1 << 20
	// maxYields and maxPassing bound how long a leader lets others run first: some
	// microseconds if there is nobody, and not much longer than a flush
	// where somebody computes.
	maxYields  = 16
	maxPassing = 100 * time.Microsecond
)

// payload is what s's payloads take.
func (s *step) payload() (n block.ByteCount) {
	for i := range s.recs {
		n += block.ByteCount(len(s.recs[i].Payload))
	}
	return n
}

func (t *Ticket) fail(err error) *Ticket {
	t.done, t.err = true, err
	return t
}

// Enqueue fixes the place of ops in the log: after all that was enqueued
// before for the same segments. It does not block. Records, sums and payloads
// must stay unchanged until Wait has returned. A malformed op fails the whole
// ticket, with kind Invalid, before any effect.
func (s *Store) Enqueue(ops []Op) *Ticket {
	t := &Ticket{store: s}
	t.steps = t.one[:0]
	for i := range ops {
		st, err := s.step(&ops[i])
		if err != nil {
			return t.fail(err)
		}
		t.steps = append(t.steps, st)
		t.bytes += st.payload()
	}
	return s.enqueue(t)
}

// Enqueue is Store.Enqueue for records of one segment.
func (g *Segment) Enqueue(recs []Record) *Ticket {
	return g.store.Enqueue([]Op{{Segment: g, Records: recs}})
}

// EnqueuePromise is Store.Enqueue for one promise.
func (g *Segment) EnqueuePromise(e block.VolumeEpoch) *Ticket {
	return g.store.Enqueue([]Op{{Segment: g, Promise: e}})
}

// EnqueueConfig is Store.Enqueue for one configuration.
func (g *Segment) EnqueueConfig(config []byte) *Ticket {
	if config == nil {
		config = []byte{}
	}
	return g.store.Enqueue([]Op{{Segment: g, Config: config}})
}

// step validates an op. Error kinds: Invalid, Unavailable.
func (s *Store) step(op *Op) (step, error) {
	switch {
	case op.Segment == nil || op.Segment.store != s:
		return step{}, block.Errorf(block.Invalid, "the op names no segment of this store")
	case (op.Promise != 0 && (op.Config != nil || op.Records != nil)) || (op.Config != nil && op.Records != nil):
		return step{}, block.Errorf(block.Invalid, "an op has one of records, promise and configuration")
	case op.Config != nil:
		own, err := op.Segment.configRecord(op.Config, 0)
		return step{seg: op.Segment, own: own}, err
	case op.Promise != 0:
		if op.Promise > block.MaxVolumeEpoch {
			return step{}, block.Errorf(block.Invalid, "volume epoch %d is above %d", op.Promise, block.MaxVolumeEpoch)
		}
		d := descriptor{seg: op.Segment.idx, typ: TypePromise, block: uint32(op.Promise)}
		return step{seg: op.Segment, own: &ownRecord{d: d}}, nil
	}
	for i := range op.Records {
		r := &op.Records[i]
		if err := r.Check(); err != nil {
			return step{}, err
		}
		if len(r.Payload)+pageSize > int(s.maxRecord) {
			return step{}, block.Errorf(block.Invalid, "record %v of %d bytes does not fit in a log file", r.LSN, len(r.Payload))
		}
	}
	if op.Segment.offPath.Load() > maxOffPath {
		return step{}, block.Errorf(block.Unavailable, "segment %v holds %d records off its chain: send what is missing after %v first",
			op.Segment.id, op.Segment.offPath.Load(), op.Segment.SCL())
	}
	return step{seg: op.Segment, recs: op.Records}, nil
}

// enqueue puts t into the queue, or fails it.
func (s *Store) enqueue(t *Ticket) *Ticket {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.closedLocked(t); err != nil {
		return t.fail(err)
	}
	s.mu.queued += t.bytes
	invariant.That(s.mu.queued <= maxQueued, "callers of Enqueue bound what they have in flight")
	s.mu.queue = append(s.mu.queue, t)
	return t
}

// closedLocked tells why t cannot be taken.
func (s *Store) closedLocked(t *Ticket) error {
	switch {
	case s.mu.failed != nil:
		return s.mu.failed
	case s.cfg.ReadOnly:
		return block.Errorf(block.ReadOnly, "the log store is open for reading only")
	case s.mu.closed:
		return block.Errorf(block.Closed, "the log store is closed")
	}
	for i := range t.steps {
		if g := t.steps[i].seg; g != nil && g.dropped.Load() {
			return block.Errorf(block.NotFound, "segment %v was dropped", g.id)
		}
	}
	return nil
}

// Wait returns when all of t is durable and can be read. The caller may write
// and flush for others meanwhile: whoever waits first leads, writes what is
// queued and flushes it on its own goroutine, and hands over to the next one
// who waits when its own ticket is done. So one writer alone costs no
// hand-over, and many share a flush. Who leads again right after a batch of many
// lets those go first whom that has woken: else it would flush its one record
// alone, and they, who come a moment later, would wait for that.
//
// After an error nothing is known of t: it may be there after the next Open,
// or a part of it. Error kinds: Invalid, NoSpace (the store goes on),
// ReadOnly, Unavailable (the log has ended), Closed, NotFound (dropped).
func (t *Ticket) Wait() error {
	s := t.store
	s.mu.Lock()
	for !t.done {
		if !s.mu.leading {
			s.mu.leading = true
			told := len(s.waiters)
			s.mu.Unlock()
			s.letPass(told)
			s.lead()
			s.mu.Lock()
			s.mu.leading = false
			if t.done || s.mu.failed != nil {
				s.promoteLocked()
			}
			continue
		}
		if t.wake == nil {
			t.wake = wakes.Get().(chan word)
		}
		s.mu.Unlock()
		if <-t.wake == wordDone {
			wakes.Put(t.wake) // wordDone is the last one, and it is taken
			return t.err
		}
		s.mu.Lock()
	}
	s.mu.Unlock()
	return t.err
}

// letPass lets those run who were told that their tickets are done, so many of
// them, until each has come back with another one, or long enough for it.
func (s *Store) letPass(told int) {
	if told < 2 {
		return
	}
	start := s.cfg.Clock.Now()
	for range maxYields {
		runtime.Gosched()
		s.mu.Lock()
		back := len(s.mu.queue)
		s.mu.Unlock()
		if back > told || s.cfg.Clock.Now().Sub(start) > maxPassing { // told and the caller's own
			return
		}
	}
}

// wakes has empty channels that nobody sends to.
var wakes = sync.Pool{New: func() any { return make(chan word, 1) }}

// word is what who waits for a ticket is told.
type word uint8

const (
	wordLook word = iota // perhaps to lead
	wordDone             // the ticket is done
)

// inform wakes who waits at c, if somebody does. A word that was not taken yet
// stays: after it the waiter looks for itself.
func inform(c chan word, w word) {
	if c == nil {
		return
	}
	select {
	case c <- w:
	default:
	}
}

// endLocked ends a ticket that has not ended; whoever waits at the channel that
// it gives is to be told.
func (s *Store) endLocked(t *Ticket, err error) chan word {
	s.mu.queued -= t.bytes
	t.done, t.err = true, err
	return t.wake
}

// finishLocked ends a ticket.
func (s *Store) finishLocked(t *Ticket, err error) {
	if !t.done {
		inform(s.endLocked(t, err), wordDone)
	}
}

// promoteLocked wakes the first waiter whose ticket is not done, to lead.
// Tickets that nobody waits for yet are led by whoever comes first.
func (s *Store) promoteLocked() {
	for _, tickets := range [][]*Ticket{s.backlog, s.mu.queue} {
		for _, t := range tickets {
			if !t.done && t.wake != nil {
				inform(t.wake, wordLook)
				return
			}
		}
	}
	if s.mu.idle != nil {
		close(s.mu.idle) // Close waits for the last leader
		s.mu.idle = nil
	}
}

// configPayload lays a configuration out in pages:
//
//	 0 16  segment id
//	16  4  length of the configuration
//	20     configuration, then zeroes
const configHead = 20

func (g *Segment) configRecord(config []byte, flags uint8) (*ownRecord, error) {
	if len(config) > MaxConfigBytes {
		return nil, block.Errorf(block.Invalid, "configuration of %d bytes is longer than %d", len(config), MaxConfigBytes)
	}
	n := (configHead + len(config) + pageSize - 1) / pageSize
	p := alignedPages(n)
	copy(p, g.id[:])
	p[16], p[17], p[18] = byte(len(config)), byte(len(config)>>8), byte(len(config)>>16)
	copy(p[configHead:], config)
	own := &ownRecord{
		d:       descriptor{seg: g.idx, typ: TypeConfig, flags: flags, count: uint32(n)},
		payload: p, config: p[configHead : configHead+len(config)],
	}
	for i := range n {
		own.sums = append(own.sums, block.Checksum(p[i*pageSize:(i+1)*pageSize]))
	}
	return own, nil
}

// decodeConfig reads what configRecord has laid out.
func decodeConfig(p []byte) (id block.SegmentID, config []byte, ok bool) {
	if len(p) < configHead {
		return id, nil, false
	}
	copy(id[:], p)
	n := int(p[16]) | int(p[17])<<8 | int(p[18])<<16
	if p[19] != 0 || n > MaxConfigBytes || configHead+n > len(p) || id.IsZero() {
		return id, nil, false
	}
	return id, append([]byte{}, p[configHead:configHead+n]...), true
}

// alignedPages is n zeroed pages on a page border, for as long as they are
// used; they are few and small.
func alignedPages(n int) []byte {
	raw := make([]byte, (n+1)*pageSize)
	skip := int(-uintptr(unsafe.Pointer(&raw[0])) % vfs.DirectAlign)
	return raw[skip : skip+n*pageSize : skip+n*pageSize]
}

// aligned tells whether p may be written by O_DIRECT as it is.
func aligned(p []byte) bool {
	return uintptr(unsafe.Pointer(unsafe.SliceData(p)))%vfs.DirectAlign == 0
}
