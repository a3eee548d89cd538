package segmentd

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs/memfs"
	"github.com/sextantdisk/sextant/logstore"
	"github.com/sextantdisk/sextant/wire"
)

// TestB6ReaderThatTakesNothingIsBounded: a peer that asks and does not read
// the answers gets its requests taken up to a bound, and is then left waiting;
// others are served.
func TestB6ReaderThatTakesNothingIsBounded(t *testing.T) {
	d := daemonOn(t, memfs.New(0))
	c := d.opened()
	c.send(records(1, record(lsn(1, 2), lsn(1, 1), 0, data('a', 64))))
	c.ack()
	near, far := net.Pipe() // no buffers of a kernel in between
	defer near.Close()
	other := newClient(far)
	if !d.track(other) {
		t.Fatal("no room for a connection")
	}
	d.spawn(func() { d.serve(other) })
	x := &caller{t: t, nc: near, r: wire.NewReader(near)}
	h := d.hello()
	x.send(h.Append(nil, 0))
	x.next()
	const each = 64 * block.Size
	taken := 0
	for {
		_ = near.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		_, err := near.Write(read(1, lsn(1, 2), 0, 64))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if taken++; taken*each > 4*int(replyBytes) {
			t.Fatalf("%d answers of 256 KiB pile up", taken)
		}
	}
	if taken*each < int(replyBytes) {
		t.Fatalf("only %d requests were taken", taken)
	}
	c.send(ping(1, wire.Progress{}))
	c.ack()
}

// TestB6ConnectionsAreBounded: beyond the bound a connection is closed.
func TestB6ConnectionsAreBounded(t *testing.T) {
	d := daemonOn(t, memfs.New(0))
	d.mu.Lock()
	for len(d.mu.conns) < maxConns {
		d.mu.conns[&net.TCPConn{}] = newClient(nil)
	}
	d.mu.Unlock()
	c := d.connect()
	c.ended()
	d.mu.Lock()
	clear(d.mu.conns)
	d.mu.Unlock()
	d.dial()
}

// TestGarbageEndsThatConnectionOnly: what is no frame of ours, or not for a
// daemon, ends its connection; the daemon goes on.
func TestGarbageEndsThatConnectionOnly(t *testing.T) {
	d := daemonOn(t, memfs.New(0))
	good := d.opened()
	flip := func(b []byte, at int) []byte { b[at] ^= 0x40; return b }
	payload := func(b []byte) []byte { // announces a block of payload
		m := wire.Mend{Identity: ident(1), Count: 1, Sums: []block.Sum{0}}
		p := m.Append(nil, 1)
		p[5] = b[5]
		return p
	}
	badSum := func(b []byte) []byte { return flip(b, wire.HeaderSize+1) }
	for name, b := range map[string][]byte{
		"http":             []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
		"zeroes":           make([]byte, 100),
		"damaged meta":     badSum(join(1)),
		"newer protocol":   flip(join(1), 4),
		"unknown type":     flip(join(1), 5),
		"an answer":        (&wire.Ack{Identity: ident(1)}).Append(nil, 1),
		"payload on join":  payload(join(1)),
		"payload on ping":  payload(ping(1, wire.Progress{})),
		"payload on read":  payload(read(1, 0, 0, 1)),
		"read of nothing":  read(1, 0, 0, 0),
		"second hello":     (&wire.Hello{Cluster: cluster, Purpose: wire.ForReads}).Append(nil, 1),
		"records in arear": records(1, wire.Record{Type: wire.RecordTrim, LSN: 5, Prev: 5, Count: 1}),
		"backward fetch":   (&wire.Fetch{Identity: ident(1), After: 5, UpTo: 4}).Append(nil, 1),
	} {
		t.Run(name, func(t *testing.T) {
			c := d.dial()
			c.t = t
			c.send(b)
			c.ended()
		})
	}
	c := d.connect()
	c.send(join(1)) // without a greeting
	c.ended()
	c = d.dial() // vanishes in mid-write
	frame := records(1, record(lsn(1, 2), lsn(1, 1), 0, data('a', 8)))
	c.send(frame[:len(frame)/2])
	c.nc.Close()
	good.send(ping(1, wire.Progress{}))
	if a := good.ack(); a.SCL != lsn(1, 1) {
		t.Errorf("the segment has %v", a.SCL)
	}
}

// TestJoinOfNobody: a segment without id or epoch is not made.
func TestJoinOfNobody(t *testing.T) {
	d := daemonOn(t, memfs.New(0))
	c := d.dial()
	id := ident(0)
	c.send((&wire.Join{Identity: id}).Append(nil, 1))
	c.refused(block.Invalid)
	id = ident(1)
	id.Segment = block.SegmentID{}
	c.send((&wire.Join{Identity: id}).Append(nil, 1))
	c.refused(block.Invalid)
}

// TestHeartbeats: reports go out each second; a registry that has forgotten
// the node is told anew; one that knows another process under its id ends the
// daemon; segments are dropped as ordered, and reported until heard.
func TestHeartbeats(t *testing.T) {
	d := daemonOn(t, memfs.New(0))
	c := d.opened()
	beats := func() (n int) { d.reg.set(func() { n = len(d.reg.reports) }); return n }
	beat := func() {
		t.Helper()
		before := beats()
		eventually(t, "a heartbeat", func() bool {
			if beats() > before {
				return true
			}
			d.later(heartbeatEvery)
			return false
		})
	}
	beat()
	d.reg.set(func() { d.reg.beat = block.Errorf(block.NotFound, "who are you") })
	beat()
	eventually(t, "registering again", func() bool { return d.reg.get(func() bool { return len(d.reg.registered) > 1 }) })
	d.reg.set(func() { d.reg.beat = block.Errorf(block.Unavailable, "no leader") })
	beat()

	ref := SegmentRef{Volume: volume, Segment: mine}
	d.reg.set(func() { d.reg.beat, d.reg.orders = nil, Orders{Drop: []SegmentRef{ref}} })
	beat()
	eventually(t, "the drop", func() bool { _, there := d.host(mine); return !there })
	d.reg.set(func() { d.reg.orders = Orders{} })
	eventually(t, "word of the drop", func() bool {
		beat()
		return d.reg.get(func() bool {
			last := d.reg.reports[len(d.reg.reports)-1]
			return len(last.Dropped) == 0 && len(d.reg.reports) > 3
		})
	})
	told := d.reg.get(func() bool {
		for _, r := range d.reg.reports {
			if len(r.Dropped) == 1 && r.Dropped[0] == ref {
				return true
			}
		}
		return false
	})
	if !told {
		t.Error("the drop was never reported")
	}
	c.send(ping(1, wire.Progress{}))
	c.refused(block.NotFound)

	d.reg.set(func() { d.reg.beat = block.Errorf(block.Mismatch, "boot 2 has registered") })
	beat()
	<-d.Done()
	if err := d.Err(); !errors.Is(err, block.Mismatch) {
		t.Errorf("ended with %v", err)
	}
}

// TestRegistersForAsLongAsItTakes: an unreachable metadata service is asked
// again; a daemon that is stopped meanwhile ends.
func TestRegistersForAsLongAsItTakes(t *testing.T) {
	d := prepare(t, memfs.New(0))
	d.reg.err = block.Errorf(block.Unavailable, "no leader")
	started := make(chan *Server)
	go func() {
		s, err := Start(t.Context(), d.cfg)
		if err != nil {
			t.Error(err)
		}
		started <- s
	}()
	eventually(t, "a second attempt", func() bool {
		d.clock.Advance(registerRetry)
		return d.reg.get(func() bool { return len(d.reg.registered) > 1 })
	})
	d.reg.set(func() { d.reg.err = nil })
	var s *Server
	eventually(t, "the start", func() bool {
		d.clock.Advance(registerRetry)
		select {
		case s = <-started:
			return true
		default:
			return false
		}
	})
	if s.Err() != nil {
		t.Error(s.Err())
	}
	s.Close()
	if err := s.Close(); err != nil || s.Err() != nil {
		t.Errorf("closed twice: %v, %v", err, s.Err())
	}
}

// TestDamagedLogAsksForTheEpoch: a daemon whose log has lost a part admits
// nobody to its segments before the metadata service has told the volume's
// epoch, and says that they are damaged until they are complete (trap T14).
func TestDamagedLogAsksForTheEpoch(t *testing.T) {
	d := daemonOn(t, memfs.New(0))
	c := d.opened()
	for n := block.Seq(2); n < 6; n++ {
		c.send(records(1, record(lsn(1, n), lsn(1, n-1), 0, data('a', 1))))
		c.ack()
	}
	c.nc.Close()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	var batches []logstore.BatchInfo
	if _, err := logstore.Inspect(d.disk, "/data/log", logstore.Inspector{Batch: func(b logstore.BatchInfo) error {
		batches = append(batches, b)
		return nil
	}}); err != nil {
		t.Fatal(err)
	}
	b := batches[len(batches)-3]
	d.disk.Damage("/data/log/"+b.File, int(b.Offset)+8, 0xff)

	x := d.again()
	x.reg.epochErr = block.Errorf(block.Unavailable, "no leader")
	x.start()
	c = x.dial()
	c.send(join(4))
	c.refused(block.Unavailable)
	x.reg.set(func() { x.reg.epoch, x.reg.epochErr = 3, nil })
	eventually(t, "the volume's epoch", func() bool {
		x.later(time.Second)
		h, _ := x.host(mine)
		h.mu.Lock()
		defer h.mu.Unlock()
		return !h.mu.core.Unsure() && h.log.State().Promised == 3
	})
	c.send(join(2))
	if m := c.refused(block.Fenced); m.Epoch != 3 {
		t.Errorf("promised %d", m.Epoch)
	}
	c.send(join(4))
	a := c.ack()
	if !a.Damaged {
		t.Fatalf("ack %+v does not tell of the damage", a)
	}
	if r := x.Report(); len(r.Segments) != 1 || r.Segments[0].State != "damaged" {
		t.Errorf("report %+v", r)
	}
	// Another segment that is made now may have been here before: it is in
	// doubt, too.
	x.reg.set(func() { x.reg.epochErr = block.Errorf(block.Unavailable, "no leader") })
	c.send((&wire.Join{Identity: forTheirs(4)}).Append(nil, 1))
	c.refused(block.Unavailable)
	// The writer brings it to its own chain: the damage is over.
	c.send(records(4, opening(lsn(4, 1), a.SCL)))
	c.ack()
	c.send(ping(4, wire.Progress{Floor: lsn(4, 1), Committed: lsn(4, 1)}))
	c.ack()
	c.send(ping(4, wire.Progress{Floor: lsn(4, 1), Committed: lsn(4, 1)}))
	if a := c.ack(); a.Damaged || a.SCL != lsn(4, 1) {
		t.Errorf("ack %+v", a)
	}
	c = x.afterCrash().dial()
	c.send(ping(4, wire.Progress{}))
	if a := c.ack(); a.Damaged {
		t.Error("the end of the damage did not survive a crash")
	}
}
