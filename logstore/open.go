package logstore

import (
	"errors"
	"io/fs"
	"path"
	"slices"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/mutant"
	"github.com/sextantdisk/sextant/internal/vfs"
)

// Open opens the log in dir, or makes one if dir is empty. It locks dir.
// Error kinds: Mismatch (another disk's log), Version (a newer format),
// Unavailable (locked, or the disk failed), NoSpace, Invalid (cfg).
//
// The newest checkpoint that is whole is read, then the headers of the log
// behind its position; those of all the log if there is none. What was damaged
// is in Damage and in each segment's State. A torn tail is not damage: what was
// being written when the power went had not been acknowledged.
func Open(fsys vfs.FS, dir string, disk block.DiskID, cfg Config) (*Store, error) {
	cfg, err := cfg.normal()
	if err != nil {
		return nil, err
	}
	if disk.IsZero() {
		return nil, block.Errorf(block.Invalid, "a log store needs a disk id")
	}
	if !cfg.ReadOnly {
		if err := fsys.MkdirAll(dir); err != nil {
			return nil, diskError(err, "making", dir)
		}
	}
	lock, err := fsys.Lock(path.Join(dir, lockName))
	if err != nil {
		return nil, block.Wrap(block.Unavailable, err, "log store %s cannot be locked: is another daemon running on it?", dir)
	}
	s := newStore(fsys, dir, disk, cfg, lock)
	if err := s.recover(); err != nil {
		_ = s.release()
		return nil, err
	}
	s.start()
	return s, nil
}

func newStore(fsys vfs.FS, dir string, disk block.DiskID, cfg Config, lock interface{ Close() error }) *Store {
	s := &Store{
		fs: fsys, dir: dir, disk: disk, cfg: cfg, lock: lock, stop: make(chan struct{}),
		maxRecord: cfg.FileSize - headerCopies*pageSize, filer: newFiler(fsys, dir, disk, &cfg),
	}
	s.ledger.files = &s.files
	s.stalls.base = cfg.Clock.Now()
	s.files.Store(&fileTable{})
	s.brakes.won = newBell()
	s.keeper = keeper{store: s, wake: newBell()}
	s.filler = filler{store: s, wake: newBell()}
	s.cleaner = cleaner{store: s, wake: newBell()}
	s.cleaner.cold.batch.reset()
	s.sealer = sealer{store: s, wake: newBell()}
	s.warmer = warmer{store: s, wake: newBell()}
	s.ckpt = checkpointer{store: s, wake: newBell(), urgent: newBell(), onDurable: s.cleaner.wake.ring}
	s.mu.segments = make(map[block.SegmentID]*Segment)
	s.mu.byIndex = make(map[segIndex]*Segment)
	s.mu.making = make(map[block.SegmentID]bool)
	return s
}

// recover reads checkpoint and log and makes the heads ready.
func (s *Store) recover() error {
	parts, names, err := s.parts()
	if err != nil {
		return err
	}
	r := newReplay(s)
	if err = s.replay(parts, names, r); err != nil {
		closeParts(slices.DeleteFunc(parts, func(p logPart) bool {
			return p.file != nil && s.files.Load().find(p.seq) != nil
		}))
		return err
	}
	r.settle()
	gone := s.recount()
	r.missing(gone)
	s.noteLost(gone)
	s.filer.measure()
	s.lastSeq, s.nextBatch = r.end.seq, r.end.batch+1
	if s.cfg.ReadOnly {
		return nil
	}
	s.mendHeaders(parts)
	if err := s.removeLost(parts, r.from, gone); err != nil {
		return err
	}
	if err := s.resumeCold(r.coldEnd); err != nil {
		return err
	}
	if err := s.finishFreeing(r.freed.files); err != nil {
		return err
	}
	if err := s.resumeHot(r.end, len(parts) > 0); err != nil {
		return err
	}
	s.sealLast()
	return nil
}

// replay brings the newest checkpoint back, and walks the logs behind it.
func (s *Store) replay(parts []logPart, names []string, r *replay) error {
	base, left, err := s.restoreNewest(parts)
	if err != nil {
		return err
	}
	s.ckpt.number(names)
	hot, cold := byKind(parts)
	if base == nil {
		done, holes, err := s.rebuilt(hot, cold, r)
		if done || err != nil {
			return err
		}
		if holes {
			if base, err = s.restoreLeft(left); err != nil {
				return err
			}
		}
	}
	var from positions
	if base != nil {
		r.base(base)
		from = base.manifest.at
		if hot, err = r.adopt(base, hot, from.hot); err != nil {
			return err
		}
		if cold, err = r.adopt(base, cold, from.cold); err != nil {
			return err
		}
	}
	ends := r.freed.ends // known if a rebuild was tried
	w := s.walker(hot, from.hot, r, ends)
	if base != nil && !base.holes { // else a file that is gone is a hole in what is replayed
		w.freed = r.freed.files
	}
	if err := w.walk(); err != nil {
		return err
	}
	c := s.walker(cold, from.cold, coldReplay{r}, ends)
	if base == nil || !base.holes {
		c.freed = r.freed.files
	}
	if err := c.walk(); err != nil {
		return err
	}
	r.end, r.coldEnd = w.end, c.end
	if c.end.batch < r.freed.cold {
		s.found(coldLost(c.end.seq))
	}
	if w.end.lost {
		s.filer.numbered(w.end.seq + lostNumbers)
	}
	s.ckpt.logged = s.stats.bytes.Load() - uint64(w.length())
	return nil
}

func (s *Store) walker(parts []logPart, from position, v visitor, ends map[fileSeq]pageNo) walker {
	return walker{parts: parts, from: from, v: v, ends: ends, open: func(name string) (vfs.File, error) { return s.fs.OpenFile(s.file(name), s.filer.mode) }}
}

// lostNumbers is how many numbers are left out where files were lost at the
// end of the log: one of those would not be taken for the file that had it.
const lostNumbers = 1024

// resumeHot goes on where the hot log ends; some says that there is a log.
func (s *Store) resumeHot(end logEnd, some bool) error {
	s.keeper.open.Store(some && (!end.marked || len(s.stale) > 0))
	if end.torn && end.file != nil && mutant.On(mutant.AppendAfterTear) {
		end.page, end.torn = min(end.page+2, end.file.header.pages), false
	}
	s.mu.applied.hot = end.position()
	if end.file != nil && !end.torn {
		return s.resume(end)
	}
	s.head.next = end.page
	if err := s.roll(takeControl); err != nil && block.KindOf(err) != block.NoSpace {
		return err // a full disk can be read, and rolls over when it can
	}
	return nil
}

// parts lists the log files in order, with their headers, and puts the other
// files in order. What the opening builds upon is synced: it must not be lost by
// the next crash (trap T16). names are those of all files.
func (s *Store) parts() (parts []logPart, names []string, err error) {
	names, err = s.fs.List(s.dir)
	if err != nil {
		return nil, nil, diskError(err, "listing", s.dir)
	}
	for _, name := range names {
		if seq, ok := parseName(logPrefix, name); ok && seq != 0 {
			parts = append(parts, logPart{seq: fileSeq(seq), name: name})
			continue
		}
		if err := s.tidy(name); err != nil {
			return nil, nil, err
		}
	}
	slices.SortFunc(parts, bySeq)
	for _, p := range parts {
		s.filer.numbered(p.seq)
	}
	for i := range parts {
		if err := s.openPart(&parts[i]); err != nil {
			closeParts(parts[:i+1])
			return nil, nil, err
		}
	}
	if err := s.syncFound(parts); err != nil {
		closeParts(parts)
		return nil, nil, err
	}
	return parts, names, nil
}

// syncFound makes durable what an opening builds upon: the last file of each
// head, the manifests, the names. A daemon that was killed may have left what
// the next power cut takes away.
func (s *Store) syncFound(parts []logPart) error {
	if s.cfg.ReadOnly || mutant.On(mutant.StartNotSynced) {
		return nil
	}
	for slot := range s.ckpt.manifests {
		if err := s.syncManifest(manifestName(slot)); err != nil {
			return err
		}
	}
	if err := s.syncLast(parts); err != nil {
		return err
	}
	return diskError(s.fs.SyncDir(s.dir), "syncing", s.dir)
}

func (s *Store) syncManifest(name string) error {
	f, err := s.fs.OpenFile(s.file(name), vfs.ReadOnly)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return diskError(err, "opening", name)
	}
	defer func() { _ = f.Close() }() // it was only read
	return diskError(f.SyncMeta(), "syncing", name)
}

func (s *Store) syncLast(parts []logPart) error {
	done := make(map[fileKind]bool)
	for _, p := range slices.Backward(parts) {
		if p.file == nil || done[p.file.header.kind] {
			continue
		}
		done[p.file.header.kind] = true
		if err := p.file.reader.SyncMeta(); err != nil {
			return diskError(err, "syncing", p.name)
		}
	}
	return nil
}

func bySeq(a, b logPart) int { return int(a.seq) - int(b.seq) }

// closeParts closes files that did not get into the store's table.
func closeParts(parts []logPart) {
	for _, p := range parts {
		if p.file != nil {
			_ = p.file.unpin()
		}
	}
}

// openPart opens a log file. A file without a readable header is a part of the
// log that is damaged; a foreign or newer one is refused.
func (s *Store) openPart(p *logPart) (err error) {
	if p.size, err = s.fs.Stat(s.file(p.name)); err != nil {
		return diskError(err, "examining", p.name)
	}
	p.file, p.bad, err = openLogFile(s.fs, s.dir, p.name)
	switch {
	case block.KindOf(err) == block.Corrupt:
		s.filer.adopt(p.size)
		s.cfg.Logger.Error("log file has no readable header", "file", p.name, "err", err)
		return nil
	case err != nil:
		return err
	case p.file.header.disk != s.disk:
		return block.Errorf(block.Mismatch, "log file %s belongs to disk %v, not to %v: is this another daemon's folder?", p.name, p.file.header.disk, s.disk)
	}
	s.filer.adopt(p.file.header.pages.bytes())
	return nil
}

// tidy counts a spare in, and removes what a crash has left.
func (s *Store) tidy(name string) error {
	if s.cfg.ReadOnly {
		return nil
	}
	remove := false
	if _, ok := parseName(newPrefix, name); ok {
		remove = true
	}
	if n, ok := parseName(sparePrefix, name); ok {
		size, err := s.fs.Stat(s.file(name))
		if err != nil {
			return diskError(err, "examining", name)
		}
		if remove = size != s.cfg.FileSize; !remove {
			s.filer.adoptSpare(name, n, size)
		}
	}
	if !remove {
		return nil
	}
	if err := s.fs.Remove(s.file(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return diskError(err, "removing", name)
	}
	return nil
}

// resume goes on in the last file of the hot log.
func (s *Store) resume(end logEnd) (err error) {
	if s.head, err = s.reopenHead(end); err == nil {
		s.filler.work(s.head.file)
	}
	return err
}

// reopenHead makes a head of the last file of a log.
func (s *Store) reopenHead(end logEnd) (head, error) {
	w, err := s.fs.OpenFile(s.file(end.file.name), vfs.ReadWrite|s.filer.mode)
	if err != nil {
		return head{}, diskError(err, "opening", end.file.name)
	}
	if err := lengthen(w, end.file); err != nil {
		w.Close()
		return head{}, err
	}
	end.file.claims.mu.taken = end.page
	end.file.end.Store(uint32(end.page))
	end.file.sealed.Store(false)
	return head{file: end.file, writer: w, next: end.page, lastPage: end.lastPage, hs: s.filer.headersFrom(end.page, end.file.header.pages)}, nil
}

// lengthen makes the head file as long as its header says, if it is not: an
// older version let files grow.
func lengthen(w vfs.File, f *logFile) error {
	size, err := w.Size()
	if err != nil {
		return diskError(err, "examining", f.name)
	}
	if size >= f.header.pages.bytes() {
		return nil
	}
	if err := w.Allocate(f.header.pages.bytes()); err != nil {
		return diskError(err, "taking space for", f.name)
	}
	return diskError(w.SyncMeta(), "syncing", f.name)
}

// start begins the background tasks.
func (s *Store) start() {
	if s.cfg.ReadOnly {
		return
	}
	tasks := []func(<-chan struct{}){s.keeper.run}
	if !s.cfg.byHand {
		tasks = append(tasks, s.filler.run, s.cleaner.run, s.ckpt.run, s.sealer.run, s.warmer.run)
	}
	for _, run := range tasks {
		s.tasks.Add(1)
		go func() {
			defer s.tasks.Done()
			run(s.stop)
		}()
	}
	if s.keeper.open.Load() {
		s.keeper.wake.ring()
	}
	s.ckpt.wake.ring()
}
