package logstore

import (
	"io"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs"
)

// Store is one disk's log and the segments on it. Its methods may be called
// from any goroutine.
//
// Locks, in the order in which they are taken: Store.mu, Segment.mu,
// logFile.mu or warmer.mu; filer.mu alone. No I/O is done under any of them.
type Store struct {
	fs        vfs.FS
	dir       string
	disk      block.DiskID
	cfg       Config
	lock      io.Closer
	maxRecord block.ByteCount // payload of the longest record, and a page

	files   atomic.Pointer[fileTable]
	ledger  ledger
	level   atomic.Uint32 // SpaceLevel when it was asked last
	brakes  brakes
	scans   scanCache
	filer   *filer
	keeper  keeper
	filler  filler
	cleaner cleaner
	ckpt    checkpointer
	sealer  sealer
	warmer  warmer
	stop    chan struct{}
	tasks   sync.WaitGroup
	stats   counters
	stalls  stalls

	// What follows belongs to the leader: the goroutine for which
	// mu.leading is true.
	backlog   []*Ticket // taken from the queue, not yet done
	batch     batch
	head      head
	lastSeq   fileSeq // number of the newest hot file
	nextBatch batchSeq
	waiting   time.Time   // since when records with payload wait for space; zero: none do
	waiters   []chan word // who was told at the end of the last batch
	stale     []*Segment  // with news that no SYNCMARK batch has told

	mu struct {
		sync.Mutex
		queue    []*Ticket
		queued   block.ByteCount
		leading  bool
		idle     chan struct{} // closed when nobody leads any more; made by Close
		closing  bool          // Close was called
		closed   bool          // no ticket is taken any more
		failed   error
		segments map[block.SegmentID]*Segment
		byIndex  map[segIndex]*Segment
		making   map[block.SegmentID]bool
		nextSeg  segIndex
		// applied is up to where the logs are in all indexes.
		applied positions
		damage  []Damage
	}
}

// Failed is nil, or why the log has ended (rule S3); kind Unavailable.
func (s *Store) Failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.failed
}

// fail ends the log: a disk whose write or sync failed once is not believed
// again. Reads go on.
func (s *Store) fail(err error) {
	s.mu.Lock()
	if s.mu.failed != nil {
		s.mu.Unlock()
		return
	}
	err = block.Wrap(block.Unavailable, err, "the log of disk %v in %s has ended; replace its segments", s.disk, s.dir)
	s.mu.failed = err
	for _, t := range s.mu.queue {
		s.finishLocked(t, err)
	}
	if !s.mu.leading {
		for _, t := range s.backlog {
			s.finishLocked(t, err)
		}
	}
	s.mu.Unlock()
	s.cfg.Logger.Error("log store failed", "disk", s.disk, "dir", s.dir, "err", err)
	s.cfg.Observer.Failed(err)
}

// found notes damage.
func (s *Store) found(d Damage) {
	s.stats.damages.Add(1)
	s.mu.Lock()
	if len(s.mu.damage) < MaxDamages {
		s.mu.damage = append(s.mu.damage, d)
	}
	s.mu.Unlock()
	s.cfg.Logger.Error("log damage", "disk", s.disk, "damage", d.String())
	s.cfg.Observer.Corrupt(d)
}

// Damage lists what was found damaged since Open, oldest first, at most
// MaxDamages of it.
func (s *Store) Damage() []Damage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.mu.damage)
}

// counters are what Stats tells, in bytes where nothing else is said.
type counters struct {
	batches, records, bytes, damages atomic.Uint64 // of the hot head, damages of all
	payload                          atomic.Uint64 // that clients gave
	cold, checkpoint, zeroed         atomic.Uint64
	cleaned                          atomic.Uint64 // full lengths of files
	recycled                         atomic.Uint64 // files
	stalls                           atomic.Uint64 // flushes
}

// Stats are counters since Open.
type Stats struct {
	Batches, Records int
	Bytes            block.ByteCount // appended, headers included
	Files            int             // log files
	Spares           int             // cleaned files that wait to be used again
	Size             block.ByteCount // bytes of log files and spares, at their full lengths
	Damages          int
	Checkpoints      int // number of the one in force, 0 if there is none
	// Queued tickets wait for a leader to write them. QueuedBytes are the
	// payloads of these and of those being written.
	Queued      int
	QueuedBytes block.ByteCount
	// ClientBytes is the payload of the changes appended. What Bytes,
	// ColdBytes, CheckpointBytes and ZeroedBytes add up to, divided by it,
	// is the write amplification.
	ClientBytes     block.ByteCount
	ColdBytes       block.ByteCount // written by cleaning, headers included
	CheckpointBytes block.ByteCount
	ZeroedBytes     block.ByteCount // zero-written in advance
	// CleanedBytes is the length of the log files that were emptied, and
	// Recycled their number.
	CleanedBytes block.ByteCount
	Recycled     int
	// Stalls counts the flushes that took StallAfter or longer; LongestFlush
	// is the longest of all.
	Stalls       int
	LongestFlush time.Duration
}

// StallAfter is from when on a flush counts as a stall.
const StallAfter = 100 * time.Millisecond

// Stats are counters since Open.
func (s *Store) Stats() Stats {
	s.filer.mu.Lock()
	size, spares := s.filer.mu.planned, len(s.filer.mu.spares)
	s.filer.mu.Unlock()
	s.mu.Lock()
	queued, queuedBytes := len(s.mu.queue), s.mu.queued
	s.mu.Unlock()
	c := &s.stats
	return Stats{
		ClientBytes: loaded(&c.payload), ColdBytes: loaded(&c.cold), CheckpointBytes: loaded(&c.checkpoint),
		ZeroedBytes: loaded(&c.zeroed), CleanedBytes: loaded(&c.cleaned), Recycled: int(c.recycled.Load()),
		Stalls: int(c.stalls.Load()), LongestFlush: time.Duration(s.stalls.longest.Load()),
		Queued: queued, QueuedBytes: queuedBytes,
		Batches: int(s.stats.batches.Load()), Records: int(s.stats.records.Load()),
		Bytes: block.ByteCount(s.stats.bytes.Load()), Damages: int(s.stats.damages.Load()),
		Checkpoints: int(s.ckpt.durable()),
		Files:       len(s.files.Load().all), Spares: spares, Size: size,
	}
}

// IndexMemory tells how many blocks of data the indexes point to, and the
// memory of their leaves: 12 bytes for each block of a range that was written
// to. It looks at each 2 MiB of each segment: some milliseconds for a TiB.
func (s *Store) IndexMemory() (blocks int, memory block.ByteCount) {
	for _, g := range s.Segments() {
		g.mu.RLock()
		for i := range g.mu.index.base.slots {
			if g.mu.index.base.slots[i].leaf != nil {
				memory += block.ByteCount(unsafe.Sizeof(leaf{}))
			}
		}
		g.mu.RUnlock()
	}
	return int(s.ledger.total.Load()), memory
}

func loaded(n *atomic.Uint64) block.ByteCount { return block.ByteCount(n.Load()) }

// Segment finds a segment by its id.
func (s *Store) Segment(id block.SegmentID) (*Segment, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, ok := s.mu.segments[id]
	return g, ok
}

// Segments lists all segments in the order of their creation.
func (s *Store) Segments() []*Segment {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*Segment, 0, len(s.mu.segments))
	for _, g := range s.mu.segments {
		all = append(all, g)
	}
	slices.SortFunc(all, func(a, b *Segment) int { return int(a.idx) - int(b.idx) })
	return all
}

// CreateSegment makes an empty segment that has promised that epoch (rule
// R24: it is born fenced). It is durable on return. Error kinds: Exists,
// Invalid, NoSpace, and those of Wait.
func (s *Store) CreateSegment(id block.SegmentID, promise block.VolumeEpoch, config []byte) (*Segment, error) {
	if id.IsZero() || promise > block.MaxVolumeEpoch {
		return nil, block.Errorf(block.Invalid, "a segment needs an id, and a promise of at most %d", block.MaxVolumeEpoch)
	}
	if level := s.Space().Level; level >= SpaceNoSegments {
		return nil, block.Errorf(block.NoSpace, "log store %s takes no new segments: it is %v; see its live bytes", s.dir, level)
	}
	g := newSegment(s, id, 0)
	own, err := g.configRecord(config, flagCreated)
	if err != nil {
		return nil, err
	}
	if g.idx, err = s.book(id); err != nil {
		return nil, err
	}
	own.d.seg, own.d.block = g.idx, uint32(promise)
	own.done = func() { s.enrol(g) }
	err = s.own(g, own)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.making, id)
	if err != nil {
		return nil, err
	}
	return g, nil
}

// book takes a number for a new segment.
func (s *Store) book(id block.SegmentID) (segIndex, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.mu.segments[id] != nil || s.mu.making[id]:
		return 0, block.Errorf(block.Exists, "segment %v exists already", id)
	case len(s.mu.segments)+len(s.mu.making) >= MaxSegments:
		return 0, block.Errorf(block.NoSpace, "a store holds at most %d segments", MaxSegments)
	}
	s.mu.making[id] = true
	s.mu.nextSeg++
	return s.mu.nextSeg - 1, nil
}

// enrol makes a durable segment known.
func (s *Store) enrol(g *Segment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.segments[g.id] = g
	s.mu.byIndex[g.idx] = g
}

// expel forgets a segment.
func (s *Store) expel(g *Segment) {
	g.mu.Lock() // who applies a record looks at dropped under it
	g.dropped.Store(true)
	g.mu.Unlock()
	s.mu.Lock()
	delete(s.mu.segments, g.id)
	delete(s.mu.byIndex, g.idx)
	s.mu.Unlock()
	s.cleaner.bury(g)
}

// DropSegment forgets a segment, durably. What was enqueued for it before may
// still be written. Error kinds: NotFound, and those of Wait.
func (s *Store) DropSegment(id block.SegmentID) error {
	g, ok := s.Segment(id)
	if !ok {
		return block.Errorf(block.NotFound, "segment %v is not on this disk", id)
	}
	return s.own(g, &ownRecord{d: descriptor{seg: g.idx, typ: TypeDrop}, done: func() { s.expel(g) }})
}

// ClearDamage records that the segment is known to be complete again. Error
// kinds: those of Wait.
func (g *Segment) ClearDamage() error {
	return g.store.own(g, &ownRecord{d: descriptor{seg: g.idx, typ: TypeStatus, flags: flagCleared}})
}

// Close writes a last SYNCMARK, lets those who wait finish, and gives all
// files back when the reads in progress are done. It may be called again. A disk
// that does not answer is waited for no longer than DeadFlush. Then the log ends,
// and a goroutine is left that gives files and lock back when the disk answers.
// Error kind: Unavailable.
func (s *Store) Close() error {
	s.mu.Lock()
	closing := s.mu.closing
	s.mu.closing = true
	s.mu.Unlock()
	if closing {
		return nil
	}
	closed := make(chan error, 1)
	go func() { closed <- s.end() }()
	late := s.cfg.Clock.NewTimer(DeadFlush)
	defer late.Stop()
	select {
	case err := <-closed:
		return err
	case <-late.C():
		s.fail(block.Errorf(block.Unavailable, "the disk has not answered for %v while the log was closed", DeadFlush))
		return s.Failed()
	}
}

// end joins all tasks and gives everything back.
func (s *Store) end() error {
	close(s.stop)
	s.tasks.Wait()
	if s.keeper.open.Load() {
		_ = s.mark() // without it the last batch lacks its proof, nothing else
	}
	s.quiesce()
	s.sealer.leave()
	return s.release()
}

// quiesce takes no more tickets and waits until nobody leads; tickets that
// nobody waited for fail.
func (s *Store) quiesce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.closed = true
	for s.mu.leading || s.waitedForLocked() {
		idle := make(chan struct{})
		s.mu.idle = idle
		s.mu.Unlock()
		<-idle
		s.mu.Lock()
	}
	for _, tickets := range [][]*Ticket{s.backlog, s.mu.queue} {
		for _, t := range tickets {
			s.finishLocked(t, block.Errorf(block.Closed, "the log store was closed"))
		}
	}
}

func (s *Store) waitedForLocked() bool {
	for _, tickets := range [][]*Ticket{s.backlog, s.mu.queue} {
		for _, t := range tickets {
			if !t.done && t.wake != nil {
				return true
			}
		}
	}
	return false
}

// release gives files and lock back.
func (s *Store) release() error {
	var first error
	keep := func(err error) {
		if first == nil && err != nil {
			first = block.Wrap(block.Unavailable, err, "closing the log store")
		}
	}
	for _, h := range []*head{&s.head, &s.cleaner.cold.head} {
		if h.writer != nil {
			keep(h.writer.Close())
		}
	}
	for _, f := range s.files.Load().all {
		keep(f.unpin())
	}
	keep(s.lock.Close())
	return first
}

// file is the path of one of the store's files.
func (s *Store) file(name string) string { return path.Join(s.dir, name) }
