package logstore

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs"
	"github.com/sextantdisk/sextant/internal/vfs/memfs"
	"github.com/sextantdisk/sextant/internal/vfs/vfstest"
	"github.com/sextantdisk/sextant/logstore/hydration"
)

// twice is a disk with two checkpoints, settled blocks, and a tail behind.
func twice(t *testing.T) vfstest.Disk {
	t.Helper()
	disk := newDisk()
	s := open(t, disk, small())
	g := create(t, s, 1)
	for range 2 {
		chainOf(t, g, 40)
		must(t, g.SetFloor(g.SCL()-3))
		checkpoint(t, s)
	}
	chainOf(t, g, 5)
	must(t, s.Close())
	return disk
}

// whole checks that all 85 records of twice are there.
func whole(t *testing.T, s *Store, what string) {
	t.Helper()
	g := segment(t, s, 1)
	if st := g.State(); st.SCL != lsn(1, 85) || st.Damaged {
		t.Fatalf("%s: %+v, damage %v", what, st, s.Damage())
	}
	for b := range block.Index(85) {
		if got := owner(t, g, g.SCL(), b+1); got != lsn(1, block.Seq(b+1)) {
			t.Fatalf("%s: block %d is of %v", what, b+1, got)
		}
	}
}

func damageKinds(s *Store) (kinds []DamageKind) {
	for _, d := range s.Damage() {
		kinds = append(kinds, d.Kind)
	}
	return kinds
}

// Whatever of the checkpoints is damaged, the log tells it all again.
func TestDamagedCheckpointIsDoneWithout(t *testing.T) {
	for _, c := range []struct {
		name  string
		files []string // of which a byte rots
		want  []DamageKind
		from  generation // in force after opening
	}{
		{"none", nil, nil, 2},
		{"the newer manifest", []string{manifestName(1)}, nil, 1},
		{"the older manifest", []string{manifestName(0)}, nil, 2},
		{"both manifests", []string{manifestName(0), manifestName(1)}, []DamageKind{DamageCheckpoint}, 0},
		{"the newer state", []string{stateName(2)}, []DamageKind{DamageCheckpoint}, 1},
		{"both states", []string{stateName(1), stateName(2)}, []DamageKind{DamageCheckpoint, DamageCheckpoint}, 0},
		{"the newer leaves", []string{leavesName(2)}, []DamageKind{DamageCheckpoint}, 1},
		{"the older leaves", []string{leavesName(1)}, nil, 2},
		{"all leaves", []string{leavesName(1), leavesName(2)}, []DamageKind{DamageCheckpoint, DamageCheckpoint}, 0},
		{"manifest and state", []string{manifestName(1), stateName(1)}, []DamageKind{DamageCheckpoint}, 0},
	} {
		for _, gone := range []bool{false, true} {
			if gone && strings.Contains(c.name, "manifests") {
				continue // then there never was a checkpoint
			}
			what := fmt.Sprintf("%s, gone %v", c.name, gone)
			disk := twice(t)
			for _, name := range c.files {
				if gone {
					must(t, disk.Remove("/store/"+name))
				} else {
					rot(t, disk, name, 100)
				}
			}
			s := open(t, disk, small())
			whole(t, s, what)
			if got := damageKinds(s); !slices.Equal(got, c.want) {
				t.Fatalf("%s: damage %v, want %v", what, s.Damage(), c.want)
			}
			if s.ckpt.durable() != c.from {
				t.Fatalf("%s: checkpoint %d is in force, want %d", what, s.ckpt.durable(), c.from)
			}
			checkpoint(t, s) // the next one mends what is damaged
			must(t, s.Close())
			s = open(t, disk, small())
			whole(t, s, what+", opened again")
			if s.ckpt.durable() < 3 || len(s.Damage()) > 0 {
				t.Fatalf("%s: checkpoint %d is in force after the next one, damage %v", what, s.ckpt.durable(), s.Damage())
			}
			must(t, s.Close())
		}
	}
}

// A checkpoint of a newer version may stand for log files that are gone: it is
// not passed over.
func TestNewerCheckpointIsRefused(t *testing.T) {
	disk := twice(t)
	raiseVersion(t, disk, manifestName(1))
	_, err := Open(disk, "/store", diskA, small())
	wantKind(t, err, block.Version)
	if !strings.Contains(err.Error(), "newer") {
		t.Fatalf("message %q", err)
	}
}

func TestCheckpointOfAnotherDiskIsRefused(t *testing.T) {
	disk, other := twice(t), newDisk()
	must(t, other.MkdirAll("/store"))
	s, err := Open(other, "/store", diskB, small())
	must(t, err)
	must(t, s.ckpt.now())
	must(t, s.Close())
	copyFile(t, other, manifestName(0), disk, manifestName(1))
	_, err = Open(disk, "/store", diskA, small())
	wantKind(t, err, block.Mismatch)
}

func copyFile(t *testing.T, from vfs.FS, name string, to vfs.FS, as string) {
	t.Helper()
	r, err := from.OpenFile("/store/"+name, vfs.ReadOnly)
	must(t, err)
	size, err := r.Size()
	must(t, err)
	p := make([]byte, size)
	_, err = r.ReadAt(p, 0)
	must(t, err)
	must(t, r.Close())
	must(t, to.Remove("/store/"+as))
	w, err := to.OpenFile("/store/"+as, vfs.Create)
	must(t, err)
	must(t, w.WritevAt([][]byte{p}, 0))
	must(t, w.Close())
}

// A log that ends before the checkpoint's position was cut: what was
// acknowledged behind it may be lost, and nobody may say otherwise (T14).
func TestT14LogShorterThanItsCheckpointIsDamage(t *testing.T) {
	for what, cut := range map[string]func(disk vfstest.Disk, at position){
		"cut": func(disk vfstest.Disk, at position) {
			f, err := disk.OpenFile("/store/"+logName(at.file), vfs.ReadWrite)
			must(t, err)
			must(t, f.Truncate(at.lastPage.bytes()))
			must(t, f.Close())
		},
		"the last batch rotten": func(disk vfstest.Disk, at position) {
			rot(t, disk, logName(at.file), at.lastPage.bytes()+40)
		},
		"the file gone": func(disk vfstest.Disk, at position) { must(t, disk.Remove("/store/"+logName(at.file))) },
	} {
		disk := newDisk()
		s := open(t, disk, small())
		g := create(t, s, 1)
		chainOf(t, g, 40)
		checkpoint(t, s)
		at := s.ckpt.manifests[0].at.hot
		after := crash(disk) // without the SYNCMARK of Close
		must(t, s.Close())
		cut(after, at)
		s = open(t, after, small())
		g = segment(t, s, 1)
		if st := g.State(); !st.Damaged || st.SCL != lsn(1, 40) || len(s.Damage()) == 0 {
			t.Fatalf("%s: %+v, damage %v", what, st, s.Damage())
		}
		chainOf(t, g, 3)
		must(t, s.Close())
		s = open(t, after, small())
		if st := segment(t, s, 1).State(); !st.Damaged || st.SCL != lsn(1, 43) {
			t.Fatalf("%s, opened again: %+v", what, st)
		}
		must(t, s.Close())
	}
}

// A log file before the position is gone: its blocks are, and reads say so, but
// no record is missed.
func TestLostFileBeforeTheCheckpointIsDamageOfItsBlocks(t *testing.T) {
	disk := newDisk()
	s := open(t, disk, small())
	g := create(t, s, 1)
	chainOf(t, g, 40)
	must(t, g.SetFloor(g.SCL()))
	checkpoint(t, s)
	must(t, s.Close())
	must(t, disk.Remove("/store/"+logName(1)))
	s = open(t, disk, small())
	g = segment(t, s, 1)
	if st := g.State(); st.Damaged || st.SCL != lsn(1, 40) {
		t.Fatalf("%+v", st)
	}
	if d := s.Damage(); len(d) != 1 || d[0].Kind != DamageFile || d[0].File != logName(1) {
		t.Fatalf("damage %v", d)
	}
	r := ReadResult{Buf: make([]byte, block.Size)}
	wantKind(t, g.ReadAt(g.SCL(), 1, 1, &r), block.Corrupt)
	if owner(t, g, g.SCL(), 40) != lsn(1, 40) {
		t.Fatal("block 40 is not to be read")
	}
}

// The power goes at each step of a checkpoint: either it is in force or the one
// before it is, and all is there.
func TestCrashWhileACheckpointIsTaken(t *testing.T) {
	disk := &tapFS{FS: memfs.New(0), tap: func(string) {}}
	s := open(t, disk, small())
	g := create(t, s, 1)
	crashes, seen := 0, map[generation]bool{}
	for round := range 4 {
		chainOf(t, g, 20)
		must(t, g.SetFloor(g.SCL()-2))
		before := s.ckpt.durable()
		disk.tap = func(what string) {
			for k, keep := range []float64{0, 0.5, 1} {
				after := disk.FS.CrashClone(rng(uint64(crashes)), keep)
				r := open(t, after, small())
				if d := r.Damage(); len(d) > 0 || r.ckpt.durable() < before || r.ckpt.durable() > before+1 {
					t.Fatalf("round %d, %s, keep %v: checkpoint %d, damage %v", round, what, keep, r.ckpt.durable(), d)
				}
				seen[r.ckpt.durable()] = true
				if h := segment(t, r, 1); h.SCL() != g.SCL() || owner(t, h, h.SCL(), 5) != lsn(1, 5) {
					t.Fatalf("round %d, %s, crash %d: SCL %v", round, what, k, h.SCL())
				}
				checkpoint(t, r)
				must(t, r.Close())
				crashes++
			}
		}
		checkpoint(t, s)
		disk.tap = func(string) {}
	}
	if crashes < 50 || len(seen) != 5 {
		t.Fatalf("%d crashes found checkpoints %v", crashes, seen)
	}
}

// Parts that are mostly dead are written anew, so that the space of
// checkpoints is bounded.
func TestPartsAreRewritten(t *testing.T) {
	use := func(g generation, leaves, live int) partLive { return partLive{partUse{g, leaves}, live} }
	for _, c := range []struct {
		parts []partLive
		want  []generation
	}{
		{nil, nil},
		{[]partLive{use(1, 10, 10)}, nil},
		{[]partLive{use(1, 10, 5), use(2, 10, 4)}, []generation{2}},
		{[]partLive{use(1, 1, 1), use(2, 3, 1)}, []generation{2}},
	} {
		got := partsToRewrite(c.parts)
		if len(got) != len(c.want) {
			t.Errorf("%v: %v, want %v", c.parts, got, c.want)
		}
		for _, g := range c.want {
			if !got[g] {
				t.Errorf("%v: %v, want %v", c.parts, got, c.want)
			}
		}
	}
	var many []partLive
	for i := range 2 * maxParts {
		many = append(many, use(generation(i+1), 100, 60+i))
	}
	if got := partsToRewrite(many); len(got) != maxParts+1 || !got[1] || got[2*maxParts] {
		t.Errorf("of %d parts %d are rewritten: %v", len(many), len(got), got)
	}
}

func TestSpaceOfCheckpointsIsBounded(t *testing.T) {
	disk := newDisk()
	s := open(t, disk, small())
	g := create(t, s, 1)
	r := rng(3)
	for range 60 {
		scatter(t, g, r, 10)
		must(t, g.SetFloor(g.SCL()))
		checkpoint(t, s)
	}
	var bytes block.ByteCount
	names, err := disk.List("/store")
	must(t, err)
	for _, name := range names {
		if isContents(name) {
			size, err := disk.Stat("/store/" + name)
			must(t, err)
			bytes += size
		}
	}
	// Two checkpoints, each at most twice the 20 leaves and a page a part.
	if most := 2 * (2*20*leafSize + maxParts*pageSize); bytes > block.ByteCount(most) {
		t.Fatalf("checkpoints take %v, at most %d were expected: %v", bytes, most, names)
	}
	sameByReplay(t, crash(disk), "at the end")
}

// When one is due: what it costs is little beside what was logged, and what
// was logged is soon replayed.
func TestCheckpointDue(t *testing.T) {
	for _, c := range []struct {
		logged, least, cost block.ByteCount
		want                bool
	}{
		{0, 256, 0, false},
		{255, 256, 1, false},
		{256, 256, 1, true},
		{240, 24, 10, true},
		{239, 24, 10, false},
		{longTail - 1, 0, longTail / 16, false},
		{longTail, 0, longTail / 16, true},
		{longTail, 0, longTail, false},
		{8 * longTail, 0, longTail, true},
	} {
		if got := checkpointDue(c.logged, c.least, c.cost); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func FuzzManifest(f *testing.F) {
	m := &manifest{disk: diskA, generation: 3, nextSegment: 2, parts: []partUse{{1, 5}, {3, 2}}, files: []fileSeq{1, 2}}
	f.Add(m.encode())
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) >= 16 {
			sum := sumWithout(p, 12)
			p[12], p[13], p[14], p[15] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
		}
		m, err := decodeManifest(p)
		if err != nil {
			return
		}
		again, err := decodeManifest(m.encode())
		if err != nil || fmt.Sprint(again) != fmt.Sprint(m) {
			t.Fatalf("%+v became %+v, %v", m, again, err)
		}
	})
}

func FuzzState(f *testing.F) {
	s := &segmentState{idx: 1, id: segID(1), config: []byte("c"), slots: make([]savedSlot, 2), since: 1,
		hydration: hydration.State{On: true, After: 1, Copies: 2, Round: 3, High: 3, First: 1, Solid: 2, Filled: map[int]hydration.Filling{1: {Blocks: 2, MaxLSN: 3}}}}
	f.Add(encodeState([]fileState{{seq: 1, spans: map[segIndex]span{1: {1, 2}}}}, []*segmentState{s}))
	f.Fuzz(func(t *testing.T, p []byte) {
		files, segs, err := decodeState(p, checkpointVersion)
		if err != nil {
			return
		}
		files2, segs2, err := decodeState(encodeState(files, segs), checkpointVersion)
		if err != nil || fmt.Sprint(files) != fmt.Sprint(files2) || len(segs) != len(segs2) {
			t.Fatalf("%+v became %+v, %v", files, files2, err)
		}
	})
}
