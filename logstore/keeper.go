package logstore

import (
	"sync/atomic"
	"time"
)

// markIdle is how long the log must be idle for a SYNCMARK: it proves that
// the batch before it was durable, as a next batch would (trap T14).
const markIdle = 50 * time.Millisecond

// keeper is a goroutine that writes a SYNCMARK when the log falls idle. It is
// born in Open and dies in Close. On the data path it costs one atomic load;
// it is woken once when the log stops being idle, and then looks each
// markIdle whether that is over.
type keeper struct {
	store *Store
	open  atomic.Bool // batches came since the last SYNCMARK
	count atomic.Uint64
	wake  bell
}

// unmarked tells of a batch that needs a proof.
func (k *keeper) unmarked() {
	k.count.Add(1)
	if !k.open.Load() {
		k.open.Store(true)
		k.wake.ring()
	}
}

// marked tells of a SYNCMARK; more says that another one is needed.
func (k *keeper) marked(more bool) {
	k.count.Add(1)
	k.open.Store(more)
	if more {
		k.wake.ring()
	}
}

func (k *keeper) run(stop <-chan struct{}) {
	k.wake.serve(stop, func() {
		for k.open.Load() {
			seen := k.count.Load()
			if !pause(k.store.cfg.Clock, markIdle, stop) {
				return
			}
			if k.count.Load() != seen {
				continue
			}
			if err := k.store.mark(); err != nil {
				k.open.Store(false) // no room, or no disk: the next batch tries again
			}
		}
	})
}

// mark writes a SYNCMARK with the statuses that have news.
func (s *Store) mark() error {
	return s.own(nil, &ownRecord{d: descriptor{typ: TypeSyncMark}})
}

// own writes one record of the store's own.
func (s *Store) own(g *Segment, r *ownRecord) error {
	t := &Ticket{store: s}
	t.one[0] = step{seg: g, own: r}
	t.steps = t.one[:]
	return s.enqueue(t).Wait()
}
