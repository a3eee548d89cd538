package memfs

// pageSize is the unit in which contents share memory, in bytes.
const pageSize = 4096

// sectorsPerPage is how many sectors a page has: a bit each in a dirty set.
const sectorsPerPage = pageSize / Sector

// page is a piece of a content. A shared page is in more than one content and
// is never changed again: who wants to change it takes a copy. So a crash
// clone costs a pointer for each page, not a copy of the disk.
type page struct {
	shared bool
	b      [pageSize]byte
}

// lend marks p as shared. It is in one content alone as long as it is not, so
// that no other disk's lock is needed.
func (p *page) lend() {
	if p != nil && !p.shared {
		p.shared = true
	}
}

// content is the bytes of a file. What was never written has no page and
// reads as zeroes.
//
// Invariant: behind size, the last page is zero and no other page is there.
type content struct {
	pages []*page
	size  int
}

// share is a second content with the same bytes.
func (c *content) share() content {
	for _, p := range c.pages {
		p.lend()
	}
	return content{pages: append([]*page(nil), c.pages...), size: c.size}
}

// own is page i, to be changed.
func (c *content) own(i int) *page {
	p := c.pages[i]
	switch {
	case p == nil:
		p = new(page)
	case p.shared:
		p = &page{b: p.b}
	default:
		return p
	}
	c.pages[i] = p
	return p
}

// resize makes c longer, with zeroes, or shorter.
func (c *content) resize(size int) {
	n := (size + pageSize - 1) / pageSize
	if n > len(c.pages) {
		c.pages = append(c.pages, make([]*page, n-len(c.pages))...)
	}
	if size < c.size {
		clear(c.pages[n:])
		c.pages = c.pages[:n]
		if rest := size % pageSize; rest > 0 && c.pages[n-1] != nil {
			clear(c.own(n - 1).b[rest:])
		}
	}
	c.size = size
}

// readAt copies what c has from off on, and tells how much that was.
func (c *content) readAt(p []byte, off int) int {
	n := max(min(len(p), c.size-off), 0)
	for done := 0; done < n; {
		at := (off + done) % pageSize
		k := min(n-done, pageSize-at)
		if pg := c.pages[(off+done)/pageSize]; pg != nil {
			copy(p[done:done+k], pg.b[at:])
		} else {
			clear(p[done : done+k])
		}
		done += k
	}
	return n
}

// writeAt changes bytes within c's size.
func (c *content) writeAt(p []byte, off int) {
	for len(p) > 0 {
		at := off % pageSize
		n := copy(c.own(off / pageSize).b[at:], p)
		p, off = p[n:], off+n
	}
}

// take makes the sectors of page i that are in set those of from, as far as
// both have them.
func (c *content) take(from *content, i int, set uint8) {
	end := min(c.size, from.size) - i*pageSize
	if end <= 0 {
		return
	}
	src := from.pages[i]
	if set == allSectors && end >= pageSize { // the usual case costs no copy
		src.lend()
		c.pages[i] = src
		return
	}
	if src == nil {
		src = new(page)
	}
	dst := c.own(i)
	for s := range sectorsPerPage {
		if lo := s * Sector; set&(1<<s) != 0 && lo < end {
			hi := min(lo+Sector, end)
			copy(dst.b[lo:hi], src.b[lo:hi])
		}
	}
}

const allSectors = 1<<sectorsPerPage - 1
