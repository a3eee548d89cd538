package hydration

import (
	"maps"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/invariant"
	"github.com/sextantdisk/sextant/internal/mutant"
)

// MaxFilling bounds the leaves that may be copied at a time.
const MaxFilling = 1024

// Round numbers the hydrations of a segment that began anew, from 1; logs from before
// there were numbers have 0.
type Round uint32

// Mark is what a Begin or an End says.
type Mark struct {
	// LSN is, for a Begin, as of which floor the base is whole, and for an End,
	// from where the chain goes on.
	LSN    block.LSN
	Copies uint32 // of the round so far
	Round  Round
}

// State is how far a segment is. The zero value takes no leaves, and never has.
// Its fields are what a checkpoint keeps of it.
type State struct {
	On bool
	// Spoiled, while a log is replayed: some of what was copied is lost.
	Spoiled bool
	// After is the floor as of which the base was whole: what changed since is to
	// be copied.
	After  block.LSN
	Copies uint32    // so far
	Round  Round     // the last one
	High   block.LSN // no block is newer than the highest cut
	// Filled tells of leaves that have begun to come, by number.
	Filled map[int]Filling
	// First is where the log begins to tell: what came before was hydrated.
	// Solid is what reads must be at or above, for the same reason. Both stay
	// when hydration is over.
	First, Solid block.LSN

	starting bool // Start was called, and its record has not been taken in
}

// Filling is a leaf that is not whole yet.
type Filling struct {
	Blocks block.Count // from its start
	MaxLSN block.LSN   // all versions up to there are in: the least of its runs
}

// Index is what a State is about: the settled part of a segment, and its chain.
type Index interface {
	// Floor is the chain's.
	Floor() block.LSN
	// Raise settles the chain up to l; false, and nothing happens, if l is not on
	// it.
	Raise(l block.LSN) bool
	// Jump has the chain go on from l, whatever is missing up to there
	// (chain.Chain.Jump).
	Jump(l block.LSN) bool
	// Forget makes all leaves count as older than any peer's.
	Forget()
	// Mixed tells that a leaf is being copied over: nothing that was told of it
	// holds any more.
	Mixed(leaf int)
	// Whole tells that a leaf has all versions up to l, be it less than before.
	Whole(leaf int, l block.LSN)
}

// Run is a run of blocks of one leaf as a peer has settled them.
type Run struct {
	Leaf int
	// At is the run's first block within the leaf, Of how many the leaf has.
	At, Count, Of block.Count
	Cut           block.LSN // the peer's floor when they were read
	MaxLSN        block.LSN // of the leaf, then; at most Cut
}

// Clone is what a checkpoint keeps.
func (s *State) Clone() State {
	c := *s
	c.Filled, c.starting = maps.Clone(s.Filled), false
	return c
}

// Still tells whether the floor must stay where it is: what settles now would
// be settled in memory, and not for who replays the log, which jumps over it.
func (s *State) Still() bool { return s.On || s.starting && !mutant.On(mutant.FloorMovesOn) }

// Cancel notes that the record that Start was called for will not come.
func (s *State) Cancel() { s.starting = false }

// Start is what the record of a Begin says: as of which floor the base is
// whole, and how many copies have come since, if this goes on with what was
// begun before. From here on the floor stands still.
func (s *State) Start(floor block.LSN) Mark {
	s.starting = true
	switch {
	case s.On && !s.Spoiled:
		return s.Mark(s.After)
	case s.On:
		floor = s.After
	}
	return Mark{LSN: floor, Round: s.Round + 1}
}

// Mark says how far this round is: what the record of an End says of its cut.
func (s *State) Mark(l block.LSN) Mark { return Mark{LSN: l, Copies: s.Copies, Round: s.Round} }

// at tells whether this is as far as a mark says. A round has a number because
// there may be as many copies of another one, whose end and all of this one's
// copies are lost.
func (s *State) at(m Mark) bool {
	return s.Copies == m.Copies && (s.Round == m.Round || mutant.On(mutant.RoundsAlike))
}

// Begin takes in the record that Start made: hydration begins, or goes on.
func (s *State) Begin(x Index, m Mark) {
	s.starting = false
	switch {
	case s.On && !s.Spoiled && s.at(m):
		s.Filled = nil // it goes on, and what was half-way is asked for anew
		return
	case !s.follows(x, m):
		s.miss(x, m)
		return
	}
	if s.On { // from the start
		x.Forget()
	}
	*s = State{On: true, After: m.LSN, Round: m.Round, High: s.High, First: s.First, Solid: s.Solid}
	if m.LSN != 0 && !x.Raise(m.LSN) { // 0: all is copied, whatever is settled
		s.Spoil(x) // damage cut the chain
	}
}

// follows tells whether a round can begin with m here. One that copies all can
// anywhere. Another one leaves out what those before it had copied: so the last of
// them must have ended here as well.
func (s *State) follows(x Index, m Mark) bool {
	switch {
	case m.Copies != 0: // it goes on with what is not here
		return false
	case m.LSN == 0:
		return true
	case (s.On || m.Round != 0 && m.Round != s.Round+1) && !mutant.On(mutant.RoundUnmissed):
		return false
	}
	return x.Floor() <= m.LSN || mutant.On(mutant.FloorMovesOn)
}

// miss notes that something is lost of the round that a mark is of.
func (s *State) miss(x Index, m Mark) {
	s.Round = max(s.Round, m.Round) // the next one has another number
	s.Spoil(x)
}

// Spoil notes that a part of the copies is lost: none counts.
func (s *State) Spoil(x Index) {
	x.Forget()
	*s = State{On: true, Spoiled: true, Round: s.Round, High: s.High, First: s.First, Solid: s.Solid}
}

// Copy takes in a run that is in the base now. The leaf counts when its last
// one has come, and none is missing. A leaf may come twice: from a peer that has
// settled much, and, when that one dies before the machine knows that all of the leaf
// is on disk, from another one that has settled less. Then it has only what the second
// one had.
func (s *State) Copy(x Index, r Run) {
	if !s.On {
		s.Spoil(x) // its beginning is lost
	}
	s.Copies++
	s.High = max(s.High, r.Cut)
	if !mutant.On(mutant.LeafStaysWhole) {
		x.Mixed(r.Leaf)
	}
	f, begun := s.Filled[r.Leaf]
	if r.At == 0 {
		f = Filling{MaxLSN: r.MaxLSN}
	} else if !begun || f.Blocks != r.At {
		delete(s.Filled, r.Leaf)
		return
	}
	f.Blocks += r.Count
	f.MaxLSN = min(f.MaxLSN, r.MaxLSN)
	if f.Blocks < r.Of {
		if s.Filled == nil {
			s.Filled = make(map[int]Filling)
		}
		s.Filled[r.Leaf] = f
		return
	}
	delete(s.Filled, r.Leaf)
	if !s.Spoiled {
		x.Whole(r.Leaf, f.MaxLSN)
	}
}

// End takes in that the chain goes on from a mark's LSN.
func (s *State) End(x Index, m Mark) {
	missed := s.Spoiled || !s.at(m)
	if mutant.On(mutant.CopiesUnmissed) {
		missed = false
	}
	if !s.On || missed || m.LSN < x.Floor() {
		s.miss(x, m)
		return
	}
	*s = State{Round: s.Round, First: max(s.First, m.LSN), Solid: max(s.Solid, s.High)}
	jumped := x.Jump(m.LSN)
	invariant.That(jumped, "a hydration's cut is not below the floor that stood still")
}

// MayCopy tells whether a run as of cut may be logged. Error kind: Invalid.
func (s *State) MayCopy(floor, cut block.LSN) error {
	switch {
	case !s.On:
		return block.Errorf(block.Invalid, "the segment is not being hydrated")
	case len(s.Filled) >= MaxFilling:
		return block.Errorf(block.Invalid, "%d leaves are begun: end some first", MaxFilling)
	case cut < floor:
		return block.Errorf(block.Invalid, "blocks as of %v: all up to %v is settled", cut, floor)
	}
	return nil
}

// MayEnd tells whether the chain may go on from cut. Error kinds: Invalid,
// Unavailable (leaves have begun and not ended; what came does not count).
func (s *State) MayEnd(floor, cut block.LSN) error {
	switch {
	case !s.On || cut < floor:
		return block.Errorf(block.Invalid, "the chain (hydrating: %v, floor %v) cannot go on from %v", s.On, floor, cut)
	case len(s.Filled) > 0:
		return block.Errorf(block.Unavailable, "%d leaves are not whole", len(s.Filled))
	}
	return nil
}

// Lowest is the lowest LSN as of which all blocks are whole.
func (s *State) Lowest(floor block.LSN) block.LSN { return max(floor, s.Solid) }

// Newest is an LSN that no settled block is above; floor is the chain's.
func (s *State) Newest(floor block.LSN) block.LSN { return max(s.Lowest(floor), s.High) }

// Readable says whether the base can serve a read at l: not while leaves come,
// nor as of an LSN below one of theirs. Error kinds: Unavailable, Stale.
func (s *State) Readable(l block.LSN) error {
	switch {
	case s.On:
		return block.Errorf(block.Unavailable, "leaves are taken over from peers: %v cannot be read", l)
	case l < s.Solid:
		return block.Errorf(block.Stale, "leaves were taken over as of %v; %v cannot be read any more", s.Solid, l)
	}
	return nil
}

// Gives says whether the settled part is whole as of the floor, so that peers
// may have it. Error kind: Unavailable.
func (s *State) Gives(floor block.LSN) error {
	if s.On || floor < s.Solid {
		return block.Errorf(block.Unavailable, "leaves are taken over from peers, and none can be given")
	}
	return nil
}

// Tells says whether the log has records from after on. Error kinds:
// Unavailable (not before hydration is over), NotFound (they came as leaves).
func (s *State) Tells(after block.LSN) error {
	switch {
	case s.On:
		return block.Errorf(block.Unavailable, "leaves are taken over from peers, and no records are given")
	case after < s.First:
		return block.Errorf(block.NotFound, "hydrated as of %v: there are no records of before", s.First)
	}
	return nil
}
