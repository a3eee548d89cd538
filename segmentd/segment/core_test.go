package segment

import (
	"strings"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/wire"
)

var (
	mine  = block.SegmentID{15: 1}
	place = Meta{Cluster: block.ClusterID{1}, Volume: block.VolumeID{2}, PG: 3, Member: 4, Born: 1}
)

// says is a message for the segment of these tests, under epoch e.
func says(e block.VolumeEpoch, change ...func(*wire.Identity)) *wire.Identity {
	id := &wire.Identity{Cluster: place.Cluster, Volume: place.Volume, Segment: mine, PG: place.PG, Epoch: e, Member: place.Member}
	for _, f := range change {
		f(id)
	}
	return id
}

// promised is a segment that has promised epoch e.
func promised(e block.VolumeEpoch) *Core { return New(mine, place, e, false) }

func wantRefused(t *testing.T, r *wire.Refuse, k block.Kind) {
	t.Helper()
	if r == nil || r.Kind != k || r.Message == "" {
		t.Fatalf("answered %+v, want a refusal of kind %v", r, k)
	}
}

// TestR1WrongIdentityIsRefused: each part of the identity counts, for each
// sort of message, and the refusal says both sides.
func TestR1WrongIdentityIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(*wire.Identity){
		"cluster": func(id *wire.Identity) { id.Cluster[15] = 9 },
		"volume":  func(id *wire.Identity) { id.Volume[15] = 9 },
		"group":   func(id *wire.Identity) { id.PG = 9 },
		"segment": func(id *wire.Identity) { id.Segment[0] = 9 },
	} {
		t.Run(name, func(t *testing.T) {
			c := promised(5)
			id := says(6, spoil)
			wantRefused(t, c.Admit(id).Refuse, block.Mismatch)
			wantRefused(t, c.AdmitRead(says(5, spoil)), block.Mismatch)
			wantRefused(t, c.AdmitFetch(says(5, spoil)), block.Mismatch)
			if c.Promised() != 5 {
				t.Errorf("a message for somebody else has moved the promise to %d", c.Promised())
			}
			if r := c.Admit(id).Refuse; !strings.Contains(r.Message, id.Volume.String()) || r.Epoch != 0 {
				t.Errorf("refusal %+v", r)
			}
		})
	}
}

// TestR2LowerEpochIsRefused: and is told which one was promised; nothing
// changes (I5).
func TestR2LowerEpochIsRefused(t *testing.T) {
	c := promised(5)
	v := c.Admit(says(4))
	wantRefused(t, v.Refuse, block.Fenced)
	if v.Refuse.Epoch != 5 || v.Refuse.Member != 4 || v.Promise != 0 || v.Meta != nil || c.Promised() != 5 {
		t.Errorf("verdict %+v", v)
	}
	wantRefused(t, c.AdmitRead(says(4)), block.Fenced)
	wantRefused(t, c.AdmitFetch(says(4)), block.Fenced)
}

// TestR2HigherEpochIsPromised: once, to be logged before anything is done
// under it; from then on the epoch before is refused, logged or not.
func TestR2HigherEpochIsPromised(t *testing.T) {
	c := promised(5)
	if v := c.Admit(says(5)); v.Refuse != nil || v.Promise != 0 || v.Meta != nil {
		t.Fatalf("the promised epoch: %+v", v)
	}
	if v := c.Admit(says(7)); v.Refuse != nil || v.Promise != 7 {
		t.Fatalf("a higher epoch: %+v", v)
	}
	if v := c.Admit(says(7)); v.Refuse != nil || v.Promise != 0 {
		t.Fatalf("the same once more: %+v", v)
	}
	wantRefused(t, c.Admit(says(6)).Refuse, block.Fenced)
	if a := said(t, c, Log{}, 0, false); a.Epoch != 7 {
		t.Errorf("acks speak for epoch %d", a.Epoch)
	}
}

// TestR2ReadsPromiseNothing: an epoch that has not joined reads nothing.
func TestR2ReadsPromiseNothing(t *testing.T) {
	c := promised(5)
	wantRefused(t, c.AdmitRead(says(6)), block.Unavailable)
	wantRefused(t, c.AdmitFetch(says(6)), block.Unavailable)
	if c.Promised() != 5 {
		t.Errorf("promised %d", c.Promised())
	}
	if r := c.AdmitRead(says(5)); r != nil {
		t.Errorf("the promised epoch is refused: %+v", r)
	}
}

// TestR2MembershipEpoch: a lower one is refused, a higher one is taken and to
// be logged.
func TestR2MembershipEpoch(t *testing.T) {
	member := func(m block.MembershipEpoch) func(*wire.Identity) {
		return func(id *wire.Identity) { id.Member = m }
	}
	c := promised(5)
	v := c.Admit(says(6, member(3)))
	wantRefused(t, v.Refuse, block.Stale)
	if v.Refuse.Member != 4 || v.Refuse.Epoch != 0 || c.Promised() != 5 {
		t.Errorf("verdict %+v, promised %d", v, c.Promised())
	}
	wantRefused(t, c.AdmitRead(says(5, member(3))), block.Stale)
	v = c.Admit(says(5, member(6)))
	if v.Refuse != nil || v.Meta == nil || v.Meta.Member != 6 || c.Meta().Member != 6 {
		t.Fatalf("verdict %+v", v)
	}
	wantRefused(t, c.Admit(says(5)).Refuse, block.Stale)
}

// TestR2WhatIsNotLoggedIsNotLearned: a message that brings nothing for the log
// raises neither epoch; the one that does is still to log it.
func TestR2WhatIsNotLoggedIsNotLearned(t *testing.T) {
	newer := func(id *wire.Identity) { id.Member = 6 }
	c := promised(5)
	wantRefused(t, c.AdmitJoined(says(6)), block.Unavailable)
	wantRefused(t, c.AdmitJoined(says(5, newer)), block.Unavailable)
	wantRefused(t, c.AdmitJoined(says(4)), block.Fenced)
	if r := c.AdmitJoined(says(5)); r != nil {
		t.Errorf("who has joined is refused: %+v", r)
	}
	if v := c.Admit(says(6, newer)); v.Promise != 6 || v.Meta == nil || v.Meta.Member != 6 {
		t.Errorf("verdict %+v: both epochs are to be logged", v)
	}
}

// TestR20DonorMustHaveTheSamePromise: records go to a peer of the same epoch
// only, and never from a damaged segment.
func TestR20DonorMustHaveTheSamePromise(t *testing.T) {
	if r := promised(5).AdmitFetch(says(5)); r != nil {
		t.Errorf("refused: %+v", r)
	}
	damaged := New(mine, place, 5, true)
	damaged.Reassure(5)
	wantRefused(t, damaged.AdmitFetch(says(5)), block.Unavailable)
}

// TestDamagedSegmentWaitsForTheEpoch: a log that has lost a part may have lost
// a promise: nobody is admitted before the metadata service has told the
// volume's epoch (trap T14).
func TestDamagedSegmentWaitsForTheEpoch(t *testing.T) {
	c := New(mine, place, 5, true)
	if !c.Unsure() || !c.Damaged() {
		t.Fatal("not in doubt")
	}
	wantRefused(t, c.Admit(says(9)).Refuse, block.Unavailable)
	wantRefused(t, c.AdmitRead(says(5)), block.Unavailable)
	if e := c.Reassure(8); e != 8 || c.Unsure() {
		t.Fatalf("to be logged: %d", e)
	}
	wantRefused(t, c.Admit(says(7)).Refuse, block.Fenced)
	if v := c.Admit(says(8)); v.Refuse != nil || v.Promise != 0 {
		t.Fatalf("verdict %+v", v)
	}
	if e := c.Reassure(8); e != 0 {
		t.Errorf("logged twice: %d", e)
	}
	if !said(t, c, Log{}, 0, false).Damaged {
		t.Error("it does not say that it is damaged")
	}
}

// TestDamageEndsWhenComplete: only what the writer of the promised epoch has
// on a write quorum ends it, and only when the segment has all of it.
func TestDamageEndsWhenComplete(t *testing.T) {
	lsn := block.MakeLSN
	c := New(mine, place, 5, true)
	if c.Complete(5, lsn(5, 3), lsn(5, 3)) {
		t.Fatal("complete while in doubt of its promise")
	}
	c.Reassure(5)
	for name, x := range map[string]struct {
		epoch          block.VolumeEpoch
		committed, scl block.LSN
	}{
		"another writer's word":             {4, lsn(4, 3), lsn(5, 9)},
		"nothing committed in this epoch":   {5, lsn(4, 3), lsn(5, 9)},
		"less than what is committed there": {5, lsn(5, 3), lsn(5, 2)},
	} {
		if c.Complete(x.epoch, x.committed, x.scl) || !c.Damaged() {
			t.Errorf("%s ends the damage", name)
		}
	}
	if !c.Complete(5, lsn(5, 3), lsn(5, 3)) || c.Damaged() {
		t.Fatal("not complete with all that is committed")
	}
	if c.Complete(5, lsn(5, 3), lsn(5, 3)) {
		t.Error("complete twice")
	}
	doubtful := place
	doubtful.Doubtful = true
	d := New(mine, doubtful, 5, false)
	if !d.Damaged() || !d.Complete(5, lsn(5, 1), lsn(5, 1)) || d.Meta().Doubtful {
		t.Error("a segment made anew on a damaged log is not treated as damaged, or for ever")
	}
}

// TestR6AckSaysWhatTheLogSays: SCL, floor, stamp and identity.
func TestR6AckSaysWhatTheLogSays(t *testing.T) {
	lsn := block.MakeLSN
	c := promised(5)
	a := said(t, c, Log{SCL: lsn(5, 8), Floor: lsn(5, 2), Head: lsn(5, 8), Member: place.Member}, 77, false)
	want := wire.Ack{Identity: *says(5), SCL: lsn(5, 8), Floor: lsn(5, 2), Stamp: 77}
	if a != want {
		t.Fatalf("ack %+v, want %+v", a, want)
	}
	if a := said(t, c, Log{SCL: lsn(5, 8), Head: lsn(5, 9), Unlinked: 1}, 0, true); !a.Gap || !a.CatchingUp {
		t.Errorf("a gap in the present writer's records: %+v", a)
	}
	// What a predecessor left unlinked is no gap: nobody will ever fill it.
	if a := said(t, c, Log{SCL: lsn(4, 8), Head: lsn(4, 12), Unlinked: 1}, 0, false); a.Gap {
		t.Errorf("a predecessor's leavings: %+v", a)
	}
	if a := said(t, c, Log{SCL: lsn(5, 9), Head: lsn(5, 9), Unlinked: 1}, 0, false); a.Gap {
		t.Errorf("leavings below the SCL: %+v", a)
	}
}

// TestR26AckTellsWhatIsInstalled: the membership epoch in an ack is that of the
// log, not of a message whose configuration is still on its way to the disk: a
// change is finished on this word.
func TestR26AckTellsWhatIsInstalled(t *testing.T) {
	c := promised(5)
	if v := c.Admit(says(5, func(id *wire.Identity) { id.Member = 9 })); v.Refuse != nil || v.Meta == nil {
		t.Fatalf("verdict %+v", v)
	}
	if a := said(t, c, Log{Member: MemberIn(place.Encode())}, 0, false); a.Member != place.Member {
		t.Errorf("an ack tells membership epoch %d, %d is on disk", a.Member, place.Member)
	}
	if m := MemberIn([]byte("no configuration")); m != 0 {
		t.Errorf("membership epoch %d of something else", m)
	}
}

// TestR13FloorOnOwnChainOnly: the floor moves to what the writer says if the
// segment stands on that writer's chain, at or above it.
func TestR13FloorOnOwnChainOnly(t *testing.T) {
	lsn := block.MakeLSN
	for name, x := range map[string]struct {
		floor, scl, want block.LSN
	}{
		"none":                  {0, lsn(5, 9), 0},
		"reached":               {lsn(5, 3), lsn(5, 3), lsn(5, 3)},
		"not reached":           {lsn(5, 3), lsn(5, 2), 0},
		"of an epoch before":    {lsn(4, 3), lsn(5, 9), 0},
		"on a branch, below it": {lsn(5, 3), lsn(4, 9), 0},
	} {
		if got := FloorFor(5, x.floor, x.scl); got != x.want {
			t.Errorf("%s: floor %v, want %v", name, got, x.want)
		}
	}
}

// TestMetaEncoding pins the bytes, and what decoding says of other ones.
func TestMetaEncoding(t *testing.T) {
	m := place
	m.Doubtful = true
	b := m.Encode()
	if len(b) != 56 || b[0] != 1 || b[4] != 1 || b[20] != 2 || b[36] != 3 || b[40] != 4 || b[44] != 1 || b[48] != 1 {
		t.Fatalf("encoded as %x", b)
	}
	if got, err := DecodeMeta(b); err != nil || got != m {
		t.Fatalf("decoded %+v, %v", got, err)
	}
	if got, err := DecodeMeta(place.Encode()); err != nil || got != place {
		t.Fatalf("decoded %+v, %v", got, err)
	}
	with := func(at int, v byte) []byte { c := append([]byte(nil), b...); c[at] = v; return c }
	for name, x := range map[string]struct {
		bytes []byte
		kind  block.Kind
	}{
		"nothing":       {nil, block.Corrupt},
		"short":         {b[:55], block.Corrupt},
		"long":          {append(append([]byte(nil), b...), 0), block.Corrupt},
		"newer":         {with(0, 2), block.Version},
		"format zero":   {with(0, 0), block.Corrupt},
		"unknown flag":  {with(48, 2), block.Corrupt},
		"reserved bits": {with(55, 1), block.Corrupt},
	} {
		if _, err := DecodeMeta(x.bytes); block.KindOf(err) != x.kind || err == nil {
			t.Errorf("%s: %v, want kind %v", name, err, x.kind)
		}
	}
}

// TestR24BornInTheEpochOfItsMaker: a segment begins with its maker's epoch.
func TestR24BornInTheEpochOfItsMaker(t *testing.T) {
	m := NewMeta(says(9))
	if m.Born != 9 || m.Cluster != place.Cluster || m.Volume != place.Volume || m.PG != place.PG || m.Member != place.Member || m.Doubtful {
		t.Errorf("%+v", m)
	}
}

// said is what the segment answers to the writer that it has promised.
func said(t *testing.T, c *Core, log Log, stamp wire.Stamp, catchingUp bool) wire.Ack {
	t.Helper()
	a, refuse := c.Answer(c.Promised(), log, stamp, catchingUp)
	if refuse != nil {
		t.Fatalf("refused: %s", refuse.Message)
	}
	return a
}

// TestR2FormerWriterLearnsOfTheFence: what a writer had written before the
// fence is counted by its successor; it is told of the fence, not what became
// of that (trap T4).
func TestR2FormerWriterLearnsOfTheFence(t *testing.T) {
	c := promised(5)
	if v := c.Admit(says(6)); v.Refuse != nil {
		t.Fatal(v.Refuse.Message)
	}
	_, refuse := c.Answer(5, Log{SCL: block.MakeLSN(5, 8), Head: block.MakeLSN(5, 8)}, 1, false)
	if refuse == nil || refuse.Kind != block.Fenced || refuse.Epoch != 6 {
		t.Errorf("answered with %+v", refuse)
	}
}

// TestR2BareMessageWaitsForThePromise: an answer that relies on a promise which
// somebody else's message has made is logged behind it again.
func TestR2BareMessageWaitsForThePromise(t *testing.T) {
	c := promised(5)
	if v := c.AdmitBare(says(6), 5); v.Promise != 6 {
		t.Errorf("promise %d", v.Promise)
	}
	if v := c.AdmitBare(says(6), 5); v.Promise != 6 {
		t.Errorf("the promise is not on disk, and the answer does not wait for it: %d", v.Promise)
	}
	if v := c.AdmitBare(says(6), 6); v.Promise != 0 {
		t.Errorf("the promise is on disk, and is made again: %d", v.Promise)
	}
}
