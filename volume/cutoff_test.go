package volume

import (
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
)

// The tests here cut a gateway off from the metadata service, which would
// tell it half a second later what it must find out by itself.

// cutOffMetadata lets the metadata service answer neither renewals nor
// placements. It opens volumes still: a successor comes in by another way.
func (s *system) cutOffMetadata() {
	s.meta.set(func() { s.meta.err = block.Errorf(block.Unavailable, "cut off") })
}

// TestR3RefusedWriteEndsTheVolume: a segment's refusal of a record is enough
// to know of the successor.
func TestR3RefusedWriteEndsTheVolume(t *testing.T) {
	s := newSystem(t)
	s.hold = 3 * time.Second
	former := s.open()
	former.write(0, fill('a', block.Size))
	s.cutOffMetadata()
	s.open().wantBytes(0, fill('a', block.Size))
	wantKind(t, former.h.startWrite(0, fill('b', block.Size)).err(t), block.Fenced)
	wantKind(t, <-former.end, block.Fenced)
	wantKind(t, former.h.startWrite(0, fill('c', block.Size)).err(t), block.Fenced)
}

// TestR3IdleVolumeEnds: nobody asks anything of it, but it has been in use
// and still pings.
func TestR3IdleVolumeEnds(t *testing.T) {
	s := newSystem(t)
	former := s.open()
	former.write(0, fill('a', block.Size))
	s.cutOffMetadata()
	s.open().wantBytes(0, fill('a', block.Size))
	eventually(t, "the former volume to end", func() bool { return former.v.Ended() != nil })
	wantKind(t, former.v.Ended(), block.Fenced)
}

// TestR3RefusedReadEndsTheVolume: so is the refusal of a read, when nothing
// that it sends as a writer arrives anywhere.
func TestR3RefusedReadEndsTheVolume(t *testing.T) {
	s := newSystem(t)
	s.hold = 3 * time.Second
	former := s.open()
	former.write(0, fill('a', block.Size))
	former.complete(0, all...)
	s.cutOffMetadata()
	for _, l := range former.v.group(0).roster.Load().links {
		l.out.Store(nil) // what is queued for it is dropped
	}
	s.open().wantBytes(0, fill('a', block.Size))
	var err error
	eventually(t, "a read to be refused", func() bool { // one that is not fenced yet may answer
		w, _ := former.h.startRead(0, block.Size)
		err = w.err(t)
		return err != nil
	})
	wantKind(t, err, block.Fenced)
	wantKind(t, <-former.end, block.Fenced)
}

// TestR14AnswerAfterTheLeaseIsNotReturned: a read that was begun under the
// lease, and is answered when it is over, is not served, though the bytes are
// there and right; it is when the lease is renewed.
func TestR14AnswerAfterTheLeaseIsNotReturned(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	g.write(0, fill('a', block.Size))
	g.complete(0, all...)
	for _, k := range all[1:] {
		s.nodes[k].kill()
	}
	x := g.v.group(0)
	for _, k := range all[1:] {
		eventually(t, "the news that a node is dead", func() bool { return !x.roster.Load().links[k].reads.up() })
	}
	s.cutOffMetadata()
	s.nodes[0].relay.hang.Store(true)
	side := &x.roster.Load().links[0].reads
	conn := side.out.Load()
	w, b := g.h.startRead(0, block.Size)
	if side.inFlight.Load() != 1 {
		t.Fatal("the read was not sent under the lease")
	}
	// parked tells whether reads wait for the group, or for the lease.
	parked := func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		return len(x.mu.reads) > 0
	}
	eventually(t, "the lease to run out", func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		return !x.mu.machine.MayReturn(g.v.now(), g.v.confirmedAt())
	})
	if !w.pending() || parked() {
		t.Fatal("the read did not wait for its answer")
	}
	s.nodes[0].relay.hang.Store(false)
	eventually(t, "the answer to be taken", func() bool { return !w.pending() || parked() })
	if !w.pending() {
		t.Fatal("a read was served by an answer that came after the lease")
	}
	if side.out.Load() != conn {
		t.Fatal("there was no answer: the connection broke")
	}
	s.meta.set(func() { s.meta.err = nil })
	if err := w.err(t); err != nil || differ(b.Bytes(), fill('a', block.Size)) >= 0 {
		t.Fatalf("with the lease renewed: %v", err)
	}
}
