package logstore

import (
	"cmp"
	"slices"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs"
)

const (
	// maxGap is over how many pages a read goes on rather than end and begin
	// anew: batch headers lie between what was written one after the other.
	maxGap = 2
	// maxSpan bounds what one read call covers.
	maxSpan = pageNo(1 * block.MiB / pageSize)
	// maxVecs bounds its pieces, those between included.
	maxVecs = vfs.MaxPieces
	// gentleSpans is how many read calls a gentle read has under way.
	gentleSpans = 4
)

// reset makes r ready for a read of g from first on.
func (r *ReadResult) reset(g *Segment, first block.Index) {
	r.Runs, r.Sums, r.plan, r.todo = r.Runs[:0], r.Sums[:0], r.plan[:0], r.todo[:0]
	r.seg, r.first = g, first
}

// at is where p goes.
func (r *ReadResult) at(p *piece) []byte { return r.Buf[p.to*block.Size : (p.to+p.n)*block.Size] }

// Finish reads what TryReadAt did not find in memory, and waits for the disk.
// Error kinds: Corrupt, Unavailable.
func (r *ReadResult) Finish() error {
	err := r.fetch()
	switch {
	case err == nil:
		err = r.seg.verify(r)
	case unreadable(err):
		err = r.seg.pinpoint(r)
	}
	return r.end(err)
}

// end gives the files back when a read is over, err being its outcome so far.
func (r *ReadResult) end(err error) error {
	for _, p := range r.plan {
		if uerr := p.file.unpin(); err == nil && uerr != nil {
			err = diskError(uerr, "closing", p.file.name)
		}
	}
	clear(r.plan)
	clear(r.todo)
	r.plan, r.todo = r.plan[:0], r.todo[:0]
	return err
}

// fetchCached takes pieces from memory, up to the first that is not there;
// what is left is to be done in the order in which it lies in the log.
func (r *ReadResult) fetchCached() (all bool) {
	from := 0
	if r.mayAskMemory() {
		for from < len(r.plan) && r.plan[from].readCached(r) {
			from++
		}
	}
	r.todo = append(r.todo, r.plan[from:]...)
	slices.SortFunc(r.todo, func(a, b piece) int {
		return cmp.Or(cmp.Compare(a.file.header.seq, b.file.header.seq), cmp.Compare(a.page, b.page))
	})
	return len(r.todo) == 0
}

// mayAskMemory tells that it does no harm to read from memory what is there.
// Where something is missing the kernel would begin to read ahead, page by page
// into the page cache: good for a short read, which goes on there, and done in
// vain for a long one, which is going to read past it.
func (r *ReadResult) mayAskMemory() bool {
	if len(r.Sums) < pastCacheFrom/pageSize {
		return true
	}
	for i := range r.plan {
		p := &r.plan[i]
		if !p.file.reader.Cached(p.page.at(), p.n*block.Size) {
			return false
		}
	}
	return true
}

// readCached reads a piece from memory, if all of it is there.
func (p *piece) readCached(r *ReadResult) bool {
	return p.file.reader.ReadCached(r.at(p), p.page.at()) == p.n*block.Size
}

// fetch reads what is left, all of it at once; what lies near each other is
// one read.
func (r *ReadResult) fetch() error {
	r.vec, r.spans = slices.Grow(r.vec[:0], r.vecs()), r.spans[:0]
	for left := r.todo; len(left) > 0; {
		n := near(left)
		r.addSpan(left[:n])
		left = left[n:]
	}
	atOnce := max(len(r.spans), 1)
	if r.Gentle {
		atOnce = gentleSpans
	}
	for spans := range slices.Chunk(r.spans, atOnce) {
		vfs.ReadSpans(spans)
	}
	err := r.outcome()
	clear(r.vec)
	clear(r.spans)
	return err
}

// outcome is the first error of the spans.
func (r *ReadResult) outcome() error {
	left := r.todo
	for i := range r.spans {
		s := &r.spans[i]
		if s.Err != nil {
			return readError(s.Err, left[0].file.name, s.N, left[0].page)
		}
		left = left[near(left):]
	}
	return nil
}

// vecs is how many buffers all spans have together, at most.
func (r *ReadResult) vecs() int { return len(r.todo) * (1 + maxGap) }

// near is how many of the first pieces lie near each other.
func near(pieces []piece) int {
	first := &pieces[0]
	end, vecs := first.end(), 1
	for i := 1; i < len(pieces); i++ {
		p := &pieces[i]
		if p.file != first.file || p.page < end || p.page-end > maxGap || p.end()-first.page > maxSpan {
			return i
		}
		if vecs += int(p.page-end) + 1; vecs > maxVecs {
			return i
		}
		end = p.end()
	}
	return len(pieces)
}

// addSpan plans one read of several pieces; what is between them goes to waste.
// All of a long read goes past the page cache, its short pieces as well: in the
// order of the log they look like a sequential read to the kernel, which would
// read megabytes ahead for each.
func (r *ReadResult) addSpan(pieces []piece) {
	first := &pieces[0]
	from, at := len(r.vec), first.page
	for i := range pieces {
		p := &pieces[i]
		for ; at < p.page; at++ {
			r.vec = append(r.vec, r.waste())
		}
		r.vec = append(r.vec, r.at(p))
		at = p.end()
	}
	r.spans = append(r.spans, vfs.Span{
		File: first.file.source(len(r.Sums)*block.Size, aligned(r.Buf)),
		Bufs: r.vec[from:len(r.vec):len(r.vec)], Off: first.page.at(),
	})
}

// waste is a page for what nobody looks at.
func (r *ReadResult) waste() []byte {
	if r.junk == nil {
		r.junk = alignedPages(1)
	}
	return r.junk
}
