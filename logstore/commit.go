package logstore

import (
	"time"

	"github.com/sextantdisk/sextant/internal/block"
)

const (
	// waitFree is how often one who waits for a log file looks again.
	waitFree = 2 * time.Millisecond
	// maxWaitFree bounds how long records with payload wait for a file that
	// cleaning will make free: less than those who sent them hold out.
	maxWaitFree = 5 * time.Second
)

// commit builds a batch and makes it durable. When no file is left for it but
// those of the reserve, tickets that bring payload are left out: they wait while
// cleaning makes room, and fail if it cannot; the others go on without them
// (trap T29). Error kinds: those of write.
func (s *Store) commit() error {
	s.build()
	err := s.write()
	if s.batch.taker() != takeClient || block.KindOf(err) != block.NoSpace {
		if s.batch.taker() == takeClient {
			s.waiting = time.Time{}
		}
		return err
	}
	for _, t := range s.batch.tickets {
		t.at = t.from
	}
	if !s.mayWait() {
		s.refuse(err)
	}
	s.batch.reset()
	s.batch.without = true
	s.build()
	if len(s.batch.items) == 0 {
		return s.rest(err)
	}
	return s.write()
}

// mayWait tells whether records with payload should wait for room.
func (s *Store) mayWait() bool {
	now := s.cfg.Clock.Now()
	if s.waiting.IsZero() {
		s.waiting = now
	}
	if s.cfg.byHand || !s.canFree() || now.Sub(s.waiting) >= maxWaitFree {
		s.waiting = time.Time{}
		return false
	}
	return true
}

// rest lets the cleaner work when there is nothing to write but what waits for
// it; err is why.
func (s *Store) rest(err error) error {
	if s.waiting.IsZero() {
		return err // they were refused
	}
	s.cleaner.wake.ring()
	pause(s.cfg.Clock, waitFree, s.stop)
	if stopped(s.stop) {
		s.refuse(err)
	}
	return nil
}

// refuse fails the tickets that bring payload.
func (s *Store) refuse(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.backlog {
		if t.bytes > 0 {
			s.finishLocked(t, err)
		}
	}
	s.compactLocked()
}

// heldBack is the segments whose records wait for space.
type heldBack map[*Segment]bool

// holds tells whether t waits, too: because it brings payload, or because it
// must not overtake one that does. A promise must not (trap T4): the writes
// before it are durable when it is answered, or never. Records may, since what
// is read depends on their LSNs alone (rule R19), and so may what the store logs
// for itself.
func (h *heldBack) holds(t *Ticket) bool {
	wait := t.bytes > 0
	for i := range t.steps {
		st := &t.steps[i]
		wait = wait || (st.own != nil && !t.upkeep && (*h)[st.seg])
	}
	if !wait {
		return false
	}
	if *h == nil {
		*h = make(heldBack)
	}
	for i := range t.steps {
		if g := t.steps[i].seg; g != nil {
			(*h)[g] = true
		}
	}
	return true
}
