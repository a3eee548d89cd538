package volume

import (
	"errors"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/volume/pg"
	"github.com/sextantdisk/sextant/volume/quorum"
	"github.com/sextantdisk/sextant/wire"
)

// full has members acknowledge all that was issued, and tell whether their
// disks are full.
func (s *scripted) full(full bool, members ...quorum.Member) {
	for _, i := range members {
		s.input(pg.Input{Kind: pg.Acked, Member: i, Ack: &wire.Ack{
			Identity: wire.Identity{Epoch: 1}, SCL: s.mu.machine.Tail(), Stamp: wire.Stamp(1 << 62), Full: full,
		}})
	}
}

// clear trims a block as a client does.
func (s *scripted) clear(at block.Index) *outcome {
	var b batch
	out := &outcome{}
	s.v.pending.try(opBytes)
	s.issue(&b, s.v.newWriteOp(out, opBytes), change{typ: wire.RecordTrim, block: at, count: 1})
	s.step(&b, pg.Input{Kind: pg.Collect})
	b.run()
	return out
}

// TestB5WithoutRoomWritesFailForSpace: with three of six disks full a write,
// also one of a few bytes, fails at once and says why; a trim is done, and all
// goes on when there is room.
func TestB5WithoutRoomWritesFailForSpace(t *testing.T) {
	s := newScripted(t)
	s.full(true, 3, 4, 5)
	for range 3 {
		if o := s.write(1); !o.told || !errors.Is(o.err, block.NoSpace) {
			t.Fatalf("a write without room: %+v", o)
		}
	}
	if s.v.pending.used.Load() != 0 || s.v.stranded.Load() != 0 {
		t.Fatalf("%d bytes pending, %d stranded", s.v.pending.used.Load(), s.v.stranded.Load())
	}
	trim := s.clear(1)
	s.full(false, 0, 1, 2)
	s.full(true, 3)
	if !trim.told || trim.err != nil {
		t.Fatalf("a trim without room: %+v", trim)
	}
	s.full(false, 3)
	again := s.write(1)
	s.full(false, 0, 1, 2, 3)
	if !again.told || again.err != nil {
		t.Fatalf("a write with room: %+v", again)
	}
}

// TestB5HeldForRoomSaysSo: where a full disk and one that is down lack
// together, the write is held, and fails for want of room.
func TestB5HeldForRoomSaysSo(t *testing.T) {
	s := newScripted(t)
	s.input(pg.Input{Kind: pg.Down, Member: 0})
	s.input(pg.Input{Kind: pg.Down, Member: 1})
	s.full(true, 5)
	o := s.write(1)
	s.pass(testHold / 2)
	if o.told {
		t.Fatalf("not held: %+v", o)
	}
	s.pass(testHold)
	if !o.told || !errors.Is(o.err, block.NoSpace) {
		t.Fatalf("after the hold: %+v", o)
	}
}
