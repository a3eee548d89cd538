package logstore

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
	"github.com/sextantdisk/sextant/internal/vfs/faultfs"
)

// A disk that does not come back from a flush is not waited for for ever: Close
// says so, who waits for records hears of it, and when the disk answers after
// all the folder is given back.
func TestCloseDoesNotWaitForAHungDisk(t *testing.T) {
	disk := newDisk()
	faults := faultfs.Wrap(disk)
	ticks := clock.NewFake(time.Time{})
	cfg := small()
	cfg.Clock = ticks
	s := open(t, faults, cfg)
	g := create(t, s, 1)
	chainOf(t, g, 3)
	gate := make(chan struct{})
	release := sync.OnceFunc(func() { close(gate) })
	t.Cleanup(release)
	before := faults.Calls(faultfs.Sync)
	faults.Add(faultfs.Rule{Ops: faultfs.Sync, Stall: gate, Times: 1})
	hung := g.Enqueue([]Record{write(lsn(1, 4), lsn(1, 3), 4, 1)})
	behind := g.Enqueue([]Record{write(lsn(1, 5), lsn(1, 4), 5, 1)})
	leader, follower, closed := make(chan error, 1), make(chan error, 1), make(chan error, 1)
	go func() { leader <- hung.Wait() }()
	for faults.Calls(faultfs.Sync) == before {
		<-clock.Real().After(time.Millisecond)
	}
	third := g.Enqueue([]Record{write(lsn(1, 6), lsn(1, 5), 6, 1)}) // behind is in the batch that hangs
	go func() { follower <- third.Wait() }()
	go func() { closed <- s.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for waits := true; waits; { // until it has looked at the clock
		select {
		case err := <-closed:
			wantKind(t, err, block.Unavailable)
			waits = false
		case <-clock.Real().After(time.Millisecond):
			must(t, ctx.Err())
			ticks.Advance(DeadFlush)
		}
	}
	wantKind(t, <-follower, block.Unavailable)
	must(t, s.Close()) // again
	if _, err := Open(faults, "/store", diskA, cfg); block.KindOf(err) != block.Unavailable {
		t.Fatalf("the folder is given back while the disk is still at work: %v", err)
	}
	release()
	<-leader
	_ = behind.Wait()
	for {
		again, err := Open(disk, "/store", diskA, cfg)
		if err == nil {
			if scl := segment(t, again, 1).SCL(); scl < lsn(1, 3) {
				t.Fatalf("complete up to %v", scl)
			}
			must(t, again.Close())
			return
		}
		must(t, ctx.Err())
		<-clock.Real().After(time.Millisecond)
	}
}
