package logstore

import (
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
)

// R17: what is pinned stays readable, whatever the floor is asked to be and
// whatever is cleaned; after the release the floor goes where it was asked to.
func TestR17PinKeepsVersions(t *testing.T) {
	s := open(t, newDisk(), small())
	g := create(t, s, 1)
	l := lsn(1, 1)
	put(t, g, write(l, 0, 5, 2))
	release, err := g.Pin(l)
	must(t, err)
	for range 40 { // over some files
		put(t, g, write(g.SCL()+1, g.SCL(), 5, 2))
	}
	last := g.SCL()
	must(t, g.SetFloor(last))
	if f := g.State().Floor; f != l {
		t.Fatalf("the floor is %v, the pin is at %v", f, l)
	}
	for _, f := range s.files.Load().all {
		if f.sealed.Load() && f.header.kind == fileHot {
			_, err := s.clean(f, nil)
			must(t, err)
		}
	}
	if got := owner(t, g, l, 5); got != l {
		t.Fatalf("as of %v block 5 is of %v", l, got)
	}
	if got := owner(t, g, last, 6); got != last {
		t.Fatalf("as of %v block 6 is of %v", last, got)
	}
	release()
	release()
	if f := g.State().Floor; f != last {
		t.Fatalf("after the release the floor is %v, it was asked to be %v", f, last)
	}
	r := ReadResult{Buf: make([]byte, block.Size)}
	wantKind(t, g.ReadAt(l, 5, 1, &r), block.Stale)
	checkLedger(t, s)
	if n := s.ledger.total.Load(); n != 2 {
		t.Fatalf("%d blocks are live, one version of two blocks is left", n)
	}
}

func TestPinsAreBounded(t *testing.T) {
	s := open(t, newDisk(), small())
	g := create(t, s, 1)
	chainOf(t, g, 3)
	_, err := g.Pin(g.SCL() + 1)
	wantKind(t, err, block.Behind)
	must(t, g.SetFloor(lsn(1, 2)))
	_, err = g.Pin(lsn(1, 1))
	wantKind(t, err, block.Stale)
	for range MaxPins {
		_, err = g.Pin(lsn(1, 2))
		must(t, err)
	}
	_, err = g.Pin(lsn(1, 2))
	wantKind(t, err, block.Unavailable)
	ps := pins{held: []*pin{{lsn(1, 1)}}}
	if got := ps.allow(lsn(1, 9), MaxHeld); got != lsn(1, 1) {
		t.Fatalf("floor %v with a pin at 1.1", got)
	}
	if got := ps.allow(lsn(1, 9), MaxHeld+1); got != lsn(1, 9) {
		t.Fatalf("floor %v, though the pin holds too much", got)
	}
}
