package pg

import (
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/volume/quorum"
	"github.com/sextantdisk/sextant/wire"
)

// InputKind tells what happened.
type InputKind uint8

// The inputs of a machine.
const (
	Start       InputKind = iota + 1 // open the group
	Up                               // the connection to Member is up
	Down                             // the connection to Member is gone
	Acked                            // Member sent Ack
	Refused                          // Member sent Refuse
	Issue                            // a client wants Record written
	Collect                          // send off what was issued
	Tick                             // time passed
	Reconfigure                      // the metadata service has decided Config
)

// Input is one thing that happened. Which fields count depends on the kind.
type Input struct {
	Kind   InputKind
	Member quorum.Member
	Ack    *wire.Ack
	Refuse *wire.Refuse
	Record *Record
	// Config follows the present one (quorum.Config.Adopt). It is passed over
	// unless MayReconfigure.
	Config *quorum.Config
}

// SendKind tells which message is to be sent.
type SendKind uint8

// What a machine sends.
const (
	SendJoin SendKind = iota + 1
	SendRecords
	SendPing
	SendCatchUp
)

// Send is a message for one member. Progress goes with every kind; in a Join
// only its stamp counts.
type Send struct {
	Kind     SendKind
	Member   quorum.Member
	Progress wire.Progress
	Records  []*Record     // SendRecords: a view of the ring, good until the next step
	Donor    quorum.Member // SendCatchUp
	UpTo     block.LSN     // SendCatchUp
}

// Effects is what a step asks for. It is good until the next step.
type Effects struct {
	Sends []Send
	// Done are writes to answer with success: on a write quorum's disks.
	Done []*Record
	// Failed are writes that were held too long for want of a quorum (B5).
	Failed []*Record
	// Late are writes that had Failed and came through after all (B7).
	Late []*Record
	// Free are records that the machine has let go; it refers to them no
	// more. A record may be Done (or Failed, or Late) and Free in one step.
	Free []*Record
	// Opened: the group now serves.
	Opened bool
	// Readable: what was refused by BeginRead may be tried again.
	Readable bool
	// Fenced: a successor with this epoch has the volume; all is over (R3).
	Fenced block.VolumeEpoch
	// Outdated: a member knows a newer configuration than the machine: it is
	// to be read from the metadata service (R27).
	Outdated bool
	// Stuck: this opening cannot be finished; the volume must be opened
	// anew, with a higher epoch.
	Stuck bool
}

func (fx *Effects) reset() {
	clear(fx.Sends)
	clear(fx.Done)
	clear(fx.Failed)
	clear(fx.Late)
	clear(fx.Free)
	*fx = Effects{Sends: fx.Sends[:0], Done: fx.Done[:0], Failed: fx.Failed[:0], Late: fx.Late[:0], Free: fx.Free[:0]}
}

// Step takes one input at time now, which never goes back.
func (m *Machine) Step(now Time, in Input) *Effects {
	m.fx.reset()
	m.now = now
	if m.phase == Dead {
		return &m.fx
	}
	switch in.Kind {
	case Start:
		m.start(now)
	case Up:
		m.up(now, in.Member)
	case Down:
		m.down(in.Member)
	case Acked:
		m.acked(now, in.Member, in.Ack)
	case Refused:
		m.refused(now, in.Member, in.Refuse)
	case Issue:
		m.issue(now, in.Record)
	case Collect:
		m.collect(now)
	case Tick:
		m.tick(now)
	case Reconfigure:
		m.reconfigure(now, in.Config)
	}
	return &m.fx
}

// send adds a message, with the progress that goes with each. Stamps rise
// strictly, so that an answer's stamp tells which messages it covers; they
// run ahead of the clock by as many nanoseconds as messages share an instant.
func (m *Machine) send(now Time, s Send) {
	m.stamp = max(now, m.stamp+1)
	s.Progress = wire.Progress{Floor: m.floor(), Committed: m.committed, Stamp: wire.Stamp(m.stamp)}
	mb := &m.members[s.Member]
	mb.spoken = now
	if s.Kind == SendJoin {
		// Until the answer has come we count what the member acknowledged
		// before, and it may have lost that: it must conclude nothing from
		// what is committed (segment.Core.Complete).
		s.Progress.Floor, s.Progress.Committed = 0, 0
		mb.joinStamp = m.stamp
	}
	mb.told = s.Progress.Floor
	m.fx.Sends = append(m.fx.Sends, s)
}
