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

	batches, bytes uint64 // of the store, when longBatches was asked last
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
	if file == nil || f.longBatches() {
		return false
	}
	var did bool
	var err error
	if file.claims.ahead() < aheadPages {
		did, err = f.ahead(file)
	}
	if !did && err == nil && s.filer.spares() < s.cfg.Spares && pageNo(file.end.Load()) >= file.header.pages/4 {
		did, err = true, f.spare(stop)
	}
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

// longBatches tells whether the batches since it was asked last were long.
func (f *filler) longBatches() bool {
	batches, bytes := f.store.stats.batches.Load(), f.store.stats.bytes.Load()
	n, sum := batches-f.batches, bytes-f.bytes
	f.batches, f.bytes = batches, bytes
	return n > 0 && block.ByteCount(sum/n) >= longFlush
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
	w, err := r.fs.OpenFile(path.Join(r.dir, file.name), vfs.ReadWrite|r.mode)
	if err != nil {
		return false, diskError(err, "opening", file.name)
	}
	err = r.wipe(w, file.name, from, to)
	f.store.stats.zeroed.Add(uint64((to - from).bytes()))
	if cerr := w.Close(); err == nil {
		err = diskError(cerr, "closing", file.name)
	}
	return err == nil, err
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
		end := min(done+growStep, pages)
		err = r.wipe(w, name, done, end)
		f.store.stats.zeroed.Add(uint64((end - done).bytes()))
		done = end
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
