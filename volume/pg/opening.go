package pg

import (
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/mutant"
	"github.com/sextantdisk/sextant/volume/quorum"
	"github.com/sextantdisk/sextant/wire"
)

// start begins the opening: fence everybody (protocol §2.5 step 2).
func (m *Machine) start(now Time) {
	if m.phase != Idle {
		return
	}
	m.phase = Fencing
	m.fencedAt = never
	m.active = now
	for i := range m.members {
		if m.members[i].state != Unreachable {
			m.send(now, Send{Kind: SendJoin, Member: quorum.Member(i)})
		}
	}
}

// tryRecover looks whether enough have answered the fence, and if so finds
// the recovery point and writes EPOCH_OPEN (protocol §2.5 steps 3 to 5).
func (m *Machine) tryRecover(now Time) {
	if m.phase != Fencing {
		return
	}
	var answers []quorum.Answer
	for i := range m.members {
		if mb := &m.members[i]; m.fenced.Has(quorum.Member(i)) {
			answers = append(answers, quorum.Answer{Member: quorum.Member(i), SCL: mb.scl, Damaged: mb.damaged})
		}
	}
	point, donors, ok := m.cfg.Quorum.Recover(answers)
	if !ok {
		return
	}
	m.fencedAt = min(m.fencedAt, now)
	if !m.cfg.Quorum.All(m.fenced) && now < m.fencedAt+FenceGrace {
		return
	}
	m.point, m.donors = point, donors
	m.phase = Opening
	m.tail = point
	m.append(now, &Record{Record: wire.Record{Type: wire.RecordOpen}})
	m.open = m.tail
	if mutant.On(mutant.ServeEarly) {
		m.opened(now)
	}
	for i := range m.members {
		if mb := &m.members[i]; mb.state == Streaming {
			a := wire.Ack{SCL: mb.scl}
			m.settle(now, quorum.Member(i), &a, true)
		}
	}
}

// append gives a record its LSN and its place in the chain (R5).
func (m *Machine) append(now Time, r *Record) {
	r.LSN, r.Prev = m.cfg.Next(), m.tail
	r.issued = now
	m.tail = r.LSN
	m.issued += r.size()
	r.end = m.issued
	m.ring.push(r)
}

// issue takes a write; before the group is open it waits.
func (m *Machine) issue(now Time, r *Record) {
	m.active = now
	if m.phase != Open {
		r.issued = now
		m.waiting = append(m.waiting, r)
		return
	}
	if m.noRoomFor(r) {
		m.fail(r)
		return
	}
	m.append(now, r)
}

// advance recomputes what is committed (R7) and answers what may be answered.
func (m *Machine) advance(now Time) {
	c := m.cfg.Quorum.Committed(m.sclOf)
	if m.phase == Opening {
		if c < m.open {
			return
		}
		m.opened(now)
	}
	c = max(c, m.committed)
	if !m.leaseOver(now) {
		m.committed = c // reads may see it; writers are told later (R14)
		return
	}
	m.answer(m.committed, c)
	m.committed = c
	m.trim()
}

// sclOf is what member i counts for: only what lies on our own chain.
func (m *Machine) sclOf(i quorum.Member) block.LSN {
	if scl := m.members[i].scl; scl >= m.open {
		return scl
	}
	return 0
}

// opened: EPOCH_OPEN is on a write quorum (protocol §2.5 step 6).
func (m *Machine) opened(now Time) {
	m.phase = Open
	m.committed = m.open
	m.fx.Opened = true
	m.hold(now)
	m.fx.Readable = m.holdUntil == 0
	for _, r := range m.waiting {
		if m.noRoomFor(r) {
			m.fail(r)
			continue
		}
		issued := r.issued
		m.append(now, r)
		r.issued = issued // its hold time began when it came
	}
	clear(m.waiting)
	m.waiting = m.waiting[:0]
	m.collect(now)
}

// hold decides for how long former writers must be waited for (R14): for those
// whose read lease may be alive, and for those whom no fence keeps from reading:
// who may take the group for empty, or may read from a segment that has left.
func (m *Machine) hold(now Time) {
	m.apartUntil = m.cfg.EmptyUntil
	if m.point == 0 {
		m.apartUntil = max(m.apartUntil, m.cfg.UnopenedUntil)
	}
	if mutant.On(mutant.NoEmptyWait) {
		m.apartUntil = 0
	}
	if m.cfg.Departed && !m.cfg.Clean && !mutant.On(mutant.NoDepartedWait) {
		m.apartUntil = max(m.apartUntil, now+quorum.LeaseWait)
	}
	until, wait := m.apartUntil, quorum.LeaseWait
	if mutant.On(mutant.NoDrift) {
		wait = quorum.LeaseTerm
	}
	if !m.cfg.Clean && !m.cfg.Fresh && !m.cfg.Quorum.All(m.fenced) && !mutant.On(mutant.NoLeaseWait) {
		until = max(until, now+wait)
	}
	if now < until {
		m.holdUntil = until
	}
}

// leaseOver reports whether writes may be answered: a former writer can read
// nowhere any more (R14). The wait for read leases ends as soon as all are fenced;
// who reads a group as empty, or from a segment that left, asks none of them: then
// only time helps.
func (m *Machine) leaseOver(now Time) bool {
	if now < m.apartUntil || now < m.holdUntil && !m.cfg.Quorum.All(m.fenced) {
		return false
	}
	if m.holdUntil != 0 {
		m.holdUntil = 0
		m.fx.Readable = true
		m.answer(m.open, m.committed)
	}
	return true
}

// answer tells the owners of records in (from, to].
func (m *Machine) answer(from, to block.LSN) {
	for k := m.ring.firstAfter(from); k < m.ring.len(); k++ {
		r := m.ring.at(k)
		if r.LSN > to {
			break
		}
		switch {
		case r.Type == wire.RecordOpen:
		case r.failed:
			m.fx.Late = append(m.fx.Late, r)
		default:
			m.fx.Done = append(m.fx.Done, r)
		}
	}
}

// trim lets go what everybody has, and beyond the ring's limit what is
// committed.
func (m *Machine) trim() {
	if m.holdUntil != 0 {
		return // not answered yet
	}
	all := m.committed
	for i := range m.members {
		if m.present.Has(quorum.Member(i)) {
			all = min(all, m.members[i].scl)
		}
	}
	for m.ring.len() > 0 {
		r := m.ring.at(0)
		full := m.ring.bytes > m.ring.limit || m.ring.len() > RingRecords
		if r.LSN > m.committed || r.LSN > all && !full {
			return
		}
		m.fx.Free = append(m.fx.Free, m.ring.pop())
	}
}

// SetRingLimit changes how much is kept for members that lag; the shell
// lowers it when many groups keep something. It takes effect with the next step.
func (m *Machine) SetRingLimit(n block.ByteCount) { m.ring.limit = n }

// RingBytes is how much the ring holds.
func (m *Machine) RingBytes() block.ByteCount { return m.ring.bytes }
