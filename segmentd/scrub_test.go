package segmentd

import (
	"bytes"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs/memfs"
	"github.com/sextantdisk/sextant/logstore"
	"github.com/sextantdisk/sextant/wire"
)

// pass lets time pass until ok holds.
func (d *daemon) pass(what string, step time.Duration, ok func() bool) {
	d.t.Helper()
	eventually(d.t, what, func() bool { d.later(step); return ok() })
}

// scrubbing is a daemon with two records, that scrubs every week.
func scrubbing(t *testing.T, disk *memfs.FS) (*daemon, *caller) {
	t.Helper()
	d := prepare(t, disk)
	d.cfg.ScrubEvery = DefaultScrubEvery
	d.start()
	c := d.opened()
	c.send(records(1, record(lsn(1, 2), lsn(1, 1), 5, data('a', 2)), record(lsn(1, 3), lsn(1, 2), 50, data('b', 60))))
	c.ack()
	return d, c
}

// another is the segment of another copy of the group.
var another = block.SegmentID{4}

// peerWith is a daemon that has another copy, with these records, and how
// others find it.
func peerWith(t *testing.T, recs ...wire.Record) (*daemon, Peer) {
	t.Helper()
	d := daemonOn(t, memfs.New(0))
	c, id := d.dial(), ident(1)
	id.Segment = another
	c.send((&wire.Join{Identity: id}).Append(nil, 1))
	c.ack()
	for i := range recs {
		m := wire.Write{Identity: id, Records: recs[i : i+1]}
		c.send(append(m.Append(nil, wire.TypeWrite, 3), recs[i].Payload...))
		c.ack()
	}
	me := d.Server.Identity()
	return d, Peer{Segment: another, Node: me.Node, Disk: me.Disk, Address: d.Addr().String()}
}

// TestS1ScrubFindsAndPeersMend: what nobody reads is found and written again
// from another copy, without a gateway; a copy that has another version is of
// no use. The report tells of damage until it is mended.
func TestS1ScrubFindsAndPeersMend(t *testing.T) {
	d, c := scrubbing(t, memfs.New(0))
	open := opening(lsn(1, 1), 0)
	_, wrong := peerWith(t, open, record(lsn(1, 2), lsn(1, 1), 5, data('x', 2)), record(lsn(1, 3), lsn(1, 2), 50, data('b', 60)))
	_, right := peerWith(t, open, record(lsn(1, 2), lsn(1, 1), 5, data('a', 2)), record(lsn(1, 3), lsn(1, 2), 50, data('b', 60)))
	own := Peer{Segment: mine, Address: d.Addr().String()}
	d.rot(data('a', 1))
	d.reg.set(func() { d.reg.peers = []Peer{own, {Segment: block.SegmentID{8}, Address: "127.0.0.1:1"}, wrong} })
	d.pass("the damage is found", time.Second, func() bool { return d.Scrub().Passes == 1 })
	if r := d.Report(); r.Scrub.Found != 1 || r.Unmended != 1 || len(r.Segments) != 1 || r.Segments[0].State != "bad-blocks" {
		t.Fatalf("report %+v", r)
	}
	d.reg.set(func() { d.reg.peers = append(d.reg.peers, right) })
	d.pass("it is mended", healEvery, func() bool { return d.Report().Mended == 1 }) // told after it is done
	if r := d.Report(); r.Unmended != 0 || r.Damages != 1 || len(r.Segments) != 0 {
		t.Errorf("report %+v", r)
	}
	c.readsBack(lsn(1, 3), 5, data('a', 2))
}

// TestS2DamageThatAReadFindsIsMended, by peers, without waiting for a scrub.
func TestS2DamageThatAReadFindsIsMended(t *testing.T) {
	d := daemonOn(t, memfs.New(0)) // it never scrubs
	c := d.opened()
	rec := record(lsn(1, 2), lsn(1, 1), 5, data('a', 2))
	c.send(records(1, rec))
	c.ack()
	_, peer := peerWith(t, opening(lsn(1, 1), 0), rec)
	d.mendsWhatIsRead(c, lsn(1, 2), peer)
}

// mendsWhatIsRead has a read as of an LSN find damage in blocks 5 and 6, which were
// written as data('a', 2), and a peer mend it.
func (d *daemon) mendsWhatIsRead(c *caller, at block.LSN, peer Peer) {
	d.t.Helper()
	d.reg.set(func() { d.reg.peers = []Peer{peer} })
	d.rot(data('a', 1))
	c.send(read(1, at, 5, 2))
	c.refused(block.Corrupt)
	eventually(d.t, "it is mended", func() bool { return d.Counters().Mended.Load() == 1 })
	c.readsBack(at, 5, data('a', 2))
}

// readsBack reads what was mended.
func (c *caller) readsBack(at block.LSN, first block.Index, want []byte) {
	c.t.Helper()
	c.send(read(1, at, first, block.Count(len(want)/block.Size)))
	if _, p := c.answer(); !bytes.Equal(p, want) {
		c.t.Error("the mended block does not read back")
	}
}

// TestS2WhoIsHalfWayMends: a copy that lags, and is half-way in a hydration, cannot be
// read from; but what it has of the version that is damaged here is the same.
func TestS2WhoIsHalfWayMends(t *testing.T) {
	d := daemonOn(t, memfs.New(0)) // it never scrubs
	c := d.opened()
	recs := []wire.Record{record(lsn(1, 2), lsn(1, 1), 5, data('a', 2)), record(lsn(1, 3), lsn(1, 2), 9, data('b', 1))}
	for i := range recs {
		c.send(records(1, recs[i]))
		c.ack()
	}
	p, peer := peerWith(t, opening(lsn(1, 1), 0), recs[0])
	half, _ := p.Server.host(another)
	if err := half.log.BeginHydration(); err != nil {
		t.Fatal(err)
	}
	r := logstore.ReadResult{Buf: make([]byte, block.Size)}
	if err := half.log.ReadAt(lsn(1, 2), 5, 1, &r); block.KindOf(err) == block.Unknown {
		t.Fatalf("a segment that is half-way is read from: %v", err)
	}
	d.mendsWhatIsRead(c, lsn(1, 3), peer)
}

// TestS2WhatNobodyHasIsInNobodysWay: of two blocks that are damaged a peer has the
// second one only. That is mended, and the other one waits.
func TestS2WhatNobodyHasIsInNobodysWay(t *testing.T) {
	d, c := scrubbing(t, memfs.New(0))
	open := opening(lsn(1, 1), 0)
	late := record(lsn(1, 3), lsn(1, 2), 50, data('b', 60)) // what scrubbing has written
	_, peer := peerWith(t, open, record(lsn(1, 2), lsn(1, 1), 5, data('x', 1)), late)
	d.rot(data('a', 1))
	d.rot(data('b', 1))
	d.reg.set(func() { d.reg.peers = []Peer{peer} })
	d.pass("one is mended", healEvery, func() bool { return d.Report().Mended == 1 })
	if r := d.Report(); r.Unmended != 1 {
		t.Errorf("report %+v", r)
	}
	c.readsBack(lsn(1, 3), 50, data('b', 60))
}

// TestS2EachHasItsTurn: not the same ones are tried each time.
func TestS2EachHasItsTurn(t *testing.T) {
	for _, n := range []int{1, healBatch, healBatch + 1, 3*healBatch - 1} {
		bad, tried := make([]logstore.BadBlock, n), make(map[block.Index]bool)
		for i := range bad {
			bad[i].Block = block.Index(i)
		}
		for round := 7; round < 10; round++ {
			for _, b := range share(bad, round) {
				tried[b.Block] = true
			}
		}
		if len(tried) != n {
			t.Errorf("in three rounds %d of %d were tried", len(tried), n)
		}
	}
}

// TestS1PassIsPacedAndResumes: a pass takes no longer than a day on a small
// disk, its progress outlives the daemon, and the next begins a week later.
func TestS1PassIsPacedAndResumes(t *testing.T) {
	d, _ := scrubbing(t, memfs.New(0))
	d.pass("a pass has ended", time.Second, func() bool { return d.Scrub().Passes == 1 })
	first := d.Scrub()
	if first.Done < 60*block.Size || first.Running || !first.Next.Equal(first.Began.Add(DefaultScrubEvery)) {
		t.Errorf("after the first pass: %+v", first)
	}
	if took := first.Ended.Sub(first.Began); took > time.Hour {
		t.Errorf("the first pass took %v", took)
	}
	d.ScrubNow()
	d.pass("another pass, asked for", time.Second, func() bool { return d.Scrub().Passes == 2 })
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	again := prepare(t, d.disk)
	again.cfg.ScrubEvery = DefaultScrubEvery
	again.start()
	again.pass("progress is read", time.Second, func() bool { return again.Scrub().Passes == 2 })
	again.pass("a week later the next begins", time.Hour, func() bool { return again.Scrub().Passes == 3 })
}

// TestScrubPace: what is left is spread over the time that is left, no slower
// than the floor.
func TestScrubPace(t *testing.T) {
	week := DefaultScrubEvery
	now := time.Unix(1_000_000, 0)
	for name, c := range map[string]struct {
		left  block.ByteCount
		spent time.Duration
		hasty bool
		want  time.Duration // about
	}{
		"small disk":            {left: block.GiB, want: time.Second},
		"a TiB in a week":       {left: block.TiB, want: 577 * time.Millisecond},
		"ten TiB in a week":     {left: 10 * block.TiB, want: 58 * time.Millisecond},
		"half in half the time": {left: block.TiB / 2, spent: week / 2, want: 577 * time.Millisecond},
		"late":                  {left: block.TiB, spent: 2 * week, want: time.Millisecond},
		"somebody waits":        {left: block.TiB, hasty: true, want: time.Second / 64},
	} {
		s := ScrubState{Running: true, Hasty: c.hasty, Began: now}
		if got := s.pause(now.Add(c.spent), c.left, week); got < c.want*98/100 || got > c.want*102/100 {
			t.Errorf("%s: a pause of %v, want about %v", name, got, c.want)
		}
	}
	s := ScrubState{}
	if !s.due(now, week) {
		t.Error("the first pass is not due")
	}
	s.begin(now, 7, false)
	s.took(now, logstore.Scrubbed{Bytes: 5, Found: 1, Done: true})
	if s.due(now.Add(week-time.Second), week) || !s.due(now.Add(week), week) || s.Found != 1 || s.Done != 5 {
		t.Errorf("after a pass: %+v", s)
	}
}
