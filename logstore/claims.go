package logstore

import "sync"

// claims say which pages of the head file belong to whom. Who appends and who
// zero-writes ahead are two goroutines; a zero-write over a batch would be the
// end of that batch, so both ask here first.
//
// Invariant: what the filler is given lies behind all that the leader was ever
// given, and the leader is given nothing that the filler has not put down.
type claims struct {
	mu struct {
		sync.Mutex
		taken   pageNo // the leader has what is below
		filled  pageNo // zero-written up to here, but for what was taken before
		filling bool   // the filler writes [from, to)
		from    pageNo
		to      pageNo
		done    chan struct{} // closed when it has put that down
	}
}

// fillGap is how far behind the leader's pages the filler begins, so that they
// rarely meet.
const fillGap = growStep

// take gives the leader all pages below end; it waits for the filler if that
// is just writing there.
func (c *claims) take(end pageNo) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.taken = max(c.mu.taken, end)
	for c.mu.filling && c.mu.from < end {
		done := c.mu.done
		c.mu.Unlock()
		<-done
		c.mu.Lock()
	}
}

// fill gives the filler up to n pages below limit; false if there are none, or
// if somebody fills already. put must follow.
func (c *claims) fill(n, limit pageNo) (from, to pageNo, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	from = c.mu.filled
	if from < c.mu.taken { // the head has passed by, or this is the first time
		from = c.mu.taken + fillGap
	}
	if from >= limit || c.mu.filling {
		return 0, 0, false
	}
	c.mu.from, c.mu.to = from, min(from+n, limit)
	c.mu.filling, c.mu.done = true, make(chan struct{})
	return c.mu.from, c.mu.to, true
}

// put ends a fill: its pages are zero-written if ok.
func (c *claims) put(ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ok {
		c.mu.filled = c.mu.to
	}
	c.mu.filling = false
	close(c.mu.done)
}

// ahead is how many pages behind the leader's are zero-written.
func (c *claims) ahead() pageNo {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.filled - min(c.mu.filled, c.mu.taken)
}

// left is how many of so many pages the leader has not been given.
func (c *claims) left(pages pageNo) pageNo {
	c.mu.Lock()
	defer c.mu.Unlock()
	return pages - min(pages, c.mu.taken)
}
