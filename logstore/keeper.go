package logstore

import (
	"path"
	"sync/atomic"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
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
	wake  chan struct{}
}

// unmarked tells of a batch that needs a proof.
func (k *keeper) unmarked() {
	k.count.Add(1)
	if !k.open.Load() {
		k.open.Store(true)
		k.nudge()
	}
}

// marked tells of a SYNCMARK; more says that another one is needed.
func (k *keeper) marked(more bool) {
	k.count.Add(1)
	k.open.Store(more)
	if more {
		k.nudge()
	}
}

func (k *keeper) nudge() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

func (k *keeper) run(stop <-chan struct{}) {
	for {
		select {
		case <-k.wake:
		case <-stop:
			return
		}
		for k.open.Load() {
			seen := k.count.Load()
			t := k.store.cfg.Clock.NewTimer(markIdle)
			select {
			case <-t.C():
			case <-stop:
				t.Stop()
				return
			}
			if k.count.Load() != seen {
				continue
			}
			if err := k.store.mark(); err != nil {
				k.open.Store(false) // no room, or no disk: the next batch tries again
			}
		}
	}
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

// filler is a goroutine that zero-writes ahead of the head and keeps spare
// files, at a rate that leaves the disk to others while there is time. It is
// born in Open and dies in Close.
type filler struct {
	store *Store
	head  atomic.Pointer[logFile]
	wake  chan struct{}
}

const (
	// aheadPages is how far ahead of the head the file is kept zero-written.
	aheadPages = pageNo(32 * block.MiB / pageSize)
	// hurryPages is how little of that may be left before the filler works
	// without pauses.
	hurryPages = pageNo(8 * block.MiB / pageSize)
	// fillPause between growStep pages makes 16 MiB/s at most, if the head
	// does not ask for more.
	fillPause = 60 * time.Millisecond
	// fillLook is how often a pause is thought over.
	fillLook = 5 * time.Millisecond
	// fillRetry is how long a full disk is left alone.
	fillRetry = time.Second
)

// work sets the file to work on.
func (f *filler) work(file *logFile) {
	f.head.Store(file)
	f.nudge()
}

func (f *filler) nudge() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *filler) run(stop <-chan struct{}) {
	for {
		select {
		case <-f.wake:
		case <-stop:
			return
		}
		for f.step(stop) {
		}
	}
}

// step does the most urgent piece of work; false when there is none.
func (f *filler) step(stop <-chan struct{}) bool {
	s := f.store
	file := f.head.Load()
	if file == nil {
		return false
	}
	end, zeroed, pages := pageNo(file.end.Load()), pageNo(file.zeroed.Load()), file.header.pages
	var err error
	switch {
	case zeroed < pages && zeroed < end+aheadPages:
		err = f.extend(file, zeroed+growStep)
	case s.filer.spares() < s.cfg.Spares && end >= pages/4:
		err = f.spare(stop)
	default:
		return false
	}
	if err != nil {
		if block.KindOf(err) != block.NoSpace {
			s.fail(err)
			return false
		}
		pause(s.cfg.Clock, fillRetry, stop)
		return false
	}
	if zeroed-min(zeroed, end) > hurryPages || zeroed == pages {
		return pause(s.cfg.Clock, fillPause, stop)
	}
	return !stopped(stop)
}

func stopped(stop <-chan struct{}) bool {
	select {
	case <-stop:
		return true
	default:
		return false
	}
}

// pause waits; false when it is time to stop.
func pause(c clock.Clock, d time.Duration, stop <-chan struct{}) bool {
	t := c.NewTimer(d)
	select {
	case <-t.C():
		return true
	case <-stop:
		t.Stop()
		return false
	}
}

// extend grows the head file through a descriptor of its own.
func (f *filler) extend(file *logFile, to pageNo) error {
	r := f.store.filer
	w, err := r.fs.OpenFile(path.Join(r.dir, file.name), vfs.ReadWrite|r.mode)
	if err != nil {
		return diskError(err, "opening", file.name)
	}
	err = r.extend(file, w, to)
	if cerr := w.Close(); err == nil {
		err = diskError(cerr, "closing", file.name)
	}
	return err
}

// spare makes one spare file, whole and zero, hurrying when the head is about
// to be full.
func (f *filler) spare(stop <-chan struct{}) error {
	r := f.store.filer
	name, err := r.reserve()
	if err != nil {
		return err
	}
	full := path.Join(r.dir, name)
	err = f.fill(full, name, stop)
	if err == nil && !stopped(stop) {
		err = r.addSpare(name)
		if err == nil {
			return nil
		}
	}
	r.unreserve()
	_ = r.fs.Remove(full) // a leftover is removed at the next opening
	return err
}

// fill zero-writes a new file; it stops early, without error, when told to.
func (f *filler) fill(full, name string, stop <-chan struct{}) error {
	r := f.store.filer
	w, err := r.fs.OpenFile(full, vfs.Create|r.mode)
	if err != nil {
		return diskError(err, "making", name)
	}
	pages := pageNo(r.fileSize / pageSize)
	for done := pageNo(0); done < pages && err == nil && !stopped(stop); {
		done, err = r.wipe(w, name, done, min(done+growStep, pages))
		f.rest(pages-done, stop)
	}
	if err == nil {
		err = diskError(w.SyncMeta(), "syncing", name)
	}
	if cerr := w.Close(); err == nil {
		err = diskError(cerr, "closing", name)
	}
	return err
}

// rest pauses after growStep pages of a spare were written, until the head has
// moved on by so much that the pages left are needed in that proportion: the
// spare is whole when the head is full, and the disk is left to others if
// nobody writes.
func (f *filler) rest(left pageNo, stop <-chan struct{}) {
	file := f.head.Load()
	room := file.header.pages - min(file.header.pages, pageNo(file.end.Load()))
	room -= min(room, aheadPages)
	due := uint64(growStep.bytes()) * uint64(room) / uint64(max(left, 1))
	from := f.store.stats.bytes.Load()
	for waited := time.Duration(0); waited < fillPause && f.store.stats.bytes.Load()-from < due; waited += fillLook {
		if !pause(f.store.cfg.Clock, fillLook, stop) {
			return
		}
	}
}

// addSpare gives a zero-written file the name of a spare, durably.
func (r *filer) addSpare(name string) error {
	spare := sparePrefix + name[len(newPrefix):]
	if err := r.fs.Rename(path.Join(r.dir, name), path.Join(r.dir, spare)); err != nil {
		return diskError(err, "renaming", name)
	}
	if err := r.fs.SyncDir(r.dir); err != nil {
		return diskError(err, "syncing", r.dir)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.spares = append(r.mu.spares, spare)
	return nil
}
