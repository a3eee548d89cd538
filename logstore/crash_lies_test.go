package logstore

import (
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs/faultfs"
	"github.com/sextantdisk/sextant/internal/vfs/memfs"
)

// TestCrashMisdirectedWrite: a disk writes batch 9 over batch 3 and says that
// all is well. Both are lost, and that is told; what lies between them is not:
// a peer that sends the two again makes the segment complete.
func TestCrashMisdirectedWrite(t *testing.T) {
	disk := memfs.New(0)
	faults := faultfs.Wrap(disk)
	s := open(t, faults, small())
	g := create(t, s, 1)
	var recs []Record
	const pages = 2 // of each batch
	for i := block.Seq(1); i <= 10; i++ {
		recs = append(recs, write(lsn(1, i), prevOf(i), block.Index(i), 1))
		if i == 9 {
			faults.Add(faultfs.Rule{Ops: faultfs.Write, Times: 1, Shift: -6 * pages * pageSize})
		}
		put(t, g, recs[i-1])
	}
	s = open(t, disk.CrashClone(rng(1), 0), small())
	g = segment(t, s, 1)
	if st := g.State(); !st.Damaged || st.SCL != lsn(1, 2) || len(s.Damage()) == 0 {
		t.Fatalf("batches 3 and 9 are lost, but the segment is %+v, damage %v", st, s.Damage())
	}
	put(t, g, recs[2], recs[8])
	if g.SCL() != lsn(1, 10) {
		t.Fatalf("complete up to %v: more than 3 and 9 was lost", g.SCL())
	}
	for b := block.Index(1); b <= 10; b++ {
		if got := owner(t, g, g.SCL(), b); got != lsn(1, block.Seq(b)) {
			t.Errorf("block %d is of %v", b, got)
		}
	}
}

// TestCrashLostWrite: a disk says that it wrote a batch and did not. The next
// batch proves that there was one.
func TestCrashLostWrite(t *testing.T) {
	disk := memfs.New(0)
	faults := faultfs.Wrap(disk)
	s := open(t, faults, small())
	g := create(t, s, 1)
	chainOf(t, g, 3)
	faults.Add(faultfs.Rule{Ops: faultfs.Write, Times: 1, Lose: true})
	chainOf(t, g, 2)
	s = open(t, disk.CrashClone(rng(1), 0), small())
	if st := segment(t, s, 1).State(); !st.Damaged || st.SCL != lsn(1, 3) || len(s.Damage()) == 0 {
		t.Fatalf("record 4 was lost, but the segment is %+v, damage %v", st, s.Damage())
	}
}
