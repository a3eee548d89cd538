package pull

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
)

// describe prints effects, such as "records 0 (3, 9]" or "leaf 1 512".
func describe(fx []Effect) string {
	var all []string
	for _, e := range fx {
		switch e.Kind {
		case AskRecords:
			all = append(all, fmt.Sprintf("records %d (%d, %d]", e.Peer, e.After, e.UpTo))
		case Discover:
			all = append(all, "discover")
		case BeginHydration:
			all = append(all, "begin")
		case AskMarks:
			all = append(all, fmt.Sprintf("marks %d after %d from %d", e.Peer, e.After, e.Block))
		case AskLeaf:
			all = append(all, fmt.Sprintf("leaf %d %d", e.Peer, e.Block))
		case Hydrate:
			all = append(all, fmt.Sprintf("hydrate %d", e.Cut))
		}
	}
	return strings.Join(all, ", ")
}

type teller struct {
	t *testing.T
	m Machine
}

func (s *teller) step(in Input, want string) {
	s.t.Helper()
	if got := describe(s.m.Step(in)); got != want {
		s.t.Fatalf("%+v\n asked for %q\n      want %q\n%s", in, got, want, s.m.Describe())
	}
}

func (s *teller) phase(p Phase) {
	s.t.Helper()
	if s.m.Phase() != p {
		s.t.Fatalf("phase %v, want %v: %v", s.m.Phase(), p, s.m.Err())
	}
}

func stand(p Peer, scl, readable block.LSN) Input {
	return Input{Kind: Stands, Peer: p, Stand: Stand{Usable: true, SCL: scl, Readable: readable}}
}

// R20: pages of records from the peer that a writer has named, Window of them
// ahead of the disk; when it fails the others are looked for.
func TestR20RecordsAheadOfTheDisk(t *testing.T) {
	s := &teller{t: t}
	s.step(Input{Kind: Begin, UpTo: 100, Peers: 1, SCL: 10, Floor: 8}, "records 0 (10, 100]")
	for i := range Window {
		last := block.LSN(20 + i*10)
		want := fmt.Sprintf("records 0 (%d, 100]", last)
		if i == Window-1 {
			want = "" // no further ahead
		}
		s.step(Input{Kind: Page, Prev: last - 10, Last: last}, want)
	}
	s.step(Input{Kind: Saved, SCL: 20}, "records 0 (50, 100]")
	s.step(LostPeer(0), "discover")
	s.step(Input{Kind: Found, Peers: 2}, "")
	s.step(stand(1, 100, 5), "records 1 (50, 100]")
	s.step(Input{Kind: Page, Peer: 1, Prev: 50, Last: 100}, "")
	s.step(Input{Kind: Saved, SCL: 30}, "")
	s.step(Input{Kind: Saved, SCL: 40}, "")
	s.step(Input{Kind: Saved, SCL: 50}, "")
	s.phase(Records)
	s.step(Input{Kind: Saved, SCL: 100}, "")
	s.phase(Done)
}

// R20: nothing is asked of a peer that may not give.
func TestR20UnusablePeersAreNotAsked(t *testing.T) {
	s := &teller{t: t}
	s.step(Input{Kind: Begin, UpTo: 100, SCL: 10, Floor: 8}, "discover")
	s.step(Input{Kind: Found, Peers: 2}, "")
	s.step(Input{Kind: Stands, Peer: 0, Stand: Stand{SCL: 100}}, "")
	s.step(LostPeer(1), "")
	s.phase(Failed)
}

// R20: what the others had has come, but the one that had more was lost: that is
// no end as it should be.
func TestR20WhoHadMoreWasLost(t *testing.T) {
	s := &teller{t: t}
	s.step(Input{Kind: Begin, UpTo: 100, Peers: 1, SCL: 10, Floor: 8}, "records 0 (10, 100]")
	s.step(LostPeer(0), "discover")
	s.step(Input{Kind: Found, Peers: 2}, "")
	s.step(stand(1, 50, 5), "records 1 (10, 50]")
	s.step(Input{Kind: Page, Peer: 1, Prev: 10, Last: 50}, "")
	s.step(Input{Kind: Saved, SCL: 50}, "")
	s.phase(Failed)
}

// Who stands on a branch that was annulled asks from its floor.
func TestR20ADeadBranchIsLeftAtTheFloor(t *testing.T) {
	s := &teller{t: t}
	s.step(Input{Kind: Begin, UpTo: 100, Peers: 1, SCL: 60, Floor: 50}, "records 0 (60, 100]")
	s.step(Input{Kind: Page, Prev: 55, Last: 100}, "records 0 (50, 100]")
	s.step(Input{Kind: Page, Prev: 50, Last: 100}, "")
	s.step(Input{Kind: Saved, SCL: 60}, "") // the page that did not link is on disk, too
	s.phase(Records)
	s.step(Input{Kind: Saved, SCL: 100}, "")
	s.phase(Done)
}

// R21: it is left by leaves when no log reaches back to the floor: once what came
// before, and did not link, is on disk.
func TestR21ADeadBranchIsLeftByLeaves(t *testing.T) {
	s := &teller{t: t}
	s.step(Input{Kind: Begin, UpTo: 100, Peers: 1, SCL: 60, Floor: 50}, "records 0 (60, 100]")
	s.step(Input{Kind: Page, Prev: 55, Last: 70}, "records 0 (50, 100]")
	s.step(Input{Kind: Gone}, "discover")
	s.step(Input{Kind: Found, Peers: 1}, "")
	s.step(stand(0, 100, 90), "")
	s.step(Input{Kind: Saved, SCL: 60}, "begin")
	s.phase(Listing)
}

// This segment stands on a dead branch, so that it needs all from its floor on. The
// log of the peer on the branch that counts does not reach there; that of another
// one does, which stands on the dead branch as well. What both have does not link.
func TestR21TwoBranchesAreLeftByLeaves(t *testing.T) {
	s := &teller{t: t}
	s.step(Input{Kind: Begin, UpTo: 100, Peers: 1, SCL: 60, Floor: 50}, "records 0 (60, 100]")
	s.step(Input{Kind: Page, Prev: 58, Last: 100}, "records 0 (50, 100]")
	s.step(Input{Kind: Gone}, "discover")
	s.step(Input{Kind: Found, Peers: 2}, "")
	s.step(stand(0, 100, 57), "")
	s.step(stand(1, 60, 40), "records 1 (50, 60]")
	s.step(Input{Kind: Page, Peer: 1, Prev: 50, Last: 60}, "records 0 (60, 100]")
	s.step(Input{Kind: Page, Peer: 0, Prev: 58, Last: 100}, "")
	s.step(Input{Kind: Saved, SCL: 60}, "")
	s.step(Input{Kind: Saved, SCL: 60}, "")
	s.step(Input{Kind: Saved, SCL: 60}, "begin")
	s.step(Input{Kind: Begun, Since: 50}, "marks 0 after 50 from 0")
}

// The same when a third one, that had more, was lost meanwhile: leaves of who is there
// bring it on.
func TestR21TwoBranchesAreLeftThoughWhoHadMoreWasLost(t *testing.T) {
	s := &teller{t: t}
	s.step(Input{Kind: Begin, UpTo: 200, Peers: 1, SCL: 60, Floor: 50}, "records 0 (60, 200]")
	s.step(Input{Kind: Page, Prev: 58, Last: 100}, "records 0 (50, 200]")
	s.step(Input{Kind: Gone}, "discover")
	s.step(Input{Kind: Found, Peers: 3}, "")
	s.step(stand(0, 100, 57), "")
	s.step(stand(2, 200, 190), "records 2 (50, 200]")
	s.step(LostPeer(2), "")
	s.step(stand(1, 60, 40), "records 1 (50, 60]")
	s.step(Input{Kind: Page, Peer: 1, Prev: 50, Last: 60}, "records 0 (60, 100]")
	s.step(Input{Kind: Page, Peer: 0, Prev: 58, Last: 100}, "")
	s.step(Input{Kind: Saved, SCL: 60}, "")
	s.step(Input{Kind: Saved, SCL: 60}, "")
	s.step(Input{Kind: Saved, SCL: 60}, "begin")
}

// A peer whose log is cleaned is not the last word: one whose floor is not
// above has all.
func TestR20ALogThatReachesBackGoesFirst(t *testing.T) {
	s := &teller{t: t}
	s.step(Input{Kind: Begin, UpTo: 100, Peers: 1, SCL: 10, Floor: 10}, "records 0 (10, 100]")
	s.step(Input{Kind: Gone}, "discover")
	s.step(Input{Kind: Found, Peers: 3}, "")
	s.step(stand(0, 100, 90), "")
	s.step(stand(2, 80, 90), "records 2 (10, 80]")
	s.step(stand(1, 70, 10), "")
	s.step(Input{Kind: Gone, Peer: 2}, "records 1 (10, 70]")
	s.step(Input{Kind: Page, Peer: 1, Prev: 10, Last: 70}, "records 0 (70, 100]") // perhaps its log reaches so far
	s.step(Input{Kind: Gone, Peer: 0}, "records 2 (70, 80]")
}

// R21: leaves have begun to come, and then all peers lost power before what they had
// settled was durable: nobody has leaves that are newer. What they have not settled
// they have as records, so the chain goes on from the floor.
func TestR21NobodyHasSettledMore(t *testing.T) {
	s := &teller{t: t}
	s.step(Input{Kind: Begin, UpTo: 100, SCL: 60, Floor: 50, Mixed: true}, "discover")
	s.step(Input{Kind: Found, Peers: 1}, "")
	s.step(stand(0, 100, 40), "begin")
	s.step(Input{Kind: Begun, Since: 50}, "hydrate 50")
	s.step(Input{Kind: Hydrated, SCL: 60}, "records 0 (60, 100]")
	s.step(Input{Kind: Page, Prev: 55, Last: 70}, "records 0 (50, 100]") // it stood on a dead branch
	// Where a part of what was copied is lost there is no such floor.
	s = &teller{t: t}
	s.step(Input{Kind: Begin, UpTo: 100, SCL: 60, Floor: 50, Mixed: true}, "discover")
	s.step(Input{Kind: Found, Peers: 1}, "")
	s.step(stand(0, 100, 40), "begin")
	s.step(Input{Kind: Begun, Since: 0}, "")
	s.phase(Failed)
}

// R21: leaves have begun to come, and then its peers lost what they had above this
// segment. It has all there is, and its peers wait for its records; so its chain goes
// on from its own floor.
func TestR21TheHighestIsHalfWay(t *testing.T) {
	s := &teller{t: t}
	s.step(Input{Kind: Begin, UpTo: 60, SCL: 100, Floor: 50, Mixed: true}, "discover")
	s.step(Input{Kind: Found, Peers: 2}, "")
	s.step(stand(0, 60, 40), "")
	s.step(stand(1, 100, 45), "begin")
	s.step(Input{Kind: Begun, Since: 50}, "hydrate 50")
	s.step(Input{Kind: Hydrated, SCL: 100}, "")
	s.phase(Done)
	// Without a peer that says so it may not be the highest.
	s = &teller{t: t}
	s.step(Input{Kind: Begin, UpTo: 60, SCL: 100, Floor: 50, Mixed: true}, "discover")
	s.step(Input{Kind: Found, Peers: 1}, "")
	s.step(LostPeer(0), "")
	s.phase(Failed)
}

// The only peer with leaves that are newer cannot give one of them, as when it has
// rotten; another one, which was away, has all records since the floor. Before a
// writer can write again no peer settles more: it may be this segment that an
// opening waits for.
func TestR21ALeafThatNobodyCanGive(t *testing.T) {
	s := &teller{t: t}
	s.step(Input{Kind: Begin, UpTo: 100, SCL: 10, Floor: 8, Mixed: true}, "discover")
	s.step(Input{Kind: Found, Peers: 2}, "")
	s.step(stand(0, 100, 50), "")
	s.step(stand(1, 100, 5), "begin")
	s.step(Input{Kind: Begun, Since: 8}, "marks 0 after 8 from 0")
	s.step(Input{Kind: Marks, Cut: 50, Marks: []Mark{{Block: 0, MaxLSN: 50}, {Block: 512, MaxLSN: 40}}}, "leaf 0 0, leaf 0 512")
	s.step(Input{Kind: Taken, Block: 0, Cut: 50}, "")
	s.step(Input{Kind: Lost, Block: 512}, "begin")
	s.step(Input{Kind: Begun, Since: 8}, "hydrate 8")
	s.step(Input{Kind: Hydrated, SCL: 10}, "records 1 (10, 100]")
	s.step(Input{Kind: Page, Peer: 1, Prev: 10, Last: 100}, "")
	s.step(Input{Kind: Saved, SCL: 100}, "")
	s.phase(Done)
}

// Two segments lag as much as each other, and no log reaches back to them: neither is
// asked for leaves by the other, or both would stay where they are.
func TestR21WhoLagsTooGivesNoLeaves(t *testing.T) {
	s := &teller{t: t}
	s.step(Input{Kind: Begin, UpTo: 100, SCL: 10, Floor: 8}, "discover")
	s.step(Input{Kind: Found, Peers: 2}, "")
	s.step(stand(0, 10, 8), "")
	s.step(stand(1, 100, 90), "records 1 (10, 100]")
	s.step(Input{Kind: Gone, Peer: 1}, "begin")
	s.step(Input{Kind: Begun, Since: 8}, "marks 1 after 8 from 0")
	s.step(Input{Kind: Marks, Peer: 1, Cut: 90, Marks: []Mark{{Block: 0, MaxLSN: 50}, {Block: 512, MaxLSN: 40}}}, "leaf 1 0, leaf 1 512")
	s.step(Input{Kind: Taken, Peer: 1, Block: 0, Cut: 90}, "")
	s.step(LostPeer(1), "")
	s.step(Input{Kind: Lost, Peer: 1, Block: 512}, "leaf 0 512") // better than none: what has come is kept
}

// R21: no log reaches back: leaves, from all peers side by side, then records
// from the lowest cut on.
func TestR21LeavesThenRecords(t *testing.T) {
	s := &teller{t: t}
	s.step(Input{Kind: Begin, UpTo: 100, SCL: 10, Floor: 9}, "discover")
	s.step(Input{Kind: Found, Peers: 3}, "")
	s.step(stand(0, 100, 90), "records 0 (10, 100]")
	s.step(stand(1, 100, 80), "")
	s.step(LostPeer(2), "")
	s.step(Input{Kind: Gone, Peer: 0}, "records 1 (10, 100]")
	s.step(Input{Kind: Gone, Peer: 1}, "begin")
	s.step(Input{Kind: Begun, Since: 9}, "marks 0 after 9 from 0")
	marks := []Mark{{Block: 0, MaxLSN: 50}, {Block: 512, MaxLSN: 60, Own: 60}, {Block: 1024, MaxLSN: 61, Own: 60}}
	s.step(Input{Kind: Marks, Cut: 92, Marks: marks, More: true, Next: 1536}, "marks 0 after 9 from 1536")
	s.step(Input{Kind: Marks, Cut: 93, Marks: []Mark{{Block: 2048, MaxLSN: 70}}}, "leaf 0 0, leaf 1 1024, leaf 0 2048")
	s.step(Input{Kind: Taken, Peer: 0, Block: 0, Cut: 94}, "")
	s.step(Input{Kind: Lost, Peer: 1, Block: 1024}, "leaf 0 1024")
	s.step(Input{Kind: Taken, Peer: 0, Block: 2048, Cut: 91}, "")
	if total, left := s.m.Leaves(); total != 3 || left != 1 {
		t.Fatalf("%d of %d leaves are left", left, total)
	}
	s.step(Input{Kind: Taken, Peer: 0, Block: 1024, Cut: 95}, "hydrate 91")
	s.step(Input{Kind: Hydrated, SCL: 91}, "records 0 (91, 100]")
	s.step(Input{Kind: Page, Prev: 91, Last: 100}, "")
	s.step(Input{Kind: Saved, SCL: 100}, "")
	s.phase(Done)
}

// R22: who has nothing takes leaves as soon as it knows that there are some.
func TestR22FromNothingByLeaves(t *testing.T) {
	s := &teller{t: t}
	s.step(Input{Kind: Begin, UpTo: 100, Peers: 1}, "discover, records 0 (0, 100]")
	s.step(Input{Kind: Page, Prev: 0, Last: 5}, "records 0 (5, 100]")
	s.step(Input{Kind: Found, Peers: 2}, "")
	s.step(stand(0, 100, 90), "")
	s.step(stand(1, 100, 90), "")
	s.step(Input{Kind: Page, Prev: 5, Last: 9}, "")
	s.step(Input{Kind: Saved, SCL: 5}, "")
	s.step(Input{Kind: Saved, SCL: 9}, "begin")
	s.step(Input{Kind: Begun}, "marks 0 after 0 from 0")
	s.step(LostPeer(0), "marks 1 after 0 from 0")
	s.step(Input{Kind: Marks, Peer: 1, Cut: 90}, "hydrate 90")
	s.step(Input{Kind: Hydrated, SCL: 90}, "records 1 (90, 100]")

	s = &teller{t: t} // nobody has settled anything: records
	s.step(Input{Kind: Begin, UpTo: 100}, "discover")
	s.step(Input{Kind: Found, Peers: 1}, "")
	s.step(stand(0, 100, 0), "records 0 (0, 100]")
}

// R22: one that was interrupted goes on with leaves, whatever the logs have.
func TestR22GoesOnWithLeaves(t *testing.T) {
	s := &teller{t: t}
	s.step(Input{Kind: Begin, UpTo: 100, Peers: 1, SCL: 50, Floor: 40, Mixed: true}, "discover")
	s.step(Input{Kind: Found, Peers: 1}, "")
	s.step(stand(0, 100, 45), "begin")
	s.step(Input{Kind: Begun, Since: 20}, "marks 0 after 20 from 0")
}
