package segment

import (
	"fmt"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/mutant"
	"github.com/sextantdisk/sextant/wire"
)

// Core is the state machine of one segment.
type Core struct {
	id   block.SegmentID
	meta Meta
	// promised is the highest volume epoch admitted. It may be on its way
	// to the disk; whoever was admitted by it is answered after it is there.
	// Invariant: never goes back (R2).
	promised block.VolumeEpoch
	// unsure: the log was damaged and may have lost a promise. Nothing is
	// admitted before Reassure.
	unsure bool
	// damaged: the log may have lost records that were acknowledged.
	damaged bool
}

// New makes the Core of a segment as the log knows it after opening.
func New(id block.SegmentID, meta Meta, promised block.VolumeEpoch, damaged bool) *Core {
	if mutant.On(mutant.TearMisread) {
		damaged = false
	}
	return &Core{id: id, meta: meta, promised: promised, damaged: damaged || meta.Doubtful, unsure: damaged}
}

// Meta is the segment's place.
func (c *Core) Meta() Meta { return c.meta }

// Promised is the highest volume epoch admitted.
func (c *Core) Promised() block.VolumeEpoch { return c.promised }

// Damaged reports whether the segment may have lost acknowledged records.
func (c *Core) Damaged() bool { return c.damaged }

// Unsure reports whether the segment waits for Reassure.
func (c *Core) Unsure() bool { return c.unsure }

// Verdict is what is to be done with a message.
type Verdict struct {
	// Refuse, if not nil, is the answer, and there is nothing else to do.
	Refuse *wire.Refuse
	// Promise, if not 0, is to be logged before the message's records.
	Promise block.VolumeEpoch
	// Meta, if not nil, is to be logged before the message's records.
	Meta *Meta
}

// Admit decides about a message that speaks with the authority of a writer and
// goes to the log: JOIN, WRITE, PING. A higher epoch is promised (R2).
func (c *Core) Admit(id *wire.Identity) Verdict {
	if v := c.check(id); v != nil {
		return Verdict{Refuse: v}
	}
	var v Verdict
	if id.Epoch > c.promised || mutant.On(mutant.NoPromise) {
		c.promised = id.Epoch
		if !mutant.On(mutant.VolatilePromise) {
			v.Promise = id.Epoch
		}
	}
	if id.Member > c.meta.Member {
		c.meta.Member = id.Member
		m := c.meta
		v.Meta = &m
	}
	return v
}

// AdmitBare decides about a message without records, whose answer relies on
// nothing but the promise: JOIN, PING. durable is what the log has promised on
// disk. What was admitted before may have raised the promise and still be on
// its way; then the promise is logged once more, so that this answer waits
// for it, whoever made it (R2).
func (c *Core) AdmitBare(id *wire.Identity, durable block.VolumeEpoch) Verdict {
	v := c.Admit(id)
	if v.Refuse == nil && durable < id.Epoch && !mutant.On(mutant.VolatilePromise) {
		v.Promise = id.Epoch
	}
	if mutant.On(mutant.FenceOvertakes) {
		v.Promise = 0
	}
	return v
}

// AdmitJoined decides about a message of a writer that brings nothing for the
// log: CATCHUP, MEND. It promises and learns nothing, for that would be known
// here and not on the disk; so whoever sends it must have joined, and with the
// configuration that it quotes.
func (c *Core) AdmitJoined(id *wire.Identity) *wire.Refuse {
	if r := c.AdmitRead(id); r != nil {
		return r
	}
	if id.Member > c.meta.Member {
		return c.refuse(block.Unavailable, "segment %v has not been told of membership epoch %d", c.id, id.Member)
	}
	return nil
}

// AdmitRead decides about a message that changes nothing: READ, MAP. It never
// promises; an epoch that was not promised yet has not joined.
func (c *Core) AdmitRead(id *wire.Identity) *wire.Refuse {
	if v := c.check(id); v != nil {
		return v
	}
	if id.Epoch > c.promised {
		return c.refuse(block.Unavailable, "segment %v has not been joined under epoch %d", c.id, id.Epoch)
	}
	return nil
}

// AdmitFetch decides about a peer's request for records (R20): the peer must
// have promised the very same epoch, and this segment must not be damaged.
func (c *Core) AdmitFetch(id *wire.Identity) *wire.Refuse {
	if v := c.check(id); v != nil {
		return v
	}
	if id.Epoch != c.promised && !mutant.On(mutant.GiveToAnybody) || c.damaged {
		return c.refuse(block.Unavailable, "segment %v cannot give records: it has promised epoch %d, the peer %d; damaged: %v",
			c.id, c.promised, id.Epoch, c.damaged)
	}
	return nil
}

// Takes tells whether records that a peer gave under an epoch may be logged
// now: not after a fence (trap T4).
func (c *Core) Takes(epoch block.VolumeEpoch) bool {
	return c.promised == epoch || mutant.On(mutant.TakeAfterFence)
}

// check is what all messages must meet: the right place (R1), no lower epoch
// (R2).
func (c *Core) check(id *wire.Identity) *wire.Refuse {
	switch {
	case id.Cluster != c.meta.Cluster || id.Volume != c.meta.Volume || id.PG != c.meta.PG || id.Segment != c.id:
		return c.refuse(block.Mismatch, "segment %v is of cluster %v, volume %v, group %v; the message is for segment %v of cluster %v, volume %v, group %v",
			c.id, c.meta.Cluster, c.meta.Volume, c.meta.PG, id.Segment, id.Cluster, id.Volume, id.PG)
	case c.unsure:
		return c.refuse(block.Unavailable, "segment %v lost a part of its log and waits to learn the volume's epoch from the metadata service", c.id)
	case id.Epoch < c.promised && !mutant.On(mutant.NoPromise):
		return c.fenced(id.Epoch)
	case id.Member < c.meta.Member && !mutant.On(mutant.OldMembers):
		return c.refuse(block.Stale, "segment %v knows membership epoch %d, the message quotes %d", c.id, c.meta.Member, id.Member)
	}
	return nil
}

func (c *Core) refuse(k block.Kind, format string, args ...any) *wire.Refuse {
	return &wire.Refuse{Kind: k, Member: c.meta.Member, Message: fmt.Sprintf(format, args...)}
}

// fenced is the answer to whoever speaks under a lower epoch than promised.
func (c *Core) fenced(epoch block.VolumeEpoch) *wire.Refuse {
	r := c.refuse(block.Fenced, "segment %v has promised epoch %d, the message is of epoch %d: another gateway has opened the volume", c.id, c.promised, epoch)
	r.Epoch = c.promised
	return r
}

// Reassure ends the doubt of a segment whose log may have lost a promise:
// current is the volume's epoch as the metadata service has agreed it, so
// nobody can have been promised more. What it returns is to be logged, if not
// 0, before anything is admitted.
func (c *Core) Reassure(current block.VolumeEpoch) block.VolumeEpoch {
	c.unsure = false
	if current <= c.promised {
		return 0
	}
	c.promised = current
	return current
}

// Complete tells a damaged segment what the writer of the promised epoch has
// on a write quorum, and where it stands itself, after both were learned
// since the damage was found. It returns true once: the damage is over and
// that is to be logged. The argument: what this segment acknowledged and lost
// either counted towards committed, then it is there again if scl is at or
// above it; or it did not, then the writer no longer counts it, because it
// has asked anew where the segment stands. A Join tells nothing committed: at
// that time the writer has not been answered yet.
func (c *Core) Complete(epoch block.VolumeEpoch, committed, scl block.LSN) bool {
	if c.damaged && mutant.On(mutant.DamageForgotten) {
		c.damaged, c.meta.Doubtful = false, false
		return true
	}
	if !c.damaged || c.unsure || epoch != c.promised || committed.Epoch() != epoch || scl < committed {
		return false
	}
	c.damaged, c.meta.Doubtful = false, false
	return true
}

// Log is what the log says of a segment when an answer is made.
type Log struct {
	SCL, Floor, Head block.LSN
	// Unlinked counts records above the floor that do not link yet.
	Unlinked int
	// Member is the membership epoch of the last configuration in the log.
	Member block.MembershipEpoch
	// Full: the log is short of space for data.
	Full bool
}

// Answer is the segment's word to the writer of epoch to about where it stands
// (R6), after all that is to be answered is durable. All that log tells must be
// durable, too: the membership epoch as well, for a change of the membership is
// finished on the word that it is installed (R26). If a higher epoch was
// promised meanwhile the writer is told that instead: its successor's fence has
// its place behind what it wrote, and counts it; it must not count it itself
// (trap T4).
func (c *Core) Answer(to block.VolumeEpoch, log Log, stamp wire.Stamp, catchingUp bool) (wire.Ack, *wire.Refuse) {
	if to < c.promised && !mutant.On(mutant.FenceOvertakes) {
		return wire.Ack{}, c.fenced(to)
	}
	a := wire.Ack{
		Identity: wire.Identity{
			Cluster: c.meta.Cluster, Volume: c.meta.Volume, Segment: c.id, PG: c.meta.PG,
			Epoch: c.promised, Member: log.Member,
		},
		SCL:   log.SCL,
		Floor: log.Floor,
		Stamp: stamp,
		// A gap counts only in what the present writer has sent: records
		// of its predecessors may lie there unlinked for good.
		Gap:        log.Unlinked > 0 && log.Head > log.SCL && log.Head.Epoch() == c.promised,
		Damaged:    c.damaged,
		CatchingUp: catchingUp,
		Full:       log.Full,
	}
	if mutant.On(mutant.FenceOvertakes) {
		a.Epoch = to
	}
	if mutant.On(mutant.AckArrived) {
		a.SCL = log.Head
	}
	return a, nil
}

// FloorFor is how far the floor may be moved: to what the writer says (R13),
// if this segment stands on that writer's chain at or above it, else not (0).
func FloorFor(epoch block.VolumeEpoch, floor, scl block.LSN) block.LSN {
	if floor == 0 || floor.Epoch() != epoch || scl < floor {
		return 0
	}
	return floor
}
