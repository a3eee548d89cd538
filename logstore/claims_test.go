package logstore

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs/faultfs"
)

// TestFillerNeverTouchesWhatIsTaken: a leader that takes pages and writes them,
// and a filler that clears what it is given, at full speed beside each other.
// The race detector sees an overlap in time, the pages one in place.
func TestFillerNeverTouchesWhatIsTaken(t *testing.T) {
	const pages = 64 * 1024
	file := make([]byte, pages)
	var c claims
	c.mu.taken = headerCopies
	var filler sync.WaitGroup
	filler.Add(1)
	go func() {
		defer filler.Done()
		for {
			from, to, ok := c.fill(growStep, pages)
			if !ok {
				return
			}
			clear(file[from:to])
			c.put(true)
		}
	}()
	r := rng(3)
	for next := pageNo(headerCopies); next < pages; {
		end := min(next+1+pageNo(r.IntN(100)), pages)
		c.take(end)
		for next%(pages/8) > end%(pages/8) && c.ahead() == 0 && end < pages-2*fillGap { // now and then the filler is to win
			runtime.Gosched()
		}
		for ; next < end; next++ {
			file[next] = 1
		}
	}
	filler.Wait()
	for i := headerCopies; i < pages; i++ {
		if file[i] != 1 {
			t.Fatalf("page %d was cleared after it was written", i)
		}
	}
	if c.ahead() != 0 {
		t.Fatalf("%d pages are ahead of the end", c.ahead())
	}
}

// TestClaimsInTurn walks through the cases one by one.
func TestClaimsInTurn(t *testing.T) {
	var c claims
	c.take(10)
	from, to, ok := c.fill(100, 1000)
	if !ok || from != 10+fillGap || to != from+100 {
		t.Fatalf("first: %d to %d, %v", from, to, ok)
	}
	c.put(true)
	if c.ahead() != to-10 {
		t.Fatalf("%d ahead, want %d", c.ahead(), to-10)
	}
	if f, _, _ := c.fill(100, 1000); f != to {
		t.Fatalf("second begins at %d, want %d", f, to)
	}
	c.put(false) // it failed: the same again
	if f, _, _ := c.fill(100, 1000); f != to {
		t.Fatalf("third begins at %d, want %d", f, to)
	}
	taken := make(chan struct{})
	go func() {
		c.take(to + 1)
		close(taken)
	}()
	select {
	case <-taken:
		t.Fatal("the leader was given what the filler is writing")
	case <-time.After(10 * time.Millisecond):
	}
	c.put(true)
	<-taken
	c.take(900)
	if _, _, ok := c.fill(100, 1000); ok {
		t.Fatal("there is nothing to fill within the gap")
	}
}

// TestFillerWritesAheadOnly: the filler's writes lie behind the head and end
// where the file does, and the log holds what was written to it.
func TestFillerWritesAheadOnly(t *testing.T) {
	fs := faultfs.Wrap(newDisk())
	cfg := small()
	cfg.FileSize = 8 * block.MiB
	s := open(t, fs, cfg)
	g := create(t, s, 1)
	for i := range 40 {
		prev := g.SCL()
		put(t, g, write(max(prev+1, lsn(1, 1)), prev, block.Index(i), 1))
		if i%10 == 0 {
			if _, err := s.filler.ahead(s.head.file.name, s.head.file.header.pages, s.head.file.claims); err != nil {
				t.Fatal(err)
			}
		}
	}
	for end := s.head.file.header.pages; s.head.next+s.head.file.claims.ahead() < end; {
		if _, err := s.filler.ahead(s.head.file.name, s.head.file.header.pages, s.head.file.claims); err != nil { // beside the store's own
			t.Fatal(err)
		}
	}
	size, err := s.head.writer.Size()
	must(t, err)
	if size != cfg.FileSize {
		t.Fatalf("the head is %v long", size)
	}
	for i := range block.Index(40) {
		if owner(t, g, g.SCL(), i) != lsn(1, block.Seq(i+1)) {
			t.Fatalf("block %d is lost", i)
		}
	}
}
