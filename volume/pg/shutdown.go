package pg

import (
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/volume/quorum"
	"github.com/sextantdisk/sextant/wire"
)

// Abandon ends the machine and hands over every record that it still holds:
// those whose owners wait for an answer, and all whose memory is to be freed.
// The former are among the latter.
func (m *Machine) Abandon() (unanswered, all []*Record) {
	answered := m.committed
	if m.holdUntil != 0 {
		answered = m.open
	}
	for m.ring.len() > 0 {
		r := m.ring.pop()
		if r.LSN > answered && r.Type != wire.RecordOpen && !r.failed {
			unanswered = append(unanswered, r)
		}
		all = append(all, r)
	}
	unanswered = append(unanswered, m.waiting...)
	all = append(all, m.waiting...)
	m.waiting = nil
	m.phase = Dead
	return unanswered, all
}

// NeedsTick reports whether time can make a difference soon: something is
// under way, waited for, or to be told.
func (m *Machine) NeedsTick() bool {
	switch m.phase {
	case Idle, Dead:
		return false
	case Fencing, Opening:
		return true
	}
	if m.holdUntil != 0 || len(m.waiting) > 0 || m.OldestPending() != 0 || len(m.reads.points) > 0 {
		return true
	}
	for i := range m.members {
		mb := &m.members[i]
		switch mb.state {
		case Unreachable:
			continue
		case Streaming:
			if mb.told < m.committed || mb.full || mb.damaged || m.cfg.Quorum.Joint() && !m.installed.Has(quorum.Member(i)) {
				return true
			}
		default:
			return true
		}
	}
	return m.now-m.active < ActiveFor
}

// Tail is the last LSN issued in this group.
func (m *Machine) Tail() block.LSN { return m.tail }

// LeaseSettled reports whether no writer before this one can read from the
// group any more: R14's wait was not needed, or is over.
func (m *Machine) LeaseSettled() bool { return m.phase == Open && m.holdUntil == 0 }
