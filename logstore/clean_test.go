package logstore

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
)

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

func (d *dirt) check() {
	d.t.Helper()
	checkLedger(d.t, d.store)
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

// R17, R19: what a store answers does not change by cleaning, whatever is
// cleaned when: versions above the floor, annulled records that are adopted
// again, records that wait for one before them; also after opening again.
func TestCleaningChangesNothing(t *testing.T) {
	for seed := uint64(1); seed <= 6; seed++ {
		fs := newDisk()
		cfg := small()
		d := newDirt(t, seed, func() *Store { return open(t, fs, cfg) })
		for i := range 400 {
			switch n := 1 + d.rng.IntN(3); d.rng.IntN(12) {
			case 0:
				d.floor(n)
			case 1, 2:
				d.clean()
				d.check()
			default:
				d.write(n)
			}
			if i%80 == 79 {
				must(t, d.store.Close())
				d.store = d.reopen()
				d.check()
			}
		}
		d.check()
		if d.store.Stats().ColdBytes == 0 && d.store.cleaner.cold.last == 0 {
			t.Fatal("nothing was moved: the test proves nothing")
		}
		must(t, d.store.Close())
	}
}
