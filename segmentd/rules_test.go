package segmentd

import (
	"bytes"
	"strings"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/invariant"
	"github.com/sextantdisk/sextant/internal/vfs/faultfs"
	"github.com/sextantdisk/sextant/internal/vfs/memfs"
	"github.com/sextantdisk/sextant/logstore"
	"github.com/sextantdisk/sextant/wire"
)

// TestR1GreetingOfSomebodyElseIsRefused: who calls another cluster, disk or
// node than this one is told so, and the connection ends (trap T27).
func TestR1GreetingOfSomebodyElseIsRefused(t *testing.T) {
	d := daemonOn(t, memfs.New(0))
	for name, spoil := range map[string]func(*wire.Hello){
		"cluster": func(h *wire.Hello) { h.Cluster[9]++ },
		"disk":    func(h *wire.Hello) { h.Disk[9]++ },
		"node":    func(h *wire.Hello) { h.Node = "n2" },
	} {
		t.Run(name, func(t *testing.T) {
			c := d.connect()
			h := d.hello()
			spoil(&h)
			c.send(append(h.Append(nil, 1), join(1)...))
			if m := c.refused(block.Mismatch); !strings.Contains(m.Message, "n1") {
				t.Errorf("refusal %q does not tell who is here", m.Message)
			}
			c.ended()
		})
	}
	if len(d.Store().Segments()) != 0 {
		t.Error("a message after a refused greeting was carried out")
	}
}

// TestR1MessageForSomebodyElseChangesNothing: each message carries the whole
// identity; what does not fit is refused and the connection goes on.
func TestR1MessageForSomebodyElseChangesNothing(t *testing.T) {
	d := daemonOn(t, memfs.New(0))
	c := d.opened()
	other := ident(9)
	other.Volume[9]++
	w := wire.Write{Identity: other, Records: []wire.Record{opening(lsn(9, 1), lsn(1, 1))}}
	c.send(w.Append(nil, wire.TypeWrite, 1))
	c.refused(block.Mismatch)
	j := wire.Join{Identity: other}
	c.send(j.Append(nil, 1))
	c.refused(block.Mismatch)
	r := wire.Read{Identity: other, Count: 1}
	c.send(r.Append(nil, wire.TypeRead, 1))
	c.refused(block.Mismatch)

	unknown := ident(1)
	unknown.Segment[9]++
	unknown.Cluster[9]++
	j = wire.Join{Identity: unknown}
	c.send(j.Append(nil, 1))
	c.refused(block.Mismatch)
	unknown.Cluster = cluster
	for _, frame := range [][]byte{
		(&wire.Ping{Identity: unknown}).Append(nil, 1),
		(&wire.Read{Identity: unknown, Count: 1}).Append(nil, wire.TypeRead, 1),
		(&wire.Read{Identity: unknown, Count: 1}).Append(nil, wire.TypeMap, 1),
		(&wire.Write{Identity: unknown, Records: []wire.Record{opening(5, 4)}}).Append(nil, wire.TypeWrite, 1),
		(&wire.Fetch{Identity: unknown}).Append(nil, 1),
		(&wire.CatchUp{Identity: unknown}).Append(nil, 1),
		append((&wire.Mend{Identity: unknown, Count: 1, Sums: []block.Sum{0}}).Append(nil, 1), data(0, 1)...),
	} {
		c.send(frame)
		c.refused(block.NotFound)
	}
	c.send(ping(1, wire.Progress{Stamp: 5}))
	if a := c.ack(); a.SCL != lsn(1, 1) || a.Epoch != 1 || a.Stamp != 5 {
		t.Errorf("the segment stands at %v of epoch %d", a.SCL, a.Epoch)
	}
	if len(d.Store().Segments()) != 1 {
		t.Error("a segment was made")
	}
}

// TestR2PromiseIsDurableBeforeItIsAnswered: while the flush is held nobody
// gets an answer that relies on the promise, not even over another
// connection; when the answer has come a power cut cannot take it back.
func TestR2PromiseIsDurableBeforeItIsAnswered(t *testing.T) {
	d := daemonOn(t, memfs.New(0))
	c := d.opened()
	other := d.dial()
	release := d.stall()
	flushes := d.faults.Calls(faultfs.Sync)
	c.send(join(2))
	d.flushing(flushes)
	other.send(ping(2, wire.Progress{}))
	c.silent()
	other.silent()

	before := d.afterCrash().dial()
	before.send(ping(1, wire.Progress{}))
	if a := before.ack(); a.Epoch != 1 {
		t.Fatalf("the promise of epoch %d was durable before its flush: the test shows nothing", a.Epoch)
	}

	release()
	if a := c.ack(); a.Epoch != 2 {
		t.Fatalf("joined in epoch %d", a.Epoch)
	}
	after := d.afterCrash().dial()
	after.send(ping(1, wire.Progress{}))
	if m := after.refused(block.Fenced); m.Epoch != 2 {
		t.Errorf("after a crash it has promised %d", m.Epoch)
	}
	if a := other.ack(); a.Epoch != 2 {
		t.Errorf("the other connection was told epoch %d", a.Epoch)
	}
}

// TestR2WriteRaisesThePromise: a WRITE of a higher epoch promises it, durably
// with its records.
func TestR2WriteRaisesThePromise(t *testing.T) {
	d := daemonOn(t, memfs.New(0))
	c := d.opened()
	c.send(records(3, opening(lsn(3, 1), lsn(1, 1))))
	if a := c.ack(); a.Epoch != 3 || a.SCL != lsn(3, 1) {
		t.Fatalf("acknowledged %v of epoch %d", a.SCL, a.Epoch)
	}
	for _, x := range []*daemon{d, d.afterCrash()} {
		c := x.dial()
		c.send(records(2, opening(lsn(2, 1), lsn(1, 1))))
		if m := c.refused(block.Fenced); m.Epoch != 3 {
			t.Errorf("promised %d", m.Epoch)
		}
	}
}

// TestR2ConfigIsKept: a higher membership epoch survives a crash.
func TestR2ConfigIsKept(t *testing.T) {
	d := daemonOn(t, memfs.New(0))
	c := d.opened()
	id := ident(1)
	id.Member = 7
	c.send((&wire.Ping{Identity: id}).Append(nil, 1))
	if a := c.ack(); a.Member != 7 {
		t.Fatalf("membership epoch %d", a.Member)
	}
	c = d.afterCrash().dial()
	c.send(ping(1, wire.Progress{}))
	if m := c.refused(block.Stale); m.Member != 7 {
		t.Errorf("after a crash it knows membership epoch %d", m.Member)
	}
}

// TestR2FenceIsOrderedWithWrites: a fence comes behind all that was admitted
// before it, so its answer counts those writes; what comes after it is refused
// (trap T4).
func TestR2FenceIsOrderedWithWrites(t *testing.T) {
	d := daemonOn(t, memfs.New(0))
	former, successor := d.opened(), d.dial()
	release := d.stall()
	flushes := d.faults.Calls(faultfs.Sync)
	former.send(records(1, record(lsn(1, 2), lsn(1, 1), 0, data('a', 1))))
	d.flushing(flushes)
	successor.send(join(2))
	successor.silent()
	release()
	if a := successor.ack(); a.SCL != lsn(1, 2) || a.Epoch != 2 {
		t.Fatalf("the fence was answered with %v of epoch %d: an admitted write is missing", a.SCL, a.Epoch)
	}
	// What was admitted before the fence is the successor's to count: the
	// former writer is told of the fence in place of an ack.
	if m := former.refused(block.Fenced); m.Epoch != 2 {
		t.Errorf("the fence overtook a write, and its writer was told of epoch %d", m.Epoch)
	}
	former.send(records(1, record(lsn(1, 3), lsn(1, 2), 0, data('b', 1))))
	if m := former.refused(block.Fenced); m.Epoch != 2 {
		t.Errorf("refused by epoch %d", m.Epoch)
	}
	successor.send(ping(2, wire.Progress{}))
	if a := successor.ack(); a.SCL != lsn(1, 2) {
		t.Errorf("after the fence the segment has %v", a.SCL)
	}
}

// TestR2PlaceInTheLogUnderTheLock: between admission and place in the log nobody
// else gets one (trap T4). The moment is too short for a test to hit, so the
// door to the log looks for itself, in builds that check invariants.
func TestR2PlaceInTheLogUnderTheLock(t *testing.T) {
	d := daemonOn(t, memfs.New(0))
	d.opened()
	host := d.Server.hostedAll()[0]
	panics := func(locked bool) (did bool) {
		defer func() { did = recover() != nil }()
		if locked {
			host.mu.Lock()
			defer host.mu.Unlock()
		}
		_ = d.Server.enqueueLocked(host, []logstore.Op{{Segment: host.log, Promise: 1}}).Wait()
		return false
	}
	if panics(true) || panics(false) != invariant.Enabled {
		t.Fatal("the door to the log does not ask for the lock")
	}
}

// TestR2NothingSlipsBehindAFence: one gateway writes as fast as it can while
// the next one fences; what the fence was answered with is the end, each time.
func TestR2NothingSlipsBehindAFence(t *testing.T) {
	d := daemonOn(t, memfs.New(0))
	last := d.opened()
	end := lsn(1, 1)
	for e := block.VolumeEpoch(1); e < 40; e++ {
		writer, next := last, d.dial()
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() { // gives up what it has on its way when it is fenced
			defer close(stopped)
			for prev := end; ; prev++ {
				select {
				case <-stop:
					return
				default:
				}
				trim := wire.Record{Type: wire.RecordTrim, LSN: prev + 1, Prev: prev, Count: 1}
				if _, err := writer.nc.Write(records(e, trim)); err != nil {
					return
				}
			}
		}()
		next.send(join(e + 1))
		point := next.ack().SCL
		next.send(ping(e+1, wire.Progress{}))
		if a := next.ack(); a.SCL != point {
			t.Fatalf("epoch %d: fenced at %v, and then %v came", e, point, a.SCL)
		}
		close(stop)
		writer.nc.Close()
		<-stopped
		end = lsn(e+1, 1)
		next.send(records(e+1, opening(end, point)))
		if a := next.ack(); a.SCL != end {
			t.Fatalf("EPOCH_OPEN after %v acknowledged as %v", point, a.SCL)
		}
		last = next
	}
}

// TestR6AckComesAfterFdatasync: no ack while the flush is held; a record that
// was acknowledged survives a power cut.
func TestR6AckComesAfterFdatasync(t *testing.T) {
	d := daemonOn(t, memfs.New(0))
	c := d.opened()
	release := d.stall()
	flushes := d.faults.Calls(faultfs.Sync)
	c.send(records(1, record(lsn(1, 2), lsn(1, 1), 7, data('a', 2))))
	d.flushing(flushes)
	c.silent()
	other := d.dial() // nor does anybody see the record before
	other.send(read(1, lsn(1, 2), 7, 1))
	other.refused(block.Behind)
	x := d.afterCrash().dial()
	x.send(ping(1, wire.Progress{}))
	if a := x.ack(); a.SCL != lsn(1, 1) {
		t.Fatalf("durable before its flush up to %v: the test shows nothing", a.SCL)
	}
	release()
	if a := c.ack(); a.SCL != lsn(1, 2) {
		t.Fatalf("acknowledged %v", a.SCL)
	}
	x = d.afterCrash().dial()
	x.send(read(1, lsn(1, 2), 7, 2))
	if _, p := x.answer(); !bytes.Equal(p, data('a', 2)) {
		t.Error("acknowledged bytes are not there after a crash")
	}
}

// TestR6OneAckForAllOfARound: what piles up during a flush gets one cumulative
// ack, with the newest stamp.
func TestR6OneAckForAllOfARound(t *testing.T) {
	d := daemonOn(t, memfs.New(0))
	c := d.opened()
	release := d.stall()
	flushes := d.faults.Calls(faultfs.Sync)
	c.send(records(1, record(lsn(1, 2), lsn(1, 1), 0, data('a', 1))))
	d.flushing(flushes)
	var rest []byte
	for n := block.Seq(3); n < 8; n++ {
		rest = append(rest, records(1, record(lsn(1, n), lsn(1, n-1), 0, data('b', 1)))...)
	}
	c.send(append(rest, ping(1, wire.Progress{Stamp: 99})...))
	release()
	if a := c.ack(); a.SCL != lsn(1, 2) {
		t.Fatalf("first ack %v", a.SCL)
	}
	if a := c.ack(); a.SCL != lsn(1, 7) || a.Stamp != 99 {
		t.Fatalf("second ack %v with stamp %d, want one for all five", a.SCL, a.Stamp)
	}
	c.silent()
}

// TestR6OnlyTheChainIsAcknowledged: a record with a gap before it is on disk,
// and not acknowledged; when the gap is filled both are.
func TestR6OnlyTheChainIsAcknowledged(t *testing.T) {
	d := daemonOn(t, memfs.New(0))
	c := d.opened()
	c.send(records(1, record(lsn(1, 3), lsn(1, 2), 0, data('b', 1))))
	if a := c.ack(); a.SCL != lsn(1, 1) || !a.Gap {
		t.Fatalf("acknowledged %v, gap %v", a.SCL, a.Gap)
	}
	c.send(records(1, record(lsn(1, 2), lsn(1, 1), 0, data('a', 1))))
	if a := c.ack(); a.SCL != lsn(1, 3) || a.Gap {
		t.Fatalf("acknowledged %v, gap %v", a.SCL, a.Gap)
	}
}

// TestR6FailedFlushIsNeverAcknowledged: the log ends for good (S3), reads of
// what was durable go on.
func TestR6FailedFlushIsNeverAcknowledged(t *testing.T) {
	d := daemonOn(t, memfs.New(0))
	c := d.opened()
	c.send(records(1, record(lsn(1, 2), lsn(1, 1), 0, data('a', 1))))
	c.ack()
	remove := d.faults.Add(faultfs.Rule{Ops: faultfs.Sync | faultfs.SyncMeta, Err: block.Errorf(block.Unknown, "disk is ill")})
	c.send(records(1, record(lsn(1, 3), lsn(1, 2), 0, data('b', 1))))
	c.ended() // so that its gateway knows at once
	remove()
	c = d.dial()
	c.send(records(1, record(lsn(1, 3), lsn(1, 2), 0, data('b', 1))))
	c.refused(block.Unavailable)
	c.send(read(1, lsn(1, 2), 0, 1))
	if _, p := c.answer(); !bytes.Equal(p, data('a', 1)) {
		t.Error("what was durable cannot be read")
	}
	if r := d.Report(); r.Failed == "" || len(r.Segments) != 1 || r.Segments[0].State != "disk-failed" {
		t.Errorf("report %+v", r)
	}
}

// TestR11ReadsAtAReadPoint: the newest version at or below the read-point,
// within [floor, SCL], with runs and the sums of the data.
func TestR11ReadsAtAReadPoint(t *testing.T) {
	d := daemonOn(t, memfs.New(0))
	c := d.opened()
	zero := wire.Record{Type: wire.RecordZero, LSN: lsn(1, 4), Prev: lsn(1, 3), Block: 1, Count: 1}
	c.send(records(1,
		record(lsn(1, 2), lsn(1, 1), 0, data('a', 2)),
		record(lsn(1, 3), lsn(1, 2), 0, data('b', 1)), zero))
	c.ack()
	for _, x := range []struct {
		at   block.LSN
		want []byte
		runs int
	}{
		{lsn(1, 1), nil, 1},
		{lsn(1, 2), data('a', 2), 2},
		{lsn(1, 3), append(data('b', 1), data('a', 1)...), 2},
		{lsn(1, 4), data('b', 1), 3},
	} {
		c.send(read(1, x.at, 0, 3))
		got, p := c.answer()
		if !bytes.Equal(p, x.want) || len(got.Runs) != x.runs {
			t.Errorf("at %v: %d bytes in runs %v", x.at, len(p), got.Runs)
		}
		if err := wire.VerifyBlocks(p, got.Sums); err != nil {
			t.Errorf("at %v: %v", x.at, err)
		}
	}
	c.send(read(1, lsn(1, 5), 0, 1))
	c.refused(block.Behind)
	m := wire.Read{Identity: ident(1), At: lsn(1, 4), Block: 0, Count: 4}
	c.send(m.Append(nil, wire.TypeMap, 5))
	h, meta := c.next()
	var runs wire.Data
	if err := runs.Decode(meta, h.Type, h.PayloadLen); err != nil || h.Type != wire.TypeRuns {
		t.Fatalf("%v: %v", h.Type, err)
	}
	want := []wire.Run{{Count: 1, Kind: wire.RunData}, {Count: 1, Kind: wire.RunZero}, {Count: 2, Kind: wire.RunHole}}
	if len(runs.Runs) != 3 || runs.Runs[0] != want[0] || runs.Runs[1] != want[1] || runs.Runs[2] != want[2] {
		t.Errorf("map %v, want %v", runs.Runs, want)
	}
	m.At = lsn(1, 9)
	c.send(m.Append(nil, wire.TypeMap, 5))
	c.refused(block.Behind)
}

// TestR12ReaderMustHaveJoined: an epoch that has not fenced this segment
// reads nothing from it, and a fenced one neither.
func TestR12ReaderMustHaveJoined(t *testing.T) {
	d := daemonOn(t, memfs.New(0))
	c := d.opened()
	c.send(read(2, lsn(1, 1), 0, 1))
	c.refused(block.Unavailable)
	c.send(join(2))
	c.ack()
	c.send(read(1, lsn(1, 1), 0, 1))
	c.refused(block.Fenced)
}

// TestR13FloorMovesWithTheWriter: the floor that comes with a message takes
// effect when the chain has reached it; reads below it are refused.
func TestR13FloorMovesWithTheWriter(t *testing.T) {
	d := daemonOn(t, memfs.New(0))
	c := d.opened()
	c.send(records(1, record(lsn(1, 2), lsn(1, 1), 0, data('a', 1)), record(lsn(1, 3), lsn(1, 2), 0, data('b', 1))))
	c.ack()
	c.send(ping(1, wire.Progress{Floor: lsn(1, 9), Committed: lsn(1, 9)}))
	if a := c.ack(); a.Floor > lsn(1, 3) {
		t.Fatalf("floor %v is above all that is here", a.Floor)
	}
	c.send(ping(1, wire.Progress{Floor: lsn(1, 3), Committed: lsn(1, 3)}))
	if a := c.ack(); a.Floor != lsn(1, 3) {
		t.Fatalf("floor %v", a.Floor)
	}
	c.send(read(1, lsn(1, 2), 0, 1))
	c.refused(block.Stale)
	c.send(read(1, lsn(1, 3), 0, 1))
	if _, p := c.answer(); !bytes.Equal(p, data('b', 1)) {
		t.Error("the newest version cannot be read")
	}
}

// TestB3DamagedOnArrivalIsRefused: a record whose payload lacks its checksum
// is refused, counted, and does not reach the log.
func TestB3DamagedOnArrivalIsRefused(t *testing.T) {
	d := daemonOn(t, memfs.New(0))
	c := d.opened()
	frame := records(1, record(lsn(1, 2), lsn(1, 1), 0, data('a', 2)))
	frame[len(frame)-1] ^= 1
	c.send(frame)
	c.refused(block.Corrupt)
	if n := d.Counters().CorruptOnArrival.Load(); n != 1 {
		t.Errorf("counted %d", n)
	}
	c.send(ping(1, wire.Progress{}))
	if a := c.ack(); a.SCL != lsn(1, 1) || a.Gap {
		t.Errorf("ack %+v", a)
	}
}

// TestB3RottenBlockIsRefusedThenMended: bytes that rotted on disk are never
// sent; the good ones, brought by the gateway, are written again, and only
// those.
func TestB3RottenBlockIsRefusedThenMended(t *testing.T) {
	d := daemonOn(t, memfs.New(0))
	c := d.opened()
	c.send(records(1, record(lsn(1, 2), lsn(1, 1), 5, data('a', 2))))
	c.ack()
	d.rot(data('a', 1))
	c.send(read(1, lsn(1, 2), 5, 2))
	c.refused(block.Corrupt)
	if r := d.Report(); len(r.Segments) != 1 || r.Segments[0].State != "bad-blocks" || r.Segments[0].BadBlocks != 1 {
		t.Errorf("report %+v", r)
	}
	mend := func(payload []byte, sum block.Sum) []byte {
		m := wire.Mend{Identity: ident(1), Block: 5, Count: 2, Sums: []block.Sum{sum, block.Checksum(payload[block.Size:])}}
		return append(m.Append(nil, 6), payload...)
	}
	c.send(mend(data('a', 2), 123)) // damaged on the way
	c.refused(block.Corrupt)
	c.send(mend(data('b', 2), block.Checksum(data('b', 1)))) // not what was here
	c.ack()
	c.send(read(1, lsn(1, 2), 5, 2))
	c.refused(block.Corrupt)
	c.send(mend(data('a', 2), block.Checksum(data('a', 1))))
	c.ack()
	c.send(read(1, lsn(1, 2), 5, 2))
	if _, p := c.answer(); !bytes.Equal(p, data('a', 2)) {
		t.Error("the mended block does not read back")
	}
	if d.Counters().Mended.Load() == 0 {
		t.Error("nothing was counted as mended")
	}
	id := ident(2)
	m := wire.Mend{Identity: id, Block: 5, Count: 1, Sums: []block.Sum{block.Checksum(data('a', 1))}}
	c.send(append(m.Append(nil, 6), data('a', 1)...))
	c.refused(block.Unavailable) // join first
}
