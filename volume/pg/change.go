package pg

import (
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/mutant"
	"github.com/sextantdisk/sextant/volume/quorum"
	"github.com/sextantdisk/sextant/wire"
)

// A group's segments change while it is written to (R23 to R27, R29). The metadata
// service decides each configuration; the machine is told (Reconfigure) and
// counts with it from then on. With two sets in force:
//
//	told ──a read quorum of the old set has installed it──▶ sync point P* known
//	     ──all that join have everything up to P*──▶ Caught: to be marked hydrated
//	     ──a write quorum of the new set, too──▶ MayFinish: it may stay alone
//
// The machine proves, its shell proposes. A set that goes on without a lost zone
// has nobody who joins; one that takes the zone back has two (R29).

// MayReconfigure reports whether the machine can take this configuration now: it
// serves, and no writer before this one can still read from a segment that the new
// configuration may lack (R14). A group that is not open yet takes one only: the
// old set alone, when its change was cancelled. It may be that it cannot be opened
// with both (docs/adr/0039).
func (m *Machine) MayReconfigure(next *quorum.Config) bool {
	return m.LeaseSettled() || m.closed() && m.cfg.Quorum.TakenBack(next)
}

// closed reports whether the group is not open yet.
func (m *Machine) closed() bool { return m.phase < Open }

// Change is how far a change of the segments has come, as far as this writer
// can prove.
type Change struct {
	// Joint: two sets are in force.
	Joint bool
	// Point is P* of rule R26, 0 while it is not known.
	Point block.LSN
	// Caught: all that join have everything up to Point, and are not all marked
	// hydrated yet.
	Caught bool
	// MayFinish: the new set may be left alone in force.
	MayFinish bool
}

// Change tells how far the change under way has come.
func (m *Machine) Change() Change {
	q := m.cfg.Quorum
	c := Change{Joint: q.Joint(), Point: m.syncPoint}
	if !c.Joint || !m.LeaseSettled() || m.syncPoint == 0 {
		return c
	}
	c.Caught = len(q.Unhydrated) > 0 && q.Caught(m.syncPoint, m.sclOf)
	c.MayFinish = q.MayFinish(m.syncPoint, m.sclOf)
	return c
}

// reconfigure takes the configuration that the metadata service has decided.
// What is committed stays committed, whatever the new sets say (R27).
func (m *Machine) reconfigure(now Time, next *quorum.Config) {
	if !m.MayReconfigure(next) || next.Epoch < m.cfg.Quorum.Epoch {
		return
	}
	if m.closed() {
		// Who leaves may be read from by a writer before this one, fenced or not.
		m.cfg.Departed = m.cfg.Departed || !mutant.On(mutant.CancelUnwaited)
	}
	before := m.cfg.Quorum
	m.cfg.Quorum = next
	if next.Epoch == before.Epoch {
		return // the same sets; somebody may count as hydrated now
	}
	m.seat(before, next)
	m.installed, m.syncPoint = 0, 0
	for i := range m.members {
		switch mb := &m.members[i]; {
		case mb.serving(): // who was not told refuses a CATCHUP
			m.send(now, Send{Kind: SendPing, Member: quorum.Member(i)})
		case mb.state == Refusing, mb.state == Joining:
			m.up(now, quorum.Member(i))
		}
	}
	m.tryRecover(now)
	if m.phase >= Opening {
		m.advance(now)
	}
}

// seat makes the members those of the new configuration: who is new, or gone,
// begins with nothing.
func (m *Machine) seat(before, next *quorum.Config) {
	changed := quorum.Votes(0)
	for i, id := range next.Segments {
		switch {
		case i == len(m.members):
			m.members = append(m.members, newMember())
		case id != before.Segments[i]:
			m.members[i] = newMember()
			changed = changed.Add(quorum.Member(i))
		}
	}
	m.present = next.Members()
	m.fenced &^= changed
	m.donors &^= changed
	for i := range m.members {
		m.members[i].useless &^= changed
	}
}

// noteInstalled counts who has the configuration in force on its disk, by its
// own word, and takes the sync point when enough of the old set have.
func (m *Machine) noteInstalled(i quorum.Member, a *wire.Ack) {
	q := m.cfg.Quorum
	if !q.Joint() || a.Member < q.Epoch {
		return
	}
	m.installed = m.installed.Add(i)
	if m.syncPoint == 0 && m.phase == Open && q.OldSettled(m.installed) {
		// What is committed is below it anyway, but for what a damaged disk
		// has lost of what it had acknowledged.
		m.syncPoint = max(q.SyncPoint(m.installed, m.sclOf), m.committed)
	}
}

// outdated reports whether a refusal says that a newer configuration is in
// force than this machine counts with: it is to be read anew (R27).
func (m *Machine) outdated(r *wire.Refuse) bool {
	return r.Kind == block.Stale && r.Member > m.cfg.Quorum.Epoch
}
