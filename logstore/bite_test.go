package logstore

import (
	"fmt"
	"testing"

	"github.com/sextantdisk/sextant/internal/vfs/vfstest"
)

// The two manifests are written in turn: whatever becomes of the one that is being
// written, the one before it is in force.
func TestCheckpointNeverOverwritesTheNewest(t *testing.T) {
	disk := newDisk()
	s := open(t, disk, small())
	g := create(t, s, 1)
	for range 5 {
		chainOf(t, g, 3)
		before := s.ckpt.durable()
		checkpoint(t, s)
		slot := -1 // of the one that was written last
		for i, m := range s.ckpt.manifests {
			if m != nil && m.generation == s.ckpt.durable() {
				slot = i
			}
		}
		torn := disk.CrashClone(rng(1), 1)
		rot(t, torn, manifestName(slot), 40)
		r := open(t, torn, small())
		if got := r.ckpt.durable(); got != before {
			t.Fatalf("manifest %d is torn: checkpoint %d is in force, want %d", slot, got, before)
		}
		must(t, r.Close())
	}
}

// bothEnds says where both logs of a store end.
func bothEnds(s *Store) string {
	c := &s.cleaner.cold
	return fmt.Sprintf("hot: batch %d behind page %d of file %d, cold: batch %d behind page %d of file %d", s.nextBatch, s.head.next, s.lastSeq, c.next, c.head.next, c.last)
}

// Files change between the two logs, with frames of their former lives behind
// their batches: opening finds both logs to end where they did.
func TestStaleFramesAcrossHeads(t *testing.T) {
	crossed := map[fileKind]int{}
	for seed := uint64(1); seed <= 5; seed++ {
		fs := vfstest.Memory(0)
		d := newDirt(t, seed, func() *Store { return open(t, fs, cleaning()) })
		for i := range 300 {
			switch n := 1 + d.rng.IntN(3); d.rng.IntN(8) {
			case 0:
				d.floor(n)
			case 1:
				d.clean()
			case 2:
				d.free()
			default:
				d.write(n)
			}
			if i%10 == 9 {
				must(t, d.store.Close())
				for _, h := range []*head{&d.store.head, &d.store.cleaner.cold.head} {
					if h.file != nil && staleBehind(t, fs, h) {
						crossed[h.file.header.kind]++
					}
				}
				was := bothEnds(d.store)
				d.store = d.reopen()
				if now := bothEnds(d.store); now != was {
					t.Fatalf("seed %d, step %d: %s; before closing %s", seed, i, now, was)
				}
			}
		}
		must(t, d.store.Close())
	}
	if crossed[fileHot] == 0 || crossed[fileCold] == 0 {
		t.Fatalf("heads with stale frames right behind them: %v: the test proves little", crossed)
	}
}

// staleBehind tells whether a frame of another life stands where h goes on.
func staleBehind(t *testing.T, fs vfstest.Disk, h *head) bool {
	t.Helper()
	f, err := fs.OpenFile("/store/"+h.file.name, 0)
	must(t, err)
	defer f.Close()
	p := make([]byte, 4)
	_, err = f.ReadAt(p, h.next.at())
	return err == nil && string(p) == batchMagic
}
