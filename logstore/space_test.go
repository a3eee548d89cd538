package logstore

import (
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
)

// Which level a store is at depends on its live bytes alone, with a little
// slack on the way down.
func TestSpaceLevels(t *testing.T) {
	const reserved = 50
	for _, c := range []struct {
		live block.ByteCount // of 1000 usable
		was  SpaceLevel
		want SpaceLevel
	}{
		{0, SpaceOK, SpaceOK},
		{749, SpaceOK, SpaceOK},
		{750, SpaceOK, SpaceNoSegments},
		{745, SpaceNoSegments, SpaceNoSegments},
		{739, SpaceNoSegments, SpaceOK},
		{799, SpaceNoSegments, SpaceNoSegments},
		{800, SpaceNoSegments, SpaceWarn},
		{795, SpaceWarn, SpaceWarn},
		{789, SpaceWarn, SpaceNoSegments},
		{899, SpaceWarn, SpaceWarn},
		{900, SpaceOK, SpaceFull},
		{895, SpaceFull, SpaceFull},
		{889, SpaceFull, SpaceWarn},
		{889, SpaceOK, SpaceWarn},
		{700, SpaceFull, SpaceOK},
		{5000, SpaceOK, SpaceFull},
	} {
		s := Space{Capacity: 1000 + reserved, Reserved: reserved, Live: c.live}
		if got := s.levelOf(c.was); got != c.want {
			t.Errorf("%d of 1000 live, %v before: got %v, want %v", c.live, c.was, got, c.want)
		}
	}
	if got := (&Space{}).levelOf(SpaceOK); got != SpaceFull {
		t.Errorf("a disk without any room is %v", got)
	}
}

// T29: cleaning needs space to make space, and a full disk must still be
// fenced and trimmed; so the last files are not for everybody.
func TestReserveIsNotForClients(t *testing.T) {
	for _, c := range []struct {
		files, free             int
		client, cleaner, contol bool
	}{
		{files: 80, free: 5, client: true, cleaner: true, contol: true},
		{files: 80, free: 4, client: false, cleaner: true, contol: true},
		{files: 80, free: 2, client: false, cleaner: true, contol: true},
		{files: 80, free: 1, client: false, cleaner: false, contol: true},
		{files: 80, free: 0},
		{files: 16, free: 3, client: true, cleaner: true, contol: true},
		{files: 16, free: 2, client: false, cleaner: true, contol: true},
		{files: 16, free: 1, client: false, cleaner: false, contol: true},
		{files: 7, free: 1, client: true, cleaner: true, contol: true}, // too small for a reserve
		{files: 7, free: 0},
	} {
		r := reserveOf(c.files)
		for who, want := range map[taker]bool{takeClient: c.client, takeCleaner: c.cleaner, takeControl: c.contol} {
			if got := who.mayTake(c.free, r); got != want {
				t.Errorf("%d files, %d free: taker %d got %v", c.files, c.free, who, got)
			}
		}
	}
}

// Small disks have small files, so that the reserve is a small part of them.
func TestFilesFitTheDisk(t *testing.T) {
	for capacity, want := range map[block.ByteCount]block.ByteCount{
		0: 256 * block.MiB, 128 * block.GiB: 256 * block.MiB, block.TiB: 256 * block.MiB, 127 * block.GiB: 128 * block.MiB,
		20 * block.GiB: 32 * block.MiB, 8 * block.GiB: 16 * block.MiB, block.GiB: 16 * block.MiB,
	} {
		if got := fileSizeFor(capacity); got != want {
			t.Errorf("%v: files of %v, want %v", capacity, got, want)
		}
	}
}
