package pg

import (
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/volume/quorum"
	"github.com/sextantdisk/sextant/wire"
)

// State is how a member stands with its writer, as people see it.
type State uint8

// The states of a member.
const (
	Unreachable State = iota // no connection
	Joining                  // connected, its standing not known yet
	Streaming                // gets every record as it is issued
	Lagging                  // lacks records that the ring no longer has
	CatchingUp               // fetches them from a peer
	Refusing                 // answers, but takes nothing: see its reason
	// Full is how a member is shown that is connected and whose disk takes
	// no more data. It is no state of its own: such a member streams or
	// lags, see room.go.
	Full
)

var stateNames = [...]string{"unreachable", "joining", "streaming", "lagging", "catching-up", "refusing", "full"}

// String names the state; the names are part of the CLI's JSON contract.
func (s State) String() string { return stateNames[s] }

// member is what the writer knows of one segment.
type member struct {
	state  State
	reason string // of Refusing

	scl     block.LSN // acknowledged; kept when the connection goes: durable is durable
	sent    block.LSN // last record sent on this connection
	damaged bool
	// full: its disk takes no more data, by its last word, which stands while
	// the connection is down; noData is until when it is sent none at all.
	full   bool
	noData Time
	// acked is where scl lies on the scale of Record.end, or, when the ring
	// has passed it, where it lay at least.
	acked block.ByteCount

	heard     Time      // when the newest message that it answered was sent (R14)
	spoken    Time      // when it was last sent anything
	told      block.LSN // the floor that it was told last
	joinStamp Time      // of the last Join: an ack from there on answers it
	asked     Time      // when it was last told to catch up, or refused
	askedSCL  block.LSN // its SCL then
	// useless are the donors that were asked since it last got on: one may
	// have damage in its log just where this member needs it.
	useless quorum.Votes
}

// MemberStatus is a member's standing, for reports.
type MemberStatus struct {
	State   State
	Reason  string
	SCL     block.LSN
	Damaged bool
	// Lag is how many bytes of records it has not acknowledged, as far as
	// the ring can tell; LagRecords counts them.
	Lag        block.ByteCount
	LagRecords int
}

// Member tells of one member.
func (m *Machine) Member(i quorum.Member) MemberStatus {
	mb := &m.members[i]
	s := MemberStatus{State: mb.state, Reason: mb.reason, SCL: mb.scl, Damaged: mb.damaged}
	if mb.full && mb.serving() {
		s.State, s.Reason = Full, "its disk is full"
	}
	if k := m.ring.firstAfter(mb.scl); k < m.ring.len() {
		first := m.ring.at(k)
		s.Lag = m.issued - (first.end - first.size())
		s.LagRecords = m.ring.len() - k
	}
	return s
}

func (m *Machine) up(now Time, i quorum.Member) {
	mb := &m.members[i]
	mb.reason, mb.sent = "", 0
	m.join(now, i)
}

// join fences member i and asks where it stands. Messages of one connection
// keep their order, so the answer tells what came of all that went before.
func (m *Machine) join(now Time, i quorum.Member) {
	m.members[i].state = Joining
	if m.phase != Idle {
		m.send(now, Send{Kind: SendJoin, Member: i})
	}
}

func (m *Machine) down(i quorum.Member) {
	m.members[i].state, m.members[i].reason = Unreachable, "no connection"
}

// acked takes a member's word: the answer to a Join, cumulative progress, or
// the answer to a ping.
func (m *Machine) acked(now Time, i quorum.Member, a *wire.Ack) {
	mb := &m.members[i]
	if a.Epoch != m.cfg.Epoch || mb.state == Unreachable {
		return // an echo from before this connection or another epoch (I5)
	}
	if t := Time(a.Stamp); t > mb.heard && t <= m.stamp {
		mb.heard = t
		m.fx.Readable = m.phase == Open
	}
	joined := mb.state == Joining && Time(a.Stamp) >= mb.joinStamp
	if mb.state == Joining && !joined {
		return // said before it had the Join
	}
	if joined || a.SCL > mb.scl {
		mb.scl = a.SCL // after a Join even downwards: what a damaged disk has lost is lost
	}
	mb.damaged, mb.full = a.Damaged, a.Full
	m.fenced = m.fenced.Add(i)
	switch m.phase {
	case Fencing:
		if joined {
			mb.state = Streaming // provisionally: the recovery point decides
		}
		m.tryRecover(now)
	case Opening, Open:
		if mb.state != Refusing {
			m.settle(now, i, a, joined)
		}
		m.advance(now)
		m.noteInstalled(i, a)
	}
}

// settle decides whether member i gets the stream or must catch up first.
func (m *Machine) settle(now Time, i quorum.Member, a *wire.Ack, joined bool) {
	mb := &m.members[i]
	if mb.state == Streaming && !joined {
		if a.Gap {
			m.join(now, i) // something was lost on the way: begin again
			return
		}
		m.stream(now, i)
		return
	}
	k, links := m.ring.linksTo(mb.scl, m.tail)
	// A member that stopped on another branch above the recovery point may
	// still have the point itself: offer it our EPOCH_OPEN. If it does not
	// link the answers say Gap from then on, and it catches up.
	mayLink := joined && !a.Gap && mb.scl > m.point && mb.scl.Epoch() < m.cfg.Epoch &&
		m.ring.len() > 0 && m.ring.at(0).LSN == m.open
	switch {
	case links:
		mb.state, mb.reason = Streaming, ""
		mb.sent = mb.scl
		if k == m.ring.len() {
			mb.sent = m.tail
		}
		m.stream(now, i)
	case mayLink:
		mb.state, mb.reason = Streaming, ""
		mb.sent = mb.scl
		m.stream(now, i)
	case a.CatchingUp:
		mb.state = CatchingUp
		mb.asked = now
	default:
		m.lag(now, i)
	}
}

// lag stops the stream to member i; it has to catch up from a peer.
func (m *Machine) lag(now Time, i quorum.Member) {
	mb := &m.members[i]
	if mb.state != Lagging && mb.state != CatchingUp || mb.scl > mb.askedSCL {
		mb.asked = longAgo // at once: the last round has brought something
	}
	mb.state = Lagging
	m.catchUp(now, i)
}

// catchUp sends a lagging member to a peer that has what it lacks (R8, R20).
func (m *Machine) catchUp(now Time, i quorum.Member) {
	mb := &m.members[i]
	if mb.state != Lagging || now-mb.asked < RetryEvery || !m.takesData(now, mb) {
		return
	}
	upTo := m.committed
	if m.phase == Opening {
		upTo = m.point
		if mb.scl > m.point {
			upTo = m.open // it stands on another branch: only what is above brings it over
		}
	}
	if mb.scl > mb.askedSCL {
		mb.useless = 0
	}
	best := m.donorFor(i, upTo)
	if best < 0 && mb.useless != 0 {
		mb.useless = 0 // all have had their turn: begin again
		best = m.donorFor(i, upTo)
	}
	if best < 0 {
		return
	}
	mb.useless = mb.useless.Add(best)
	mb.state, mb.asked, mb.askedSCL = CatchingUp, now, mb.scl
	m.send(now, Send{Kind: SendCatchUp, Member: i, Donor: best, UpTo: upTo})
}

// donorFor is the member that has the most, and surely everything up to lsn,
// of those that have not been asked by member i in vain; -1 if there is none.
func (m *Machine) donorFor(i quorum.Member, lsn block.LSN) quorum.Member {
	best := quorum.Member(-1)
	for k := range m.members {
		j, d := quorum.Member(k), &m.members[k]
		if j == i || d.state != Streaming || d.damaged || !m.has(j, lsn) || m.members[i].useless.Has(j) {
			continue
		}
		if best < 0 || d.scl > m.members[best].scl {
			best = j
		}
	}
	return best
}

// has reports whether member i surely has everything up to lsn: it is on our
// own chain, or it was one of those that had the recovery point.
func (m *Machine) has(i quorum.Member, lsn block.LSN) bool {
	scl := m.members[i].scl
	return scl >= lsn && (scl >= m.open || m.donors.Has(i))
}

func (m *Machine) refused(now Time, i quorum.Member, r *wire.Refuse) {
	if r.Epoch > m.cfg.Epoch {
		m.die(r.Epoch)
		return
	}
	m.fx.Outdated = m.outdated(r)
	mb := &m.members[i]
	if mb.state == Unreachable {
		return
	}
	if r.Kind == block.NoSpace {
		mb.noData = now + RetryEvery
		if mb.serving() { // what was on its way to it is lost; the rest it has
			mb.state, mb.asked = Lagging, now
			return // its next ack tells whether it is full, or only short of room for a moment
		}
		mb.full = true // it cannot even be made
	}
	mb.state, mb.reason, mb.asked = Refusing, r.Message, now
}

// serving reports whether the member is connected and its standing known.
func (mb *member) serving() bool {
	return mb.state == Streaming || mb.state == Lagging || mb.state == CatchingUp
}

// die ends the machine: a successor has the volume. Nothing is answered: what
// was not acknowledged is maybe, and its owners must learn neither success
// nor failure (R3, trap T32).
func (m *Machine) die(successor block.VolumeEpoch) {
	m.phase = Dead
	m.fx.Fenced = successor
}
