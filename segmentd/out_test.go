package segmentd

import (
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs/memfs"
	"github.com/sextantdisk/sextant/wire"
)

// TestR29WhoIsToldNothingSettlesByGossip: a segment that its writer does not know
// as a member pulls what is written; it settles as far as its peers were told to,
// and not before it has all up to there. Else it would keep each record apart for
// as long as it is out.
func TestR29WhoIsToldNothingSettlesByGossip(t *testing.T) {
	donor := joined(t, daemonOn(t, memfs.New(0)), 10)
	donor.write(1, 30)
	out := joined(t, daemonOn(t, memfs.New(0)), 4)
	out.write(1, 10)
	out.reg.set(func() { out.reg.peers = peersOf(donor, out) })
	h, _ := out.Server.host(out.id)
	if f := h.log.State().Floor; f != lsn(1, 8) {
		t.Fatalf("its writer has told it to settle %v", f)
	}
	eventually(t, "to have what its peer has, and to settle what that has settled", func() bool {
		out.later(gossipEvery / 10)
		s := h.log.State()
		if s.Floor > s.SCL {
			t.Fatalf("it has settled %v and has %v", s.Floor, s.SCL)
		}
		return s.SCL == lsn(1, 30) && s.Floor == lsn(1, 28)
	})
}

// installed has the copy learn a membership epoch from its writer.
func (c *copyOf) installed(m block.MembershipEpoch) {
	c.daemon.t.Helper()
	id := c.ident()
	id.Member = m
	c.send((&wire.Ping{Identity: id}).Append(nil, 1))
	c.ack()
}

// TestR29WhoIsOutCatchesUpFromNewerMembers: its writer has not told it of the
// changes since it is out. Its peers give it what it lacks all the same, and mend
// what rots there.
func TestR29WhoIsOutCatchesUpFromNewerMembers(t *testing.T) {
	donor := joined(t, daemonOn(t, memfs.New(0)), 10)
	donor.write(1, 30)
	donor.installed(3)
	out := joined(t, daemonOn(t, memfs.New(0)), 4)
	out.write(1, 10)
	out.reg.set(func() { out.reg.peers = peersOf(donor, out) })
	h, _ := out.Server.host(out.id)
	eventually(t, "to have what its peer has", func() bool {
		out.later(gossipEvery / 10)
		return h.log.State().SCL == lsn(1, 30)
	})
	out.rot(data('a'+11, 1)) // the first block of record 11
	out.send((&wire.Read{Identity: out.ident(), At: lsn(1, 30), Block: 3*512 + 77, Count: 1}).Append(nil, wire.TypeRead, 1))
	out.refused(block.Corrupt)
	eventually(t, "to be mended", func() bool { return out.Counters().Mended.Load() == 1 })
}
