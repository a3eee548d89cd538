package segmentd

import (
	"bytes"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
	"github.com/sextantdisk/sextant/internal/vfs/faultfs"
	"github.com/sextantdisk/sextant/internal/vfs/memfs"
	"github.com/sextantdisk/sextant/logstore"
	"github.com/sextantdisk/sextant/wire"
)

// reading is another connection, for reads.
func (d *daemon) reading() *caller {
	d.t.Helper()
	c, h := d.connect(), d.hello()
	h.Purpose = wire.ForReads
	c.send(h.Append(nil, 9))
	c.next()
	return c
}

// TestS3FailedDiskAnswersNothing: after one failed flush gateways hear of it
// at once, all that speaks of completeness is refused with node, folder and
// error, reads go on, and the metadata service is told without delay.
func TestS3FailedDiskAnswersNothing(t *testing.T) {
	d := daemonOn(t, memfs.New(0))
	c, idle, reads := d.opened(), d.dial(), d.reading()
	c.send(records(1, record(lsn(1, 2), lsn(1, 1), 5, data('a', 2))))
	c.ack()
	d.faults.Add(faultfs.Rule{Ops: faultfs.Sync, Times: 1, Err: syscall.EIO})
	c.send(records(1, record(lsn(1, 3), lsn(1, 2), 5, data('b', 2))))
	idle.ended()
	eventually(t, "the metadata service told", func() bool {
		return d.reg.get(func() bool {
			n := len(d.reg.reports)
			return n > 0 && strings.Contains(d.reg.reports[n-1].Failed, "input/output error")
		})
	})
	for name, frame := range map[string][]byte{
		"join": join(1), "ping": ping(1, wire.Progress{}), "write": records(1, record(lsn(1, 3), lsn(1, 2), 5, data('b', 2))),
	} {
		again := d.dial()
		again.send(frame)
		why := again.refused(block.Unavailable).Message
		for _, part := range []string{"n1", "/data", "input/output error"} {
			if !strings.Contains(why, part) {
				t.Errorf("%s is refused with %q, without %q", name, why, part)
			}
		}
	}
	reads.send(read(1, lsn(1, 2), 5, 2))
	if _, p := reads.answer(); !bytes.Equal(p, data('a', 2)) {
		t.Error("a read on the failed disk gives something else")
	}
	if r := d.Report(); len(r.Segments) != 1 || r.Segments[0].State != "disk-failed" {
		t.Errorf("report %+v", r)
	}
}

// TestS3FlushThatHangsEndsTheDisk: a flush that does not return is a failure,
// not slowness.
func TestS3FlushThatHangsEndsTheDisk(t *testing.T) {
	d := daemonOn(t, memfs.New(0))
	c := d.opened()
	release, calls := d.stall(), d.faults.Calls(faultfs.Sync)
	c.send(records(1, record(lsn(1, 2), lsn(1, 1), 5, data('a', 2))))
	d.flushing(calls)
	d.clock.Advance(logstore.DeadFlush - time.Second)
	again := d.dial()
	again.send(ping(1, wire.Progress{}))
	again.ack()
	d.clock.Advance(2 * time.Second)
	eventually(t, "the disk given up", func() bool { return d.Failed() != nil })
	again.ended()
	release()
	if why := d.Failed().Error(); !strings.Contains(why, "flush has not returned") {
		t.Errorf("it failed because %s", why)
	}
}

// TestS3UnreadableLogIsTold: a disk that cannot be read does not make the
// daemon vanish: it registers, refuses, and says why.
func TestS3UnreadableLogIsTold(t *testing.T) {
	first := daemonOn(t, memfs.New(0))
	first.opened()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	d := prepare(t, first.disk)
	d.faults.Add(faultfs.Rule{Ops: faultfs.Read, Pattern: "log-*", Err: syscall.EIO})
	d.start()
	c := d.dial()
	c.send(join(1))
	if why := c.refused(block.Unavailable).Message; !strings.Contains(why, "/data") || !strings.Contains(why, "input/output error") {
		t.Errorf("refused with %q", why)
	}
	c.send(read(1, lsn(1, 1), 5, 2))
	c.refused(block.Unavailable)
	if r := d.Report(); !strings.Contains(r.Failed, "/data") || r.Capacity == 0 {
		t.Errorf("report %+v", r)
	}
	if d.Err() != nil || d.LogStats() != (logstore.Stats{}) {
		t.Errorf("ended with %v, log %+v", d.Err(), d.LogStats())
	}
}

// TestS3FullDiskSaysSoInAcks: from 90 % of live data on, and no more when space
// was given back, without a restart. A trim is taken by a full log.
func TestS3FullDiskSaysSoInAcks(t *testing.T) {
	d := prepare(t, memfs.New(0))
	d.cfg.Clock, d.cfg.Store.Clock = clock.Real(), clock.Real()
	d.cfg.Capacity = 8 * block.MiB // one file: there is nothing to clean
	d.cfg.Store.Capacity, d.cfg.Store.FileSize = d.cfg.Capacity, d.cfg.Capacity
	d.start()
	c := d.opened()
	n := block.Seq(1)
	for full := false; !full; n++ {
		c.send(records(1, record(lsn(1, n+1), lsn(1, n), block.Index(n)*32, data('a', 32))))
		a := c.ack()
		if a.SCL != lsn(1, n+1) {
			t.Fatalf("record %d was not taken: %+v", n+1, a)
		}
		full = a.Full
	}
	if space := d.Store().Space(); space.Level != logstore.SpaceFull || d.Report().Space.Level != logstore.SpaceFull {
		t.Fatalf("after %d records: %+v", n, space)
	}
	c.send(records(1, wire.Record{Type: wire.RecordTrim, LSN: lsn(1, n+1), Prev: lsn(1, n), Block: 0, Count: block.Count(n) * 16}))
	if a := c.ack(); a.SCL != lsn(1, n+1) {
		t.Fatalf("the trim was not taken: %+v", a)
	}
	eventually(t, "room again", func() bool {
		c.send(ping(1, wire.Progress{Floor: lsn(1, n+1), Committed: lsn(1, n+1)}))
		return !c.ack().Full
	})
}

// TestS3ShortOfRoomForLongIsFull: a log that refuses is short of room; only
// when that lasts, and nothing becomes free, it counts as full.
func TestS3ShortOfRoomForLongIsFull(t *testing.T) {
	now := time.Unix(1000, 0)
	none := logstore.Space{Capacity: 64 * block.MiB, Level: logstore.SpaceWarn}
	some := none
	some.Free = none.Capacity / roomShare
	var r room
	says := func(step string, after time.Duration, space logstore.Space, want bool) {
		t.Helper()
		if r.judge(now.Add(after), space); r.full.Load() != want {
			t.Errorf("%s: full is %v", step, r.full.Load())
		}
	}
	r.refused(now, block.Errorf(block.Unavailable, "something else"))
	says("another refusal", time.Hour, none, false)
	r.refused(now, block.Errorf(block.NoSpace, "no file"))
	says("at once", 0, none, false)
	r.refused(now.Add(shortGrace/2), block.Errorf(block.NoSpace, "no file"))
	says("for long", shortGrace, none, true)
	says("something is free", shortGrace, some, false)
	says("and stays so", 2*shortGrace, none, false)
	some.Level = logstore.SpaceFull
	says("much is live", 2*shortGrace, some, true)
}
