package logstore

import (
	"sync"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
	"github.com/sextantdisk/sextant/internal/vfs/faultfs"
)

// TestB2RecordIsAtomicAcrossCrashes: the power is cut while a record of 64
// blocks is being flushed, with any part of it on the disk: afterwards all of
// it is there or nothing.
func TestB2RecordIsAtomicAcrossCrashes(t *testing.T) {
	disk := newDisk()
	faults := faultfs.Wrap(disk)
	cfg := small()
	cfg.FileSize = 2 * block.MiB
	s := open(t, faults, cfg)
	g := create(t, s, 1)
	const n = int(block.MaxRecordBlocks)
	put(t, g, write(lsn(1, 1), 0, 0, n))
	gate, before := make(chan struct{}), faults.Calls(faultfs.Sync)
	release := sync.OnceFunc(func() { close(gate) })
	t.Cleanup(release) // before the store is closed
	faults.Add(faultfs.Rule{Ops: faultfs.Sync, Stall: gate, Times: 1})
	flushed := make(chan error, 1)
	go func() { flushed <- g.Enqueue([]Record{write(lsn(1, 2), lsn(1, 1), 0, n)}).Wait() }()
	for end := time.Now().Add(20 * time.Second); faults.Calls(faultfs.Sync) == before; {
		if time.Now().After(end) {
			t.Fatal("no flush")
		}
		<-clock.Real().After(time.Millisecond)
	}
	seen := map[block.LSN]int{}
	for seed := range uint64(30) {
		x := open(t, disk.CrashClone(rng(seed), []float64{0, 0.5, 0.9, 0.999, 1}[seed%5]), cfg)
		g := segment(t, x, 1)
		scl := g.SCL()
		seen[scl]++
		for b := range block.Index(n) {
			if got := owner(t, g, scl, b); got != scl {
				t.Fatalf("seed %d: complete up to %v, block %d is of %v", seed, scl, b, got)
			}
		}
		must(t, x.Close())
	}
	if seen[lsn(1, 1)] == 0 || seen[lsn(1, 2)] == 0 || len(seen) != 2 {
		t.Errorf("outcomes %v: the test shows less than it should", seen)
	}
	release()
	must(t, <-flushed)
}
