package volume

import (
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs/faultfs"
)

// TestB1UnalignedKeepsItsNeighbours: a write, and a zero, of parts of blocks
// changes just those bytes; a trim gives back whole blocks only.
func TestB1UnalignedKeepsItsNeighbours(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	model := fill('a', 64<<10)
	g.write(0, model)
	put := func(off int, p []byte) {
		g.write(block.Offset(off), p)
		copy(model[off:], p)
	}
	put(5, fill('b', 10))              // within a block
	put(4090, fill('c', 12))           // over a border
	put(8192+100, fill('d', 3*4096))   // part, whole, whole, part
	put(40960, fill('e', 4096+1))      // whole, part
	put(50000, fill('f', 53248-50000)) // part, to a border
	zero := func(off, n int) {
		w := newWait()
		g.h.Zero(block.Offset(off), block.ByteCount(n), true, w)
		g.h.Kick()
		if err := w.err(t); err != nil {
			t.Fatal(err)
		}
		clear(model[off : off+n])
	}
	zero(10, 20)
	zero(30000, 9000)
	w := newWait()
	g.h.Trim(4000, 8300, w) // blocks 1 and 2 are whole
	g.h.Kick()
	if err := w.err(t); err != nil {
		t.Fatal(err)
	}
	clear(model[4096:12288])
	g.wantBytes(0, model)
	g.wantBytes(4095, model[4095:4095+5000]) // reads need not be aligned either
}

// TestB1EditsOfOneBlockAreNotLost: many clients change parts of one block at
// once; all of them are there afterwards.
func TestB1EditsOfOneBlockAreNotLost(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	g.write(0, fill('.', block.Size))
	var wg sync.WaitGroup
	want := make([]byte, block.Size)
	for i := range 64 {
		c := byte('0' + i)
		copy(want[i*64:], fill(c, 64))
		wg.Add(1)
		go func() {
			defer wg.Done()
			h := g.v.NewHandle()
			for k := range 4 {
				p := fill('!', 64)
				if k == 3 {
					p = fill(c, 64)
				}
				if err := h.startWrite(block.Offset(i*64), p).err(t); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	wg.Wait()
	g.wantBytes(0, want)
}

// TestB1EditSeesTheNewestIssuedImage: an edit that follows a write in flight
// changes what that write brings, not what is on disk (trap T23); a write
// that follows the edit wins over it.
func TestB1EditSeesTheNewestIssuedImage(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	g.write(0, fill('a', 4*block.Size))
	var release []func()
	for _, n := range s.nodes {
		release = append(release, n.hold(faultfs.Sync))
	}
	ops := []*wait{
		g.h.startWrite(0, fill('b', 2*block.Size)),
		g.h.startWrite(100, fill('c', 10)),
		g.h.startWrite(block.Size+100, fill('d', 10)),
		g.h.startWrite(block.Size, fill('e', block.Size)), // over the second edit
		g.h.startWrite(block.Size+200, fill('f', 10)),     // and into this one
		g.h.startWrite(block.Size+205, fill('g', 10)),
	}
	for _, w := range ops {
		if !w.pending() {
			t.Fatal("answered while no disk has flushed")
		}
	}
	for _, f := range release {
		f()
	}
	for _, w := range ops {
		if err := w.err(t); err != nil {
			t.Fatal(err)
		}
	}
	want := append(fill('b', block.Size), fill('e', block.Size)...)
	want = append(want, fill('a', 2*block.Size)...)
	copy(want[100:], fill('c', 10))
	copy(want[block.Size+200:], fill('f', 5))
	copy(want[block.Size+205:], fill('g', 10))
	g.wantBytes(0, want)
}

// TestB2OneClientsOrderIsKept: what one client issues without waiting takes
// effect in its order wherever it overlaps, aligned or not, write, zero or
// trim.
func TestB2OneClientsOrderIsKept(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	const span = 24 * block.Size
	rng := rand.New(rand.NewPCG(7, 7))
	model := make([]byte, span)
	g.write(0, fill(1, span))
	copy(model, fill(1, span))
	for round := range 30 {
		var ops []*wait
		for range 12 {
			off, n := rng.IntN(span), 1+rng.IntN(3*block.Size)
			if rng.IntN(3) == 0 {
				off, n = off/block.Size*block.Size, (n/block.Size+1)*block.Size
			}
			n = min(n, span-off)
			w := newWait()
			switch c := byte(2 + rng.IntN(250)); rng.IntN(5) {
			case 0:
				g.h.Zero(block.Offset(off), block.ByteCount(n), rng.IntN(2) == 0, w)
				clear(model[off : off+n])
			case 1:
				g.h.Trim(block.Offset(off), block.ByteCount(n), w)
				if a, b := (off+block.Size-1)/block.Size*block.Size, (off+n)/block.Size*block.Size; a < b {
					clear(model[a:b])
				}
			default:
				b := buffer(fill(c, n))
				g.h.Write(block.Offset(off), b, w)
				b.Release()
				copy(model[off:], fill(c, n))
			}
			ops = append(ops, w)
		}
		g.h.Kick()
		for _, w := range ops {
			if err := w.err(t); err != nil {
				t.Fatal(err)
			}
		}
		if got := g.read(0, span); differ(got, model) >= 0 {
			t.Fatalf("round %d: byte %d is %d, want %d", round, differ(got, model), got[differ(got, model)], model[differ(got, model)])
		}
	}
}

// TestB2OverlappingWritesEndTheSameEverywhere: clients race for the same
// blocks; all six copies end with the same winner of each block, the one that
// is read.
func TestB2OverlappingWritesEndTheSameEverywhere(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	var wg sync.WaitGroup
	for c := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			h := g.v.NewHandle()
			rng := rand.New(rand.NewPCG(1, uint64(c)))
			for range 20 {
				first, n := rng.IntN(6), 1+rng.IntN(3)
				if err := h.startWrite(block.Offset(first*block.Size), fill(byte('a'+c), n*block.Size)).err(t); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	wg.Wait()
	seen := g.read(0, 8*block.Size)
	for b := range 8 {
		if block := seen[b*block.Size : (b+1)*block.Size]; differ(block, fill(block[0], len(block))) >= 0 {
			t.Fatalf("block %d is torn", b)
		}
	}
	g.complete(0, all...)
	for k := range s.nodes {
		if got := s.copyOf(0, k, 8); differ(got, seen) >= 0 {
			t.Errorf("node %d has another winner in block %d", k, differ(got, seen)/block.Size)
		}
	}
}

// TestB2RecordsAreBounded: a long write is cut into records of at most 256 KiB
// and at the borders of groups; one within that bound is one record.
func TestB2RecordsAreBounded(t *testing.T) {
	s := newSystem(t)
	g := s.open()
	off := block.Offset(testPG) - 300<<10
	p := make([]byte, 900<<10)
	for i := range p {
		p[i] = byte(i>>12) + 1
	}
	g.write(off, p)
	g.wantBytes(off, p)
	g.complete(0, 0)
	g.complete(1, 0)
	sizes := func(i block.PGIndex) (out []block.Count) {
		for _, r := range s.records(i, 0)[1:] { // behind EPOCH_OPEN
			out = append(out, r.Count)
		}
		return out
	}
	if got := sizes(0); len(got) != 2 || got[0] != block.MaxRecordBlocks || got[1] != 75-block.MaxRecordBlocks {
		t.Errorf("group 0 has records of %v blocks", got)
	}
	if got := sizes(1); len(got) != 3 || got[0] != 64 || got[1] != 64 || got[2] != 22 {
		t.Errorf("group 1 has records of %v blocks", got)
	}
}
