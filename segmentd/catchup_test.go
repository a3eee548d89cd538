package segmentd

import (
	"bytes"
	"net"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs/memfs"
	"github.com/sextantdisk/sextant/wire"
)

var theirs = block.SegmentID{4}

// forTheirs makes a message for the second segment of the group.
func forTheirs(e block.VolumeEpoch) wire.Identity {
	id := ident(e)
	id.Segment = theirs
	return id
}

// second is another daemon, with the second segment, joined in epoch e.
func second(t *testing.T, e block.VolumeEpoch) (*daemon, *caller) {
	t.Helper()
	d := daemonOn(t, memfs.New(0))
	c := d.dial()
	c.send((&wire.Join{Identity: forTheirs(e)}).Append(nil, 1))
	c.ack()
	return d, c
}

func catchUpFrom(d *daemon, e block.VolumeEpoch, upTo block.LSN) []byte {
	m := wire.CatchUp{Identity: forTheirs(e), UpTo: upTo, DonorSegment: mine,
		DonorDisk: d.Server.Identity().Disk, DonorNode: "n1", DonorAddress: d.Addr().String()}
	return m.Append(nil, 8)
}

// settled takes acks until one says that the catch-up is over.
func (c *caller) settled() wire.Ack {
	c.t.Helper()
	for {
		if a := c.ack(); !a.CatchingUp {
			return a
		}
	}
}

// filled is a daemon whose segment has n records in epoch 1 beside
// EPOCH_OPEN, large enough for several pages.
func filled(t *testing.T, n int) (*daemon, *caller) {
	t.Helper()
	d := daemonOn(t, memfs.New(0))
	c := d.opened()
	for i := range n {
		l := lsn(1, block.Seq(i+2))
		r := record(l, l-1, block.Index(i*64), data(byte('a'+i), 64))
		if i == 1 {
			r = wire.Record{Type: wire.RecordTrim, LSN: l, Prev: l - 1, Block: 1, Count: 1}
		}
		c.send(records(1, r))
		c.ack()
	}
	return d, c
}

// TestR20CatchesUpFromAPeer: a segment that lacks everything fetches the
// peer's chain, page by page, tells its writer, and serves it.
func TestR20CatchesUpFromAPeer(t *testing.T) {
	donor, _ := filled(t, 8)
	d, c := second(t, 1)
	c.send(catchUpFrom(donor, 1, lsn(1, 9)))
	if a := c.settled(); a.SCL != lsn(1, 9) || a.Gap {
		t.Fatalf("caught up to %v", a.SCL)
	}
	m := wire.Read{Identity: forTheirs(1), At: lsn(1, 9), Block: 0, Count: 3}
	c.send(m.Append(nil, wire.TypeRead, 4))
	got, p := c.answer()
	if !bytes.Equal(p, data('a', 2)) || len(got.Runs) != 3 {
		t.Errorf("read %d bytes in runs %v", len(p), got.Runs)
	}
	if n := d.Counters().CaughtUpBytes.Load(); n != 7*64*block.Size {
		t.Errorf("%d bytes counted", n)
	}
	// What was fetched is durable like anything else.
	x := d.afterCrash().dial()
	x.send((&wire.Ping{Identity: forTheirs(1)}).Append(nil, 1))
	if a := x.ack(); a.SCL != lsn(1, 9) {
		t.Errorf("after a crash %v", a.SCL)
	}
}

// TestR20BranchIsLeft: a segment that stands on a branch that was annulled
// fetches from its floor on, and arrives on the donor's chain.
func TestR20BranchIsLeft(t *testing.T) {
	donor, dc := filled(t, 2) // 1.1 1.2 1.3
	dc.send(records(2, opening(lsn(2, 1), lsn(1, 3))))
	dc.ack()
	_, c := second(t, 1)
	say := func(recs ...wire.Record) {
		w := wire.Write{Identity: forTheirs(1), Records: recs}
		b := w.Append(nil, wire.TypeWrite, 1)
		for i := range recs {
			b = append(b, recs[i].Payload...)
		}
		c.send(b)
		c.ack()
	}
	say(opening(lsn(1, 1), 0))
	say(record(lsn(1, 5), lsn(1, 1), 9, data('x', 1))) // nobody else has it
	c.send((&wire.Join{Identity: forTheirs(2)}).Append(nil, 1))
	if a := c.ack(); a.SCL != lsn(1, 5) {
		t.Fatalf("joined at %v", a.SCL)
	}
	c.send(catchUpFrom(donor, 2, lsn(2, 1)))
	if a := c.settled(); a.SCL != lsn(2, 1) {
		t.Fatalf("caught up to %v", a.SCL)
	}
	m := wire.Read{Identity: forTheirs(2), At: lsn(2, 1), Block: 9, Count: 1}
	c.send(m.Append(nil, wire.TypeRead, 4))
	if got, p := c.answer(); len(got.Sums) != 1 || !bytes.Equal(p, data('a', 1)) {
		t.Error("the annulled record is read")
	}
}

// TestR20StopsWithAWord: when the donor cannot help the segment says where it
// stands, and is ready for another order.
func TestR20StopsWithAWord(t *testing.T) {
	donor, dc := filled(t, 2)
	_, c := second(t, 1)
	gone := wire.CatchUp{Identity: forTheirs(1), UpTo: lsn(1, 3), DonorSegment: mine, DonorNode: "n1", DonorAddress: "127.0.0.1:1"}
	wrongDisk := wire.CatchUp{Identity: forTheirs(1), UpTo: lsn(1, 3), DonorSegment: mine, DonorNode: "n1", DonorAddress: donor.Addr().String()}
	wrongSegment := wrongDisk
	wrongSegment.DonorDisk, wrongSegment.DonorSegment = donor.Server.Identity().Disk, block.SegmentID{77}
	for name, m := range map[string]wire.CatchUp{"nobody listens": gone, "somebody else": wrongDisk, "not there": wrongSegment} {
		c.send(m.Append(nil, 8))
		if a := c.settled(); a.SCL != 0 {
			t.Errorf("%s: %v", name, a.SCL)
		}
	}
	c.send(catchUpFrom(donor, 1, lsn(1, 9))) // more than the donor has
	if a := c.settled(); a.SCL != 0 {
		t.Errorf("a donor that is behind gave records up to %v", a.SCL)
	}
	c.send(catchUpFrom(donor, 1, lsn(1, 3)))
	if a := c.settled(); a.SCL != lsn(1, 3) {
		t.Errorf("fetched up to %v", a.SCL)
	}
	// A donor that a newer writer has fenced gives nothing (R20).
	dc.send(join(2))
	dc.ack()
	dc.send((&wire.Fetch{Identity: ident(1), UpTo: lsn(1, 3)}).Append(nil, 1))
	dc.refused(block.Fenced)
	dc.send((&wire.Fetch{Identity: ident(3), UpTo: lsn(1, 3)}).Append(nil, 1))
	dc.refused(block.Unavailable)
	// And an order of an epoch that has not joined is not taken.
	c.send(catchUpFrom(donor, 2, lsn(1, 3)))
	c.refused(block.Unavailable)
	c.send((&wire.Join{Identity: forTheirs(5)}).Append(nil, 1))
	c.ack()
	c.send(catchUpFrom(donor, 2, lsn(1, 3)))
	c.refused(block.Fenced)
}

// TestB3DamagedSourceIsNotCopied: a donor whose copy is rotten gives nothing
// of it.
func TestB3DamagedSourceIsNotCopied(t *testing.T) {
	donor, _ := filled(t, 3)
	donor.rot(data('c', 1))
	_, c := second(t, 1)
	c.send(catchUpFrom(donor, 1, lsn(1, 4)))
	a := c.settled()
	if a.SCL >= lsn(1, 4) {
		t.Fatalf("copied a damaged record: SCL %v", a.SCL)
	}
}

// puppet is a peer that answers the first FETCH with what answer gives.
func puppet(t *testing.T, answer func() []byte) wire.CatchUp {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	t.Cleanup(func() { ln.Close(); <-over })
	go func() {
		defer close(over)
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		r := wire.NewReader(nc)
		if _, _, err := r.Next(); err != nil {
			return
		}
		if _, err := nc.Write((&wire.Welcome{Cluster: cluster, Node: "n1"}).Append(nil, 0)); err != nil {
			return
		}
		if _, _, err := r.Next(); err != nil {
			return
		}
		_, _ = nc.Write(answer())
		_, _, _ = r.Next() // until the asker goes
	}()
	return wire.CatchUp{Identity: forTheirs(1), UpTo: lsn(1, 2), DonorSegment: mine, DonorNode: "n1", DonorAddress: ln.Addr().String()}
}

// recordsPage is a RECORDS frame.
func recordsPage(recs ...wire.Record) []byte {
	m := wire.Write{Identity: ident(1), Records: recs}
	b := m.Append(nil, wire.TypeRecords, 1)
	for i := range recs {
		b = append(b, recs[i].Payload...)
	}
	return b
}

// TestB3CopyIsVerifiedOnArrival: what a peer sends is checked before it is
// logged.
func TestB3CopyIsVerifiedOnArrival(t *testing.T) {
	page := recordsPage(opening(lsn(1, 1), 0), record(lsn(1, 2), lsn(1, 1), 0, data('a', 1)))
	page[len(page)-1] ^= 1
	m := puppet(t, func() []byte { return page })
	_, c := second(t, 1)
	c.send(m.Append(nil, 8))
	if a := c.settled(); a.SCL != 0 {
		t.Fatalf("a record that was damaged on the way is acknowledged: %v", a.SCL)
	}
}

// TestR20CatchUpEndsWithAFence: what a peer sends after a newer writer has
// fenced this segment is not logged (trap T4).
func TestR20CatchUpEndsWithAFence(t *testing.T) {
	asked, fenced := make(chan struct{}), make(chan struct{})
	m := puppet(t, func() []byte {
		close(asked)
		<-fenced
		return recordsPage(opening(lsn(1, 1), 0), record(lsn(1, 2), lsn(1, 1), 0, data('a', 1)))
	})
	d, c := second(t, 1)
	c.send(m.Append(nil, 8))
	<-asked
	successor := d.dial()
	successor.send((&wire.Join{Identity: forTheirs(2)}).Append(nil, 1))
	successor.ack()
	close(fenced)
	c.refused(block.Fenced)
	successor.send((&wire.Ping{Identity: forTheirs(2)}).Append(nil, 1))
	if a := successor.ack(); a.SCL != 0 {
		t.Fatalf("after the fence %v was logged", a.SCL)
	}
}
