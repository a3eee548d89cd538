package volume

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
	"github.com/sextantdisk/sextant/internal/vfs"
	"github.com/sextantdisk/sextant/internal/vfs/faultfs"
	"github.com/sextantdisk/sextant/logstore"
	"github.com/sextantdisk/sextant/volume/quorum"
)

// rot flips a bit of the first place in the node's log that holds these bytes.
func (n *node) rot(p []byte) {
	n.t.Helper()
	names, err := n.disk.List("/data/log")
	if err != nil {
		n.t.Fatal(err)
	}
	for _, name := range names {
		name = "/data/log/" + name
		f, err := n.disk.OpenFile(name, vfs.ReadOnly)
		if err != nil {
			n.t.Fatal(err)
		}
		size, _ := f.Size()
		raw := make([]byte, size)
		if _, err := f.ReadAt(raw, 0); err != nil && !errors.Is(err, io.EOF) {
			n.t.Fatal(err)
		}
		f.Close()
		if at := strings.Index(string(raw), string(p)); at >= 0 {
			n.disk.Damage(name, at+100, 1)
			return
		}
	}
	n.t.Fatalf("node %s does not hold these bytes", n.name)
}

// TestB3DamagedCopiesAreNeverSeenAndMended: with five of six copies rotten the
// client reads good bytes; the copies that were found rotten are mended.
func TestB3DamagedCopiesAreNeverSeenAndMended(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	const n = 100 * block.Size // more than one READ asks for, and one MEND brings
	p := fill('a', n)
	copy(p[(n-block.Size):], fill('z', block.Size))
	g.write(0, p)
	g.complete(0, all...)
	for _, k := range all[:5] {
		s.nodes[k].rot(fill('z', block.Size))
	}
	for _, rotten := range all[:5] { // one after the other is by far the fastest
		for k, l := range g.v.group(0).roster.Load().links {
			l.reads.ewma.Store(int64(time.Second))
			if k == rotten {
				l.reads.ewma.Store(1)
			}
		}
		g.wantBytes(0, p)
	}
	if found := g.v.Counters().CorruptReads.Load(); found < 5 {
		t.Errorf("%d of 5 rotten copies were found", found)
	}
	for _, k := range all[:5] {
		eventually(t, "the copy to be mended", func() bool { return s.nodes[k].daemon.Counters().Mended.Load() > 0 })
		if got := s.copyOf(0, k, n/block.Size); !bytes.Equal(got, p) {
			t.Errorf("node %d holds other bytes", k)
		}
	}
	if g.v.Counters().Mended.Load() == 0 {
		t.Error("nothing was counted as mended")
	}
}

// TestB3DamagedOnTheWayIsReadElsewhere: what was damaged between segment and
// gateway does not reach the client.
func TestB3DamagedOnTheWayIsReadElsewhere(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	p := fill(0xee, 8*block.Size)
	g.write(0, p)
	g.complete(0, all...)
	var hits atomic.Int32
	spoil := func(b []byte) {
		if at := bytes.Index(b, p[:64]); at >= 0 {
			b[at+10] ^= 4
			hits.Add(1)
		}
	}
	for _, k := range all[:5] {
		s.nodes[k].relay.spit.Store(&spoil)
		g.v.group(0).roster.Load().links[k].reads.ewma.Store(1)
	}
	for range 10 {
		g.wantBytes(0, p)
	}
	if hits.Load() == 0 || g.v.Counters().CorruptReads.Load() == 0 {
		t.Fatalf("%d answers were damaged, %d found: the test shows nothing", hits.Load(), g.v.Counters().CorruptReads.Load())
	}
}

// answered is a pieceOwner.
type answered chan error

func (a answered) pieceDone(_ *batch, err error) { a <- err }

// wantGood waits until the read ends, which it must with the bytes p.
func (a answered) wantGood(t *testing.T, o *readOp, p []byte) {
	t.Helper()
	select {
	case err := <-a:
		if err != nil || differ(o.dst, p) >= 0 {
			t.Errorf("ended with %v", err)
		}
	case <-clock.Real().After(patience):
		t.Fatal("the read was never told how it ended")
	}
}

// TestB3GoodAnswerDuringABadOne: a good answer that comes while a damaged one
// is being looked at is thrown away; its daemon is asked again then.
func TestB3GoodAnswerDuringABadOne(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	p := fill('a', block.Size)
	g.write(0, p)
	g.complete(0, all...)
	x := g.v.group(0)
	for _, badFirst := range []bool{false, true} {
		told := make(answered, 2)
		o := &readOp{g: x, roster: x.roster.Load(), owner: told, count: 1, dst: make([]byte, block.Size), began: g.v.now()}
		x.mu.Lock()
		o.at, _, _ = x.mu.machine.BeginRead(g.v.now(), g.v.confirmedAt())
		x.mu.Unlock()
		o.mu.candidates = quorum.Votes(0).Add(0).Add(1)
		o.mu.tried = o.mu.tried.Add(0)
		o.mu.waiting = 1
		o.claim() // node 0's answer is being looked at
		var b batch
		bad := func() {
			o.unclaim()
			o.failed(&b, x.roster.Load().links[0], block.Errorf(block.Corrupt, "damaged"), nil)
		}
		release := func() {}
		if badFirst {
			release = s.nodes[1].hold(faultfs.Read) // its answer comes after
		}
		o.ask(&b)
		b.run()
		if badFirst {
			bad()
			o.mu.Lock()
			o.mu.waiting++
			o.mu.Unlock()
			o.claim() // and a third one's is looked at when it comes
			release()
		}
		eventually(t, "node 1's answer", func() bool { return x.roster.Load().links[1].reads.inFlight.Load() == 0 })
		bad()
		b.run()
		told.wantGood(t, o, p)
	}
}

// TestB3SkippedWhenNobodyElseIsLeft: the bad answer was given up between the
// look at the claim and the news of the skip: the skipped daemon is asked by
// that news.
func TestB3SkippedWhenNobodyElseIsLeft(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	p := fill('a', block.Size)
	g.write(0, p)
	g.complete(0, all...)
	x := g.v.group(0)
	told := make(answered, 2)
	o := &readOp{g: x, roster: x.roster.Load(), owner: told, count: 1, dst: make([]byte, block.Size), began: g.v.now()}
	x.mu.Lock()
	o.at, _, _ = x.mu.machine.BeginRead(g.v.now(), g.v.confirmedAt())
	x.mu.Unlock()
	o.mu.candidates = quorum.Votes(0).Add(1)
	o.mu.tried = o.mu.candidates
	o.mu.waiting = 1
	var b batch
	o.skipped(&b, x.roster.Load().links[1])
	b.run()
	told.wantGood(t, o, p)
}

// TestB3SumsAreMadeFromTheClientsBytes: what reaches the segments has the sums
// of what the client wrote, so that damage on the way is refused there.
func TestB3SumsAreMadeFromTheClientsBytes(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	p := append(fill('a', block.Size), fill('b', block.Size)...)
	g.write(0, p)
	g.complete(0, 0)
	log := s.log(0, 0)
	var sums []block.Sum
	if err := log.Scan(0, log.SCL(), block.MiB, func(r logstore.Record) error {
		sums = append(sums, r.Sums...)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(sums) != 2 || sums[0] != block.Checksum(p[:block.Size]) || sums[1] != block.Checksum(p[block.Size:]) {
		t.Errorf("sums %v", sums)
	}
}

// TestR15LateReadIsAskedElsewhere: a daemon that does not answer costs a read
// no more than the hedge, as long as the budget allows an extra one; then the
// read waits longer, and is asked for elsewhere all the same.
func TestR15LateReadIsAskedElsewhere(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	p := fill('a', block.Size)
	g.write(0, p)
	g.complete(0, all...)
	release := s.nodes[2].hold(faultfs.Read)
	slow := &g.v.group(0).roster.Load().links[2].reads
	read := func() time.Duration {
		for _, l := range g.v.group(0).roster.Load().links {
			l.reads.ewma.Store(1 << 30)
		}
		slow.ewma.Store(1)
		began := time.Now()
		g.wantBytes(0, p)
		return time.Since(began)
	}
	g.v.budget.tokens.Store(3 * hedgeShare)
	for range 3 {
		if took := read(); took >= time.Second {
			t.Errorf("a read took %v though an extra one was allowed", took)
		}
	}
	g.v.budget.tokens.Store(0)
	if took := read(); took < time.Second {
		t.Errorf("a read took %v though no extra one was allowed", took)
	}
	if n := slow.inFlight.Load(); n != 4 {
		t.Errorf("%d reads wait at the slow daemon, want all 4", n)
	}
	release()
	eventually(t, "late answers to be thrown away", func() bool { return slow.inFlight.Load() == 0 })
	g.wantBytes(0, p)
}

// TestR15ExtraReadsAreBounded: five in a hundred, and what was saved up.
func TestR15ExtraReadsAreBounded(t *testing.T) {
	var h hedgeBudget
	h.tokens.Store(0)
	if h.take() {
		t.Fatal("an extra read out of nothing")
	}
	extra := 0
	for range 1000 {
		h.earn()
		if h.take() {
			extra++
		}
	}
	if extra != 1000/hedgeShare {
		t.Errorf("%d extra reads for 1000", extra)
	}
	for range 1_000_000 / 4 {
		h.earn()
	}
	for extra = 0; h.take(); extra++ {
	}
	if extra != hedgeBurst {
		t.Errorf("%d extra reads were saved up, at most %d may be", extra, hedgeBurst)
	}
}

// TestR15LateIsMeasured: late is what takes longer than nearly all reads of
// that daemon do, and a millisecond at the least.
func TestR15LateIsMeasured(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	g.write(0, fill('a', block.Size))
	side := &g.v.group(0).roster.Load().links[0].reads
	for i := range 20000 {
		took := hedgeFloor * 5
		if i%20 == 0 {
			took = hedgeFloor * 50
		}
		side.measure(took)
	}
	if slow := side.slow.Load(); slow < int64(hedgeFloor*4) || slow > int64(hedgeFloor*20) {
		t.Errorf("slow is %d ns", slow)
	}
	if mean := side.ewma.Load(); mean < int64(hedgeFloor*4) || mean > int64(hedgeFloor*20) {
		t.Errorf("the mean is %d ns", mean)
	}
	side.reserve(nil)
	if late := side.late(nil); len(late) != 0 {
		t.Errorf("late: %v", late)
	}
}

// TestR11FastestCompleteCopyIsAsked: the daemon with the lowest expected
// latency among those complete at the read-point is asked.
func TestR11FastestCompleteCopyIsAsked(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	g.write(0, fill('a', block.Size))
	g.complete(0, all...)
	x := g.v.group(0)
	for _, l := range x.roster.Load().links {
		eventually(t, "the connection for reads", func() bool { return l.reads.out.Load() != nil })
	}
	for k := range x.roster.Load().links {
		for i, l := range x.roster.Load().links {
			l.reads.ewma.Store(int64(1_000_000_000 + i))
		}
		x.roster.Load().links[k].reads.ewma.Store(1)
		before := s.nodes[k].daemon.Counters().Reads.Load()
		g.wantBytes(0, fill('a', block.Size))
		if s.nodes[k].daemon.Counters().Reads.Load() == before {
			t.Errorf("node %d is the fastest and was not asked", k)
		}
	}
	// A faster one that lacks the read-point is not asked.
	release := s.nodes[5].hold(faultfs.Sync)
	defer release()
	g.write(0, fill('b', block.Size))
	before := s.nodes[5].daemon.Counters().Reads.Load()
	x.roster.Load().links[5].reads.ewma.Store(1)
	g.wantBytes(0, fill('b', block.Size))
	if s.nodes[5].daemon.Counters().Reads.Load() != before {
		t.Error("a copy that is not complete was asked")
	}
}

// TestLongReadsAreAskedInPieces: several daemons may have a part in one read, and
// the client gets it as if it had been one.
func TestLongReadsAreAskedInPieces(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	const size = 1 * block.MiB
	want := make([]byte, size+2*block.Size)
	for i := range want {
		want[i] = byte(i>>12) * 31
	}
	g.write(0, want)
	for _, c := range []struct {
		off   block.Offset
		n     block.ByteCount
		asked uint64
	}{
		{0, block.MaxRecordBytes, 1},
		{block.Size, block.MaxRecordBytes + block.Size, 2},
		{block.Size, size, 4},
		{1, size, 5}, // a block more, for its two ends
	} {
		before := g.v.Counters().Reads.Load()
		g.wantBytes(c.off, want[c.off:block.ByteCount(c.off)+c.n])
		if got := g.v.Counters().Reads.Load() - before; got != c.asked {
			t.Errorf("%d bytes from %d on were asked in %d pieces, want %d", c.n, c.off, got, c.asked)
		}
	}
}

// TestR12UnquorumedWritesAreNotRead: a write that three of six have is not
// seen, and is seen when it is answered.
func TestR12UnquorumedWritesAreNotRead(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	g.write(0, fill('a', block.Size))
	var release []func()
	for _, k := range all[3:] {
		release = append(release, s.nodes[k].hold(faultfs.Sync))
	}
	w := g.h.startWrite(0, fill('b', block.Size))
	g.complete(0, 0, 1, 2)
	g.wantBytes(0, fill('a', block.Size))
	if !w.pending() {
		t.Fatal("answered with three of six")
	}
	for _, f := range release {
		f()
	}
	if err := w.err(t); err != nil {
		t.Fatal(err)
	}
	g.wantBytes(0, fill('b', block.Size))
}

// TestR13FloorFollowsTheReads: segments may forget what no read needs: their
// floor follows, and stops at a read that is under way.
func TestR13FloorFollowsTheReads(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	g.write(0, fill('a', block.Size))
	g.complete(0, all...)
	x := g.v.group(0)
	x.mu.Lock()
	at, _, ok := x.mu.machine.BeginRead(g.v.now(), g.v.confirmedAt())
	x.mu.Unlock()
	if !ok {
		t.Fatal("no read")
	}
	for range 5 {
		g.write(0, fill('b', block.Size))
	}
	g.complete(0, all...)
	for k := range all {
		if f := s.log(0, k).State().Floor; f > at {
			t.Errorf("node %d has settled %v under a read at %v", k, f, at)
		}
	}
	x.mu.Lock()
	x.mu.machine.EndRead(at)
	tail := x.mu.machine.Tail()
	x.mu.Unlock()
	g.write(block.Offset(block.Size), fill('c', block.Size))
	for k := range all {
		eventually(t, "the floor to move", func() bool { return s.log(0, k).State().Floor >= tail })
	}
}
