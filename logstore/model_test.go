package logstore

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
)

// modelSegment is a segment by definition: a set of records, all else
// computed anew from it.
type modelSegment struct {
	recs     map[block.LSN]Record // only ever grows
	promised block.VolumeEpoch
	config   string

	way   []Record // the chain when recs had known records
	known int
}

func newModel() *modelSegment { return &modelSegment{recs: map[block.LSN]Record{}} }

func (m *modelSegment) clone() *modelSegment {
	c := *m
	c.recs = maps.Clone(m.recs)
	return &c
}

// chain is the records of the highest complete LSN, ascending.
func (m *modelSegment) chain() []Record {
	if m.known == len(m.recs) {
		return m.way
	}
	m.way, m.known = nil, len(m.recs)
	lsns := slices.Sorted(maps.Keys(m.recs))
	for _, top := range slices.Backward(lsns) {
		if way := m.chainTo(top); way != nil {
			m.way = way
			break
		}
	}
	return m.way
}

// chainTo is the records that lead to top, ascending, or nil if one of them is
// not there.
func (m *modelSegment) chainTo(top block.LSN) (way []Record) {
	for l := top; l != 0; {
		r, ok := m.recs[l]
		if !ok {
			return nil
		}
		way = append(way, r)
		l = r.Prev
	}
	slices.Reverse(way)
	return way
}

func (m *modelSegment) scl() block.LSN {
	if c := m.chain(); len(c) > 0 {
		return c[len(c)-1].LSN
	}
	return 0
}

// image is which LSN wrote each of the first n blocks as of at; 0: zeroes.
func (m *modelSegment) image(at block.LSN, n int) []block.LSN { return imageAlong(m.chain(), at, n) }

// imageAlong is the image that a chain makes.
func imageAlong(chain []Record, at block.LSN, n int) []block.LSN {
	img := make([]block.LSN, n)
	for i := range chain {
		r := &chain[i]
		if r.LSN > at {
			break
		}
		for b := int(r.Block); b < int(r.Block)+int(r.Count) && b < n; b++ {
			img[b] = 0
			if r.Type == TypeWrite {
				img[b] = r.LSN
			}
		}
	}
	return img
}

// imageOf is what a segment says of its first n blocks as of at.
func imageOf(t testing.TB, g *Segment, at block.LSN, n int) []block.LSN {
	t.Helper()
	img := make([]block.LSN, n)
	r := ReadResult{Buf: make([]byte, n*block.Size)}
	must(t, g.ReadAt(at, 0, block.Count(n), &r))
	b, data := 0, r.Data()
	for _, run := range r.Runs {
		for range run.Count {
			if run.Kind == RunData {
				one := ReadResult{Buf: data[:block.Size], Sums: r.Sums[:1]}
				img[b] = ownerOf(t, &one, block.Index(b))
				data = data[block.Size:]
			}
			b++
		}
	}
	if b != n || len(data) != 0 {
		t.Fatalf("runs cover %d blocks of %d, %d bytes are left over", b, n, len(data))
	}
	return img
}

// author makes records as writers would: a chain that grows, now and then in
// another order, with zombies, takeovers and doubles.
type author struct {
	rng    *rand.Rand
	tail   block.LSN
	epoch  block.VolumeEpoch
	top    block.VolumeEpoch // the highest that any writer had: no two have one LSN
	held   []Record          // made, not yet sent
	old    []Record          // sent
	floor  block.LSN
	blocks int
}

func newAuthor(rng *rand.Rand, blocks int) *author {
	return &author{rng: rng, epoch: 1, top: 1, blocks: blocks}
}

// newEpoch is of the next writer.
func (a *author) newEpoch() block.VolumeEpoch {
	a.top++
	return a.top
}

// make appends a record to the chain.
func (a *author) make() Record {
	prev := a.tail
	l := prev + 1
	if prev.Epoch() != a.epoch {
		l = lsn(a.epoch, 1)
		a.tail = l
		return epochOpen(l, prev)
	}
	a.tail = l
	first := block.Index(a.rng.IntN(a.blocks))
	switch a.rng.IntN(8) {
	case 0:
		return zero(l, prev, first, block.Count(1+a.rng.IntN(20)))
	case 1:
		return trim(l, prev, first, block.Count(1+a.rng.IntN(20)))
	case 2:
		return trim(l, prev, first, narrowBlocks+block.Count(1+a.rng.IntN(3000)))
	case 3:
		return zero(l, prev, first, narrowBlocks+block.Count(1+a.rng.IntN(3000)))
	}
	return write(l, prev, first, 1+a.rng.IntN(4))
}

// next is one to four records to send together.
func (a *author) next(scl block.LSN) []Record {
	if a.rng.IntN(25) == 0 { // a takeover: the next writer builds on what it sees
		a.epoch = a.newEpoch()
		a.tail = scl
		a.held = slices.DeleteFunc(a.held, func(Record) bool { return a.rng.IntN(2) == 0 })
	}
	for range 1 + a.rng.IntN(3) {
		a.held = append(a.held, a.make())
	}
	var out []Record
	for len(a.held) > 0 && (len(out) == 0 || a.rng.IntN(3) > 0) {
		i := 0
		if a.rng.IntN(4) == 0 {
			i = a.rng.IntN(len(a.held))
		}
		out = append(out, a.held[i])
		a.held = slices.Delete(a.held, i, i+1)
	}
	if len(a.old) > 0 && a.rng.IntN(6) == 0 {
		out = append(out, a.old[a.rng.IntN(len(a.old))])
	}
	out = slices.DeleteFunc(out, func(r Record) bool { return r.LSN <= a.floor || r.Prev < a.floor })
	a.old = append(a.old, out...)
	return out
}

// differ says how a segment differs from a model, or "".
func differ(t testing.TB, g *Segment, m *modelSegment, blocks int) string {
	t.Helper()
	st := g.State()
	if want := m.scl(); st.SCL != want {
		return fmt.Sprintf("SCL %v, want %v", st.SCL, want)
	}
	if st.Promised != m.promised || string(st.Config) != m.config {
		return fmt.Sprintf("promised %d with config %q, want %d, %q", st.Promised, st.Config, m.promised, m.config)
	}
	if got, want := imageOf(t, g, st.SCL, blocks), m.image(st.SCL, blocks); !slices.Equal(got, want) {
		return fmt.Sprintf("blocks are of\n%v, want\n%v", got, want)
	}
	return ""
}
