package logstore

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/sextantdisk/sextant/internal/block"
)

func TestReadsSeeTheirReadPoint(t *testing.T) {
	s := open(t, newDisk(), small())
	g := create(t, s, 1)
	put(t, g, write(lsn(1, 1), 0, 5, 2), write(lsn(1, 2), lsn(1, 1), 6, 1), zero(lsn(1, 3), lsn(1, 2), 5, 1))
	for at, want := range map[block.Seq][2]block.LSN{1: {lsn(1, 1), lsn(1, 1)}, 2: {lsn(1, 1), lsn(1, 2)}, 3: {0, lsn(1, 2)}} {
		if got := [2]block.LSN{owner(t, g, lsn(1, at), 5), owner(t, g, lsn(1, at), 6)}; got != want {
			t.Errorf("as of %d blocks 5 and 6 are of %v, want %v", at, got, want)
		}
	}
	r := ReadResult{Buf: make([]byte, block.Size)}
	wantKind(t, g.ReadAt(lsn(1, 4), 5, 1, &r), block.Behind)
	must(t, g.SetFloor(lsn(1, 2)))
	wantKind(t, g.ReadAt(lsn(1, 1), 5, 1, &r), block.Stale)
	if got := owner(t, g, lsn(1, 2), 5); got != lsn(1, 1) {
		t.Errorf("at the floor block 5 is of %v", got)
	}
	wantKind(t, g.ReadAt(lsn(1, 3), 5, 2, &r), block.Invalid) // buffer too small
	wantKind(t, g.ReadAt(lsn(1, 3), 0, 0, &r), block.Invalid)
	wantKind(t, g.ReadAt(lsn(1, 3), ^block.Index(0), 1, &r), block.Invalid)
}

// A record that is annulled by an EPOCH_OPEN is invisible, but kept: a higher
// epoch adopts its branch again (rule R16, §2.5 note c).
func TestR16BranchIsAdoptedAgain(t *testing.T) {
	fs := newDisk()
	s := open(t, fs, small())
	g := create(t, s, 1)
	put(t, g, write(lsn(1, 1), 0, 1, 1), write(lsn(1, 2), lsn(1, 1), 1, 1))
	put(t, g, epochOpen(lsn(2, 1), lsn(1, 1)))
	check := func(when string, scl, block1 block.LSN) {
		t.Helper()
		if g.SCL() != scl || owner(t, g, scl, 1) != block1 {
			t.Fatalf("%s: SCL %v, block 1 of %v", when, g.SCL(), owner(t, g, g.SCL(), 1))
		}
	}
	check("annulled", lsn(2, 1), lsn(1, 1))
	must(t, s.Close())
	s = open(t, fs, small())
	g = segment(t, s, 1)
	check("annulled, reopened", lsn(2, 1), lsn(1, 1))
	put(t, g, epochOpen(lsn(3, 1), lsn(1, 2)))
	check("adopted", lsn(3, 1), lsn(1, 2))
	must(t, g.SetFloor(lsn(3, 1)))
	check("settled", lsn(3, 1), lsn(1, 2))
	wantKind(t, g.SetFloor(lsn(9, 9)), block.Invalid)
	must(t, g.SetFloor(lsn(1, 1))) // never goes back
	if f := g.State().Floor; f != lsn(3, 1) {
		t.Fatalf("floor %v", f)
	}
}

func TestR19OrderOfArrivalDoesNotMatter(t *testing.T) {
	recs := []Record{
		write(lsn(1, 1), 0, 1, 3), zero(lsn(1, 2), lsn(1, 1), 2, 1), write(lsn(1, 3), lsn(1, 2), 2, 2),
		trim(lsn(1, 4), lsn(1, 3), 0, 200), write(lsn(1, 5), lsn(1, 4), 3, 1),
	}
	r := rng(3)
	for range 20 {
		fs := newDisk()
		s := open(t, fs, small())
		g := create(t, s, 1)
		for _, i := range r.Perm(len(recs)) {
			put(t, g, recs[i])
		}
		must(t, s.Close())
		g = segment(t, open(t, fs, small()), 1)
		if got := imageOf(t, g, lsn(1, 5), 6); !slices.Equal(got, []block.LSN{0, 0, 0, lsn(1, 5), 0, 0}) {
			t.Fatalf("as of 5: %v", got)
		}
		if got := imageOf(t, g, lsn(1, 3), 6); !slices.Equal(got, []block.LSN{0, lsn(1, 1), lsn(1, 3), lsn(1, 3), 0, 0}) {
			t.Fatalf("as of 3: %v", got)
		}
	}
}

func TestTrimOfEverythingIsCheap(t *testing.T) {
	s := open(t, newDisk(), small())
	g := create(t, s, 1)
	put(t, g, write(lsn(1, 1), 0, 700, 2))
	all := block.Count(block.DefaultPGSize / block.Size)
	put(t, g, trim(lsn(1, 2), lsn(1, 1), 0, all))
	if n := len(g.mu.index.hot.nodes); n > 3 {
		t.Fatalf("a trim of %d blocks takes %d nodes", all, n)
	}
	must(t, g.SetFloor(lsn(1, 2)))
	for i, sl := range g.mu.index.base.slots {
		if sl.leaf != nil || sl.maxLSN != lsn(1, 2) {
			t.Fatalf("slot %d is %+v", i, sl)
		}
	}
	if st := g.State(); st.Bytes != 0 {
		t.Fatalf("%v are left", st.Bytes)
	}
	runs, err := g.Map(lsn(1, 2), 0, all, nil)
	must(t, err)
	if !slices.Equal(runs, []Run{{all, RunHole}}) {
		t.Fatalf("runs %v", runs)
	}
}

func TestMapTellsWhatReadFinds(t *testing.T) {
	s := open(t, newDisk(), small())
	g := create(t, s, 1)
	put(t, g,
		write(lsn(1, 1), 0, 10, 4), zero(lsn(1, 2), lsn(1, 1), 12, 1), zero(lsn(1, 3), lsn(1, 2), 1000, 2000),
		write(lsn(1, 4), lsn(1, 3), 1500, 1), trim(lsn(1, 5), lsn(1, 4), 1600, 100))
	runs, err := g.Map(lsn(1, 5), 8, 4000, nil)
	must(t, err)
	want := []Run{{2, RunHole}, {2, RunData}, {1, RunZero}, {1, RunData}, {986, RunHole}, {500, RunZero}, {1, RunData}, {99, RunZero}, {100, RunHole}, {1300, RunZero}, {1008, RunHole}}
	if !slices.Equal(runs, want) {
		t.Fatalf("runs\n%v, want\n%v", runs, want)
	}
	r := ReadResult{Buf: make([]byte, 4000*block.Size)}
	must(t, g.ReadAt(lsn(1, 5), 8, 4000, &r))
	if !slices.Equal(r.Runs, want) || len(r.Sums) != 4 || len(r.Data()) != 4*block.Size {
		t.Fatalf("read gave %v, %d sums", r.Runs, len(r.Sums))
	}
	if _, err := g.Map(lsn(1, 6), 0, 1, nil); block.KindOf(err) != block.Behind {
		t.Fatalf("map beyond the SCL: %v", err)
	}
}

func TestR24SegmentIsBornFenced(t *testing.T) {
	fs := newDisk()
	s := open(t, fs, small())
	g, err := s.CreateSegment(segID(1), 7, []byte("c"))
	must(t, err)
	if g.State().Promised != 7 {
		t.Fatalf("promised %d", g.State().Promised)
	}
	if _, err := s.CreateSegment(segID(1), 8, nil); block.KindOf(err) != block.Exists {
		t.Fatalf("second creation: %v", err)
	}
	if _, err := s.CreateSegment(block.SegmentID{}, 8, nil); block.KindOf(err) != block.Invalid {
		t.Fatalf("creation without an id: %v", err)
	}
	s = open(t, crash(fs), small()) // durable on return
	if st := segment(t, s, 1).State(); st.Promised != 7 || string(st.Config) != "c" {
		t.Fatalf("after a crash: %+v", st)
	}
}

// T4: a promise has its place among the writes, and none is lost or goes back.
func TestT4PromiseIsOrderedAndNeverGoesBack(t *testing.T) {
	fs := newDisk()
	s := open(t, fs, small())
	g := create(t, s, 1)
	tickets := []*Ticket{
		g.Enqueue([]Record{write(lsn(1, 1), 0, 1, 1)}), g.EnqueuePromise(5), g.EnqueueConfig([]byte("new")),
		g.EnqueuePromise(3), g.Enqueue([]Record{epochOpen(lsn(5, 1), lsn(1, 1))}),
	}
	for _, tk := range slices.Backward(tickets) {
		must(t, tk.Wait())
	}
	var order []string
	s = open(t, crash(fs), small())
	st := segment(t, s, 1).State()
	if st.Promised != 5 || string(st.Config) != "new" || st.SCL != lsn(5, 1) {
		t.Fatalf("%+v", st)
	}
	must(t, s.Close())
	_, err := Inspect(fs.CrashClone(rng(1), 0), "/store", Inspector{Record: func(r RecordInfo) error {
		order = append(order, fmt.Sprintf("%s %d", r.Type, r.Epoch))
		return nil
	}})
	must(t, err)
	want := []string{"config 1", "write 0", "promise 5", "config 1", "promise 3", "epoch-open 0"}
	if !slices.Equal(order, want) {
		t.Fatalf("the log has %q, want %q", order, want)
	}
}

func TestDropIsDurable(t *testing.T) {
	fs := newDisk()
	s := open(t, fs, small())
	g := create(t, s, 1)
	chainOf(t, g, 2)
	must(t, s.DropSegment(segID(1)))
	wantKind(t, s.DropSegment(segID(1)), block.NotFound)
	wantKind(t, g.Enqueue([]Record{write(lsn(1, 3), lsn(1, 2), 1, 1)}).Wait(), block.NotFound)
	r := ReadResult{Buf: make([]byte, block.Size)}
	wantKind(t, g.ReadAt(lsn(1, 2), 1, 1, &r), block.NotFound)
	create(t, s, 2)
	must(t, s.mark())
	s = open(t, crash(fs), small())
	if all := s.Segments(); len(all) != 1 || all[0].ID() != segID(2) || len(s.Damage()) != 0 {
		t.Fatalf("%d segments, damage %v", len(all), s.Damage())
	}
	create(t, s, 1) // the id may be used again; the number is not
}

func TestMalformedRecordsHaveNoEffect(t *testing.T) {
	s := open(t, newDisk(), small())
	g := create(t, s, 1)
	good := write(lsn(1, 1), 0, 1, 1)
	change := func(fn func(r *Record)) Record {
		r := good
		fn(&r)
		return r
	}
	for name, r := range map[string]Record{
		"no LSN":           change(func(r *Record) { r.LSN = 0 }),
		"follows itself":   change(func(r *Record) { r.Prev = r.LSN }),
		"no type":          change(func(r *Record) { r.Type = TypeNone }),
		"the store's type": change(func(r *Record) { r.Type = TypeStatus }),
		"no blocks":        change(func(r *Record) { r.Count = 0 }),
		"too many blocks":  change(func(r *Record) { r.Count = block.MaxRecordBlocks + 1 }),
		"beyond the end":   change(func(r *Record) { r.Block = ^block.Index(0) }),
		"sum missing":      change(func(r *Record) { r.Sums = nil }),
		"short payload":    change(func(r *Record) { r.Payload = r.Payload[:100] }),
		"zero with bytes":  change(func(r *Record) { r.Type = TypeZero }),
		"open with range":  change(func(r *Record) { r.Type = TypeEpochOpen }),
		"larger than file": write(lsn(1, 1), 0, 0, 40),
	} {
		if err := g.Enqueue([]Record{good, r}).Wait(); block.KindOf(err) != block.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if st := g.State(); st.Head != 0 {
		t.Fatalf("a refused ticket had an effect: %+v", st)
	}
	wantKind(t, s.Enqueue([]Op{{Records: []Record{good}}}).Wait(), block.Invalid)
	wantKind(t, s.Enqueue([]Op{{Segment: g, Records: []Record{good}, Promise: 1}}).Wait(), block.Invalid)
	wantKind(t, g.EnqueueConfig(make([]byte, MaxConfigBytes+1)).Wait(), block.Invalid)
	wantKind(t, g.EnqueuePromise(block.MaxVolumeEpoch+1).Wait(), block.Invalid)
	must(t, g.EnqueueConfig(make([]byte, MaxConfigBytes)).Wait())
	must(t, g.EnqueueConfig(nil).Wait())
}

func TestConflictingLSNIsIgnored(t *testing.T) {
	s := open(t, newDisk(), small())
	g := create(t, s, 1)
	chainOf(t, g, 2)
	put(t, g, write(lsn(1, 2), 0, 9, 1))
	if got := imageOf(t, g, lsn(1, 2), 10); got[9] != 0 || got[2] != lsn(1, 2) {
		t.Fatalf("%v", got)
	}
}

// Unaligned payload is copied; memfs refuses it as O_DIRECT would.
func TestUnalignedPayloadIsWritten(t *testing.T) {
	s := open(t, newDisk(), small())
	g := create(t, s, 1)
	r := write(lsn(1, 1), 0, 7, 2)
	buf := make([]byte, len(r.Payload)+64)
	r.Payload = append(buf[:13], r.Payload...)[13:]
	put(t, g, r)
	if owner(t, g, lsn(1, 1), 8) != lsn(1, 1) {
		t.Fatal("block 8 was not written")
	}
}

// TestStateMachine drives a segment and its definition with the same random
// operations and compares every image above the floor.
func TestStateMachine(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := rng(rapid.Uint64().Draw(rt, "seed"))
		fs := newDisk()
		s, err := Open(fs, "/store", diskA, small())
		must(t, err)
		defer func() { _ = s.Close() }()
		g := create(t, s, 1)
		m, a := newModel(), newAuthor(r, 40)
		m.promised, m.config = 1, "segment 1"
		for range rapid.IntRange(1, 40).Draw(rt, "operations") {
			switch r.IntN(10) {
			case 0:
				must(t, s.Close())
				s, err = Open(fs, "/store", diskA, small())
				must(t, err)
				g = segment(t, s, 1)
			case 1:
				if c := m.chain(); len(c) > 0 {
					l := c[r.IntN(len(c))].LSN
					a.floor = max(a.floor, l)
					must(t, g.SetFloor(l))
				}
			default:
				recs := a.next(g.SCL())
				put(t, g, recs...)
				for _, rec := range recs {
					m.recs[rec.LSN] = rec
				}
			}
			if d := differ(t, g, m, 48); d != "" {
				rt.Fatal(d)
			}
			if f, scl := g.State().Floor, g.SCL(); scl > f {
				at := f + block.LSN(r.Uint64N(uint64(scl-f)+1))
				if got, want := imageOf(t, g, at, 48), m.image(at, 48); !slices.Equal(got, want) {
					rt.Fatalf("as of %v\n%v, want\n%v", at, got, want)
				}
			}
		}
	})
}

func TestHotListsAreEmptyWhenAllIsSettled(t *testing.T) {
	s := open(t, newDisk(), small())
	g := create(t, s, 1)
	a := newAuthor(rng(5), 30)
	for range 200 {
		put(t, g, a.next(g.SCL())...)
	}
	put(t, g, a.held...)
	must(t, g.SetFloor(g.SCL()))
	h := &g.mu.index.hot
	warm := slices.IndexFunc(h.leaves, func(l *hotLeaf) bool { return l != nil })
	if h.used != 0 || warm >= 0 || len(h.wide) != 0 || h.data != 0 {
		t.Fatalf("%d versions, leaf %d, %d ranges, %d data are left", h.used, warm, len(h.wide), h.data)
	}
	for _, l := range h.spare {
		if l.used != 0 || l.ends != [leafBlocks]ends{} {
			t.Fatal("a spare leaf is not empty")
		}
	}
	data := 0
	for i := range g.mu.index.base.slots {
		g.mu.index.base.slots[i].leaf.references(func(_ location, n int) { data += n })
	}
	if data != g.mu.index.base.data {
		t.Fatalf("%d blocks of data are counted, there are %d", g.mu.index.base.data, data)
	}
}
