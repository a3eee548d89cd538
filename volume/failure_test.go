package volume

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
	"github.com/sextantdisk/sextant/internal/vfs/faultfs"
	"github.com/sextantdisk/sextant/volume/pg"
	"github.com/sextantdisk/sextant/volume/quorum"
	"github.com/sextantdisk/sextant/wire"
)

func wantKind(t *testing.T, err error, k block.Kind) {
	t.Helper()
	if !errors.Is(err, k) {
		t.Fatalf("ended with %v, want kind %v", err, k)
	}
}

// do runs an operation of a handle to its end.
func (g *gateway) do(f func(h *Handle, w Waiter)) error {
	g.t.Helper()
	w := newWait()
	f(g.h, w)
	g.h.Kick()
	return w.err(g.t)
}

func (g *gateway) must(f func(h *Handle, w Waiter)) {
	g.t.Helper()
	if err := g.do(f); err != nil {
		g.t.Fatal(err)
	}
}

// TestR1AnotherDaemonBehindTheAddress: an address that was given to another
// daemon gets no connection; when it is looked up anew there is one.
func TestR1AnotherDaemonBehindTheAddress(t *testing.T) {
	s := newSystem(t)
	s.nodes[5].relay.to.Store(s.nodes[4].daemon.Addr().String())
	g := s.open()
	g.write(0, fill('a', block.Size))
	g.complete(0, 0, 1, 2, 3, 4)
	x := g.v.group(0)
	if x.roster.Load().links[5].out.Load() != nil || x.roster.Load().links[5].reads.up() {
		t.Fatal("connected to a daemon that is somebody else")
	}
	s.nodes[5].relay.to.Store(s.nodes[5].daemon.Addr().String())
	g.complete(0, 5)
}

// TestR1AnswerForSomebodyElseIsNoAck: an answer counts for the member that it
// names only.
func TestR1AnswerForSomebodyElseIsNoAck(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	g.write(0, fill('a', block.Size))
	x := g.v.group(0)
	good := wire.Identity{Volume: testVolume, Segment: segmentID(0, 3), PG: 0}
	if !x.isFor(&good, 3) {
		t.Fatal("the right answer is none")
	}
	for name, spoil := range map[string]func(id *wire.Identity){
		"volume": func(id *wire.Identity) { id.Volume[0]++ }, "segment": func(id *wire.Identity) { id.Segment[0]++ },
		"group": func(id *wire.Identity) { id.PG++ },
	} {
		id := good
		spoil(&id)
		if x.isFor(&id, 3) {
			t.Errorf("an answer for another %s counts", name)
		}
	}
	if x.isFor(&good, 2) {
		t.Error("an answer counts for another member")
	}
}

// TestR3SuccessorEndsTheVolume: a gateway that learns of a higher epoch from a
// segment ends: what was under way is told Fenced, neither done nor failed for
// another reason, and so is all that comes later (trap T32).
func TestR3SuccessorEndsTheVolume(t *testing.T) {
	s := newSystem(t)
	former := s.open()
	former.write(0, fill('a', block.Size))
	var release []func()
	for _, k := range all[2:] {
		release = append(release, s.nodes[k].hold(faultfs.Sync))
	}
	pending := former.h.startWrite(0, fill('b', block.Size))
	edit := former.h.startWrite(10, fill('c', 10))
	successor := s.open() // Open says higher epoch; its Joins fence
	wantKind(t, pending.err(t), block.Fenced)
	wantKind(t, edit.err(t), block.Fenced)
	for _, f := range release {
		f()
	}
	wantKind(t, <-former.end, block.Fenced)
	wantKind(t, former.v.Ended(), block.Fenced)
	wantKind(t, former.h.startWrite(0, fill('d', block.Size)).err(t), block.Fenced)
	w, _ := former.h.startRead(0, block.Size)
	wantKind(t, w.err(t), block.Fenced)
	for _, f := range []func(h *Handle, w Waiter){
		func(h *Handle, w Waiter) { h.Flush(w) },
		func(h *Handle, w Waiter) { h.Trim(0, block.Size, w) },
		func(h *Handle, w Waiter) { h.Zero(0, block.Size, true, w) },
		func(h *Handle, w Waiter) { h.Map(0, block.Size, func([]Extent) {}, w) },
	} {
		wantKind(t, former.do(f), block.Fenced)
	}
	got := successor.read(0, block.Size)
	if differ(got, fill('a', block.Size)) >= 0 && differ(got, fill('b', block.Size)) >= 0 {
		t.Errorf("the successor reads neither the old nor the new bytes: %q", got[:20])
	}
}

// TestR3MetadataEndsTheVolume: the metadata service's word does it as well.
func TestR3MetadataEndsTheVolume(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	g.write(0, fill('a', block.Size))
	s.meta.set(func() { s.meta.volume.Epoch++ })
	wantKind(t, <-g.end, block.Fenced)
	wantKind(t, g.h.startWrite(0, fill('d', block.Size)).err(t), block.Fenced)
}

// TestR3DeletedVolumeEnds: the volume is gone.
func TestR3DeletedVolumeEnds(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	s.meta.set(func() { s.meta.err = block.Errorf(block.NotFound, "no such volume") })
	wantKind(t, <-g.end, block.Closed)
}

// TestR3WriteBetweenTheEndAndItsNews: a write that was let in before the
// machine died, and comes to it after, is told, too.
func TestR3WriteBetweenTheEndAndItsNews(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	g.write(0, fill('a', block.Size))
	gate, at := make(chan struct{}), make(chan struct{})
	g.v.later(func(*batch) { close(at); <-gate }) // abandon waits behind this
	<-at
	w := newWait()
	o := g.v.newWriteOp(w, opBytes)
	o.v.pending.try(opBytes)
	x := g.v.group(0)
	var b batch
	x.step(&b, pg.Input{Kind: pg.Refused, Member: 0, Refuse: &wire.Refuse{Kind: block.Fenced, Epoch: 99}})
	buf := buffer(fill('b', block.Size))
	g.v.writeBlocks(&b, o, x, block.Piece{Length: block.Size}, buf.Bytes(), buf)
	o.pieceDone(&b, nil)
	b.run()
	close(gate)
	wantKind(t, w.err(t), block.Fenced)
	buf.Release()
}

// TestR8DaemonThatWasDownBecomesComplete: by the writer's ring or from a peer,
// and its disk holds what the others hold.
func TestR8DaemonThatWasDownBecomesComplete(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	g.write(0, fill('a', int(block.MiB)))
	g.complete(0, all...)
	s.nodes[1].crash()
	s.nodes[3].crash()
	for i := range 16 {
		g.write(block.Offset(i)*64<<10, fill(byte('A'+i), 64<<10))
	}
	eventually(t, "the report of two that are away", func() bool { return len(g.v.Unhealthy()) == 2 })
	s.nodes[1].start()
	g.complete(0, 1)
	x := g.v.group(0)
	x.mu.Lock()
	x.mu.machine.SetRingLimit(0) // what node 3 lacks is let go
	x.mu.Unlock()
	g.write(0, fill('Z', block.Size))
	s.nodes[3].start()
	g.complete(0, all...)
	want := g.read(0, int(block.MiB))
	for k := range all {
		if got := s.copyOf(0, k, block.Count(block.MiB/block.Size)); differ(got, want) >= 0 {
			t.Errorf("node %d differs in block %d", k, differ(got, want)/block.Size)
		}
	}
	if s.nodes[3].daemon.Counters().CaughtUpBytes.Load() == 0 {
		t.Error("node 3 fetched nothing from a peer: the test shows half")
	}
	eventually(t, "nothing to report", func() bool { return len(g.v.Unhealthy()) == 0 })
}

// TestR10PendingIsBounded: who writes more than may be pending waits, until
// something is done; the end of the volume wakes it.
func TestR10PendingIsBounded(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	g.write(0, fill('a', block.Size))
	g.v.pending.limit = int64(block.MiB)
	var release []func()
	for _, n := range s.nodes {
		release = append(release, n.hold(faultfs.Sync))
	}
	const each = 64 << 10
	var ops []*wait
	for range 15 {
		ops = append(ops, g.h.startWrite(0, fill('b', each)))
	}
	through := make(chan *wait)
	h := g.v.NewHandle()
	go func() { through <- h.startWrite(0, fill('c', 2*each)) }()
	select {
	case <-through:
		t.Fatal("a write beyond the bound was taken")
	case <-clock.Real().After(50 * time.Millisecond):
	}
	if used := g.v.pending.used.Load(); used > int64(block.MiB) {
		t.Fatalf("%d bytes are pending", used)
	}
	for _, f := range release {
		f()
	}
	ops = append(ops, <-through)
	for _, w := range ops {
		if err := w.err(t); err != nil {
			t.Fatal(err)
		}
	}
	if used := g.v.pending.used.Load(); used != 0 {
		t.Fatalf("%d bytes are pending though all is done", used)
	}
	g.write(0, fill('d', 2<<20)) // larger than the bound, alone
	release = nil
	for _, n := range s.nodes {
		release = append(release, n.hold(faultfs.Sync))
	}
	first := g.h.startWrite(0, fill('b', 1<<20-opBytes))
	go func() { through <- h.startWrite(0, fill('c', each)) }()
	eventually(t, "somebody to wait", func() bool { return g.v.pending.waiters.Load() > 0 })
	g.v.end(block.Errorf(block.Closed, "over"))
	wantKind(t, (<-through).err(t), block.Closed)
	wantKind(t, first.err(t), block.Closed)
	for _, f := range release {
		f()
	}
}

// TestR14ReadsStopWithTheLease: with neither the metadata service nor a read
// quorum to be heard, a read is not served, though a complete copy is there;
// with the metadata service's word it is (docs/adr/0002).
func TestR14ReadsStopWithTheLease(t *testing.T) {
	s := newSystem(t)
	s.hold = 4 * time.Second
	g := s.open()
	g.write(0, fill('a', block.Size))
	g.complete(0, all...)
	for _, k := range all[1:] {
		s.nodes[k].kill()
	}
	g.wantBytes(0, fill('a', block.Size)) // five of six are gone (B5)
	s.meta.set(func() { s.meta.err = block.Errorf(block.Unavailable, "cut off") })
	x := g.v.group(0)
	eventually(t, "the lease to run out", func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		return !x.mu.machine.MayReturn(g.v.now(), g.v.confirmedAt())
	})
	w, _ := g.h.startRead(0, block.Size)
	wantKind(t, w.err(t), block.Unavailable)
	w, b := g.h.startRead(0, block.Size)
	if !w.pending() {
		t.Fatal("a read past the lease is answered")
	}
	s.meta.set(func() { s.meta.err = nil })
	if err := w.err(t); err != nil || differ(b.Bytes(), fill('a', block.Size)) >= 0 {
		t.Fatalf("with the lease renewed: %v", err)
	}
}

// TestR14GoodbyeTellsWhetherLeasesAreOver: a gateway that closes in good order
// says that nobody before the next one can read.
func TestR14GoodbyeTellsWhetherLeasesAreOver(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	g.write(0, fill('a', block.Size))
	g.close()
	if c := s.meta.closed; len(c) != 1 || c[0].Epoch != 1 || !c[0].ReadLeasesExpired {
		t.Fatalf("closed with %+v", c)
	}
	s.nodes[5].kill() // not all can be fenced
	g = s.open()
	began := time.Now()
	g.wantBytes(0, fill('a', block.Size))
	if took := time.Since(began); took > quorum.LeaseWait {
		t.Errorf("waited %v after a goodbye", took)
	}
	g.stop() // no goodbye
	g = s.open()
	began = time.Now()
	g.write(0, fill('b', block.Size))
	if took := time.Since(began); took < quorum.LeaseTerm {
		t.Errorf("answered a write %v after the opening, within the former lease", took)
	}
	g.wantBytes(0, fill('b', block.Size))
}

// TestB5TwoOfSixDeadGoesOn, three dead holds writes, five dead still reads.
func TestB5TwoOfSixDeadGoesOn(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	g.write(0, fill('a', block.Size))
	s.nodes[0].kill()
	s.nodes[4].kill()
	g.write(0, fill('b', block.Size))
	g.wantBytes(0, fill('b', block.Size))
	g.complete(0, 1, 2, 3, 5)
	s.nodes[2].kill()
	w := g.h.startWrite(0, fill('c', block.Size))
	g.complete(0, 1, 3, 5)
	g.wantBytes(0, fill('b', block.Size))
	if !w.pending() {
		t.Fatal("answered with three of six")
	}
	s.nodes[4].start()
	if err := w.err(t); err != nil {
		t.Fatal(err)
	}
	g.complete(0, 1, 3, 4, 5)
	for _, k := range []int{1, 3, 4} {
		s.nodes[k].kill()
	}
	g.wantBytes(0, fill('c', block.Size))
}

// TestB5HeldThenFails: after the hold time a write without a quorum, and a
// read without a complete copy, fail with Unavailable.
func TestB5HeldThenFails(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	g.write(0, fill('a', block.Size))
	g.close()
	s.hold = 500 * time.Millisecond
	g = s.open()
	x := g.v.group(0)
	eventually(t, "the group to be open", func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		return x.mu.machine.Phase() == pg.Open
	})
	for _, k := range all[3:] {
		s.nodes[k].kill()
	}
	began := time.Now()
	ops := []*wait{
		g.h.startWrite(0, fill('b', block.Size)),
		g.h.startWrite(10, fill('c', 10)),                       // waits for the former
		g.h.startWrite(12, fill('d', 10)),                       // waits for its turn
		g.h.startWrite(0, fill('e', block.Size)),                // behind both
		g.h.startWrite(block.Offset(block.Size), fill('f', 10)), // of its own
	}
	for _, w := range ops {
		wantKind(t, w.err(t), block.Unavailable)
	}
	if took := time.Since(began); took < s.hold {
		t.Errorf("failed after %v", took)
	}
	for _, k := range all[:3] {
		s.nodes[k].kill()
	}
	began = time.Now()
	w, _ := g.h.startRead(0, block.Size)
	wantKind(t, w.err(t), block.Unavailable)
	if took := time.Since(began); took < s.hold {
		t.Errorf("failed after %v", took)
	}
}

// TestB5PlacingIsHeldToo: a write to a group that cannot be placed waits, then
// fails; when the metadata service is back it goes on.
func TestB5PlacingIsHeldToo(t *testing.T) {
	s := newSystem(t)
	s.hold = 3 * time.Second
	g := s.open()
	s.meta.set(func() { s.meta.err = block.Errorf(block.Unavailable, "no leader") })
	wantKind(t, g.h.startWrite(0, fill('a', block.Size)).err(t), block.Unavailable)
	w := g.h.startWrite(0, fill('b', block.Size))
	trim := newWait()
	g.h.Trim(0, block.Size, trim) // behind the write that has the group placed
	g.h.Kick()
	s.meta.set(func() { s.meta.err = nil })
	if err := errors.Join(w.err(t), trim.err(t)); err != nil {
		t.Fatal(err)
	}
	g.wantBytes(0, fill(0, block.Size))
	s.meta.set(func() { s.meta.err = block.Errorf(block.NoSpace, "too few zones") })
	wantKind(t, g.h.startWrite(block.Offset(testPG), fill('a', block.Size)).err(t), block.NoSpace)
	s.meta.set(func() { s.meta.err = block.Errorf(block.Fenced, "epoch 1 is over") })
	wantKind(t, g.h.startWrite(block.Offset(testPG), fill('a', block.Size)).err(t), block.Fenced)
}

// TestB6SlowDaemonCostsNothing: a daemon that takes what it is sent and never
// acknowledges holds up nobody, and what waits for it is bounded.
func TestB6SlowDaemonCostsNothing(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	g.write(0, fill('a', block.Size))
	g.complete(0, all...)
	s.nodes[5].relay.hang.Store(true)
	l := g.v.group(0).roster.Load().links[5]
	for range (pg.SendWindow + 8*block.MiB) / block.MiB {
		g.write(0, fill('b', int(block.MiB)))
		if w := l.out.Load(); w != nil && w.QueuedBytes() > pg.SendWindow {
			t.Fatalf("%v wait for the slow daemon", w.QueuedBytes())
		}
	}
	s.nodes[5].relay.hang.Store(false)
	g.complete(0, all...)
}

// TestB6QueueOfALinkIsBounded: over all groups, beyond the bound, the
// connection is given up.
func TestB6QueueOfALinkIsBounded(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	g.write(0, fill('a', block.Size))
	g.complete(0, all...)
	s.nodes[5].relay.hang.Store(true)
	l := g.v.group(0).roster.Load().links[5]
	w := l.out.Load()
	junk := fill(0, int(block.MiB))
	for w.QueuedBytes() <= linkQueue {
		if err := w.Queue(junk, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	g.write(0, fill('b', block.Size))
	eventually(t, "the connection to be given up", func() bool { return l.out.Load() != w })
	s.nodes[5].relay.hang.Store(false)
	s.nodes[5].relay.cut()
	g.complete(0, all...)
}

// TestB7OnceReadItStays: a write that its lost gateway never acknowledged was
// on three disks; the next gateway shows it or not, and what it showed, all
// later ones show, whoever is away.
func TestB7OnceReadItStays(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	g.write(0, fill('a', block.Size))
	g.complete(0, all...)
	for _, k := range all[1:] {
		s.nodes[k].kill()
	}
	w := g.h.startWrite(0, fill('b', block.Size))
	g.complete(0, 0)
	if !w.pending() {
		t.Fatal("answered with one of six")
	}
	g.stop()
	for _, k := range all[1:5] {
		s.nodes[k].start()
	}
	g = s.open()
	seen := g.read(0, block.Size)
	if differ(seen, fill('b', block.Size)) >= 0 && differ(seen, fill('a', block.Size)) >= 0 {
		t.Fatalf("read %q", seen[:8])
	}
	g.stop()
	s.nodes[0].crash() // who had it first is gone
	s.nodes[1].crash()
	s.nodes[1].start()
	s.nodes[5].start()
	for range 2 {
		g = s.open()
		g.wantBytes(0, seen)
		g.stop()
	}
}

// TestFlushIsDoneAtOnce: what was acknowledged is durable, so a flush waits
// for nobody, not even for writes under way.
func TestFlushIsDoneAtOnce(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	g.write(0, fill('a', block.Size))
	var release []func()
	for _, n := range s.nodes {
		release = append(release, n.hold(faultfs.Sync))
	}
	w := g.h.startWrite(0, fill('b', block.Size))
	g.must(func(h *Handle, w Waiter) { h.Flush(w) })
	if !w.pending() {
		t.Error("a write was answered with no disk flushed")
	}
	for _, f := range release {
		f()
	}
	if err := w.err(t); err != nil {
		t.Fatal(err)
	}
	for _, n := range s.nodes { // durable means durable
		n.crash()
		n.start()
	}
	g.wantBytes(0, fill('b', block.Size))
}

// TestRangesAreChecked: beyond the end nothing is read or written; growth
// moves the end under a running gateway.
func TestRangesAreChecked(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	end := block.Offset(4 * testPG)
	wantKind(t, g.h.startWrite(end-1, fill('a', 2)).err(t), block.Invalid)
	w, _ := g.h.startRead(end, 1)
	wantKind(t, w.err(t), block.Invalid)
	wantKind(t, g.do(func(h *Handle, w Waiter) { h.Trim(0, 4*testPG+1, w) }), block.Invalid)
	wantKind(t, g.do(func(h *Handle, w Waiter) { h.Map(end, 1, func([]Extent) {}, w) }), block.Invalid)
	g.write(end-1, fill('a', 1))
	s.meta.set(func() { s.meta.volume.Geometry.Size = 6 * testPG })
	eventually(t, "growth", func() bool { return g.v.Size() == 6*testPG })
	g.write(end-1, fill('b', 2))
	g.wantBytes(end-2, append(fill(0, 1), fill('b', 2)...))
	if g.v.Info().Name != "v" || g.v.Epoch() != 1 {
		t.Errorf("info %+v", g.v.Info())
	}
	if _, err := Open(context.Background(), "w", Config{Pool: g.pool, Metadata: s.meta, Logger: silence}); !errors.Is(err, block.NotFound) {
		t.Errorf("opening an unknown volume: %v", err)
	}
}
