package logstore

import (
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
)

// twoDonors are copies of one segment of which the second has settled less. Block
// 0 was written by records 1, 11 and 12, all others by the rest.
func twoDonors(t *testing.T) (recs []Record, ahead, behind *Segment) {
	t.Helper()
	for n := block.Seq(1); n <= 14; n++ {
		first := block.Index(0)
		if n != 1 && n != 11 && n != 12 {
			first = leafBlocks + block.Index(n)
		}
		recs = append(recs, write(lsn(1, n), prevOf(n), first, 1))
	}
	donor := func(n block.Seq) *Segment {
		g := create(t, open(t, newDisk(), small()), 1)
		put(t, g, recs[:n]...)
		must(t, g.SetFloor(lsn(1, n)))
		return g
	}
	return recs, donor(14), donor(10)
}

// copyLeaf takes over a leaf.
func copyLeaf(t *testing.T, g, donor *Segment, leaf int) {
	t.Helper()
	must(t, g.EnqueueCopy(copyRuns(t, donor, block.Index(leaf*leafBlocks), leafBlocks)).Wait())
}

// R21: a leaf comes from a peer that dies before it is known that all of it is on
// disk, so it comes once more, from one that has settled less. What the first one
// had counts no more.
func TestR21LeafThatComesTwice(t *testing.T) {
	_, ahead, behind := twoDonors(t)
	fs := newDisk()
	g := create(t, open(t, fs, small()), 1)
	must(t, g.BeginHydration())
	copyLeaf(t, g, ahead, 0)
	copyLeaf(t, g, behind, 0)
	copyLeaf(t, g, behind, 1)
	must(t, g.Hydrate(lsn(1, 10)))
	// The records since are gone, so leaves are taken over once more.
	hydrate(t, g, ahead, 1000, func() {})
	sameDigests(t, g, ahead)
	sameDigests(t, segment(t, open(t, crash(fs), small()), 1), ahead)
}

// R21: the second time only a half comes. What is half-way is asked for anew,
// whatever was known of it before.
func TestR21LeafThatComesOnceAndAHalf(t *testing.T) {
	_, ahead, behind := twoDonors(t)
	g := create(t, open(t, newDisk(), small()), 1)
	must(t, g.BeginHydration())
	copyLeaf(t, g, ahead, 0)
	must(t, g.EnqueueCopy(copyRuns(t, behind, 0, leafBlocks/2)).Wait())
	if l := g.LeafMax(0); l != 0 {
		t.Fatalf("a leaf that is half-way is settled up to %v", l)
	}
	hydrate(t, g, ahead, 1000, func() {})
	sameDigests(t, g, ahead)
}

// R21: leaves were taken over as of several cuts. The chain goes on from the lowest:
// on its way to the highest it makes what was newer older again. When leaves are
// taken over in the middle of that, because the records are gone, these are taken
// as well.
func TestR21LeavesAreOlderAgainForAWhile(t *testing.T) {
	recs, ahead, behind := twoDonors(t)
	fs := newDisk()
	g := create(t, open(t, fs, small()), 1)
	must(t, g.BeginHydration())
	copyLeaf(t, g, ahead, 0)
	copyLeaf(t, g, behind, 1)
	must(t, g.Hydrate(lsn(1, 10)))
	put(t, g, recs[10])
	must(t, g.SetFloor(lsn(1, 11)))
	hydrate(t, g, ahead, 1000, func() {})
	sameDigests(t, g, ahead)
	sameDigests(t, segment(t, open(t, crash(fs), small()), 1), ahead)
}
