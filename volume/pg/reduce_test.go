package pg

import (
	"slices"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/volume/quorum"
	"github.com/sextantdisk/sextant/wire"
)

// The zone of members 4 and 5 is lost for long (R29): four are the others, and
// zone those two.
var (
	four = []quorum.Member{0, 1, 2, 3}
	zone = []quorum.Member{4, 5}
)

func ofFour() quorum.Set { return quorum.Set{Members: four, Write: 3, Read: 2} }

// zoned is a configuration of six segments, of whom those in no set are out.
func zoned(m block.MembershipEpoch, sets ...quorum.Set) *quorum.Config {
	c := &quorum.Config{Epoch: m, Sets: sets, Segments: make([]block.SegmentID, 6)}
	for i := range c.Segments {
		if c.Members().Has(quorum.Member(i)) {
			c.Segments[i] = block.SegmentID{byte(i + 1)}
		}
	}
	return c
}

func givenUp() *quorum.Config { return zoned(2, ofSix(everyone), ofFour()) }
func without() *quorum.Config { return zoned(3, ofFour()) }

func takenBack() *quorum.Config {
	c := zoned(4, ofFour(), ofSix(everyone))
	c.Unhydrated = map[quorum.Member]bool{4: true, 5: true}
	return c
}

// inZones is a world whose group is open on all six.
func inZones(t *testing.T) *world {
	w := newWorld(t, func(c *Config) { c.Quorum = zoned(1, ofSix(everyone)) })
	w.open()
	return w
}

// withoutZone is one whose zone was given up, and that has written at(2).
func withoutZone(t *testing.T) *world {
	w := inZones(t)
	w.down(zone...)
	w.step(Input{Kind: Reconfigure, Config: givenUp()})
	w.installed(at(1), four...)
	w.step(Input{Kind: Reconfigure, Config: without()})
	w.write(1)
	w.collect()
	w.ack(at(2), four...)
	w.wantDone(at(2))
	w.forget()
	return w
}

// TestR29ThreeOfFourAcknowledge: with the zone gone all four have to; while it is
// given up as well, although three of them would do for the new set; when it is,
// three do.
func TestR29ThreeOfFourAcknowledge(t *testing.T) {
	w := inZones(t)
	w.down(zone...)
	w.write(1)
	w.collect()
	w.ack(at(2), 0, 1, 2)
	w.wantDone()
	w.step(Input{Kind: Reconfigure, Config: givenUp()})
	w.wantDone()
	w.installed(at(2), 0, 1)
	w.wantChange(0, false, false) // three of the six have to
	w.installed(at(2), 2)
	w.wantChange(at(2), false, true)
	w.wantDone()
	w.step(Input{Kind: Reconfigure, Config: without()})
	w.wantDone(at(2))
	w.down(3)
	w.write(1)
	w.collect()
	w.ack(at(3), 0, 1)
	w.wantDone(at(2))
	w.ack(at(3), 2)
	w.wantDone(at(2), at(3))
}

// TestR29ZoneIsGivenUpAfterOneMoreFailure: three of six take no write, but they
// can prove that the four of whom they are have all: then writes that waited go
// on.
func TestR29ZoneIsGivenUpAfterOneMoreFailure(t *testing.T) {
	w := inZones(t)
	w.write(1)
	w.collect()
	w.ack(at(2), 3, 4, 5) // on its way to a quorum when they are lost
	w.down(3, 4, 5)
	w.step(Input{Kind: Reconfigure, Config: givenUp()})
	w.installed(at(1), 0, 1, 2)
	w.wantChange(at(1), false, true)
	w.wantDone()
	w.installed(at(2), 0, 1, 2)
	w.step(Input{Kind: Reconfigure, Config: without()})
	w.wantDone(at(2))
}

// TestR29FinishNeedsWhatTheZoneHadAlone: what only a member of the zone had when
// the change was installed may be acknowledged: three of the four have to have it.
func TestR29FinishNeedsWhatTheZoneHadAlone(t *testing.T) {
	w := inZones(t)
	w.write(1)
	w.collect()
	w.step(Input{Kind: Reconfigure, Config: givenUp()})
	w.installed(at(2), 5)
	w.installed(at(1), 0, 1)
	w.wantChange(at(2), false, false)
	w.installed(at(2), 0, 1)
	w.wantChange(at(2), false, false)
	w.installed(at(2), 2)
	w.wantChange(at(2), false, true)
}

// TestR29WhoIsOutIsToldNothing: it keeps nothing in the ring, serves no read and
// gives nothing to others.
func TestR29WhoIsOutIsToldNothing(t *testing.T) {
	w := withoutZone(t)
	w.write(1)
	w.collect()
	w.ack(at(3), four...)
	w.wantDone(at(3))
	w.wait(ActiveFor)
	for _, i := range zone {
		if got := w.kinds(i); got != nil || w.m.Serves(i, at(3)) {
			t.Errorf("member %d is out, and was sent %v; serves %v", i, got, w.m.Serves(i, at(3)))
		}
	}
	if w.m.RingBytes() != 0 {
		t.Errorf("the ring keeps %v for who is out", w.m.RingBytes())
	}
}

// TestR29ZoneIsBackWhenItHasCaughtUp: those who come back are joined and sent
// what is written; they acknowledge with the four, count for nothing in the proof
// before both have what the four had, and are then marked; four of six stay alone.
func TestR29ZoneIsBackWhenItHasCaughtUp(t *testing.T) {
	w := withoutZone(t)
	w.step(Input{Kind: Reconfigure, Config: takenBack()})
	w.up(zone...)
	for _, i := range zone {
		if got := w.kinds(i); !slices.Equal(got, []SendKind{SendJoin}) {
			t.Errorf("member %d was sent %v", i, got)
		}
	}
	w.installedAs(4, old(3), 4, 5) // where they stood
	w.installedAs(4, at(2), 0)
	w.wantChange(0, false, false) // two of the four have to
	w.installedAs(4, at(2), 1)
	w.wantChange(at(2), false, false)
	w.write(1)
	w.collect()
	w.ack(at(3), 0, 1, 2)
	w.wantDone() // three of the four, and three of six
	w.installedAs(4, at(3), 4)
	w.wantDone(at(3))
	w.wantChange(at(2), false, false)
	w.installedAs(4, at(2), 5)
	w.wantChange(at(2), true, false)
	marked := takenBack()
	marked.Unhydrated = nil
	w.step(Input{Kind: Reconfigure, Config: marked})
	w.wantChange(at(2), false, true)
	w.step(Input{Kind: Reconfigure, Config: zoned(5, ofSix(everyone))})
	w.write(1)
	w.collect()
	w.ack(at(4), 0, 3, 4)
	w.wantDone(at(3))
	w.ack(at(4), 5)
	w.wantDone(at(3), at(4))
}

// TestR29OpeningWithoutAZone: two of the four are the fence, three open.
func TestR29OpeningWithoutAZone(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Quorum, c.Departed = without(), true })
	w.start(four...)
	w.ack(old(7), 0)
	w.wait(2 * FenceGrace)
	w.wantPhase(Fencing)
	w.ack(old(8), 1)
	w.wait(2 * FenceGrace)
	w.wantPhase(Opening)
	w.ack(at(1), 0, 1)
	w.wantPhase(Opening)
	w.up(2, 3)
	w.ack(old(8), 2, 3)
	w.ack(at(1), 2, 3)
	w.wantPhase(Open)
	if _, ok := w.beginRead(); ok || w.m.LeaseSettled() {
		t.Error("all four are fenced, but a former writer may read from who is out (R14)")
	}
	w.wait(quorum.LeaseWait)
	if !w.m.LeaseSettled() {
		t.Error("the former lease is waited for without end")
	}
}

// TestR29OpeningWhileAZoneIsGivenUp: two of the four that count for data are not
// enough, although they fence it: they may lack what the six have acknowledged.
func TestR29OpeningWhileAZoneIsGivenUp(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Quorum = givenUp() })
	w.start(0, 1, 5)
	w.ack(old(7), 0, 1)
	w.say(5, wire.Ack{SCL: old(2), Damaged: true})
	w.wait(2 * FenceGrace)
	w.wantPhase(Fencing)
	w.up(4)
	w.ack(old(9), 4)
	w.wait(2 * FenceGrace)
	w.wantPhase(Opening)
	if w.m.point != old(9) {
		t.Errorf("recovered at %v, acknowledged was %v", w.m.point, old(9))
	}
}
