package segmentd

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
	"github.com/sextantdisk/sextant/internal/vfs/faultfs"
	"github.com/sextantdisk/sextant/internal/vfs/memfs"
	"github.com/sextantdisk/sextant/wire"
)

// copyOf is the daemon of a copy of the group of these tests.
type copyOf struct {
	*daemon
	*caller
	id block.SegmentID
}

// ident is the copy's segment under epoch 1.
func (c *copyOf) ident() wire.Identity {
	id := ident(1)
	id.Segment = c.id
	return id
}

// copyOn is a copy on a disk, joined in epoch 1. Its clock goes: rates and
// greetings depend on it.
func copyOn(t *testing.T, disk *memfs.FS, n byte) *copyOf {
	t.Helper()
	d := prepare(t, disk)
	d.cfg.Clock, d.cfg.Store.Clock = clock.Real(), clock.Real()
	return joined(t, d.start(), n)
}

// joined is a copy on a daemon.
func joined(t *testing.T, d *daemon, n byte) *copyOf {
	t.Helper()
	c := &copyOf{daemon: d, caller: d.dial(), id: block.SegmentID{n}}
	c.send((&wire.Join{Identity: c.ident()}).Append(nil, 1))
	c.ack()
	return c
}

// write sends n records of 8 blocks over 8 leaves, from sequence number from
// on, and settles all but the last two.
func (c *copyOf) write(from, n int) {
	c.daemon.t.Helper()
	for i := from; i < from+n; i++ {
		l := lsn(1, block.Seq(i))
		r := record(l, l-1, block.Index(i%8*512+i*7%400), data(byte('a'+i%20), 8))
		switch {
		case i == 1:
			r = opening(l, 0)
		case i%9 == 8:
			r = wire.Record{Type: wire.RecordTrim, LSN: l, Prev: l - 1, Block: block.Index(i % 8 * 512), Count: 200}
		}
		m := wire.Write{Identity: c.ident(), Records: []wire.Record{r}}
		if i == from+n-1 && n > 2 {
			m.Progress = wire.Progress{Floor: l - 2, Committed: l - 2}
		}
		c.send(append(m.Append(nil, wire.TypeWrite, 3), r.Payload...))
		if a := c.ack(); a.SCL != l {
			c.daemon.t.Fatalf("wrote %v, acknowledged %v", l, a.SCL)
		}
	}
}

// digests are the copy's digests as of an LSN.
func (c *copyOf) digests(at block.LSN) []wire.LeafDigest {
	c.daemon.t.Helper()
	c.send((&wire.Digest{Identity: c.ident(), At: at, Leaves: 10}).Append(nil, 6))
	h, meta := c.next()
	var m wire.Digests
	if h.Type != wire.TypeDigests || m.Decode(meta) != nil {
		c.daemon.t.Fatalf("asked for digests, got %v (%s)", h.Type, refusalText(h, meta))
	}
	return m.Digests
}

// peersOf are copies as the metadata service names them.
func peersOf(copies ...*copyOf) (all []Peer) {
	for _, c := range copies {
		all = append(all, Peer{Segment: c.id, Node: "n1", Disk: c.Server.Identity().Disk, Address: c.Addr().String()})
	}
	return all
}

// pulledFrom has c catch up from the first donor, and waits for the end.
func (c *copyOf) pulledFrom(upTo block.LSN, donors ...*copyOf) wire.Ack {
	c.daemon.t.Helper()
	c.reg.set(func() { c.reg.peers = peersOf(append(donors, c)...) })
	p := peersOf(donors[0])[0]
	m := wire.CatchUp{Identity: c.ident(), UpTo: upTo, DonorSegment: p.Segment, DonorDisk: p.Disk, DonorNode: p.Node, DonorAddress: p.Address}
	c.send(m.Append(nil, 8))
	return c.settled()
}

func sameDigests(t *testing.T, at block.LSN, a, b *copyOf) {
	t.Helper()
	if x, y := a.digests(at), b.digests(at); !slices.Equal(x, y) || len(x) < 8 || x[0] == 0 {
		t.Fatalf("digests at %v are %x and %x", at, x, y)
	}
}

// TestR22FullHydrationFromSeveralPeers: an empty segment takes leaves from all
// peers, then records, and is equal; of what was overwritten nothing comes.
func TestR22FullHydrationFromSeveralPeers(t *testing.T) {
	var donors []*copyOf
	for n := range byte(3) {
		d := copyOn(t, memfs.New(0), 10+n)
		d.write(1, 300) // more than comes in records until all peers are known
		donors = append(donors, d)
	}
	c := copyOn(t, memfs.New(0), 4)
	top := lsn(1, 300)
	if a := c.pulledFrom(top, donors...); a.SCL != top {
		t.Fatalf("SCL %v", a.SCL)
	}
	sameDigests(t, top, c, donors[0])
	at, copies, err := Compare(t.Context(), clock.Real(), cluster, volume, 0, peersOf(c, donors[0], donors[1]))
	if err != nil || at != top || copies[0].Digest() != copies[1].Digest() || copies[0].Err != nil || copies[2].Digest() != copies[1].Digest() {
		t.Errorf("compared at %v: %+v, %v", at, copies, err)
	}
	gave := 0
	for _, d := range donors {
		if d.Counters().GivenBytes.Load() > 0 {
			gave++
		}
	}
	if n := c.Counters().HydratedBytes.Load(); n == 0 || n > 8*300*block.Size || gave < 2 {
		t.Errorf("%d bytes came in leaves, from %d peers", n, gave)
	}
	x := copyOn(t, c.disk.CrashClone(rand.New(rand.NewPCG(1, 1)), 0), 4) // and it is durable
	sameDigests(t, top, x, donors[0])
}

// TestR21LogIsGone: a segment that lags is brought on by the leaves that have
// changed, when no peer has the records: here because the peer was hydrated
// itself.
func TestR21LogIsGone(t *testing.T) {
	first := copyOn(t, memfs.New(0), 10)
	first.write(1, 300) // more than comes in records until all peers are known
	late := copyOn(t, memfs.New(0), 4)
	late.write(1, 20)
	second := copyOn(t, memfs.New(0), 11)
	top := lsn(1, 300)
	second.pulledFrom(top, first)
	first.Close()
	if a := late.pulledFrom(top, second); a.SCL != top {
		t.Fatalf("SCL %v", a.SCL)
	}
	sameDigests(t, top, late, second)
	if n := late.Counters().HydratedBytes.Load(); n == 0 {
		t.Error("nothing came in leaves")
	}
}

// TestR21RottenRecordIsDoneWithout: a record has rotten in the only log that has it.
// It was overwritten since, so nobody mends it. What counts of it comes in leaves.
func TestR21RottenRecordIsDoneWithout(t *testing.T) {
	donor := copyOn(t, memfs.New(0), 10)
	donor.write(1, 30)
	donor.rot(data('a'+2, 1)) // record 2, which 26 trims
	late := copyOn(t, memfs.New(0), 4)
	late.write(1, 1)
	top := lsn(1, 30)
	if a := late.pulledFrom(top, donor); a.SCL != top {
		t.Fatalf("SCL %v", a.SCL)
	}
	sameDigests(t, top, late, donor)
}

// TestR22HydrationGoesOnAfterARestart: what has come is not asked for again,
// and nothing counts before all is in.
func TestR22HydrationGoesOnAfterARestart(t *testing.T) {
	donor := copyOn(t, memfs.New(0), 10)
	donor.write(1, 100)
	top := lsn(1, 100)
	c := copyOn(t, memfs.New(0), 4)
	gate := make(chan struct{})
	resume := sync.OnceFunc(func() { close(gate) })
	t.Cleanup(resume) // before the donor is closed
	// The donor's disk stops after some reads.
	release := donor.faults.Add(faultfs.Rule{Ops: faultfs.Read, Skip: 8, Stall: gate})
	c.reg.set(func() { c.reg.peers = peersOf(donor) })
	h, _ := c.Server.host(c.id)
	c.Server.pull(h, top, nil, nil) // as gossip does: without a peer by name no record comes first
	eventually(t, "some leaves", func() bool { return c.Counters().HydratedBytes.Load() > 0 })
	came := c.Counters().HydratedBytes.Load()
	disk := c.disk.CrashClone(rand.New(rand.NewPCG(1, 1)), 0)
	release()
	resume()
	x := copyOn(t, disk, 4)
	x.send((&wire.Ping{Identity: x.ident()}).Append(nil, 1))
	if a := x.ack(); a.SCL != 0 {
		t.Fatalf("half-way the SCL is %v", a.SCL)
	}
	if r := x.Report(); len(r.Segments) != 1 || r.Segments[0].State != "hydrating" {
		t.Errorf("half-way it is reported as %+v", r.Segments)
	}
	if a := x.pulledFrom(top, donor); a.SCL != top {
		t.Fatalf("SCL %v", a.SCL)
	}
	sameDigests(t, top, x, donor)
	all := copyOn(t, memfs.New(0), 5)
	all.pulledFrom(top, donor)
	if rest, whole := x.Counters().HydratedBytes.Load(), all.Counters().HydratedBytes.Load(); rest > whole-came/2 {
		t.Errorf("%d bytes came before the restart and %d behind it, of %d", came, rest, whole)
	}
}

// TestR20GossipWithoutAGateway: a segment that lags finds it out by itself, and
// learns of the epoch that its peers have promised.
func TestR20GossipWithoutAGateway(t *testing.T) {
	donor := joined(t, daemonOn(t, memfs.New(0)), 10)
	donor.write(1, 30)
	late := joined(t, daemonOn(t, memfs.New(0)), 4)
	late.write(1, 10)
	late.reg.set(func() { late.reg.peers, late.reg.epoch = peersOf(donor, late), 2 })
	for _, epoch := range []block.VolumeEpoch{1, 2} {
		if epoch == 2 { // a gateway came and went while this copy was away
			id := donor.ident()
			id.Epoch = 2
			l := lsn(2, 1)
			m := wire.Write{Identity: id, Records: []wire.Record{opening(l, lsn(1, 30))}}
			donor.send(m.Append(nil, wire.TypeWrite, 3))
			if a := donor.ack(); a.SCL != l {
				t.Fatalf("opened at %v", a.SCL)
			}
		}
		eventually(t, "to catch up by gossip", func() bool {
			late.later(gossipEvery / 10)
			h, _ := late.Server.host(late.id)
			return h.log.SCL().Epoch() == epoch && h.log.SCL() >= lsn(epoch, 1) && (epoch == 2 || h.log.SCL() == lsn(1, 30))
		})
	}
	late.send((&wire.Ping{Identity: late.ident()}).Append(nil, 1))
	late.refused(block.Fenced)
}
