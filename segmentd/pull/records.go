package pull

import (
	"slices"

	"github.com/sextantdisk/sextant/internal/block"
)

// records asks for the next page, or for leaves if nobody has one.
func (m *Machine) records() {
	if m.empty || m.mixed {
		m.discover() // leaves are less than all that was ever written
	}
	if m.asked || m.unsaved >= Window {
		return
	}
	if m.mixed || m.empty && m.allTold() && m.someSettled() {
		if m.unsaved == 0 {
			m.leaves()
		}
		return
	}
	if m.after >= m.upTo || m.allTold() && m.after >= m.top() {
		m.reached()
		return
	}
	if m.from < 0 || !m.gives(m.from) {
		m.from = m.recordDonor()
	}
	switch {
	case m.from >= 0:
		m.asked = true
		m.ask(Effect{Kind: AskRecords, Peer: m.from, After: m.after, UpTo: min(m.upTo, m.peers[m.from].SCL)})
	case !m.allTold():
		m.discover()
	case m.unsaved == 0:
		m.leaves()
	}
}

// someSettled tells whether a peer has leaves that are beyond what has come.
func (m *Machine) someSettled() bool {
	for i := range m.peers {
		if d := &m.peers[i]; m.usable(Peer(i)) && d.Readable != unknown && d.Readable > m.after {
			return true
		}
	}
	return false
}

// top is the highest SCL of a usable peer.
func (m *Machine) top() (l block.LSN) {
	for i := range m.peers {
		if m.usable(Peer(i)) {
			l = max(l, m.peers[i].SCL)
		}
	}
	return l
}

// lostMore tells whether a peer that was lost had more than has come.
func (m *Machine) lostMore() bool {
	return slices.ContainsFunc(m.peers, func(d donor) bool { return d.failed && d.Usable && d.SCL > m.after })
}

// reached ends the pull when all that can be had is on disk: what was asked
// for, or all that peers had when they were asked.
func (m *Machine) reached() {
	switch {
	case m.unsaved > 0:
	case m.after < m.upTo && m.top() == 0:
		m.fail(block.Unavailable, "no peer is left to ask")
	case m.scl < min(m.upTo, m.after):
		// They came from two branches: the peer on the one that counts had no
		// log back to the floor, and who had is on one that was annulled.
		m.discover()
		m.leaves()
	case m.after < m.upTo && m.lostMore():
		m.fail(block.Unavailable, "the peers that had what is after %v failed", m.after)
	default:
		m.phase = Done
	}
}

// gives tells whether a peer may still have the record after m.after.
func (m *Machine) gives(p Peer) bool {
	d := &m.peers[p]
	return m.usable(p) && d.SCL > m.after && d.reaches(m.after)
}

// recordDonor is who is asked for records; -1 if nobody is. One that has them
// surely goes first.
func (m *Machine) recordDonor() Peer {
	sure := m.best(func(d *donor) bool { return d.Readable <= m.after && d.SCL > m.after && !d.noLog }, higher)
	if sure >= 0 {
		return sure
	}
	return m.best(func(d *donor) bool { return d.SCL > m.after && d.reaches(m.after) }, higher)
}

// page takes in what came of a question for records.
func (m *Machine) page(in *Input) {
	m.asked = false
	d := &m.peers[in.Peer]
	if in.Last != 0 {
		m.unsaved++ // it is logged and will be Saved, whether it links or not
	}
	switch {
	case in.Last == 0:
		d.failed = true // it said that it had some
	case in.Prev != m.after && !m.retold:
		// This segment stands on a branch that was annulled; its floor is on
		// every chain.
		m.retold, m.after = true, m.floor
	case in.Prev > m.after:
		d.failed = true
	default:
		m.retold = true
		m.after = in.Last
	}
}

// leaves goes over to taking leaves.
func (m *Machine) leaves() {
	switch {
	case !m.allTold():
		return
	case m.listDonor() < 0 && (!m.mixed || !m.recordsSince()):
		m.fail(block.Behind, "no peer has the records after %v, nor leaves that are newer", m.after)
		return
	case m.rounds == MaxRounds:
		m.fail(block.Behind, "the records since were gone in each of %d rounds", MaxRounds)
		return
	}
	m.rounds++
	m.startListing()
}
