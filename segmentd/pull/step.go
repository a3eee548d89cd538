package pull

import (
	"github.com/sextantdisk/sextant/internal/block"
)

// InputKind says what has happened.
type InputKind uint8

// The inputs of a Machine.
const (
	// Begin: pull up to UpTo. Peers is how many peers the shell knows: none, or
	// one that has all up to UpTo by a writer's word. SCL and Floor are this
	// segment's; Mixed tells that leaves have come before.
	Begin InputKind = iota + 1
	// Found: there are Peers peers; the first one is that of Begin, if there
	// was one. Each is to be asked where it stands: Stands or Lost.
	Found
	// Stands: Peer stands at Stand.
	Stands
	// Page: records came from Peer; Prev and Last are the first one's
	// predecessor and the last one. Last 0: none came.
	Page
	// Saved: a page is on disk; SCL is what it made of it. It follows each Page with
	// records, also one that does not link.
	Saved
	// Gone: the log of Peer does not reach back.
	Gone
	// Begun: the log takes leaves; those that changed after Since are wanted.
	Begun
	// Marks: Peer has named leaves, as of Cut; More: there are more from Next
	// on.
	Marks
	// Taken: the leaf of Block has come from Peer, as of Cut, and is on disk.
	Taken
	// Hydrated: the chain goes on; SCL is this segment's now.
	Hydrated
	// Lost: Peer answers no more, or not what it was asked for.
	Lost
	// Stop: the shell gives up, for Err.
	Stop
)

// Input is one thing that has happened. Which fields count depends on the
// kind.
type Input struct {
	Kind             InputKind
	Peer             Peer
	Peers            int
	Stand            Stand
	UpTo, SCL, Floor block.LSN
	Mixed            bool
	Prev, Last       block.LSN
	Since, Cut       block.LSN
	Marks            []Mark
	More             bool
	Next, Block      block.Index
	Err              error
}

// EffectKind says what is to be done.
type EffectKind uint8

// What a Machine asks for.
const (
	// AskRecords: fetch records in (After, UpTo] from Peer; answer with Page,
	// then Saved; or Gone or Lost.
	AskRecords EffectKind = iota + 1
	// Discover: find the peers; answer with Found.
	Discover
	// BeginHydration: have the log take leaves; answer with Begun.
	BeginHydration
	// AskMarks: ask Peer for the leaves that changed after After, from Block
	// on; answer with Marks, or Lost.
	AskMarks
	// AskLeaf: take the leaf of Block from Peer; answer with Taken, or Lost.
	AskLeaf
	// Hydrate: have the chain go on from Cut; answer with Hydrated.
	Hydrate
)

// Effect is one thing to be done.
type Effect struct {
	Kind        EffectKind
	Peer        Peer
	After, UpTo block.LSN
	Block       block.Index
	Cut         block.LSN
}

// Step takes one input. The effects are good until the next step. In the
// phases Done and Failed there are none, and none comes.
func (m *Machine) Step(in Input) []Effect {
	m.fx = m.fx[:0]
	if m.phase == Done || m.phase == Failed || m.phase == Idle && in.Kind != Begin {
		return nil
	}
	switch in.Kind {
	case Begin:
		m.begin(&in)
	case Found:
		m.found = true
		m.peers = append(m.peers, make([]donor, in.Peers-len(m.peers))...)
		for i := range m.peers {
			m.peers[i].told = m.peers[i].failed
		}
	case Stands:
		d := &m.peers[in.Peer]
		d.told, d.Stand = true, in.Stand
	case Page:
		m.page(&in)
	case Saved:
		m.unsaved--
		m.scl = max(m.scl, in.SCL)
	case Gone:
		d := &m.peers[in.Peer]
		d.noLog, d.gone = true, m.after
		m.asked = false
	case Begun:
		m.since, m.next, m.mixed = in.Since, 0, true
		m.asked = false
	case Marks:
		m.marks(&in)
	case Taken:
		m.taken(&in)
	case Hydrated:
		m.hydrated(&in)
	case Lost:
		m.lost(&in)
	case Stop:
		m.phase, m.reason = Failed, in.Err
	}
	m.goOn()
	return m.fx
}

func (m *Machine) begin(in *Input) {
	if m.phase != Idle {
		return
	}
	m.phase, m.upTo, m.scl, m.after, m.floor, m.mixed = Records, in.UpTo, in.SCL, in.SCL, in.Floor, in.Mixed
	m.peers, m.from, m.empty = make([]donor, in.Peers), -1, in.SCL == 0
	for i := range m.peers {
		m.peers[i] = donor{Stand: Stand{Usable: true, SCL: in.UpTo, Readable: unknown}, told: true}
	}
}

// goOn asks for what is next.
func (m *Machine) goOn() {
	switch m.phase {
	case Records:
		m.records()
	case Listing:
		m.list()
	case Copying:
		m.copy()
	}
}

func (m *Machine) ask(e Effect) { m.fx = append(m.fx, e) }

// lost takes a peer out; what it was asked for is asked of others.
func (m *Machine) lost(in *Input) {
	d := &m.peers[in.Peer]
	if m.phase == Copying && in.Block != noBlock {
		d.leaves--
		m.flying--
		m.todo = append(m.todo, in.Block)
	} else if m.from == in.Peer {
		m.asked, m.from = false, -1
	}
	d.told, d.failed = true, true
}

// noBlock in a Lost says that no leaf was asked for.
const noBlock = ^block.Index(0)

// LostPeer is a Lost that is about no leaf.
func LostPeer(p Peer) Input { return Input{Kind: Lost, Peer: p, Block: noBlock} }
