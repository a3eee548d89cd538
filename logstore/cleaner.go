package logstore

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/mutant"
)

// cleaner is a goroutine that makes room: it moves what is live out of files
// that are mostly dead, and gives empty files back as spares. It is born in
// Open and dies in Close.
//
//	sealed ── checkpoint ── survey ── move, cold flush ── FREE ── last reader ── spare
//	          no replay     headers   RELOC, compare      in the    unpin         rename
//	          reads it                and set             hot log
//
// Each step may be the last before a crash: until FREE is durable the file is
// there and its blocks are found in both places; the index has one of them.
type cleaner struct {
	store *Store
	wake  bell
	// stuck: no file is left to clean into.
	stuck atomic.Bool
	// What follows belongs to the goroutine.
	cold    coldLog
	emptied []emptied
	until   time.Time // while stuck: when to try again
	written uint64    // Store.stats.bytes when debt was reckoned last
	debt    float64   // bytes that should have been freed by now

	mu struct {
		sync.Mutex
		dead []*Segment // dropped; their blocks are still counted
		left []*logFile // taken out, without readers
		// returning are all that were taken out and are no spares yet.
		returning int
		pace      pace // as of the last look
	}
}

// emptied is a file that no index points to and that no replay reads.
type emptied struct {
	file   *logFile
	survey *survey
}

const (
	// cleanLook is how often the cleaner looks while clients write and there is
	// something to wait for; cleanIdle while they do not write.
	cleanLook = 10 * time.Millisecond
	cleanIdle = 100 * time.Millisecond
	// historyKeep is how long a file without live blocks is kept where there
	// is room, for peers that were away and catch up from the log (R20).
	historyKeep = 5 * time.Minute
	// maxEmptied bounds the files that one ticket frees.
	maxEmptied = 16
	// maxDebtFiles bounds what the cleaner makes up for, in files.
	maxDebtFiles = 4
	// cleanRetry is how long a disk that is too full to be cleaned is left
	// alone, unless a file becomes free.
	cleanRetry = time.Second
	// cleanRest is how often it looks else.
	cleanRest = 10 * time.Second
)

// bury takes the blocks of a dropped segment off the counts, in time.
func (c *cleaner) bury(g *Segment) {
	c.mu.Lock()
	c.mu.dead = append(c.mu.dead, g)
	c.mu.Unlock()
	c.wake.ring()
}

func (c *cleaner) run(stop <-chan struct{}) {
	for !stopped(stop) && c.store.Failed() == nil {
		if again := c.step(stop); again > 0 {
			c.wake.wait(c.store.cfg.Clock, again, stop)
		}
	}
}

// step does what is to be done now, at most one file's cleaning of it, and says
// when to look again if nobody wakes the cleaner before.
func (c *cleaner) step(stop <-chan struct{}) (again time.Duration) {
	c.settleDead()
	c.recycleLeft()
	p, written := c.look(), c.written
	c.collectEmpty(p)
	if c.store.Failed() != nil {
		return cleanRest
	}
	cleaned := len(c.emptied) < maxEmptied && c.cleanSome(p, stop)
	if cleaned && len(c.emptied) < p.together() {
		return 0
	}
	switch freed := c.free(); {
	case cleaned && freed:
		return 0
	case p.ratio() > 0 && c.written != written:
		return cleanLook
	case p.ratio() > 0 || !freed:
		return cleanIdle
	}
	return cleanRest
}

// cleanSome empties a file that is damaged, or the best victim if space is owed.
func (c *cleaner) cleanSome(p pace, stop <-chan struct{}) bool {
	owes := c.owes(p)
	return c.mayTry() && (c.salvageOne(stop) || owes && c.cleanOne(p, stop))
}

// mayTry tells whether cleaning could go on, after it has met a full disk.
func (c *cleaner) mayTry() bool {
	return !c.stuck.Load() || c.store.cfg.Clock.Now().After(c.until)
}

// full notes that no file is left to clean into: others are tried when one is
// free again, or after a while.
func (c *cleaner) full(err error) {
	c.until = c.store.cfg.Clock.Now().Add(cleanRetry)
	if !c.stuck.Swap(true) {
		c.store.cfg.Logger.Warn("cleaning waits for space", "err", err)
	}
}

// look reckons how fast to clean.
func (c *cleaner) look() pace {
	s := c.store
	s.filer.measure()
	free, reserve := s.filer.room()
	sp := s.Space()
	p := pace{free: free, reserve: reserve, coming: len(c.emptied)}
	p.slack = int((sp.Capacity - min(sp.Capacity, sp.Live+sp.Reserved)) / s.cfg.FileSize)
	c.mu.Lock()
	p.coming += c.mu.returning
	c.mu.pace = p
	c.mu.Unlock()
	s.brakes.set(p.brake())
	return p
}

// refresh reckons the brakes anew, when a file was taken or given back.
func (c *cleaner) refresh() {
	free, _ := c.store.filer.room()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.pace.free = free
	if c.mu.pace.reserve > 0 || c.mu.pace.slack > 0 { // it has looked before
		c.store.brakes.set(c.mu.pace.brake())
	}
}

// owes tells whether more should have been freed by now.
func (c *cleaner) owes(p pace) bool {
	now := c.store.stats.bytes.Load()
	c.debt += p.ratio() * float64(now-c.written)
	c.written = now
	c.debt = min(c.debt, float64(maxDebtFiles*c.store.cfg.FileSize))
	if p.ratio() == 0 {
		c.debt = 0
	}
	return c.debt > 0 || p.free+p.coming <= p.throttleBelow()
}

// settleDead takes dropped segments off the counts.
func (c *cleaner) settleDead() {
	c.mu.Lock()
	dead := c.mu.dead
	c.mu.dead = nil
	c.mu.Unlock()
	for _, g := range dead {
		g.mu.Lock()
		x := g.mu.index
		g.mu.index = index{}
		g.mu.Unlock()
		x.references(func(l location, n int) { x.accounts.add(l, -n) })
	}
}

// freeable tells whether f may go once it is empty: nothing is appended to it,
// and no replay reads it. What it holds is not cleaned before either, since what
// is not moved yet may die meanwhile. The newest cold file stays, also a torn one:
// it shows where the cold log ends.
func (s *Store) freeable(f *logFile) bool {
	return f.sealed.Load() && f.header.seq != s.cleaner.cold.last && (s.ckpt.covers(f) || mutant.On(mutant.VictimBeforeCheckpoint))
}

// collectEmpty finds the files in which nothing is live.
func (c *cleaner) collectEmpty(p pace) {
	s := c.store
	for _, f := range s.files.Load().all {
		if len(c.emptied) == maxEmptied {
			return
		}
		if f.live.Load() != 0 || !s.freeable(f) || c.waits(f) || !c.expired(f, p) {
			continue
		}
		v, err := s.surveyFile(f)
		if err == nil {
			err = s.saveMarks(v, f)
		}
		if err != nil {
			s.cleaningFailed(f, err)
			return
		}
		s.brakes.win(f.header.pages.bytes())
		c.emptied = append(c.emptied, emptied{file: f, survey: v})
	}
}

// expired tells whether a dead file is to go now: at once where space is
// wanted or all its segments are gone, else when peers had their time.
func (c *cleaner) expired(f *logFile, p pace) bool {
	if p.ratio() > 0 || c.store.cfg.forgetful || !c.store.historyOf(f) {
		return true
	}
	now := c.store.cfg.Clock.Now()
	if f.deadSince.IsZero() {
		f.deadSince = now
	}
	return now.Sub(f.deadSince) >= historyKeep
}

// historyOf tells whether a file has records of a segment that is there.
func (s *Store) historyOf(f *logFile) bool {
	for _, seg := range f.segments() {
		if s.byIndex(seg) != nil {
			return true
		}
	}
	return false
}

func (c *cleaner) waits(f *logFile) bool {
	for i := range c.emptied {
		if c.emptied[i].file == f {
			return true
		}
	}
	return false
}

// canFree tells whether cleaning can make room.
func (s *Store) canFree() bool {
	c := &s.cleaner
	c.mu.Lock()
	coming := max(c.mu.returning, c.mu.pace.coming)
	c.mu.Unlock()
	if coming > 0 || c.stuck.Load() {
		return coming > 0
	}
	_, cands := s.candidates()
	return len(cands) > 0
}

// candidates are the files that are worth cleaning, at the latest behind the
// next checkpoint.
func (s *Store) candidates() (files []*logFile, cands []candidate) {
	s.mu.Lock()
	applied := s.mu.applied
	s.mu.Unlock()
	for _, f := range s.files.Load().all {
		k := candidate{seq: f.header.seq, pages: f.header.pages, live: f.live.Load(), moved: f.moved}
		if f.sealed.Load() && applied.behind(&f.header) && k.live != f.stuck.Load() && k.worth() {
			files, cands = append(files, f), append(cands, k)
		}
	}
	return files, cands
}

// choose gives the file that is best cleaned next, nil if there is none. wait
// tells that a better one can be cleaned only after a checkpoint.
func (c *cleaner) choose() (f *logFile, wait bool) {
	s := c.store
	files, cands := s.candidates()
	best := choice{into: c.cold.fillsWith(), newest: s.filer.newest()}
	first, some := best.of(cands, func(i int) bool { return !c.waits(files[i]) })
	i, ok := best.of(cands, func(i int) bool { return !c.waits(files[i]) && s.freeable(files[i]) })
	if !ok {
		return nil, some
	}
	return files[i], i != first && !s.freeable(files[first])
}

// cleanOne empties the best victim; false if there is none.
func (c *cleaner) cleanOne(p pace, stop <-chan struct{}) bool {
	f, wait := c.choose()
	if wait && (f == nil || p.hurry()) {
		c.askCheckpoint(p)
	}
	return f != nil && c.empty(f, stop)
}

// empty moves what is live out of a file; false if it was not to be done.
func (c *cleaner) empty(f *logFile, stop <-chan struct{}) bool {
	s := c.store
	c.cold.moving = f.moved.next()
	v, err := s.clean(f, stop)
	switch {
	case errors.Is(err, errStopped):
		return false
	case err != nil:
		s.cleaningFailed(f, err)
		return false
	}
	if live := f.live.Load(); live != 0 { // something of it cannot be moved
		f.stuck.Store(live)
		return true
	}
	c.emptied = append(c.emptied, emptied{file: f, survey: v})
	return true
}

// askCheckpoint asks for a checkpoint behind the files that are to be cleaned.
func (c *cleaner) askCheckpoint(p pace) {
	c.store.ckpt.request()
	if p.hurry() {
		c.store.ckpt.hasten()
	}
}

// cleaningFailed notes why a file was not cleaned. A full disk is tried again
// when something has changed.
func (s *Store) cleaningFailed(f *logFile, err error) {
	switch block.KindOf(err) {
	case block.NoSpace:
		s.cleaner.full(err)
	case block.Closed, block.NotFound: // the store closes, or the segment went
	default: // it could not be read; a failed write has ended the log
		f.stuck.Store(f.live.Load())
		s.cfg.Logger.Error("a log file cannot be read, and is not cleaned until something of it dies", "file", f.name, "err", err)
	}
}
