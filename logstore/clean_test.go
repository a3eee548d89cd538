package logstore

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs/memfs"
)

// cleaning is small, for a store whose files are cleaned by the test, at once.
func cleaning() Config {
	cfg := small()
	cfg.forgetful, cfg.Spares = true, DefaultSpares
	return cfg
}

// dirt is a store with segments, authors and models: what a cleaner must not
// change.
type dirt struct {
	t       testing.TB
	rng     *rand.Rand
	store   *Store
	reopen  func() *Store
	authors map[int]*author
	models  map[int]*modelSegment
}

const dirtBlocks = 60

func newDirt(t testing.TB, seed uint64, reopen func() *Store) *dirt {
	d := &dirt{t: t, rng: rng(seed), reopen: reopen, store: reopen(), authors: map[int]*author{}, models: map[int]*modelSegment{}}
	for n := 1; n <= 3; n++ {
		create(t, d.store, n)
		d.authors[n] = newAuthor(rng(seed<<8+uint64(n)), dirtBlocks-8)
		m := newModel()
		m.promised, m.config = 1, string(segment(t, d.store, n).State().Config)
		d.models[n] = m
	}
	return d
}

func (d *dirt) write(n int) {
	d.t.Helper()
	g := segment(d.t, d.store, n)
	recs := d.authors[n].next(g.SCL())
	put(d.t, g, recs...)
	for _, r := range recs {
		d.models[n].recs[r.LSN] = r
	}
}

func (d *dirt) floor(n int) {
	d.t.Helper()
	g := segment(d.t, d.store, n)
	path := g.mu.index.chain.Path()
	if len(path) == 0 {
		return
	}
	l := path[d.rng.IntN(len(path))].LSN
	must(d.t, g.SetFloor(l))
	d.authors[n].floor = max(l, d.authors[n].floor)
}

// sealed is a file that may be cleaned, or nil.
func (d *dirt) sealed() *logFile {
	all := slices.DeleteFunc(slices.Clone(d.store.files.Load().all), func(f *logFile) bool { return !f.sealed.Load() })
	if len(all) == 0 {
		return nil
	}
	return all[d.rng.IntN(len(all))]
}

func (d *dirt) clean() {
	d.t.Helper()
	f := d.sealed()
	if f == nil {
		return
	}
	d.store.cleaner.settleDead() // as a round begins
	_, err := d.store.clean(f, nil)
	must(d.t, err)
	if n := f.live.Load(); n != 0 {
		for _, g := range d.store.Segments() {
			g.mu.index.references(func(l location, n int) {
				if l.file == f.header.seq {
					d.t.Logf("segment %d, %d blocks at page %d of %d; %s", g.idx, n, l.page, f.end.Load(), g.mu.index.chain.Describe())
				}
			})
		}
		d.t.Fatalf("%s was cleaned, %d blocks of it are live; kind %d; %v", f.name, n, f.header.kind, d.store.Damage())
	}
}

// counts proves that live counts are what the indexes say (I10).
func (d *dirt) counts() {
	d.t.Helper()
	d.store.cleaner.settleDead()
	checkLedger(d.t, d.store)
}

func (d *dirt) check() {
	d.t.Helper()
	d.counts()
	if bad := d.store.Damage(); len(bad) > 0 {
		d.t.Fatalf("damage: %v", bad)
	}
	for n, m := range d.models {
		g := segment(d.t, d.store, n)
		if diff := differ(d.t, g, m, dirtBlocks); diff != "" {
			d.t.Fatalf("segment %d: %s", n, diff)
		}
		if f, scl := g.State().Floor, g.SCL(); scl > f {
			at := f + block.LSN(d.rng.Uint64N(uint64(scl-f)+1))
			if got, want := imageOf(d.t, g, at, dirtBlocks), m.image(at, dirtBlocks); !slices.Equal(got, want) {
				d.t.Fatalf("segment %d as of %v:\n%v, want\n%v", n, at, got, want)
			}
		}
	}
}

// free lets all empty files go: a checkpoint, then as many rounds as it takes.
func (d *dirt) free() {
	d.t.Helper()
	freeAll(d.t, d.store)
}

func freeAll(t testing.TB, s *Store) {
	t.Helper()
	s.cleaner.step(nil) // finds what is empty
	s.cleaner.step(nil) // must not let it go yet,
	s.cleaner.step(nil) // nor make spares of it
	must(t, s.ckpt.take(nil))
	s.cleaner.step(nil) // lets it go
	s.cleaner.step(nil) // makes spares of it
}

// replace drops a segment and makes another one of its id.
func (d *dirt) replace(n int) {
	d.t.Helper()
	must(d.t, d.store.DropSegment(segID(n)))
	create(d.t, d.store, n)
	d.authors[n] = newAuthor(rng(d.rng.Uint64()), dirtBlocks-8)
	m := newModel()
	m.promised, m.config = 1, string(segment(d.t, d.store, n).State().Config)
	d.models[n] = m
}

// promise raises a promise and changes a configuration.
func (d *dirt) promise(n int) {
	d.t.Helper()
	g, m := segment(d.t, d.store, n), d.models[n]
	e := m.promised + 1
	config := fmt.Sprintf("segment %d in %d", n, e)
	must(d.t, d.store.Enqueue([]Op{{Segment: g, Promise: e}, {Segment: g, Config: []byte(config)}}).Wait())
	m.promised, m.config = e, config
}

// R17, R19: what a store answers does not change by cleaning, whatever is
// cleaned when: versions above the floor, annulled records that are adopted
// again, records that wait for one before them; also after opening again.
//
// I10: what is counted as live in each file is what the indexes point to, at each
// step.
func TestCleaningChangesNothing(t *testing.T) {
	recycled := 0
	for seed := uint64(1); seed <= 6; seed++ {
		fs := newDisk()
		cfg := cleaning()
		d := newDirt(t, seed, func() *Store { return open(t, fs, cfg) })
		for i := range 500 {
			switch n := 1 + d.rng.IntN(3); d.rng.IntN(16) {
			case 0:
				d.floor(n)
			case 1, 2:
				d.clean()
				d.check()
			case 3:
				d.free()
				d.check()
			case 4:
				d.promise(n)
			case 5:
				if d.rng.IntN(6) == 0 {
					d.replace(n)
				}
			default:
				d.write(n)
			}
			d.counts()
			if i%80 == 79 {
				recycled += d.store.Stats().Recycled
				must(t, d.store.Close())
				d.store = d.reopen()
				d.check()
			}
		}
		d.check()
		must(t, d.store.Close())
	}
	if recycled < 20 {
		t.Fatalf("%d files were recycled: the test proves little", recycled)
	}
}

// TestCrashAtEachStepOfCleaning cuts the power at each change of the disk while
// files are cleaned, freed, recycled and used again: nothing that was
// acknowledged is lost, no version that was replaced comes back, no file that
// was freed is missed.
func TestCrashAtEachStepOfCleaning(t *testing.T) {
	last, every := uint64(4), 1
	if raceEnabled { // make test-crash runs all of it without
		last, every = 1, 8
	}
	for seed := uint64(1); seed <= last; seed++ {
		cuts, changes := 0, 0
		cfg := cleaning()
		disk := &tapFS{FS: memfs.New(0), tap: func(string) {}}
		d := newDirt(t, seed, func() *Store { return open(t, disk, cfg) })
		tap := func(what string) {
			if changes++; changes%every != 0 {
				return
			}
			for _, keep := range []float64{0, 1, 0.5} {
				cuts++
				aside(t, func() { d.cut(disk.FS.CrashClone(rng(seed<<16+uint64(cuts)), keep), cfg, what) })
			}
		}
		for range 12 {
			for range 25 {
				d.write(1 + d.rng.IntN(3))
			}
			d.promise(1 + d.rng.IntN(3))
			d.floor(1 + d.rng.IntN(3))
			disk.tap = tap
			d.clean()
			d.clean()
			d.free()
			disk.tap = func(string) {}
			if t.Failed() {
				t.FailNow()
			}
			d.check()
		}
		if n := d.store.Stats().Recycled; n < 5 {
			t.Fatalf("%d files were recycled: the test proves little", n)
		}
		t.Logf("seed %d: %d cuts", seed, cuts)
		must(t, d.store.Close())
	}
}

// aside runs fn, which may fail the test, in the midst of a store's work: the
// store must finish that, or it could not be closed.
func aside(t testing.TB, fn func()) {
	if t.Failed() {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn()
	}()
	<-done
}

// cut checks what is found after a power cut, when nothing was on its way.
func (d *dirt) cut(disk *memfs.FS, cfg Config, what string) {
	d.t.Helper()
	live := d.store
	defer func() { d.store = live }()
	for range 2 {
		var err error
		if d.store, err = Open(disk, "/store", diskA, cfg); err != nil {
			d.t.Fatalf("%s: %v", what, err)
		}
		d.check()
		must(d.t, d.store.Close())
		withoutCheckpoints(d.t, disk)
		what += ", without checkpoints"
	}
}
