package pg

import (
	"github.com/sextantdisk/sextant/volume/quorum"
)

// A disk that is full says so in each answer, some time before it has to
// refuse anything. Its member then counts as failed for data (the others go
// on) and for nothing else: it serves reads, is fenced, and takes records
// without payload, among them those that give space back.
//
// When the members with room are no write quorum any more, no new data is
// taken in: it fails at once. It does not even get a place in the chain, for
// whatever comes after it would have to wait for it, and what comes after may
// be the TRIM that makes room. What already has a place in the chain must be
// brought to an end, so then, and only then, full members are sent data, too:
// their disks keep a margin for it (docs/adr/0019).
//
// All of this ends by itself with the first answers that tell of room.

// votes are the members that pass.
func (m *Machine) votes(pass func(*member) bool) quorum.Votes {
	var v quorum.Votes
	for i := range m.members {
		if pass(&m.members[i]) {
			v = v.Add(quorum.Member(i))
		}
	}
	return v
}

// HasRoom reports whether new data is taken in: the members that are not full
// are a write quorum, if all of them are up.
func (m *Machine) HasRoom() bool {
	full := m.votes(func(mb *member) bool { return mb.full })
	return full == 0 || m.cfg.Quorum.Writes(m.votes(func(mb *member) bool { return !mb.full }))
}

// WantsRoom reports whether it is for want of room that data finds no write
// quorum: with the members that are full there would be one, without there is
// none.
func (m *Machine) WantsRoom() bool {
	if !m.HasRoom() {
		return true
	}
	takes := m.votes(func(mb *member) bool { return mb.state == Streaming && !mb.full })
	all := m.votes(func(mb *member) bool { return mb.state == Streaming || mb.full && mb.state != Unreachable })
	return !m.cfg.Quorum.Writes(takes) && m.cfg.Quorum.Writes(all)
}

// takesData reports whether mb may be sent data now.
func (m *Machine) takesData(now Time, mb *member) bool {
	return now >= mb.noData && (!mb.full || !m.HasRoom())
}

// noRoomFor reports whether r is not to be taken in.
func (m *Machine) noRoomFor(r *Record) bool { return len(r.Payload) > 0 && !m.HasRoom() }

// fail refuses a record that has no place in the chain.
func (m *Machine) fail(r *Record) {
	m.fx.Failed = append(m.fx.Failed, r)
	m.fx.Free = append(m.fx.Free, r)
}
