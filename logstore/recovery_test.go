package logstore

import (
	"slices"
	"syscall"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs/faultfs"
	"github.com/sextantdisk/sextant/internal/vfs/vfstest"
)

func TestT14DecisionTableHasOneRowForEachEnding(t *testing.T) {
	for bits := range 32 {
		e := ending{sealed: bits&1 != 0, atEnd: bits&2 != 0, begun: bits&4 != 0, later: bits&8 != 0, whole: bits&16 != 0}
		var rows []string
		for _, r := range rules {
			if r.match(e) {
				rows = append(rows, r.name)
			}
		}
		if len(rows) != 1 || e.decide() == unreachable {
			t.Errorf("%+v matches %q", e, rows)
		}
	}
}

// logOf makes a store with one segment of n one-block batches, without a
// SYNCMARK behind them, and gives the disk as a crash leaves it.
func logOf(t *testing.T, n int) vfstest.Disk {
	fs := newDisk()
	s := open(t, fs, small())
	chainOf(t, create(t, s, 1), n)
	return crash(fs)
}

// reopened is what opening a disk finds.
type reopened struct {
	scl     block.Seq
	damaged bool
	kinds   []DamageKind
	torn    bool
}

func reopen(t *testing.T, fs vfstest.Disk) (*Store, reopened) {
	t.Helper()
	_, sum := batches(t, fs)
	s := open(t, fs, small())
	st := segment(t, s, 1).State()
	r := reopened{scl: st.SCL.Seq(), damaged: st.Damaged, torn: sum.Torn}
	for _, d := range s.Damage() {
		r.kinds = append(r.kinds, d.Kind)
	}
	return s, r
}

func (r reopened) mustBe(t *testing.T, want reopened) {
	t.Helper()
	if r.scl != want.scl || r.damaged != want.damaged || r.torn != want.torn || !slices.Equal(r.kinds, want.kinds) {
		t.Fatalf("opening found %+v, want %+v", r, want)
	}
}

func TestOpenAfterCrashFindsAllThatWasAcknowledged(t *testing.T) {
	_, r := reopen(t, logOf(t, 10))
	r.mustBe(t, reopened{scl: 10})
}

func TestT14DamagedMiddleIsNotATornTail(t *testing.T) {
	fs := logOf(t, 10)
	all, _ := batches(t, fs)
	b := all[5] // batch 0 makes the segment, so this is record 5
	rot(t, fs, b.File, b.Offset+100)
	s, r := reopen(t, fs)
	r.mustBe(t, reopened{scl: 4, damaged: true, kinds: []DamageKind{DamageBatch}})
	d := s.Damage()[0]
	if d.File != b.File || d.Offset != b.Offset || d.Length != b.Header+b.Payload {
		t.Fatalf("%v, but batch %+v was damaged", d, b)
	}
	if st := segment(t, s, 1).State(); st.Pending != 5 {
		t.Fatalf("%d records wait behind the damage, want 5", st.Pending)
	}
}

func TestT14LastBatchWithItsMarkIsNotATornTail(t *testing.T) {
	fs := newDisk()
	s := open(t, fs, small())
	chainOf(t, create(t, s, 1), 5)
	must(t, s.mark())
	fs = crash(fs)
	all, sum := batches(t, fs)
	if !sum.Marked {
		t.Fatal("the log does not end with a SYNCMARK")
	}
	rot(t, fs, all[5].File, all[5].Offset+100)
	_, r := reopen(t, fs)
	r.mustBe(t, reopened{scl: 4, damaged: true, kinds: []DamageKind{DamageBatch}})
}

func TestTornHeaderIsATornTail(t *testing.T) {
	fs := logOf(t, 5)
	all, _ := batches(t, fs)
	rot(t, fs, all[5].File, all[5].Offset+100)
	_, r := reopen(t, fs)
	r.mustBe(t, reopened{scl: 4, torn: true})
}

func TestTornPayloadIsATornTail(t *testing.T) {
	fs := logOf(t, 5)
	all, _ := batches(t, fs)
	rot(t, fs, all[5].File, all[5].Offset+all[5].Header+100)
	_, r := reopen(t, fs)
	r.mustBe(t, reopened{scl: 4, torn: true})
}

// A batch that was begun proves that the one before it was durable: its bad
// payload is damage, found when it is read (row E).
func TestT14BegunBatchProvesTheOneBefore(t *testing.T) {
	fs := logOf(t, 5)
	all, _ := batches(t, fs)
	rot(t, fs, all[4].File, all[4].Offset+all[4].Header+100)
	rot(t, fs, all[5].File, all[5].Offset+100)
	s, r := reopen(t, fs)
	r.mustBe(t, reopened{scl: 4, torn: true})
	g := segment(t, s, 1)
	res := ReadResult{Buf: make([]byte, block.Size)}
	wantKind(t, g.ReadAt(lsn(1, 4), 4, 1, &res), block.Corrupt)
}

// T17: the torn tail stays in its file; the valid length stands in the next
// file's header. A second crash must not end the log at the first tail.
func TestT17TornTailTwice(t *testing.T) {
	fs := logOf(t, 5)
	for round := range 3 {
		all, _ := batches(t, fs)
		last := all[len(all)-1]
		rot(t, fs, last.File, last.Offset+100)
		s, r := reopen(t, fs)
		r.mustBe(t, reopened{scl: block.Seq(4 + round*2), torn: true})
		g := segment(t, s, 1)
		chainOf(t, g, 3)
		fs = crash(fs)
	}
	s, r := reopen(t, fs)
	r.mustBe(t, reopened{scl: 11})
	if files := s.Stats().Files; files != 4 {
		t.Fatalf("%d files, want the first and one for each torn tail", files)
	}
	g := segment(t, s, 1)
	for i := 1; i <= 11; i++ {
		if got := owner(t, g, g.SCL(), block.Index(i)); got != lsn(1, block.Seq(i)) {
			t.Fatalf("block %d is of %v", i, got)
		}
	}
}

func TestSealedFileThatEndsEarlyIsDamaged(t *testing.T) {
	fs := newDisk()
	s := open(t, fs, small())
	chainOf(t, create(t, s, 1), 40) // several files
	fs = crash(fs)
	all, _ := batches(t, fs)
	i := slices.IndexFunc(all, func(b BatchInfo) bool { return b.File != all[0].File })
	rot(t, fs, all[i-1].File, all[i-1].Offset+100) // the last batch of the first file
	_, r := reopen(t, fs)
	r.mustBe(t, reopened{scl: block.Seq(i - 2), damaged: true, kinds: []DamageKind{DamageTail}})
}

func TestMissingFileIsDamage(t *testing.T) {
	fs := newDisk()
	s := open(t, fs, small())
	chainOf(t, create(t, s, 1), 60)
	fs = crash(fs)
	must(t, fs.Remove("/store/"+logName(2)))
	_, r := reopen(t, fs)
	if !r.damaged || !slices.Equal(r.kinds, []DamageKind{DamageFile}) || r.scl == 60 {
		t.Fatalf("opening found %+v", r)
	}
}

func TestOneBadHeaderCopyCostsNothing(t *testing.T) {
	for copyNo := range headerCopies {
		fs := logOf(t, 5)
		rot(t, fs, logName(1), block.ByteCount(copyNo*pageSize+20))
		_, r := reopen(t, fs)
		r.mustBe(t, reopened{scl: 5, kinds: []DamageKind{DamageHeader}})
	}
}

func TestFileWithoutHeaderIsDamageNotTheEnd(t *testing.T) {
	fs := newDisk()
	s := open(t, fs, small())
	g := create(t, s, 1)
	must(t, s.mark())
	chainOf(t, g, 40)
	fs = crash(fs)
	_, sum := batches(t, fs)
	for c := range headerCopies {
		rot(t, fs, sum.LastFile, block.ByteCount(c*pageSize+20))
	}
	s, r := reopen(t, fs)
	if !r.damaged || !slices.Equal(r.kinds, []DamageKind{DamageFile}) {
		t.Fatalf("opening found %+v", r)
	}
	if g := segment(t, s, 1); g.SCL() == 0 {
		t.Fatal("what is in the good files is gone, too")
	} else {
		chainOf(t, g, 1) // goes on in a new file
	}
}

// Another segment's batch is lost; a status behind it proves that this one
// lost nothing.
func TestT14StatusProvesThatASegmentPassedOverDamage(t *testing.T) {
	fs := newDisk()
	s := open(t, fs, small())
	a, b := create(t, s, 1), create(t, s, 2)
	chainOf(t, a, 3)
	chainOf(t, b, 3)
	must(t, s.mark()) // statuses of a and b
	chainOf(t, a, 1)
	must(t, s.mark()) // of a
	fs = crash(fs)
	all, _ := batches(t, fs)
	rot(t, fs, all[7].File, all[7].Offset+100) // b's record 3
	s = open(t, fs, small())
	if st := segment(t, s, 1).State(); st.Damaged || st.SCL != lsn(1, 4) {
		t.Fatalf("a passed over the damage, but is %+v", st)
	}
	if st := segment(t, s, 2).State(); !st.Damaged || st.SCL != lsn(1, 2) {
		t.Fatalf("b lost its last record, but is %+v", st)
	}
}

// Without a status behind the damage nobody can tell what was lost.
func TestT14WithoutProofASegmentIsDamaged(t *testing.T) {
	fs := newDisk()
	s := open(t, fs, small())
	a, b := create(t, s, 1), create(t, s, 2)
	chainOf(t, a, 3)
	chainOf(t, b, 2)
	fs = crash(fs)
	all, _ := batches(t, fs)
	rot(t, fs, all[5].File, all[5].Offset+100) // b's record 1; a wrote nothing since
	s = open(t, fs, small())
	for n := 1; n <= 2; n++ {
		if !segment(t, s, n).State().Damaged {
			t.Errorf("segment %d is not damaged", n)
		}
	}
}

// A branch that was annulled is no proof: the record on which the other one
// stands is lost, so the segment is complete up to the branch's end again, which
// is above all that was lost, and below what it had acknowledged.
func TestT14AnnulledBranchIsNoProof(t *testing.T) {
	fs := newDisk()
	s := open(t, fs, small())
	g := create(t, s, 1)
	put(t, g, write(lsn(1, 1), 0, 1, 1))
	must(t, s.mark()) // the head is 1.1
	put(t, g, epochOpen(lsn(2, 1), 0))
	put(t, g, epochOpen(lsn(3, 1), lsn(1, 1)), write(lsn(3, 2), lsn(3, 1), 2, 1))
	if g.SCL() != lsn(3, 2) {
		t.Fatalf("SCL is %v", g.SCL())
	}
	fs = crash(fs)
	all, _ := batches(t, fs)
	rot(t, fs, all[1].File, all[1].Offset+100) // record 1.1
	s = open(t, fs, small())
	if st := segment(t, s, 1).State(); !st.Damaged || st.SCL != lsn(2, 1) {
		t.Fatalf("the segment had acknowledged 3.2 and is %+v", st)
	}
}

// A segment was dropped and made again; the record of its end is lost. It must
// not come back in place of the new one.
func TestT13LostDropDoesNotBringASegmentBack(t *testing.T) {
	fs := newDisk()
	s := open(t, fs, small())
	chainOf(t, create(t, s, 1), 3)
	must(t, s.DropSegment(segID(1)))
	g := create(t, s, 1)
	put(t, g, zero(lsn(1, 1), 0, 0, 9))
	must(t, s.mark())
	fs = crash(fs)
	all, _ := batches(t, fs)
	rot(t, fs, all[4].File, all[4].Offset+100)
	for range 8 { // whatever the order of maps is
		s = open(t, fs, small())
		st := segment(t, s, 1).State()
		if st.SCL != lsn(1, 1) || st.Damaged || len(s.Segments()) != 1 || owner(t, segment(t, s, 1), lsn(1, 1), 1) != 0 {
			t.Fatalf("the new segment is empty, but is %+v", st)
		}
		must(t, s.Close())
	}
}

// A later complete record is no proof: record 3 arrived before record 2, was
// acknowledged with it, and is lost.
func TestT14LaterCompleteRecordIsNoProof(t *testing.T) {
	fs := newDisk()
	s := open(t, fs, small())
	g := create(t, s, 1)
	put(t, g, write(lsn(1, 1), 0, 1, 1))
	put(t, g, write(lsn(1, 3), lsn(1, 2), 3, 1))
	put(t, g, write(lsn(1, 2), lsn(1, 1), 2, 1))
	if g.SCL() != lsn(1, 3) {
		t.Fatalf("SCL is %v", g.SCL())
	}
	fs = crash(fs)
	all, _ := batches(t, fs)
	rot(t, fs, all[2].File, all[2].Offset+100)
	_, r := reopen(t, fs)
	r.mustBe(t, reopened{scl: 2, damaged: true, kinds: []DamageKind{DamageBatch}})
}

// A promise may have been lost, too; so a segment that wrote nothing since
// must not forget that.
func TestT4LostPromiseIsNotForgotten(t *testing.T) {
	fs := newDisk()
	s := open(t, fs, small())
	g := create(t, s, 1)
	put(t, g, write(lsn(1, 1), 0, 1, 1))
	must(t, g.EnqueuePromise(9).Wait())
	put(t, g, write(lsn(1, 2), lsn(1, 1), 1, 1))
	fs = crash(fs)
	all, _ := batches(t, fs)
	rot(t, fs, all[2].File, all[2].Offset+40)
	s, r := reopen(t, fs)
	r.mustBe(t, reopened{scl: 2, damaged: true, kinds: []DamageKind{DamageBatch}})
	if got := segment(t, s, 1).State().Promised; got != 1 {
		t.Fatalf("promised %d", got)
	}
}

func TestDamagedStaysUntilCleared(t *testing.T) {
	fs := logOf(t, 6)
	all, _ := batches(t, fs)
	rot(t, fs, all[6].File, all[6].Offset+all[6].Header+9)
	rot(t, fs, all[3].File, all[3].Offset+100)
	s, _ := reopen(t, fs)
	g := segment(t, s, 1)
	put(t, g, write(lsn(1, 3), lsn(1, 2), 3, 1), epochOpen(lsn(2, 1), lsn(1, 5)))
	must(t, s.mark()) // a status, which must not count as a proof
	must(t, s.mark())
	if st := g.State(); !st.Damaged || st.SCL != lsn(2, 1) {
		t.Fatalf("before clearing: %+v", st)
	}
	must(t, s.Close())
	s, r := reopen(t, fs)
	if !r.damaged {
		t.Fatal("damage was forgotten by reopening")
	}
	must(t, segment(t, s, 1).ClearDamage())
	if segment(t, s, 1).State().Damaged {
		t.Fatal("damage was not cleared")
	}
	s2, r := reopen(t, crash(fs))
	if r.damaged {
		t.Fatal("damage came back after it was cleared, durably")
	}
	if len(s2.Damage()) == 0 {
		t.Fatal("the place of the damage is not listed any more")
	}
}

func TestSegmentMadeAfterDamageIsWhole(t *testing.T) {
	fs := newDisk()
	s := open(t, fs, small())
	chainOf(t, create(t, s, 1), 3)
	chainOf(t, create(t, s, 2), 2)
	fs = crash(fs)
	all, _ := batches(t, fs)
	rot(t, fs, all[2].File, all[2].Offset+100)
	s = open(t, fs, small())
	if st := segment(t, s, 2).State(); st.Damaged || st.SCL != lsn(1, 2) {
		t.Fatalf("%+v", st)
	}
}

func TestRecordsOfALostSegmentAreReported(t *testing.T) {
	fs := newDisk()
	s := open(t, fs, small())
	create(t, s, 1)
	chainOf(t, create(t, s, 2), 3)
	fs = crash(fs)
	all, _ := batches(t, fs)
	rot(t, fs, all[1].File, all[1].Offset+40)
	s, r := reopen(t, fs)
	r.mustBe(t, reopened{damaged: true, kinds: []DamageKind{DamageBatch, DamageOrphan}})
	if _, ok := s.Segment(segID(2)); ok {
		t.Fatal("a segment without its creation is served")
	}
	g := create(t, s, 3) // must not get the lost one's number
	if st := g.State(); st.SCL != 0 || st.Head != 0 {
		t.Fatalf("a new segment begins with %+v", st)
	}
}

// T16: what a killed process left in the page cache was never durable; who
// opens the log and tells of it must make it so first.
func TestT16WhatOpeningFindsIsDurable(t *testing.T) {
	disk := newDisk()
	fs := faultfs.Wrap(disk)
	s := open(t, fs, small())
	g := create(t, s, 1)
	chainOf(t, g, 3)
	fs.Add(faultfs.Rule{Ops: faultfs.Sync, Times: 1, Err: syscall.EIO})
	wantKind(t, g.Enqueue([]Record{write(lsn(1, 4), lsn(1, 3), 4, 1)}).Wait(), block.Unavailable)
	must(t, s.Close())
	s, r := reopen(t, disk)
	r.mustBe(t, reopened{scl: 4}) // it was written, and survived the process
	after := crash(disk)
	must(t, s.Close())
	_, r = reopen(t, after)
	r.mustBe(t, reopened{scl: 4})
}

// Batches are numbered without gaps: one that was lost shows even where no
// page is missing.
func TestT14MissingBatchNumberIsDamage(t *testing.T) {
	fs := newDisk()
	s := open(t, fs, small())
	g := create(t, s, 1)
	chainOf(t, g, 2)
	s.nextBatch++
	chainOf(t, g, 2)
	_, r := reopen(t, crash(fs))
	r.mustBe(t, reopened{scl: 4, damaged: true, kinds: []DamageKind{DamageBatch}})
}
