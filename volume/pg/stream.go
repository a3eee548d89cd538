package pg

import (
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/volume/quorum"
	"github.com/sextantdisk/sextant/wire"
)

// collect sends every streaming member what was issued since.
func (m *Machine) collect(now Time) {
	if m.phase != Open && m.phase != Opening {
		return
	}
	for i := range m.members {
		if m.members[i].state == Streaming {
			m.stream(now, quorum.Member(i))
		}
	}
}

// stream sends member i what it has not been sent, within its window (B6). A
// member whose place the ring has passed becomes lagging, also when the ring
// holds nothing more: else it would lack the rest until the next write.
func (m *Machine) stream(now Time, i quorum.Member) {
	mb := &m.members[i]
	k := m.ring.firstAfter(mb.sent)
	if k == m.ring.len() {
		if mb.sent < m.tail {
			m.lag(now, i)
		}
		return
	}
	if first := m.ring.at(k); first.Prev != mb.sent && first.LSN != m.open {
		m.lag(now, i)
		return
	}
	window, data := m.window(mb), m.takesData(now, mb)
	for k < m.ring.len() {
		n, meta, payload := k, 0, 0
		for n < m.ring.len() {
			r := m.ring.at(n)
			if r.end > window || !data && len(r.Payload) > 0 || !wire.Room(n-k, meta, payload, &r.Record) {
				break
			}
			meta += r.MetaSize()
			payload += len(r.Payload)
			n++
		}
		if n == k {
			return // the window is shut; the next ack opens it
		}
		m.send(now, Send{Kind: SendRecords, Member: i, Records: m.ring.view(k, n)})
		mb.sent = m.ring.at(n - 1).LSN
		k = n
	}
}

// window is the byte position, on the scale of Record.end, up to which member
// mb may be sent records: SendWindow beyond what it has acknowledged. When the
// ring has passed the member's place, where that is was learned before, or the
// window stays shut until what is on its way is acknowledged.
func (m *Machine) window(mb *member) block.ByteCount {
	k := m.ring.firstAfter(mb.scl)
	switch {
	case k < m.ring.len():
		if r := m.ring.at(k); r.Prev == mb.scl || r.LSN == m.open {
			mb.acked = r.end - r.size()
		}
	case mb.scl >= m.tail:
		mb.acked = m.issued
	}
	return mb.acked + SendWindow
}

// tick does what time asks for: the fence's grace, retries, held writes, the
// end of a former lease, pings.
func (m *Machine) tick(now Time) {
	m.tryRecover(now)
	if m.phase == Open && m.holdUntil != 0 && m.leaseOver(now) {
		m.trim()
	}
	m.failHeld(now)
	m.checkStuck(now)
	if m.phase != Idle {
		for i := range m.members {
			m.tickMember(now, quorum.Member(i))
		}
	}
	m.trim()
}

func (m *Machine) tickMember(now Time, i quorum.Member) {
	mb := &m.members[i]
	switch mb.state {
	case Refusing:
		if now-mb.asked >= RetryEvery {
			m.up(now, i)
		}
	case CatchingUp:
		if now-mb.asked >= 2*RetryEvery { // no sign of life from the catch-up
			mb.state = Lagging
			m.catchUp(now, i)
		}
	case Lagging:
		m.catchUp(now, i)
	}
	if mb.state < Streaming || mb.state == Refusing || now-mb.spoken < PingEvery {
		return
	}
	installs := m.cfg.Quorum.Joint() && !m.installed.Has(i)
	// A member that is full, or damaged, is told where all stand until it is no more.
	ails := (mb.full || mb.damaged) && now-mb.spoken >= RetryEvery
	if installs || now-m.active < ActiveFor || mb.told < m.floor() || ails {
		m.send(now, Send{Kind: SendPing, Member: i})
	}
}

// failHeld fails writes that have waited longer than the volume allows (B5).
// Records that were issued stay in the ring: they may still come through, as
// any unanswered write may (B7).
func (m *Machine) failHeld(now Time) {
	keep := m.waiting[:0]
	for _, r := range m.waiting {
		if now-r.issued < m.cfg.Hold {
			keep = append(keep, r)
			continue
		}
		m.fail(r)
	}
	clear(m.waiting[len(keep):])
	m.waiting = keep
	answered := m.committed
	if m.holdUntil != 0 {
		answered = m.open
	}
	for k := m.ring.firstAfter(answered); k < m.ring.len(); k++ {
		r := m.ring.at(k)
		if now-r.issued < m.cfg.Hold {
			break
		}
		if r.Type != wire.RecordOpen && !r.failed {
			r.failed = true
			m.fx.Failed = append(m.fx.Failed, r)
		}
	}
}

// checkStuck notices an opening that cannot come to an end in this epoch:
// nobody who has the recovery point is there, and may give it. Another point may
// be chosen only under a higher epoch, because EPOCH_OPEN may already be somewhere.
func (m *Machine) checkStuck(now Time) {
	if m.phase != Opening {
		return
	}
	for i := range m.members {
		if mb := &m.members[i]; mb.state == Streaming && !mb.damaged && m.has(quorum.Member(i), m.point) {
			m.stuckAt = never
			return
		}
	}
	if m.stuckAt == never {
		m.stuckAt = now
	}
	m.fx.Stuck = now-m.stuckAt >= StuckAfter
}
