package logstore

import (
	"math"
	"sync"
	"sync/atomic"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/logstore/chain"
)

// Segment is one segment of a Store. Its methods may be called from any
// goroutine.
type Segment struct {
	store *Store
	id    block.SegmentID
	idx   segIndex

	scl     atomic.Uint64
	floor   atomic.Uint64
	offPath atomic.Int64 // pending and annulled records
	dropped atomic.Bool
	// settled counts the records that settled since the last STATUS.
	settled atomic.Int64
	// inFlight is the lowest LSN in the batch that is being written, or
	// noneInFlight.
	inFlight atomic.Uint64
	lastRead readTime // by somebody who comes back; see warmer

	// stale tells that a STATUS would tell something new, and that the
	// segment is in store.stale. The leader owns it.
	stale bool

	// mu guards the index; it is held for look-ups and updates in memory,
	// never across I/O.
	mu struct {
		sync.RWMutex
		index    index
		promised block.VolumeEpoch
		config   []byte // replaced, never changed
		pins     pins
		health   health
		// told: the last record was a STATUS.
		told bool
		// applied is up to where the hot log is in here.
		applied  place
		unlinked int // conflicting records
		// bad are blocks found damaged, and where they lay then; at most
		// maxBad. The index may have moved on: see Bad.
		bad map[block.Index]location
		// gone are log files that were lost, as long as blocks lie there.
		gone map[fileSeq]bool
	}
}

// health is what the log tells of damage that concerns a segment.
//
// A part of the log that was lost may have held records of any segment that
// existed then: a record above what is now the highest, or a promise. A
// STATUS from behind the damage tells the promise and the head of its time;
// the segment has provably passed over the damage if its SCL has reached that
// head, so that nothing that was lost could be above the SCL, and if nothing
// above the SCL waits for a record at or below that head, so that nothing that
// was lost holds the SCL down. (That a later record is complete is no proof: a
// higher one may have arrived before it, out of order, and been lost. That the
// head is reached is not enough: a branch that was annulled is complete again
// when the one that annulled it lost its beginning.) One that says that the segment
// is known to be complete again is such a STATUS, too: with what it had then.
// A STATUS whose head is below what the log had before it proves nothing: a batch
// that was refused was read for a part of the log, since what said that its file
// had ended before it is lost.
type health struct {
	// declared: a STATUS says that the segment was found damaged.
	declared bool
	// suspect: the log lost a part since then; proof: a STATUS came after
	// that part, and proofHead was the head in it.
	suspect   bool
	proof     bool
	proofHead block.LSN
}

// damage notes that a part of the log is lost here.
func (h *health) damage() { h.suspect, h.proof = true, false }

// status takes in what a STATUS says; known is the head of what was read before it.
func (h *health) status(flags uint8, head, known block.LSN) {
	switch {
	case flags&flagCleared != 0: // of what was lost by then; it may have been what is lost now
		h.declared = false
	case flags&flagDamaged != 0:
		h.declared = true
		return
	}
	if h.suspect && !h.proof && known <= head {
		h.proof, h.proofHead = true, head
	}
}

// damaged is the verdict when all of the log was read.
func (h *health) damaged(c *chain.Chain[version]) bool {
	return h.declared || (h.suspect && (!h.proof || c.SCL() < h.proofHead || c.Misses(h.proofHead)))
}

// newSegment is an empty segment; idx may be set later, before it is used.
func newSegment(s *Store, id block.SegmentID, idx segIndex) *Segment {
	g := &Segment{store: s, id: id, idx: idx}
	g.inFlight.Store(noneInFlight)
	x := &g.mu.index
	x.accounts.ledger = &s.ledger
	x.base.gone = func(l location) { x.accounts.add(l, -1) }
	return g
}

// ID is the segment's id.
func (g *Segment) ID() block.SegmentID { return g.id }

// SCL is the highest complete LSN, all of it durable. It is cheap.
func (g *Segment) SCL() block.LSN { return block.LSN(g.scl.Load()) }

// State is what the segment knows of itself.
func (g *Segment) State() State {
	g.mu.RLock()
	defer g.mu.RUnlock()
	x := &g.mu.index
	return State{
		SCL: x.chain.SCL(), Floor: x.chain.Floor(), Head: x.chain.Head(),
		Promised: g.mu.promised, Config: g.mu.config,
		Damaged: g.mu.health.declared, BadBlocks: len(g.mu.bad),
		Hydrating: x.hydration.On, Readable: x.readable(),
		Bytes:   block.ByteCount(x.base.data+x.hot.data) * block.Size,
		Pending: x.chain.Pending(), Annulled: x.chain.Annulled(),
	}
}

// SetFloor tells that no read below lsn will come (PGMRPL, rule R13) and that
// lsn will never be annulled. What is older than the newest version at or
// below it is forgotten. A floor at or below the present one changes nothing.
// It becomes durable lazily, with later batches. While there are pins it stays
// at or below the lowest of them, and while the segment is hydrated where it
// is. Error kind: Invalid, when lsn is not on the complete chain.
func (g *Segment) SetFloor(lsn block.LSN) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.setFloorLocked(lsn)
}

func (g *Segment) setFloorLocked(lsn block.LSN) error {
	c := &g.mu.index.chain
	if g.mu.index.hydration.Still() {
		return nil // what settles now would go over what was copied
	}
	before := len(c.Path())
	if c.OnPath(lsn) {
		lsn = c.AtOrBelow(g.mu.pins.allow(lsn, before))
	}
	if !c.SetFloor(lsn, &g.mu.index) {
		return block.Errorf(block.Invalid, "segment %v cannot settle %v: it is not on its chain, which ends at %v", g.id, lsn, c.SCL())
	}
	g.settled.Add(int64(before - len(c.Path())))
	g.publishLocked()
	return nil
}

// publishLocked shows the chain's state to those who do not take the lock.
func (g *Segment) publishLocked() {
	c := &g.mu.index.chain
	g.scl.Store(uint64(c.SCL()))
	g.floor.Store(uint64(c.Floor()))
	g.offPath.Store(int64(c.Pending() + c.Annulled()))
}

// noneInFlight is above all LSNs.
const noneInFlight = math.MaxUint64

// late tells whether a record that is to be logged comes too late: it is at or
// below the floor, so it is here already, or annulled. It must not be logged: a
// ZERO or TRIM that wipes its blocks may be gone from the log already, and who
// makes an index from that alone would bring them back. A record that is not
// late is in flight from before the floor was looked at; whoever drops such a
// mark looks at the floor first, then at what is in flight. The leader calls it.
func (g *Segment) late(l block.LSN) bool {
	g.inFlight.Store(min(g.inFlight.Load(), uint64(l)))
	return uint64(l) <= g.floor.Load()
}

// change links a record of a durable batch; loc is where its payload begins.
func (g *Segment) changeLocked(d *descriptor, sums []block.Sum, loc location) chain.Verdict {
	verdict := g.mu.index.add(chainEntry{LSN: d.lsn, Prev: d.prev, Value: versionOf(d, sums, loc)})
	if verdict == chain.Conflict {
		g.mu.unlinked++
		g.store.cfg.Logger.Error("two records have one LSN; the later one is ignored",
			"segment", g.id, "lsn", d.lsn, "prev", d.prev)
	}
	return verdict
}

// statusLocked is what a STATUS says now.
func (g *Segment) statusLocked() descriptor {
	c := &g.mu.index.chain
	d := descriptor{seg: g.idx, typ: TypeStatus, block: uint32(g.mu.promised), lsn: c.Floor(), prev: c.Head()}
	if g.mu.health.declared {
		d.flags |= flagDamaged
	}
	return d
}

func (g *Segment) status() descriptor {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.statusLocked()
}

// applyLocked takes in one record of a durable batch, at run time and when
// the log is replayed. loc is where its payload begins.
func (g *Segment) applyLocked(d *descriptor, sums []block.Sum, loc location, payload []byte) {
	if g.dropped.Load() {
		return // enqueued before the DROP
	}
	g.mu.told = d.typ == TypeStatus
	switch d.typ {
	case TypePromise:
		g.mu.promised = max(g.mu.promised, block.VolumeEpoch(d.block))
	case TypeConfig:
		g.mu.promised = max(g.mu.promised, block.VolumeEpoch(d.block))
		g.mu.config = payload
	case TypeStatus:
		g.mu.promised = max(g.mu.promised, block.VolumeEpoch(d.block))
		g.mu.health.status(d.flags, d.prev, g.mu.index.chain.Head())
		if g.mu.index.chain.OnPath(d.lsn) { // not when damage cut the chain
			_ = g.setFloorLocked(d.lsn)
		}
	case TypeReloc:
		g.relocateLocked(d, loc)
	case TypeCopy:
		g.mu.index.copyRun(d, sums, loc)
	case TypeHydrate:
		g.hydrateLocked(d)
	default:
		g.changeLocked(d, sums, loc)
	}
}

func (g *Segment) relocateLocked(d *descriptor, to location) {
	for i := range int(d.count) {
		g.mu.index.relocate(block.Index(d.block)+block.Index(i), d.lsn, d.source.plus(i), to.plus(i))
	}
}
