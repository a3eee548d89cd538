package volume

import "github.com/sextantdisk/sextant/internal/block"

// Waiter is told how an operation ended.
type Waiter interface {
	// Done is called exactly once, from any goroutine, perhaps before the
	// call that began the operation returns. It must not block.
	Done(err error)
	// Flusher is asked before Done; who is told of many operations at once
	// is flushed once, afterwards.
	Flusher() Flusher
}

// Flusher sends off what was told to its waiters. Values must be comparable.
type Flusher interface{ Flush() }

// Extent is a run of bytes of one kind.
type Extent struct {
	Length block.ByteCount
	// Hole: nothing is allocated; Zero: it reads as zeroes.
	Hole, Zero bool
}

// batch collects what one goroutine has to send off at the end of its work:
// links with queued frames, and flushers of told waiters.
type batch struct {
	links    []*link
	flushers []Flusher
	told     []told
}

type told struct {
	w   Waiter
	err error
}

func (b *batch) link(l *link) {
	for _, x := range b.links {
		if x == l {
			return
		}
	}
	b.links = append(b.links, l)
}

// tell notes a waiter, to be told in run: never under a lock.
func (b *batch) tell(w Waiter, err error) { b.told = append(b.told, told{w, err}) }

// run tells waiters, and sends off what was queued.
func (b *batch) run() {
	for len(b.told) > 0 {
		for i := range b.told {
			t := b.told[i]
			b.told[i] = told{}
			b.flusher(t.w.Flusher())
			t.w.Done(t.err)
		}
		b.told = b.told[:0]
	}
	for i, l := range b.links {
		l.flush()
		b.links[i] = nil
	}
	b.links = b.links[:0]
	for i, f := range b.flushers {
		f.Flush()
		b.flushers[i] = nil
	}
	b.flushers = b.flushers[:0]
}

func (b *batch) flusher(f Flusher) {
	for _, x := range b.flushers {
		if x == f {
			return
		}
	}
	b.flushers = append(b.flushers, f)
}
