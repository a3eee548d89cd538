package logstore

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs/faultfs"
)

// nextMade makes the next file, if the filler has not.
func nextMade(t *testing.T, s *Store) *blank {
	t.Helper()
	for s.filer.upcoming() == nil {
		if _, err := s.filer.prepare(); err != nil {
			t.Fatal(err)
		}
	}
	return s.filer.upcoming()
}

// TestNextFileIsMadeAhead: the head goes on in a file that was made before, with
// what is zero-written of it, and takes no space itself.
func TestNextFileIsMadeAhead(t *testing.T) {
	fs := faultfs.Wrap(newDisk())
	cfg := small()
	cfg.FileSize = 4 * block.MiB
	s := open(t, fs, cfg)
	g := create(t, s, 1)
	free, _ := s.filer.room()
	next := nextMade(t, s)
	if now, _ := s.filer.room(); now != free {
		t.Fatalf("%d files are free, %d when one of them is made", free, now)
	}
	if did, err := s.filler.next(next); err != nil || !did {
		t.Fatalf("nothing is zero-written of the next file: %v", err)
	}
	ahead := next.claims.ahead()
	if ahead == 0 {
		t.Fatal("nothing is zero-written")
	}
	fs.Add(faultfs.Rule{Ops: faultfs.Allocate, Err: syscall.ENOSPC})
	first := s.head.file
	for i := block.Seq(1); s.head.file == first; i++ {
		put(t, g, write(lsn(1, i), g.SCL(), block.Index(i%100), 1))
	}
	if got := s.head.file.claims; got != next.claims {
		t.Fatalf("the head went over to %s, which was not made ahead", s.head.file.name)
	}
	if s.filer.upcoming() != nil {
		t.Fatal("the next file is still that of the head")
	}
	if did, err := s.filler.ahead(next.name, next.pages, next.claims); err == nil || did {
		t.Fatalf("%s is still there under its old name", next.name)
	}
}

// TestNextFileIsNotKept: what was made ahead is of no use after a crash, nor in
// a store that clients may not fill, nor when a checkpoint needs the space.
func TestNextFileIsNotKept(t *testing.T) {
	fs := newDisk()
	cfg := small()
	s := open(t, fs, cfg)
	name := nextMade(t, s).name
	must(t, s.Close())
	s = open(t, fs, cfg)
	entries, err := fs.List(s.dir)
	must(t, err)
	for _, e := range entries {
		if strings.HasPrefix(e, newPrefix) {
			t.Fatalf("%s is left of %s", e, name)
		}
	}
	size := s.Stats().Size
	nextMade(t, s)
	if !s.filer.giveUpSpare() || s.filer.upcoming() != nil || s.Stats().Size != size {
		t.Fatalf("the next file is not given up: %v of %v", s.Stats().Size, size)
	}
}

// TestFillRestGrows: the filler is as fast as the head, without a burst.
func TestFillRestGrows(t *testing.T) {
	var last time.Duration
	for ahead := pageNo(0); ahead < aheadPages; ahead += growStep {
		rest := fillRest(ahead)
		if rest < last || rest > fillPause {
			t.Fatalf("%v with %d pages ahead, %v with less", rest, ahead, last)
		}
		last = rest
	}
	if fillRest(0) != 0 || last != fillPause {
		t.Fatalf("from %v to %v", fillRest(0), last)
	}
}
