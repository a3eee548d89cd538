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

// A replay passes over what a checkpoint has of a segment that went on while the
// checkpoint was taken: not everything may count twice.
func TestReplaySkipsWhatTheCheckpointHas(t *testing.T) {
	disk := newDisk()
	s := open(t, disk, small())
	g := create(t, s, 1)
	must(t, g.BeginHydration())
	s.mu.Lock()
	at := s.mu.applied // as if the position had been read here
	s.mu.Unlock()
	must(t, g.EnqueueCopy([]CopyRun{{Block: 0, Count: LeafBlocks, Kind: RunHole, Cut: lsn(1, 5), MaxLSN: lsn(1, 4)}}).Wait())
	shot := s.capture(nil)
	shot.at = at
	m, _, err := s.ckpt.write(s.ckpt.begin(), shot, nil)
	must(t, err)
	must(t, s.ckpt.writeManifest(m))
	r := open(t, disk.CrashClone(rng(1), 1), small())
	if h := segment(t, r, 1).mu.index.hydration; r.ckpt.durable() != 1 || h.Copies != 1 || h.Spoiled {
		t.Fatalf("checkpoint %d, %+v", r.ckpt.durable(), h)
	}
}

// A cold batch that a FREE relies on is gone without a trace of its own: the end
// of the cold log is before where that FREE says. Without checkpoints.
func TestT14ColdLogCutShortIsNoticed(t *testing.T) {
	tried := 0
	for seed := uint64(1); seed <= 6; seed++ {
		fs, d := laps(t, seed)
		c := &d.store.cleaner.cold
		if c.head.file == nil || c.head.lastPage == 0 {
			continue
		}
		disk := bare(t, fs)
		for page := pageNo(headerCopies); page < c.head.next; page++ {
			disk.Damage("/store/"+c.head.file.name, int(page.at()), 0xff) // no frame begins here any more
		}
		s := readOnly(t, disk)
		if len(s.Damage()) > 0 {
			tried++
		} // else nothing was freed since
		for n, m := range d.models {
			if g, ok := s.Segment(segID(n)); ok && !g.State().Damaged && differ(t, g, m, dirtBlocks) != "" {
				t.Fatalf("seed %d: segment %d is said to be whole: %s", seed, n, differ(t, g, m, dirtBlocks))
			}
		}
	}
	if tried == 0 {
		t.Fatal("no FREE relied on what is gone: the test proves nothing")
	}
}

// A segment that was dropped does not come back, though another file has a copy of
// its configuration and the one with its DROP is gone.
func TestT13DroppedSegmentStaysDroppedWithoutCheckpoints(t *testing.T) {
	fs := vfstest.Memory(0)
	s := open(t, fs, cleaning())
	g, other := create(t, s, 1), create(t, s, 2)
	chainOf(t, g, 20)
	chainOf(t, other, 40) // keeps the first file
	must(t, s.DropSegment(g.ID()))
	dropped := s.head.file
	for range 3 {
		chainOf(t, other, 20)
	}
	must(t, s.ckpt.now())
	s.cleaner.settleDead()
	_, err := s.clean(dropped, nil)
	must(t, err)
	v, err := s.surveyFile(dropped)
	must(t, err)
	s.cleaner.emptied = append(s.cleaner.emptied, emptied{file: dropped, survey: v})
	if !s.cleaner.free() {
		t.Fatal("the file was not freed")
	}
	must(t, s.Close())
	s = open(t, bare(t, fs), cleaning())
	if _, ok := s.Segment(segID(1)); ok || len(s.Damage()) > 0 || segment(t, s, 2).SCL() != other.SCL() {
		t.Fatalf("segment 1 came back: %v; damage %v", ok, s.Damage())
	}
}
