package pg

import (
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/mutant"
	"github.com/sextantdisk/sextant/volume/quorum"
)

// readPoints counts the reads that are under way at each read-point. Points
// are given out in order, so the oldest is in front.
type readPoints struct {
	points []readPoint
}

type readPoint struct {
	at block.LSN
	n  int
}

func (p *readPoints) add(at block.LSN) {
	if k := len(p.points) - 1; k >= 0 && p.points[k].at == at {
		p.points[k].n++
		return
	}
	p.points = append(p.points, readPoint{at, 1})
}

func (p *readPoints) remove(at block.LSN) {
	for i := range p.points {
		if p.points[i].at == at {
			p.points[i].n--
			break
		}
	}
	drop := 0
	for drop < len(p.points) && p.points[drop].n == 0 {
		drop++
	}
	p.points = p.points[:copy(p.points, p.points[drop:])]
}

// floor is the PGMRPL: no read below it is under way or will come (R13).
func (m *Machine) floor() block.LSN {
	if len(m.reads.points) > 0 && !mutant.On(mutant.FloorOverReads) {
		return min(m.reads.points[0].at, m.committed)
	}
	return m.committed
}

// Floor is the PGMRPL.
func (m *Machine) Floor() block.LSN { return m.floor() }

// BeginRead gives the read-point of a read that begins now (R11), if the
// group is open and the read lease holds (R14). EndRead must follow.
//
// The lease has two sources. A read quorum of each set has answered something
// under our epoch; or the metadata service has confirmed, in answer to
// something sent at confirmed, that our epoch is the volume's: then no
// successor had begun before that time. The second needs no word from the
// segments, so that reads go on while a single complete one lives (B5).
//
// While a former writer's lease may last there are no reads either: what was
// recovered may be newer than what that writer still serves, and a reader who
// saw the new must not find the old again through it (docs/adr/0001).
//
// If not ok the caller waits for Effects.Readable, or for a newer
// confirmation; fx are pings that renew the lease, to be carried out like
// the effects of a step.
func (m *Machine) BeginRead(now, confirmed Time) (at block.LSN, fx *Effects, ok bool) {
	m.fx.reset()
	m.active = now
	if m.phase != Open || m.holdUntil != 0 {
		return 0, &m.fx, false
	}
	if m.MayReturn(now, confirmed) {
		m.reads.add(m.committed)
		return m.committed, &m.fx, true
	}
	for i := range m.members {
		mb := &m.members[i]
		fresh := mb.spoken > mb.heard && now-mb.spoken < PingEvery // asked, not answered yet
		if mb.state >= Streaming && mb.state != Refusing && !fresh {
			m.send(now, Send{Kind: SendPing, Member: quorum.Member(i)})
		}
	}
	return 0, &m.fx, false
}

// EndRead says that a read at this read-point is over.
func (m *Machine) EndRead(at block.LSN) { m.reads.remove(at) }

// MayReturn reports whether bytes that a read brings may go to the client:
// the lease must hold when they do, too.
func (m *Machine) MayReturn(now, confirmed Time) bool {
	if m.phase != Open {
		return false
	}
	return mutant.On(mutant.NoReadLease) || quorum.Confirmed(now, confirmed) ||
		now < m.cfg.Quorum.LeaseUntil(func(i quorum.Member) Time { return m.members[i].heard })
}

// Serves reports whether member i can serve a read at this read-point: it is
// connected and has acknowledged it (R11).
func (m *Machine) Serves(i quorum.Member, at block.LSN) bool {
	mb := &m.members[i]
	return mb.serving() && mb.scl >= m.open && mb.scl >= at
}
