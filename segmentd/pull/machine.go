package pull

import (
	"fmt"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/mutant"
)

// Bounds of a pull.
const (
	// MaxDonors bounds the peers that leaves are taken from at a time (R22).
	MaxDonors = 5
	// Window is how many pages of records may be asked for and not on disk.
	Window = 4
	// LeafWindow is how many leaves of one peer may be asked for and not on
	// disk.
	LeafWindow = 3
	// MaxRounds bounds how often leaves are taken over anew because the
	// records since then are gone as well.
	MaxRounds = 16
)

// Peer is a peer, by its place in Begin's list.
type Peer int

// Phase is how far a pull is.
type Phase uint8

// The phases of a pull.
const (
	Idle    Phase = iota
	Records       // taking records
	Listing       // asking which leaves have changed
	Copying       // taking leaves
	Ending        // all leaves are there, the log is told so
	Done          // UpTo is reached
	Failed        // no peer has what is next, or the shell gave up
)

var phaseNames = [...]string{"idle", "records", "listing", "copying", "ending", "done", "failed"}

// String names the phase.
func (p Phase) String() string { return phaseNames[p] }

// Stand is where a peer stands, and whether it may be asked at all: it has
// promised the same epoch, it is not damaged, it is whole.
type Stand struct {
	Usable   bool
	SCL      block.LSN
	Readable block.LSN // its floor, or higher: it has all records above
}

// donor is what is known of a peer.
type donor struct {
	Stand
	told   bool // it has said where it stands, or failed to
	failed bool
	// gone: its log does not reach back to gone.
	gone   block.LSN
	noLog  bool
	leaves int // asked for and not on disk
}

// reaches tells whether its log may reach back to after.
func (d *donor) reaches(after block.LSN) bool { return !d.noLog || after > d.gone }

// Mark is a leaf that a peer has settled, and up to where it is settled here.
type Mark struct {
	Block       block.Index
	MaxLSN, Own block.LSN
}

// Machine pulls for one segment. The zero value is Idle.
type Machine struct {
	phase  Phase
	upTo   block.LSN
	scl    block.LSN // of this segment
	after  block.LSN // the last record asked for and come
	mixed  bool      // leaves have begun to come, and not all are in
	floor  block.LSN // records are asked for from here if they do not link from the SCL
	retold bool      // they did not
	peers  []donor
	// empty: the segment had nothing when this began.
	empty bool
	// sought: Discover was asked for; found: it was answered.
	sought, found bool

	from    Peer // who gives records, or the list
	asked   bool // an answer is due
	unsaved int  // pages that came and are not on disk

	since  block.LSN // leaves that changed since are taken
	next   block.Index
	todo   []block.Index
	total  int // leaves of this round
	cut    block.LSN
	rounds int
	flying int // leaves asked for and not on disk
	// renounced: no leaf is asked for any more, records have all of it.
	renounced bool

	reason error
	fx     []Effect
}

// Phase is how far the pull is.
func (m *Machine) Phase() Phase { return m.phase }

// Err is why it has failed.
func (m *Machine) Err() error { return m.reason }

// Leaves is how many leaves this round has, and how many of them are still to
// come.
func (m *Machine) Leaves() (total, left int) {
	if m.phase != Copying {
		return 0, 0
	}
	return m.total, len(m.todo) + m.flying
}

// Describe prints the machine for tests and logs.
func (m *Machine) Describe() string {
	return fmt.Sprintf("%v up to %v, SCL %v, after %v, round %d: %d of %d leaves to come, cut %v",
		m.phase, m.upTo, m.scl, m.after, m.rounds, len(m.todo)+m.flying, m.total, m.cut)
}

// fail ends the pull.
func (m *Machine) fail(kind block.Kind, format string, args ...any) {
	m.phase, m.reason = Failed, block.Errorf(kind, format, args...)
}

// usable tells whether a peer may be asked for anything.
func (m *Machine) usable(p Peer) bool {
	d := &m.peers[p]
	return d.told && d.Usable && (!d.failed || mutant.On(mutant.LostPeerAgain))
}

// unknown is the floor of a peer that was not asked for it, and a cut as of which
// nothing is.
const unknown = ^block.LSN(0)

// discover asks once for all peers.
func (m *Machine) discover() {
	if !m.sought {
		m.sought = true
		m.ask(Effect{Kind: Discover})
	}
}

// allTold tells whether all peers there are have said where they stand.
func (m *Machine) allTold() bool {
	if !m.found {
		return false
	}
	for i := range m.peers {
		if !m.peers[i].told {
			return false
		}
	}
	return true
}

// best is the usable peer that is better than all others, or -1.
func (m *Machine) best(fits func(d *donor) bool, better func(a, b *donor) bool) Peer {
	best := Peer(-1)
	for i := range m.peers {
		p := Peer(i)
		if !m.usable(p) || !fits(&m.peers[i]) {
			continue
		}
		if best < 0 || better(&m.peers[i], &m.peers[best]) {
			best = p
		}
	}
	return best
}

func higher(a, b *donor) bool { return a.SCL > b.SCL }
