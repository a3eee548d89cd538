package logstore

import (
	"slices"
	"sync"

	"github.com/sextantdisk/sextant/internal/block"
)

// sealer is a goroutine that writes the footers of files that their heads have
// left. It is born in Open and dies in Close; what it has not come to then has
// no footer. Nor has a file for whose footer the disk had no room.
type sealer struct {
	store *Store
	wake  bell
	mu    struct {
		sync.Mutex
		todo []sealed
	}
}

// sealed is a file that waits for its footer, with a reference to it: nobody
// uses its space again meanwhile.
type sealed struct {
	file *logFile
	hs   headers
}

// maxSealed bounds what waits: their headers are in memory.
const maxSealed = 8

// add takes over a file that was sealed, and its headers. It does not wait.
func (s *sealer) add(f *logFile, hs headers) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if hs.none || len(s.mu.todo) == maxSealed || !f.pin() {
		return
	}
	s.mu.todo = append(s.mu.todo, sealed{f, hs})
	s.wake.ring()
}

func (s *sealer) next() (t sealed, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.mu.todo) == 0 {
		return t, false
	}
	t = s.mu.todo[0]
	s.mu.todo = append(s.mu.todo[:0:0], s.mu.todo[1:]...)
	return t, true
}

func (s *sealer) run(stop <-chan struct{}) {
	s.wake.serve(stop, func() { s.work(stop) })
}

// work writes the footers of all files that wait for theirs.
func (s *sealer) work(stop <-chan struct{}) {
	for t, ok := s.next(); ok; t, ok = s.next() {
		s.seal(t, stop)
	}
}

// leave lets go of the files that wait still: nobody adds any more.
func (s *sealer) leave() {
	for t, ok := s.next(); ok; t, ok = s.next() {
		_ = t.file.unpin() // it was only read
	}
}

func (s *sealer) seal(t sealed, stop <-chan struct{}) {
	defer func() { _ = t.file.unpin() }() // it was only read
	if stopped(stop) || s.store.Failed() != nil || readFooter(t.file, t.file.pastCache(true)) != nil || !t.hs.complete(t.file) {
		return
	}
	if err := s.store.filer.writeFooter(t.file, t.hs); err != nil && block.KindOf(err) != block.NoSpace {
		s.store.fail(err)
	}
}

// sealLast sees to it that the last file that was sealed has a footer, also if
// the power went before it was written: nothing else may tell that there is a
// file behind it.
func (s *Store) sealLast() {
	if s.head.file == nil {
		return // the disk is full: there is no file behind it yet
	}
	for _, f := range slices.Backward(s.files.Load().all) {
		if f.header.kind != fileHot || !f.sealed.Load() {
			continue
		}
		// One that the checkpoint does not know was not walked: it is freed, and
		// a crash kept its name. Nothing is known of its batches.
		if end := pageNo(f.end.Load()); end > headerCopies {
			s.sealer.add(f, s.filer.headersFrom(end, f.header.pages))
		}
		return
	}
}

// complete reads the headers from the file that were written before the store
// was opened; false if they cannot all be read.
func (hs *headers) complete(f *logFile) bool {
	if hs.from <= headerCopies {
		return true
	}
	before := headers{}
	sc := newScanner(f, f.source(bigWindow*pageSize, true), hs.from)
	defer sc.close()
	for at := pageNo(headerCopies); at < hs.from; {
		st, err := sc.decode(at)
		if err != nil {
			return false
		}
		if st != frameGood {
			next := f.gapAt(at)
			if next == at {
				return false
			}
			at = next
			continue
		}
		p, err := sc.window(at, sc.frame.headerPages)
		if err != nil || p == nil {
			return false
		}
		before.add(p[:sc.frame.used], f.header.pages)
		at = sc.frame.end()
	}
	hs.p, hs.batches, hs.from = append(before.p, hs.p...), hs.batches+before.batches, headerCopies
	return !before.none
}
