package pull

import (
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/mutant"
)

// listDonor is who is asked which leaves have changed: who has settled most.
// What it has settled must be beyond this segment's floor, or a hydration that
// has begun could not end. Nobody is when leaves are renounced.
func (m *Machine) listDonor() Peer {
	if m.renounced {
		return -1
	}
	return m.best(m.newer, func(a, b *donor) bool { return a.Readable > b.Readable })
}

// newer tells whether a peer's leaves are of use.
func (m *Machine) newer(d *donor) bool {
	return d.Readable > 0 && d.Readable >= m.floor && (m.mixed || d.SCL > m.scl)
}

// ahead tells whether a peer's leaves bring this segment further: as of its floor
// the chain goes on from beyond this segment's. A leaf of one that lags as much as
// this segment has the chain go on from where it stood.
func (m *Machine) ahead(d *donor) bool { return d.Readable > m.floor && d.SCL > m.scl }

// backed tells whether a peer has settled no more than this segment, so that it
// surely has all records since. After a power cut nobody may have settled what
// leaves were taken of before: floors become durable later than records.
func (m *Machine) backed() bool {
	for i := range m.peers {
		if d := &m.peers[i]; m.usable(Peer(i)) && d.Readable <= m.floor && d.SCL > m.scl {
			return true
		}
	}
	return false
}

// highest tells whether no peer that may be asked stands above this segment: it has
// all there is itself, and others may be waiting for its records.
func (m *Machine) highest() bool {
	l := m.top()
	return l > 0 && l <= m.scl
}

// recordsSince tells whether all records since the floor are with a peer, or here.
func (m *Machine) recordsSince() bool { return m.backed() || m.highest() }

// floorIsCut tells whether the chain can go on from the floor: all blocks are as of
// that, or newer, and the records since are to be had.
func (m *Machine) floorIsCut() bool { return m.since == m.floor && m.recordsSince() }

// startListing has the log take leaves, or take them anew, and then asks which.
func (m *Machine) startListing() {
	m.phase, m.asked, m.from = Listing, true, -1
	m.ask(Effect{Kind: BeginHydration})
}

// list asks for the next part of the list.
func (m *Machine) list() {
	if m.asked {
		return
	}
	if m.from < 0 || !m.usable(m.from) || m.next == 0 {
		m.from = m.listDonor()
		m.next, m.todo, m.total, m.cut = 0, nil, 0, unknown // one list is one peer's
	}
	switch {
	case m.from < 0 && m.floorIsCut():
		m.phase, m.cut = Ending, m.floor
		m.ask(Effect{Kind: Hydrate, Cut: m.cut})
		return
	case m.from < 0:
		m.fail(block.Unavailable, "no peer is left that could name its leaves")
		return
	}
	m.asked = true
	m.ask(Effect{Kind: AskMarks, Peer: m.from, After: m.since, Block: m.next})
}

// marks takes in a part of the list.
func (m *Machine) marks(in *Input) {
	m.asked = false
	if in.Peer != m.from || m.phase != Listing {
		return
	}
	m.lower(in.Cut)
	for _, k := range in.Marks {
		if k.Own < k.MaxLSN {
			m.todo = append(m.todo, k.Block)
		}
	}
	m.next = in.Next
	if in.More {
		return
	}
	m.phase, m.total, m.from = Copying, len(m.todo), -1
}

// lower notes that something is as of cut.
func (m *Machine) lower(cut block.LSN) {
	if cut < m.cut || mutant.On(mutant.HighestCut) {
		m.cut = cut
	}
}

// copy keeps up to MaxDonors peers busy, and ends when all is in.
func (m *Machine) copy() {
	if len(m.todo) == 0 {
		if m.flying == 0 || mutant.On(mutant.HydratedEarly) {
			m.phase = Ending
			m.ask(Effect{Kind: Hydrate, Cut: m.cut})
		}
		return
	}
	worth := m.newer
	if m.best(m.ahead, higher) >= 0 {
		worth = m.ahead
	}
	for n := 1; n <= LeafWindow; n++ { // even shares
		donors := 0
		for i := range m.peers {
			d := &m.peers[i]
			if !m.usable(Peer(i)) || !worth(d) || donors == MaxDonors {
				continue
			}
			donors++
			if len(m.todo) == 0 || d.leaves >= n {
				continue
			}
			d.leaves++
			m.flying++
			m.ask(Effect{Kind: AskLeaf, Peer: Peer(i), Block: m.todo[0]})
			m.todo = m.todo[1:]
		}
	}
	switch {
	case m.flying > 0:
	case m.floorIsCut():
		m.renounce()
	default:
		m.fail(block.Unavailable, "no peer is left that has the leaves, %d of %d are to come", len(m.todo), m.total)
	}
}

// renounce does without the leaves that nobody can give, perhaps because they
// have rotten: somebody is back who has all records since the floor. Beginning once
// more makes a leaf of which a part has come count as none.
func (m *Machine) renounce() {
	m.renounced = true
	m.startListing()
}

// taken notes that a leaf is on disk.
func (m *Machine) taken(in *Input) {
	m.peers[in.Peer].leaves--
	m.flying--
	m.lower(in.Cut)
}

// hydrated goes on by records.
func (m *Machine) hydrated(in *Input) {
	m.phase, m.scl, m.after, m.floor = Records, in.SCL, in.SCL, m.cut
	m.mixed, m.empty, m.retold, m.renounced, m.asked, m.from = false, false, false, false, false, -1
	for i := range m.peers {
		m.peers[i].noLog = false
	}
}
