package logstore

import (
	"errors"
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs"
)

// filler is a goroutine that zero-writes ahead of the head, at a rate that
// leaves the disk to others while there is time, and makes the next log file
// before the head needs it. It is born in Open and dies in Close.
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
	// hurryPages is how little of that may be left before the filler makes
	// shorter pauses, and at last none: so its speed becomes that of the
	// head, without a burst that writes would wait for.
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
	// nextShare: the next file is made when this part of the head file is
	// left.
	nextShare = 4
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
	if file == nil {
		return false
	}
	did, rest, err := f.piece(file)
	switch {
	case err == nil:
		return did && pause(s.cfg.Clock, rest, stop)
	case block.KindOf(err) == block.NoSpace:
		pause(s.cfg.Clock, fillRetry, stop)
	default:
		s.fail(err)
	}
	return false
}

// piece makes the next file when it is time to, or zero-writes a piece of the
// head file, or, if nothing more of that is to be done, of the next one; rest is
// how long to leave the disk to others then.
func (f *filler) piece(file *logFile) (did bool, rest time.Duration, err error) {
	c, r, long := file.claims, f.store.filer, f.longBatches()
	near := file.header.pages >= r.footerFrom && c.left(file.header.pages) <= file.header.pages/nextShare // small ones are made soon enough
	if near && r.upcoming() == nil {
		if did, err = r.prepare(); did || err != nil {
			return did, 0, err
		}
	}
	if long {
		return false, 0, nil
	}
	if c.ahead() < aheadPages {
		if did, err = f.ahead(file.name, file.header.pages, c); did || err != nil {
			return did, fillRest(c.ahead()), err
		}
	}
	if b := r.upcoming(); near && b != nil && b.claims.ahead() < aheadPages {
		did, err = f.next(b)
	}
	return did, fillPause, err
}

// next zero-writes a piece of the next file.
func (f *filler) next(b *blank) (did bool, err error) {
	did, err = f.ahead(b.name, b.pages, b.claims)
	if errors.Is(err, fs.ErrNotExist) { // the head has taken it, and it has another name
		return true, nil
	}
	return did, err
}

// fillRest is how long the filler rests when so many pages are zero-written
// ahead of the head.
func fillRest(ahead pageNo) time.Duration {
	hurry := min(ahead-min(ahead, fillGap), hurryPages)
	return fillPause * time.Duration(hurry) / time.Duration(hurryPages)
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

// ahead zero-writes a piece of a file that the head has not reached, through a
// descriptor of its own: a write error is told to each once. False if the file
// is zero-written up to its end.
func (f *filler) ahead(name string, pages pageNo, c *claims) (did bool, err error) {
	from, to, ok := c.fill(growStep, pages)
	if !ok {
		return false, nil
	}
	defer func() { c.put(err == nil) }()
	r := f.store.filer
	err = r.edit(name, r.mode, func(w vfs.File) error {
		defer f.store.stats.zeroed.Add(uint64((to - from).bytes()))
		return r.wipe(w, name, from, to)
	})
	return err == nil, err
}
