package logstore

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
)

const (
	// warmFor is for how long a segment counts as one that is read here.
	warmFor = 10 * time.Minute
	// warmLongest bounds the records that are warmed. Longer ones lie together,
	// and a disk gives them fast.
	warmLongest block.Count = 8
	// warmPause gathers what is appended, for few and long reads.
	warmPause = 20 * time.Millisecond
	// warmGap is what is read between two records rather than asked for apart:
	// headers, and a few blocks of others.
	warmGap pageNo = 8
	// warmMost bounds the ranges that wait; the oldest are let go.
	warmMost = 1024
)

// warmer has the page cache take in what was just appended to segments that are
// read here (KeepWarm). Appends go past it (O_DIRECT), and what was written last
// is what is read next: file systems read their own journals and inodes back. Of
// the six copies of a group one is a gateway's home, so it is a sixth of the short
// writes, and it comes in long reads. It is advice to the kernel, which drops it when
// memory is short; nothing depends on it (ADR 37).
//
// It is a goroutine that is born in Open and dies in Close.
type warmer struct {
	store *Store
	wake  bell
	mu    struct {
		sync.Mutex
		ranges []warmRange
	}
	spare []warmRange // of the goroutine: takes turns with mu.ranges
}

// KeepWarm tells that g is read, by somebody who will read from this copy again.
func (g *Segment) KeepWarm() { g.lastRead.note(g.store.cfg.Clock.Now()) }

// warmRange is [from, to) of a log file.
type warmRange struct {
	file     *logFile
	from, to pageNo
}

// readTime is when something was read last, to a second; zero: never.
type readTime struct{ sec atomic.Int64 }

func (t *readTime) note(now time.Time) {
	if sec := now.Unix(); t.sec.Load() != sec { // else readers would fight over a cache line
		t.sec.Store(sec)
	}
}

func (t *readTime) within(d time.Duration, now time.Time) bool {
	sec := t.sec.Load()
	return sec != 0 && now.Unix()-sec <= int64(d/time.Second)
}

// appended tells of a record's payload; the leader calls it.
func (w *warmer) appended(g *Segment, d *descriptor, l location, now time.Time) {
	if d.typ != TypeWrite || block.Count(d.count) > warmLongest || !g.lastRead.within(warmFor, now) {
		return
	}
	f, from := w.store.head.file, pageNo(l.page)
	to := from + pageNo(d.count)
	w.mu.Lock()
	defer w.mu.Unlock()
	if k := len(w.mu.ranges) - 1; k >= 0 {
		if last := &w.mu.ranges[k]; last.file == f && from >= last.to && from-last.to <= warmGap {
			last.to = to
			return
		}
	}
	if len(w.mu.ranges) == warmMost {
		w.mu.ranges = slices.Delete(w.mu.ranges, 0, warmMost/2)
	}
	w.mu.ranges = append(w.mu.ranges, warmRange{f, from, to})
	w.wake.ring()
}

func (w *warmer) run(stop <-chan struct{}) {
	w.wake.serve(stop, func() {
		if pause(w.store.cfg.Clock, warmPause, stop) {
			w.warm()
		}
	})
}

// warm asks for all that waits.
func (w *warmer) warm() {
	w.mu.Lock()
	ranges := w.mu.ranges
	w.mu.ranges = w.spare[:0]
	w.mu.Unlock()
	for _, r := range ranges {
		if !r.file.pin() {
			continue // cleaned meanwhile
		}
		r.file.reader.WillNeed(r.from.at(), int((r.to - r.from).bytes()))
		_ = r.file.unpin() // the last one closes a file that was only read
	}
	clear(ranges)
	w.spare = ranges
}
