package logstore

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
	"github.com/sextantdisk/sextant/internal/vfs"
	"github.com/sextantdisk/sextant/internal/vfs/faultfs"
)

func TestOpenRefusesAnothersFolder(t *testing.T) {
	fs := newDisk()
	s := open(t, fs, small())
	_, err := Open(fs, "/store", diskA, small())
	wantKind(t, err, block.Unavailable) // locked
	must(t, s.Close())
	_, err = Open(fs, "/store", diskB, small())
	wantKind(t, err, block.Mismatch)
	_, err = Open(fs, "/store", block.DiskID{}, small())
	wantKind(t, err, block.Invalid)
	open(t, fs, small()) // the lock was given back each time
}

// raiseVersion makes a file's first page one of the next version: the place of
// version and checksum is the same in log files and manifests.
func raiseVersion(t *testing.T, fs vfs.FS, name string) {
	t.Helper()
	f, err := fs.OpenFile("/store/"+name, vfs.ReadWrite)
	must(t, err)
	p := make([]byte, pageSize)
	_, err = f.ReadAt(p, 0)
	must(t, err)
	p[8]++
	sum := sumWithout(p, 12)
	p[12], p[13], p[14], p[15] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
	must(t, f.WritevAt([][]byte{p}, 0))
	must(t, f.Close())
}

func TestOpenRefusesANewerFormat(t *testing.T) {
	fs := newDisk()
	must(t, open(t, fs, small()).Close())
	raiseVersion(t, fs, logName(1))
	_, err := Open(fs, "/store", diskA, small())
	wantKind(t, err, block.Version)
	if !strings.Contains(err.Error(), "newer") {
		t.Fatalf("message %q", err)
	}
}

func TestConfigIsValidatedOnce(t *testing.T) {
	for name, cfg := range map[string]Config{
		"file too small":  {FileSize: 4096},
		"file too large":  {FileSize: 2 * MaxFileSize},
		"file unaligned":  {FileSize: MinFileSize + 1},
		"little capacity": {Capacity: block.MiB},
		"small batch":     {MaxBatchBytes: 1},
		"large batch":     {MaxBatchBytes: block.GiB},
		"many spares":     {Spares: 1000},
	} {
		_, err := Open(newDisk(), "/store", diskA, cfg)
		if block.KindOf(err) != block.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOpenOfAnEmptyFolderDoesNotWait(t *testing.T) {
	start := time.Now()
	s, err := Open(vfs.OS(), t.TempDir(), diskA, Config{})
	took := time.Since(start)
	must(t, err)
	g := create(t, s, 1)
	chainOf(t, g, 10)
	must(t, s.Close())
	if took > 2*time.Second { // 100 ms on a quiet disk; zero-writing 256 MiB takes longer than this on a busy one
		t.Fatalf("opening took %v", took)
	}
	t.Logf("opening an empty folder took %v", took)
}

func TestReadOnlyChangesNothing(t *testing.T) {
	fs := logOf(t, 5)
	all, _ := batches(t, fs)
	rot(t, fs, all[5].File, all[5].Offset+100)
	before := fs.Describe()
	cfg := small()
	cfg.ReadOnly = true
	disk, err := Identify(fs, "/store")
	must(t, err)
	s, err := Open(fs, "/store", disk, cfg)
	must(t, err)
	g := segment(t, s, 1)
	if owner(t, g, lsn(1, 4), 4) != lsn(1, 4) {
		t.Fatal("block 4 cannot be read")
	}
	wantKind(t, g.Enqueue([]Record{write(lsn(1, 5), lsn(1, 4), 5, 1)}).Wait(), block.ReadOnly)
	must(t, s.Close())
	if after := fs.Describe(); after != before {
		t.Fatalf("the folder changed from\n%s\nto\n%s", before, after)
	}
}

// SYNCMARK: 50 ms after the last batch, once; an idle log stays as it is.
func TestT14IdleLogGetsItsSyncMark(t *testing.T) {
	fs := newDisk()
	c := clock.NewFake(time.Time{})
	cfg := small()
	cfg.Clock = c
	s := open(t, fs, cfg)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	chainOf(t, create(t, s, 1), 2)
	must(t, c.AwaitRunning(ctx, 1))
	c.Advance(markIdle - 1)
	if _, sum := batches(t, crash(fs)); sum.Marked {
		t.Fatal("marked before its time")
	}
	chainOf(t, segment(t, s, 1), 1)
	c.Advance(1)
	must(t, c.AwaitRunning(ctx, 1)) // it saw that the log was not idle
	c.Advance(markIdle)
	for s.keeper.open.Load() {
		must(t, ctx.Err())
	}
	all, sum := batches(t, crash(fs))
	if !sum.Marked || len(all) != 5 {
		t.Fatalf("%d batches, marked %v", len(all), sum.Marked)
	}
	c.Advance(time.Hour)
	if again, _ := batches(t, crash(fs)); len(again) != len(all) {
		t.Fatalf("an idle log grew from %d to %d batches", len(all), len(again))
	}
	must(t, s.Close())
	if again, _ := batches(t, fs); len(again) != len(all) {
		t.Fatal("closing marked what was marked already")
	}
}

// Floors are told by a STATUS, so that a replay settles as far.
func TestFloorIsRememberedAcrossReopening(t *testing.T) {
	fs := newDisk()
	s := open(t, fs, small())
	g := create(t, s, 1)
	chainOf(t, g, 10)
	must(t, g.SetFloor(lsn(1, 8)))
	must(t, s.Close())
	s = open(t, fs, small())
	st := segment(t, s, 1).State()
	if st.Floor != lsn(1, 8) || st.SCL != lsn(1, 10) || st.Head != lsn(1, 10) {
		t.Fatalf("%+v", st)
	}
}

func TestFloorRidesAlongWithoutIdleness(t *testing.T) {
	fs := newDisk()
	s := open(t, fs, small())
	g := create(t, s, 1)
	for range statusEvery/8 + 4 {
		var recs []Record
		prev := g.SCL()
		for range 8 {
			l := max(prev+1, lsn(1, 1))
			recs = append(recs, trim(l, prev, 1, 1))
			prev = l
		}
		put(t, g, recs...)
		must(t, g.SetFloor(prev))
	}
	fs = crash(fs)
	statuses := 0
	_, err := Inspect(fs, "/store", Inspector{Record: func(r RecordInfo) error {
		if r.Type == TypeStatus.String() {
			statuses++
		}
		return nil
	}})
	must(t, err)
	s = open(t, fs, small())
	if f := segment(t, s, 1).State().Floor; f < lsn(1, statusEvery) || statuses != 1 {
		t.Fatalf("floor %v after a crash, %d STATUSes rode along", f, statuses)
	}
}

func TestHalfMadeFilesAreRemoved(t *testing.T) {
	fs := newDisk()
	must(t, open(t, fs, small()).Close())
	for _, name := range []string{"new-00000007", "spare-00000008"} { // the spare has another length
		f, err := fs.OpenFile("/store/"+name, vfs.Create)
		must(t, err)
		must(t, f.WritevAt([][]byte{make([]byte, 100)}, 0))
		must(t, f.Close())
	}
	open(t, fs, small())
	names, err := fs.List("/store")
	must(t, err)
	names = slices.DeleteFunc(names, func(name string) bool { return name == lockName }) // a disk in memory needs no file
	if !slices.Equal(names, []string{logName(1)}) {
		t.Fatalf("files %q", names)
	}
}

// Readers are not held up by a flush (the disk stalls in it), and writers
// share the next flush.
func TestReadsGoOnDuringAFlush(t *testing.T) {
	fs := faultfs.Wrap(newDisk())
	s := open(t, fs, small())
	g := create(t, s, 1)
	chainOf(t, g, 2)
	stall := make(chan struct{})
	fs.Add(faultfs.Rule{Ops: faultfs.Sync, Times: 1, Stall: stall})
	tickets := []*Ticket{g.Enqueue([]Record{write(lsn(1, 3), lsn(1, 2), 3, 1)})}
	errs := make(chan error, 4)
	go func() { errs <- tickets[0].Wait() }()
	for { // until the leader has taken the first ticket
		s.mu.Lock()
		taken := s.mu.leading && len(s.mu.queue) == 0
		s.mu.Unlock()
		if taken {
			break
		}
	}
	before := s.Stats().Batches
	for i := block.Seq(4); i <= 6; i++ {
		tk := g.Enqueue([]Record{write(lsn(1, i), lsn(1, i-1), block.Index(i), 1)})
		go func() { errs <- tk.Wait() }()
	}
	if owner(t, g, g.SCL(), 2) != lsn(1, 2) || g.State().SCL != lsn(1, 2) {
		t.Fatal("a reader saw what is not durable")
	}
	stall <- struct{}{}
	for range 4 {
		must(t, <-errs)
	}
	if g.SCL() != lsn(1, 6) || s.Stats().Batches-before > 3 {
		t.Fatalf("SCL %v after %d batches", g.SCL(), s.Stats().Batches-before)
	}
}

// Many writers, readers, scanners and floors at once, under the race
// detector; each block is always of an LSN that was written to it.
func TestConcurrentUse(t *testing.T) {
	cfg := small()
	cfg.FileSize, cfg.Clock, cfg.Spares = block.MiB, clock.Real(), 1
	s, err := Open(vfs.OS(), t.TempDir(), diskA, cfg)
	must(t, err)
	const segments, records = 4, 150
	var writers, readers sync.WaitGroup
	stop := make(chan struct{})
	for n := 1; n <= segments; n++ {
		g := create(t, s, n)
		writers.Add(1)
		go func() {
			defer writers.Done()
			for i := range records {
				prev := g.SCL()
				l := max(prev+1, lsn(1, 1))
				if err := g.Enqueue([]Record{write(l, prev, block.Index(i%20), 1)}).Wait(); err != nil {
					t.Errorf("write %v: %v", l, err)
					return
				}
				if i%8 == 7 {
					if err := g.SetFloor(prev); err != nil {
						t.Errorf("floor %v: %v", prev, err)
					}
				}
			}
		}()
		readers.Add(1)
		go func() {
			defer readers.Done()
			r := ReadResult{Buf: make([]byte, 20*block.Size)}
			for {
				select {
				case <-stop:
					return
				default:
				}
				at := g.SCL()
				switch err := g.ReadAt(at, 0, 20, &r); block.KindOf(err) {
				case block.Stale: // the floor passed it meanwhile
				default:
					if err != nil {
						t.Errorf("read as of %v: %v", at, err)
						return
					}
				}
				if err := g.Scan(0, at, 64*block.KiB, func(Record) error { return nil }); err != nil {
					t.Errorf("scan up to %v: %v", at, err)
					return
				}
				_ = s.Stats()
				_ = g.State()
			}
		}()
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	must(t, s.Close())
	must(t, s.Close())
	s, err = Open(vfs.OS(), s.dir, diskA, cfg)
	must(t, err)
	for n := 1; n <= segments; n++ {
		if scl := segment(t, s, n).SCL(); scl != lsn(1, records) {
			t.Errorf("segment %d: SCL %v", n, scl)
		}
	}
	must(t, s.Close())
}

func TestCloseEndsEveryWaiter(t *testing.T) {
	s := open(t, newDisk(), small())
	g := create(t, s, 1)
	var wg sync.WaitGroup
	for i := block.Seq(1); i <= 50; i++ {
		tk := g.Enqueue([]Record{write(lsn(1, i), prevOf(i), 1, 1)})
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := tk.Wait(); err != nil && block.KindOf(err) != block.Closed {
				t.Errorf("ticket %d: %v", i, err)
			}
		}()
	}
	must(t, s.Close())
	wg.Wait()
	wantKind(t, g.Enqueue([]Record{write(lsn(1, 99), lsn(1, 98), 1, 1)}).Wait(), block.Closed)
	if g.SCL() > 0 {
		r := ReadResult{Buf: make([]byte, block.Size)}
		wantKind(t, g.ReadAt(g.SCL(), 1, 1, &r), block.Closed)
	}
}

func TestBatchIsBounded(t *testing.T) {
	s := open(t, newDisk(), Config{FileSize: 8 * block.MiB, Spares: -1, Clock: clock.NewFake(time.Time{})})
	g := create(t, s, 1)
	var recs []Record
	for i := block.Seq(1); i <= 3*maxBatchRecords; i++ {
		recs = append(recs, trim(lsn(1, i), prevOf(i), 1, 1))
	}
	before := s.Stats().Batches
	put(t, g, recs...)
	if n := s.Stats().Batches - before; n != 3 {
		t.Fatalf("%d records went in %d batches", len(recs), n)
	}
	if g.SCL() != lsn(1, 3*maxBatchRecords) {
		t.Fatalf("SCL %v", g.SCL())
	}
}

func TestInspectTellsAllAndIsJSON(t *testing.T) {
	fs := newDisk()
	s := open(t, fs, small())
	g := create(t, s, 1)
	chainOf(t, g, 3)
	must(t, g.EnqueuePromise(4).Wait())
	must(t, s.Close())
	all, _ := batches(t, fs)
	rot(t, fs, all[2].File, all[2].Offset+50)
	var types []string
	var text []byte
	note := func(v any) error {
		b, err := json.Marshal(v)
		text = append(text, b...)
		return err
	}
	sum, err := Inspect(fs, "/store", Inspector{
		File:   func(f FileInfo) error { return note(f) },
		Batch:  func(b BatchInfo) error { return note(b) },
		Damage: func(d Damage) error { return note(d) },
		Record: func(r RecordInfo) error {
			types = append(types, r.Type)
			return note(r)
		},
	})
	must(t, err)
	if want := []string{"config", "write", "write", "promise", "status", "syncmark"}; !slices.Equal(types, want) {
		t.Fatalf("records %q, want %q", types, want)
	}
	if sum.Files != 1 || sum.Batches != 5 || sum.Damages != 1 || !sum.Marked || sum.Torn {
		t.Fatalf("summary %+v", sum)
	}
	for _, want := range []string{segID(1).String(), diskA.String(), `"kind":"batch"`, `"lsn":"1.3"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the JSON lacks %s:\n%s", want, text)
		}
	}
	_, err = Inspect(fs, "/nowhere", Inspector{})
	wantKind(t, err, block.NotFound)
}
