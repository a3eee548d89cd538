package logstore

import (
	"cmp"
	"errors"
	"slices"

	"github.com/sextantdisk/sextant/internal/block"
)

// maxBad bounds the damaged blocks that a segment remembers. Those beyond it
// are found again when the others are mended.
const maxBad = 1024

// BadBlock is a block whose newest bytes here were found damaged and have not
// been written again since.
type BadBlock struct {
	Block block.Index
	Sum   block.Sum // of what was there
	// At is an LSN as of which that is the newest version, at or above the one
	// that wrote it.
	At block.LSN
}

// Bad lists the blocks that are to be mended, in order. A block that was
// overwritten, trimmed or mended since it was found is none of them.
func (g *Segment) Bad() []BadBlock {
	g.mu.Lock()
	defer g.mu.Unlock()
	bad := g.badLocked()
	if len(bad) == 0 {
		g.noteLostLocked() // there may be more of them than are remembered
		bad = g.badLocked()
	}
	slices.SortFunc(bad, func(a, b BadBlock) int { return cmp.Compare(a.Block, b.Block) })
	return bad
}

func (g *Segment) badLocked() (bad []BadBlock) {
	for b, loc := range g.mu.bad {
		if f := g.mu.index.newest(b); f.loc == loc {
			bad = append(bad, BadBlock{b, f.sum, g.mu.index.writtenBy(b, loc)})
		} else {
			delete(g.mu.bad, b)
		}
	}
	return bad
}

// writtenBy is an LSN as of which what lies at l, the newest of block b, is the
// newest: its own, or, if it is settled, one that nothing settled is above.
func (x *index) writtenBy(b block.Index, l location) block.LSN {
	if hot := x.hot.at(b, l); hot != nil {
		return hot.lsn
	}
	return x.hydration.Newest(x.chain.Floor())
}

// noteBadLocked remembers a damaged block, if there is room.
func (g *Segment) noteBadLocked(b block.Index, loc location) {
	if len(g.mu.bad) >= maxBad {
		return
	}
	if g.mu.bad == nil {
		g.mu.bad = make(map[block.Index]location)
	}
	g.mu.bad[b] = loc
}

// rotten notes damage at loc that a read found, and makes the error of it.
// What is met again counts once.
func (g *Segment) rotten(d Damage, loc location) error {
	g.mu.Lock()
	known := g.mu.bad[d.Block] == loc
	if !known {
		g.noteBadLocked(d.Block, loc)
	}
	g.mu.Unlock()
	if !known {
		g.store.found(d)
	}
	return d.err()
}

// pinpoint reads the blocks of a read one by one, after a read of many has
// failed: a disk tells of a bad sector somewhere, and only the blocks on it
// are lost.
func (g *Segment) pinpoint(r *ReadResult) error {
	var blocks []block.Index // of r.Sums
	b := r.first
	for _, run := range r.Runs {
		for range run.Count {
			if run.Kind == RunData {
				blocks = append(blocks, b)
			}
			b++
		}
	}
	for i := range r.plan {
		p := &r.plan[i]
		for k := range p.n {
			at := p.to + k
			if err := g.doubt(p.file, p.page+pageNo(k), blocks[at], r.Sums[at], r.block(at)); err != nil {
				return err
			}
		}
	}
	return nil
}

// unreadable tells a disk's failure to give bytes from all other errors.
func unreadable(err error) bool {
	return err != nil && block.KindOf(err) != block.Closed && !errors.Is(err, block.Corrupt)
}
