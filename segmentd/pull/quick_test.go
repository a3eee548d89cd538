package pull

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/sextantdisk/sextant/internal/block"
)

// world answers a machine's questions at random: peers have logs that reach
// back to somewhere, settle more while they are asked, and fail.
type world struct {
	t     *rapid.T
	m     Machine
	peers []peerOf
	scl   block.LSN
	mixed bool
	// branch: where this segment stands, on a branch that was annulled, and where
	// that leaves the chain; 0: it does not.
	branch, fork block.LSN
	lost         bool    // a part of what was copied before
	due          []Input // what will happen
	// of the round of leaves under way
	listed  map[block.Index]bool
	lowest  block.LSN
	unsaved int
	flying  map[Peer]int
}

type peerOf struct {
	usable, dead      bool
	scl, floor, reach block.LSN // reach: where its log begins
	settles           bool
}

// do takes what the machine asks for, and says what will come of it.
func (w *world) do(fx []Effect) {
	for _, e := range fx {
		switch e.Kind {
		case Discover:
			w.due = append(w.due, Input{Kind: Found, Peers: len(w.peers)})
		case BeginHydration:
			w.mixed, w.listed, w.lowest = true, map[block.Index]bool{}, 0
			w.due = append(w.due, Input{Kind: Begun})
		case Hydrate:
			if e.Cut != w.fork || w.lost && w.fork != 0 { // else all is as of that, or newer
				w.goesOn(e.Cut)
			}
			w.scl, w.mixed = max(w.scl, e.Cut), false
			w.due = append(w.due, Input{Kind: Hydrated, SCL: w.scl})
		default:
			w.ask(e)
		}
	}
}

// goesOn checks that the chain may go on from a cut.
func (w *world) goesOn(cut block.LSN) {
	for b, done := range w.listed {
		if !done {
			w.t.Fatalf("the chain goes on, and leaf %d is not there", b)
		}
	}
	if cut > w.lowest {
		w.t.Fatalf("the chain goes on from %d, and something is as of %d", cut, w.lowest)
	}
}

// ask is a question to a peer.
func (w *world) ask(e Effect) {
	p := &w.peers[e.Peer]
	if !p.usable {
		w.t.Fatalf("%+v is asked of a peer that may not give", e)
	}
	if p.dead || rapid.IntRange(0, 19).Draw(w.t, "dies") == 0 {
		p.dead = true
		in := LostPeer(e.Peer)
		if e.Kind == AskLeaf {
			in.Block = e.Block
			w.fly(e.Peer)
		}
		w.due = append(w.due, in)
		return
	}
	if p.settles {
		p.floor = min(p.floor+1, p.scl)
	}
	switch e.Kind {
	case AskRecords:
		w.records(e, p)
	case AskMarks:
		in := Input{Kind: Marks, Peer: e.Peer, Cut: p.floor, More: e.Block == 0 && rapid.Bool().Draw(w.t, "more"), Next: e.Block + 16*512}
		for b := e.Block; b < in.Next; b += 512 {
			w.listed[b] = false
			in.Marks = append(in.Marks, Mark{Block: b, MaxLSN: p.floor})
		}
		w.as(p.floor)
		w.due = append(w.due, in)
	case AskLeaf:
		w.fly(e.Peer)
		w.due = append(w.due, Input{Kind: Taken, Peer: e.Peer, Block: e.Block, Cut: p.floor})
	}
}

func (w *world) fly(p Peer) {
	if w.flying[p]++; w.flying[p] > LeafWindow {
		w.t.Fatalf("%d leaves of one peer are asked for", w.flying[p])
	}
}

// as notes that something is as of a cut.
func (w *world) as(cut block.LSN) {
	if w.lowest == 0 || cut < w.lowest {
		w.lowest = cut
	}
}

// records answers with a page, or that there is none.
func (w *world) records(e Effect, p *peerOf) {
	if e.UpTo > p.scl || e.After >= e.UpTo {
		w.t.Fatalf("%+v is asked of a peer that has all up to %d", e, p.scl)
	}
	if e.After < min(p.reach, p.floor) {
		w.due = append(w.due, Input{Kind: Gone, Peer: e.Peer})
		return
	}
	if w.unsaved++; w.unsaved > Window {
		w.t.Fatalf("%d pages are not on disk", w.unsaved)
	}
	last := min(e.UpTo, e.After+block.LSN(rapid.IntRange(1, 20).Draw(w.t, "page")))
	if e.After == w.branch && w.fork < w.branch { // it does not link, and is on disk nevertheless
		w.due = append(w.due, Input{Kind: Page, Peer: e.Peer, Prev: w.fork, Last: last}, Input{Kind: Saved, SCL: w.scl})
		return
	}
	w.due = append(w.due, Input{Kind: Page, Peer: e.Peer, Prev: e.After, Last: last}, Input{Kind: Saved, SCL: last})
}

// happen lets the first of what is due happen.
func (w *world) happen() {
	in := w.due[0]
	w.due = w.due[1:]
	switch in.Kind {
	case Found:
		for i := range w.peers {
			p := &w.peers[i]
			if p.dead {
				w.due = append(w.due, LostPeer(Peer(i)))
				continue
			}
			w.due = append(w.due, Input{Kind: Stands, Peer: Peer(i), Stand: Stand{Usable: p.usable, SCL: p.scl, Readable: p.floor}})
		}
	case Saved:
		w.unsaved--
		w.scl = max(w.scl, in.SCL)
		in.SCL = w.scl
	case Taken:
		w.listed[in.Block] = true
		w.as(in.Cut)
		w.flying[in.Peer]--
	case Lost:
		if in.Block != noBlock {
			w.flying[in.Peer]--
		}
	case Begun:
		if in.Since = 0; !w.lost {
			in.Since = w.fork
		}
	}
	w.do(w.m.Step(in))
}

// TestR22PullQuick: whatever peers have and whichever fail, a pull comes to an
// end; what it asks for may be asked; the chain goes on only when all is there;
// and who has not failed has what a peer that lives could give it.
func TestR22PullQuick(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{t: t, flying: map[Peer]int{}}
		lsn := func(name string, lo, hi int) block.LSN { return block.LSN(rapid.IntRange(lo, hi).Draw(t, name)) }
		for range rapid.IntRange(0, 5).Draw(t, "peers") {
			p := peerOf{usable: rapid.IntRange(0, 3).Draw(t, "usable") > 0, scl: lsn("scl", 1, 200), settles: rapid.Bool().Draw(t, "settles")}
			p.floor = lsn("floor", 0, int(p.scl))
			p.reach = lsn("reach", 0, int(p.floor))
			w.peers = append(w.peers, p)
		}
		w.scl = lsn("own", 0, 150)
		w.branch = w.scl
		w.fork = lsn("fork", 0, int(w.scl))
		begin := Input{Kind: Begin, UpTo: lsn("upTo", 1, 200), SCL: w.scl, Floor: w.fork, Mixed: rapid.Bool().Draw(t, "mixed")}
		if len(w.peers) > 0 && rapid.Bool().Draw(t, "hint") {
			begin.Peers = 1
			w.peers[0].usable, w.peers[0].scl = true, max(w.peers[0].scl, begin.UpTo)
		}
		w.mixed, w.lost = begin.Mixed, rapid.Bool().Draw(t, "lost")
		w.do(w.m.Step(begin))
		for steps := 0; len(w.due) > 0; steps++ {
			if steps > 5000 {
				t.Fatalf("no end: %s", w.m.Describe())
			}
			w.happen()
		}
		switch w.m.Phase() {
		case Failed:
			if w.m.Err() == nil {
				t.Fatal("failed without a reason")
			}
		case Done:
			if w.mixed {
				t.Fatal("done, and leaves are half-way")
			}
			for i := range w.peers {
				if p := &w.peers[i]; p.usable && !p.dead && w.m.found && w.scl < min(begin.UpTo, p.scl) {
					t.Fatalf("done at %d; a peer has %d of the %d that are wanted", w.scl, p.scl, begin.UpTo)
				}
			}
		default:
			t.Fatalf("it waits for nothing: %s", w.m.Describe())
		}
	})
}
