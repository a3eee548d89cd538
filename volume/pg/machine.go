package pg

import (
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/volume/quorum"
	"github.com/sextantdisk/sextant/wire"
)

// Time is a point on the caller's clock, since its start. It never goes back, and
// it passes while the machine is suspended, too (R14).
type Time = time.Duration

// Tunable bounds of a protection group's writer.
const (
	// RingLimit is how many payload bytes of committed records are kept for
	// members that lack them (rule R5).
	RingLimit = 64 * block.MiB
	// RingRecords bounds the same in records.
	RingRecords = 1 << 16
	// SendWindow is how many bytes may be on their way to one member; a slow
	// member costs no more memory than that (rule B6).
	SendWindow = 16 * block.MiB
	// FenceGrace is how long an opening waits for more answers after a read
	// quorum has come: it saves copying (protocol §2.5 step 3).
	FenceGrace = 50 * time.Millisecond
	// PingEvery is how often a member of an active group hears from its
	// writer, so that the read lease does not run out between reads.
	PingEvery = 500 * time.Millisecond
	// ActiveFor is how long after its last request a group counts as active.
	ActiveFor = 5 * time.Second
	// RetryEvery is how long a member that refused, or whose catch-up
	// stands still, is left alone.
	RetryEvery = time.Second
	// StuckAfter is how long an opening may lack every donor of its
	// recovery point before the volume is to be opened anew.
	StuckAfter = 5 * time.Second
	// perRecord is what a record counts for beside its payload.
	perRecord = 256
)

// Phase is where a protection group stands.
//
//	Idle ──Start──▶ Fencing ──read quorum──▶ Opening ──EPOCH_OPEN on a write quorum──▶ Open
//	  any ──a higher epoch is seen──▶ Dead
type Phase uint8

// The phases.
const (
	Idle    Phase = iota // not opened in this epoch; holds no data
	Fencing              // waiting for a read quorum of every set
	Opening              // EPOCH_OPEN is on its way to a write quorum
	Open                 // serving
	Dead                 // fenced by a successor
)

var phaseNames = [...]string{"idle", "fencing", "opening", "open", "dead"}

// String names the phase.
func (p Phase) String() string { return phaseNames[p] }

// Record is a record that the machine has issued, or is to issue.
type Record struct {
	wire.Record
	// Owner is whoever waits for it, for the shell; the machine only hands
	// it back.
	Owner any

	issued Time
	end    block.ByteCount // bytes issued in this group up to and with this record
	failed bool            // its owner was told that it was held too long
}

func (r *Record) size() block.ByteCount { return block.ByteCount(len(r.Payload)) + perRecord }

// Config is what a machine needs to know.
type Config struct {
	Epoch  block.VolumeEpoch
	Quorum *quorum.Config
	// Fresh: the group was placed in this epoch, so that nobody before
	// can have read from it.
	Fresh bool
	// EmptyUntil is until when a former writer that is cut off may still take
	// the group for one that was never written, and read zeroes there without
	// asking a segment; UnopenedUntil is the same if the opening finds that
	// nobody has opened the group before; 0 if there is none (R14,
	// docs/adr/0003).
	EmptyUntil, UnopenedUntil Time
	// Departed: segments have left the group and are not dropped yet, or it
	// goes on without a zone (R29). A former writer that does not know may read
	// from them, whoever of the members is fenced (R14).
	Departed bool
	// Clean: the writer before said goodbye, so that its read lease need
	// not be waited for (R14).
	Clean bool
	// Hold is how long a write waits for a quorum before it fails (B5).
	Hold time.Duration
	// Next gives out the volume's next LSN.
	Next func() block.LSN
}

// Machine is the writer of one protection group.
type Machine struct {
	cfg     Config
	phase   Phase
	members []member
	present quorum.Votes // those that are in a set

	point  block.LSN // X: where the recovery found the end of the log
	donors quorum.Votes
	open   block.LSN // LSN of our EPOCH_OPEN
	tail   block.LSN // last LSN issued
	issued block.ByteCount

	committed block.LSN    // PGCL
	installed quorum.Votes // who has the configuration in force on disk, while it is joint
	syncPoint block.LSN    // P* of rule R26, or 0
	waiting   []*Record    // arrived before Open
	ring      ring
	reads     readPoints

	fencedAt  Time // when a read quorum had first answered
	fenced    quorum.Votes
	holdUntil Time // no write is answered, nor a read begun, before, as a rule; 0: no wait (R14)
	// apartUntil: not before that, whoever is fenced.
	apartUntil Time
	stuckAt    Time // since when the opening has had no donor
	active     Time // when a client last asked for something
	now        Time // of the last step
	stamp      Time // of the last message; stamps are strictly rising

	fx Effects
}

// New makes the machine of one group; all its members are down.
func New(cfg Config) *Machine {
	m := &Machine{cfg: cfg, members: make([]member, len(cfg.Quorum.Segments)), present: cfg.Quorum.Members(), stuckAt: never}
	for i := range m.members {
		m.members[i] = newMember()
	}
	m.ring.limit = RingLimit
	return m
}

// newMember is a member of which nothing is known yet.
func newMember() member {
	return member{heard: longAgo, spoken: longAgo, asked: longAgo, reason: "no connection"}
}

const (
	never   = Time(1<<63 - 1)
	longAgo = -Time(1 << 62)
)

// Phase tells where the group stands.
func (m *Machine) Phase() Phase { return m.phase }

// Committed is the PGCL: what a write quorum has on disk.
func (m *Machine) Committed() block.LSN { return m.committed }

// OldestPending is the lowest LSN issued and not committed, or 0.
func (m *Machine) OldestPending() block.LSN {
	if r := m.ring.firstAfter(m.committed); r < m.ring.len() {
		return m.ring.at(r).LSN
	}
	return 0
}

// Pending counts the records, and their bytes, that are issued or waiting and
// not yet committed.
func (m *Machine) Pending() (records int, bytes block.ByteCount) {
	for _, r := range m.waiting {
		records++
		bytes += r.size()
	}
	for i := m.ring.firstAfter(m.committed); i < m.ring.len(); i++ {
		records++
		bytes += m.ring.at(i).size()
	}
	return records, bytes
}
