package logstore

import (
	"sync/atomic"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs"
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

// filler is a goroutine that zero-writes ahead of the head, at a rate that
// leaves the disk to others while there is time. It is born in Open and dies in
// Close.
type filler struct {
	store *Store
	head  atomic.Pointer[logFile]
	wake  bell

	batches, bytes uint64 // of the store, when longBatches last had an answer
	long           bool   // which was that
}

const (
	// aheadPages is how far ahead of the head the file is kept zero-written.
	aheadPages = pageNo(32 * block.MiB / pageSize)
	// hurryPages is how little of that may be left before the filler works
	// without pauses.
	hurryPages = pageNo(8 * block.MiB / pageSize)
	// longFlush is from which mean length of batches on the filler rests:
	// what a flush of new extents costs more is little beside the payload,
	// and to write that twice would halve the disk.
	longFlush = 128 * block.KiB
	// fillPause between growStep pages makes 16 MiB/s at most, if the head
	// does not ask for more.
	fillPause = 60 * time.Millisecond
	// fillRetry is how long a full disk is left alone.
	fillRetry = time.Second
)

// work sets the file to work on.
func (f *filler) work(file *logFile) {
	f.head.Store(file)
	f.wake.ring()
}

func (f *filler) run(stop <-chan struct{}) {
	f.wake.serve(stop, func() {
		for f.step(stop) {
		}
	})
}

// step does a piece of work; false when there is none.
func (f *filler) step(stop <-chan struct{}) bool {
	s := f.store
	file := f.head.Load()
	if file == nil || f.longBatches() || file.claims.ahead() >= aheadPages {
		return false
	}
	did, err := f.ahead(file)
	if err != nil {
		if block.KindOf(err) != block.NoSpace {
			s.fail(err)
			return false
		}
		pause(s.cfg.Clock, fillRetry, stop)
		return false
	}
	if did && file.claims.ahead() < fillGap+hurryPages {
		return !stopped(stop)
	}
	return did && pause(s.cfg.Clock, fillPause, stop)
}

// longBatches tells whether the last batches were long: those since it was asked
// last, or, if there were none, those before.
func (f *filler) longBatches() bool {
	batches, bytes := f.store.stats.batches.Load(), f.store.stats.bytes.Load()
	if n, sum := batches-f.batches, bytes-f.bytes; n > 0 {
		f.long = block.ByteCount(sum/n) >= longFlush
	}
	f.batches, f.bytes = batches, bytes
	return f.long
}

// ahead zero-writes a piece of the head file that the head has not reached,
// through a descriptor of its own: a write error is told to each once. False
// if the file is zero-written up to its end.
func (f *filler) ahead(file *logFile) (did bool, err error) {
	from, to, ok := file.claims.fill(growStep, file.header.pages)
	if !ok {
		return false, nil
	}
	defer func() { file.claims.put(err == nil) }()
	r := f.store.filer
	err = r.edit(file.name, r.mode, func(w vfs.File) error {
		defer f.store.stats.zeroed.Add(uint64((to - from).bytes()))
		return r.wipe(w, file.name, from, to)
	})
	return err == nil, err
}
