package quorum

import (
	"slices"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
)

// four are the members that go on when the zone of 4 and 5 is lost (R29).
func four() Set { return Set{Members: []Member{0, 1, 2, 3}, Write: 3, Read: 2} }

// reducing is about to give up members 4 and 5, reduced has, restoring takes them
// back: not hydrated at first.
func reducing() *Config {
	c := six()
	c.Sets = append(c.Sets, four())
	return c
}

func reduced() *Config {
	c := six()
	c.Sets = []Set{four()}
	return c
}

func restoring() *Config {
	c := six()
	c.Sets = []Set{four(), c.Sets[0]}
	c.Unhydrated = map[Member]bool{4: true, 5: true}
	return c
}

// caughtUp is restoring when both are marked hydrated.
func caughtUp() *Config {
	c := restoring()
	c.Unhydrated = nil
	return c
}

const back = Votes(1<<4 | 1<<5)

// finished looks for a record that by has acknowledged and that a recovery with
// next does not find, although by's writer was allowed to finish the change from
// now to next: what it knows at the sync point is whether those who have the
// record are a write quorum of next's set, and all that join.
func finished(by, now, next *Config) (loss []Votes) {
	for have := range Votes(1 << 6) {
		scl := func(m Member) block.LSN {
			if have.Has(m) {
				return 9
			}
			return 8
		}
		if !by.Writes(have) || !now.MayFinish(9, scl) {
			continue
		}
		for r := range Votes(1 << 6) {
			for damaged := r; ; damaged = (damaged - 1) & r {
				if point, _, ok := next.Recover(answersOf(r, damaged, have)); ok && point < 9 {
					return []Votes{have, r, damaged}
				}
				if damaged == 0 {
					break
				}
			}
		}
	}
	return nil
}

// TestR29RecoveryFindsEverything: over all write quorums, all sets of answers and
// all damages, in each phase of giving up a zone and of taking it back, and with
// what any configuration that may have acknowledged it did. Those who come back
// have it only when they are hydrated, or were in the quorum.
func TestR29RecoveryFindsEverything(t *testing.T) {
	for name, x := range map[string]struct {
		by, now *Config
		caught  Votes
	}{
		"all, while the zone is given up":                       {six(), reducing(), 0},
		"both, while the zone is given up":                      {reducing(), reducing(), 0},
		"both, and the zone is kept":                            {reducing(), six(), 0},
		"both, and the zone is given up":                        {reducing(), reduced(), 0},
		"four":                                                  {reduced(), reduced(), 0},
		"four, while the zone is taken back":                    {reduced(), restoring(), 0},
		"four, when those who come back are hydrated":           {reduced(), caughtUp(), back},
		"both, while the zone is taken back":                    {restoring(), restoring(), 0},
		"both, when those who come back are hydrated":           {caughtUp(), caughtUp(), 0},
		"both, and the zone stays away":                         {restoring(), reduced(), 0},
		"both, and the zone is back":                            {restoring(), six(), 0},
		"four, and then the zone was taken back and caught up":  {reduced(), six(), back},
		"four, and then the zone came back, and left once more": {reduced(), reduced(), back},
	} {
		if loss := lost(x.by, x.now, x.caught); loss != nil {
			t.Errorf("%s: a record on %06b is lost when %06b answer, %06b of them damaged", name, loss[0], loss[1], loss[2])
		}
	}
	for name, x := range map[string]struct{ by, now, next *Config }{
		"all, and the zone was given up": {six(), reducing(), reduced()},
		"four, and the zone is back":     {reduced(), caughtUp(), six()},
	} {
		if loss := finished(x.by, x.now, x.next); loss != nil {
			t.Errorf("%s: a record on %06b is lost when %06b answer, %06b of them damaged", name, loss[0], loss[1], loss[2])
		}
	}
}

// TestR29WhatWouldBeLost: the same search finds losses where a rule of this part
// is broken.
func TestR29WhatWouldBeLost(t *testing.T) {
	for name, loss := range map[string][]Votes{
		"the four acknowledge alone, and the zone is kept": lost(reduced(), six(), 0),
		"who comes back counts before it has caught up":    lost(reduced(), caughtUp(), 0),
		"the zone is given up before the four have all":    lost(six(), reduced(), 0),
	} {
		if loss == nil {
			t.Errorf("nothing is lost when %s: the other test shows nothing", name)
		}
	}
}

// TestR29AcknowledgedByBoth: while a zone is given up or taken back a write needs
// 4 of 6 and 3 of the four, and 3 of 4 when it is gone.
func TestR29AcknowledgedByBoth(t *testing.T) {
	for v := range Votes(1 << 6) {
		scl := func(m Member) block.LSN {
			if v.Has(m) {
				return 9
			}
			return 0
		}
		ofAll, ofFour := v.in(six().Sets[0]) >= 4, v.in(four()) >= 3
		for name, x := range map[string]struct {
			c    *Config
			want bool
		}{
			"given up": {reducing(), ofAll && ofFour}, "gone": {reduced(), ofFour}, "taken back": {restoring(), ofAll && ofFour},
		} {
			if got := x.c.Committed(scl) == 9; got != x.want || x.c.Writes(v) != x.want {
				t.Fatalf("%s, on %06b: committed %v, quorum %v", name, v, got, x.c.Writes(v))
			}
		}
	}
}

// TestR29FinishNeedsTheFour: a zone is given up when three of the four have what
// three of six had that installed it; it is back when both who return are hydrated
// and four of six have what two of the four had.
func TestR29FinishNeedsTheFour(t *testing.T) {
	for v := range Votes(1 << 6) {
		scl := func(m Member) block.LSN {
			if v.Has(m) {
				return 9
			}
			return 8
		}
		c := reducing()
		if c.OldSettled(v) != (v.in(c.Sets[0]) >= 3) || c.MayFinish(9, scl) != (v.in(four()) >= 3) || !c.Caught(9, scl) {
			t.Fatalf("%06b, given up: settled %v, may finish %v, caught %v", v, c.OldSettled(v), c.MayFinish(9, scl), c.Caught(9, scl))
		}
		c = restoring()
		if c.OldSettled(v) != (v.in(four()) >= 2) || c.MayFinish(9, scl) || c.Caught(9, scl) != (v&back == back) {
			t.Fatalf("%06b, taken back: settled %v, may finish %v, caught %v", v, c.OldSettled(v), c.MayFinish(9, scl), c.Caught(9, scl))
		}
		if got := caughtUp().MayFinish(9, scl); got != (v&back == back && v.in(six().Sets[0]) >= 4) {
			t.Fatalf("%06b, caught up: may finish %v", v, got)
		}
	}
}

// TestR29SyncPointCoversTheOldSet (trap T11): whatever a write quorum of the old
// set had when it was settled is at or below the sync point.
func TestR29SyncPointCoversTheOldSet(t *testing.T) {
	for _, c := range []*Config{reducing(), restoring()} {
		old := &Config{Sets: c.Sets[:1]}
		for w := range Votes(1 << 6) {
			for installed := range Votes(1 << 6) {
				p := c.SyncPoint(installed, func(m Member) block.LSN {
					if w.Has(m) {
						return 9
					}
					return 5
				})
				if old.Writes(w) && c.OldSettled(installed) && p < 9 {
					t.Fatalf("%v: on %06b, installed by %06b: sync point %v", c, w, installed, p)
				}
			}
		}
	}
}

// TestR29OpeningOfSuccessorOverlapsTheLease (R14): whoever holds a read quorum of
// every set in force, no successor has a write quorum of the sets that it may
// count with, in any step from one configuration to the next.
func TestR29OpeningOfSuccessorOverlapsTheLease(t *testing.T) {
	for name, x := range map[string]struct{ holds, opens *Config }{
		"all, given up": {six(), reducing()}, "both, kept": {reducing(), six()}, "both, gone": {reducing(), reduced()},
		"four, taken back": {reduced(), restoring()}, "both, back": {restoring(), six()}, "both, gone again": {restoring(), reduced()},
		"four": {reduced(), reduced()}, "given up": {reducing(), reducing()}, "taken back": {restoring(), restoring()},
	} {
		for v := range Votes(1 << 6) {
			if others := Votes(1<<6-1) &^ v; x.holds.Fences(v) && x.opens.Writes(others) {
				t.Errorf("%s: a lease by %06b, an opening on %06b", name, v, others)
			}
		}
	}
}

// TestR29WhoIsOutIsNoMember: it has no number, and its number comes back to it, or
// to nobody else at once, when the zone is taken back.
func TestR29WhoIsOutIsNoMember(t *testing.T) {
	var ids []block.SegmentID
	for _, name := range "abcdef" {
		ids = append(ids, block.SegmentID{byte(name)})
	}
	hydrated := []bool{true, true, true, true, true, true}
	adopt := func(c *Config, m block.MembershipEpoch, sets ...[]int) *Config {
		t.Helper()
		next, err := c.Adopt(Decided{Epoch: m, Segments: ids, Hydrated: hydrated, Sets: of(sets...)})
		if err != nil {
			t.Fatal(err)
		}
		return next
	}
	all, rest := []int{0, 1, 2, 3, 4, 5}, []int{0, 1, 4, 5}
	c := adopt(&Config{}, 1, all)
	c = adopt(c, 2, all, rest)
	if got := c.String(); got != "m2 4/3 of [0 1 2 3 4 5] and 3/2 of [0 1 4 5]" || !c.Joint() || c.Joining() != 0 {
		t.Fatalf("given up: %s, %b join", got, c.Joining())
	}
	hydrated[2], hydrated[3] = false, false
	c = adopt(c, 3, rest)
	if got := c.String(); got != "m3 3/2 of [0 1 4 5]" || !c.Segments[2].IsZero() || !c.Segments[3].IsZero() || len(c.Unhydrated) != 0 {
		t.Fatalf("gone: %s, segments %v, not hydrated %v", got, c.Segments, c.Unhydrated)
	}
	c = adopt(c, 4, rest, all)
	joins := Votes(0)
	for m, id := range c.Segments {
		if id == ids[2] || id == ids[3] {
			joins = joins.Add(Member(m))
		}
	}
	if c.Joining() != joins || len(c.Unhydrated) != 2 || !slices.Equal(c.Sets[0].Members, []Member{0, 1, 4, 5}) {
		t.Fatalf("taken back: %v, %b join, not hydrated %v", c, c.Joining(), c.Unhydrated)
	}
	if _, err := (&Config{}).Adopt(Decided{Segments: ids, Hydrated: hydrated, Sets: []DecidedSet{{At: rest, Write: 2, Read: 2}}}); err == nil {
		t.Error("two of four are taken for a write quorum")
	}
}
