package logstore

import (
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
)

// Leaves are written slowly, but not for longer than a minute.
func TestCheckpointLeavesTheDiskToOthers(t *testing.T) {
	for _, leaves := range []int{1, leavesPerWrite, 2048, 1 << 20} {
		rest := restBetween(leaves)
		if took := rest * time.Duration((leaves-1)/leavesPerWrite); rest > ckptRest || took > ckptLongest {
			t.Errorf("%d leaves: rests of %v, %v in all", leaves, rest, took)
		}
	}
	if rest := restBetween(2048); rest != ckptRest {
		t.Errorf("rests of %v with time", rest)
	}
}

// Who waits for files need not wait for a slow checkpoint: it is written to its
// end without rests.
func TestCheckpointIsHastened(t *testing.T) {
	cfg := small()
	s := open(t, newDisk(), cfg) // its clock stands still: a rest would last
	g := create(t, s, 1)
	prev := block.LSN(0)
	for i := range 3 * leavesPerWrite {
		l := max(prev+1, lsn(1, 1))
		put(t, g, write(l, prev, block.Index(i*leafBlocks), 1))
		prev = l
	}
	must(t, g.SetFloor(prev))
	done := make(chan error)
	go func() { done <- s.ckpt.take(nil) }()
	clk := cfg.Clock.(interface{ Running() int })
	for clk.Running() == 0 { // it rests,
		select {
		case err := <-done:
			t.Fatalf("it did not rest: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	s.ckpt.hasten()
	must(t, <-done)
	if s.ckpt.durable() == 0 || s.ckpt.hasty.Load() {
		t.Fatalf("checkpoint %d, hasty %v", s.ckpt.durable(), s.ckpt.hasty.Load())
	}
}
