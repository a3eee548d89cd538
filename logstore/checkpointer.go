package logstore

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
)

// checkpointer is a goroutine that writes a checkpoint when enough was logged
// since the last one, or when it is asked. It is born in Open and dies in
// Close; what it was writing then does not exist.
type checkpointer struct {
	store *Store
	wake  bell // to look whether a checkpoint is due
	// urgent ends a rest, hasty those to come until a checkpoint is durable.
	urgent bell
	hasty  atomic.Bool
	// onDurable is called after each checkpoint, by who took it.
	onDurable func()

	mu struct {
		sync.Mutex
		wanted           bool
		started, durable generation
		covered          positions // of the one that is durable
	}

	// taking is held by who takes a checkpoint; it guards what follows.
	taking    sync.Mutex
	manifests [2]*manifest // as they are on the disk; nil: none, or not known
	slot      int          // of manifests: written next
	parts     []partLive   // of the checkpoint in force, ascending
	logged    uint64       // Store.stats.bytes at the last checkpoint; it may be below zero
}

const (
	// costShare: a checkpoint is due when this many times of what it would
	// write was logged, so that it adds little to what is written.
	costShare = 24
	// longTail is from which length of the log on a checkpoint is due when
	// only shortShare times of what it would write was logged: so the log of
	// a store whose indexes take GiBs is replayed in seconds, too.
	longTail   = 4 * block.GiB
	shortShare = 8
	// ckptRest lies between two writes of leaves, which makes 16 MiB/s; less
	// where they would take longer than ckptLongest.
	ckptRest    = 24 * time.Millisecond
	ckptLongest = time.Minute
	// maxParts bounds the files of leaves that one checkpoint needs.
	maxParts = 32
	// restShare and maxRest: after a checkpoint the next one waits for so
	// many times of what it took, however often it is asked for.
	restShare = 20
	maxRest   = 5 * time.Second
)

// NoCheckpoints as Config.CheckpointEvery: none but those that cleaning needs.
const NoCheckpoints = ^block.ByteCount(0)

// request asks for a checkpoint of all that is applied now, and gives its
// generation: when durable says that or more, the checkpoint is. It does not
// wait. A checkpoint that fails for want of space is tried again.
func (c *checkpointer) request() generation {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.wanted = true
	c.wake.ring()
	return c.mu.started + 1
}

// covers tells whether a log file lies wholly before the positions of the
// checkpoint in force: then no replay reads it.
func (c *checkpointer) covers(f *logFile) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.covered.behind(&f.header)
}

// behind tells whether a log file lies wholly before the position in its log.
func (p *positions) behind(h *fileHeader) bool {
	if h.kind == fileCold {
		return h.seq < p.cold.file
	}
	return h.seq < p.hot.file
}

// now takes a checkpoint on the caller's goroutine, as fast as it can. Error
// kinds: those of take.
func (c *checkpointer) now() error {
	c.hasten()
	return c.take(c.store.stop)
}

// hasten ends the rest between two checkpoints, and those within the one that is
// being taken, or the next one: writes wait for files that only a checkpoint
// sets free.
func (c *checkpointer) hasten() {
	c.hasty.Store(true)
	c.urgent.ring()
}

// restBetween is how long to leave the disk to others between writes of so many
// leaves.
func restBetween(leaves int) time.Duration {
	return min(ckptRest, ckptLongest/time.Duration(1+leaves/leavesPerWrite))
}

// rest pauses between two writes; false when it is time to stop.
func (c *checkpointer) rest(d time.Duration, stop <-chan struct{}) bool {
	if c.hasty.Load() {
		return !stopped(stop)
	}
	return c.urgent.wait(c.store.cfg.Clock, d, stop)
}

// durable is the generation of the checkpoint in force, 0 if there is none.
func (c *checkpointer) durable() generation {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.durable
}

// begin gives out the next generation.
func (c *checkpointer) begin() generation {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.started++
	c.mu.wanted = false
	return c.mu.started
}

// end tells that a checkpoint is durable.
func (c *checkpointer) end(m *manifest) {
	c.mu.Lock()
	c.mu.durable, c.mu.covered = m.generation, m.at
	c.mu.Unlock()
	c.hasty.Store(false)
	if c.onDurable != nil {
		c.onDurable()
	}
}

func (c *checkpointer) wanted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.wanted
}

// again asks once more, for a checkpoint that failed.
func (c *checkpointer) again() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.wanted = true
}

func (c *checkpointer) run(stop <-chan struct{}) {
	c.wake.serve(stop, func() {
		for (c.wanted() || c.due()) && !stopped(stop) {
			if !c.attempt(stop) {
				break
			}
		}
	})
}

// attempt takes a checkpoint. False if there should be none for now: the
// store has failed or stops. A full disk is tried again after a while.
func (c *checkpointer) attempt(stop <-chan struct{}) bool {
	if c.store.Failed() != nil {
		return false
	}
	was := c.store.cfg.Clock.Now()
	err := c.take(stop)
	if block.KindOf(err) == block.NoSpace && c.store.filer.giveUpSpare() {
		err = c.take(stop)
	}
	switch {
	case err == nil:
		rest := min(restShare*c.store.cfg.Clock.Now().Sub(was), maxRest)
		return rest == 0 || c.urgent.wait(c.store.cfg.Clock, rest, stop)
	case errors.Is(err, errStopped):
		return false
	case block.KindOf(err) == block.NoSpace:
		c.store.cfg.Logger.Error("no space for a checkpoint; the next start takes longer, and cleaning waits", "err", err)
		c.again()
		return pause(c.store.cfg.Clock, fillRetry, stop)
	}
	c.store.fail(err)
	return false
}

// due tells whether enough was logged since the last checkpoint.
func (c *checkpointer) due() bool {
	s := c.store
	if s.cfg.CheckpointEvery == NoCheckpoints {
		return false
	}
	c.taking.Lock()
	logged := block.ByteCount(s.stats.bytes.Load() - c.logged)
	c.taking.Unlock()
	least := s.cfg.CheckpointEvery
	if least == 0 {
		least = checkpointEvery(s.cfg.FileSize, s.filer.limit())
	}
	return checkpointDue(logged, least, s.checkpointCost())
}

// checkpointEvery is the least that is logged between two checkpoints of a store
// that may take so much: files behind the last one cannot be freed.
func checkpointEvery(file, limit block.ByteCount) block.ByteCount {
	return max(file, min(limit/32, 256*block.MiB))
}

// checkpointDue: a checkpoint saves the replay of what was logged since the
// last one; it should cost little beside that.
func checkpointDue(logged, least, cost block.ByteCount) bool {
	return logged >= least && (logged >= costShare*cost || logged >= max(longTail, shortShare*cost))
}

// checkpointCost is about what a checkpoint would write now.
func (s *Store) checkpointCost() (n block.ByteCount) {
	segs := s.Segments()
	for _, g := range segs {
		g.mu.RLock()
		b := &g.mu.index.base
		n += block.ByteCount(b.dirty*leafSize + len(b.slots)*slotSize)
		g.mu.RUnlock()
	}
	return n + block.ByteCount(len(s.files.Load().all)*len(segs)*spanSize)
}

// partLive is a part, and how many of its leaves are those of the checkpoint
// in force.
type partLive struct {
	partUse
	live int
}

// liveParts counts what segments use of the parts, and drops those that are
// not used.
func liveParts(parts []partLive, segs []*segmentState) []partLive {
	live := make(map[generation]int, len(parts))
	for _, s := range segs {
		for i := range s.slots {
			live[s.slots[i].leaf.part]++
		}
	}
	used := make([]partLive, 0, len(parts))
	for _, p := range parts {
		if n := live[p.part]; n > 0 {
			used = append(used, partLive{p.partUse, n})
		}
	}
	return used
}

// partsToRewrite are the parts whose leaves the next checkpoint writes again,
// so that the others are at least half in use, and not too many. A leaf that
// is written again was paid for by one that died in its part.
func partsToRewrite(parts []partLive) map[generation]bool {
	rewrite := make(map[generation]bool)
	var keep []partLive
	for _, p := range parts {
		if 2*p.live < p.leaves {
			rewrite[p.part] = true
		} else {
			keep = append(keep, p)
		}
	}
	slices.SortFunc(keep, func(a, b partLive) int { return cmp.Compare(b.live, a.live) })
	for _, p := range keep[min(len(keep), maxParts-1):] {
		rewrite[p.part] = true
	}
	return rewrite
}
