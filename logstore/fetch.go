package logstore

import (
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
)

// reset makes r ready for a read of g from first on.
func (r *ReadResult) reset(g *Segment, first block.Index) {
	r.Runs, r.Sums, r.plan = r.Runs[:0], r.Sums[:0], r.plan[:0]
	r.seg, r.first, r.next, r.to = g, first, 0, 0
}

// Finish reads what TryReadAt did not find in memory, and waits for the disk.
// Error kinds: Corrupt, Unavailable.
func (r *ReadResult) Finish() error {
	err := r.fetch()
	if err == nil {
		err = r.seg.verify(r)
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
	r.plan = r.plan[:0]
	return err
}

// fetchCached takes pieces from memory, up to the first that is not there.
func (r *ReadResult) fetchCached() {
	for r.next < len(r.plan) {
		p := &r.plan[r.next]
		size := p.n * block.Size
		if p.file.reader.ReadCached(r.Buf[r.to:r.to+size], p.page.at()) < size {
			return
		}
		r.next, r.to = r.next+1, r.to+size
	}
}

// fetch reads the other pieces, packed: those that lie near each other with
// one call.
func (r *ReadResult) fetch() error {
	for r.next < len(r.plan) {
		first, n := &r.plan[r.next], r.span()
		var err error
		if n == 1 {
			size := first.n * block.Size
			err = first.file.read(r.Buf[r.to:r.to+size], first.page)
			r.next, r.to = r.next+1, r.to+size
		} else {
			err = r.fetchSpan(n)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// span is how many of the next pieces lie near each other.
func (r *ReadResult) span() int {
	first := &r.plan[r.next]
	end, vecs := first.end(), 1
	for i := r.next + 1; i < len(r.plan); i++ {
		p := &r.plan[i]
		if p.file != first.file || p.page < end || p.page-end > maxGap || p.end()-first.page > maxSpan {
			return i - r.next
		}
		vecs += int(p.page-end) + 1
		if vecs > maxVecs {
			return i - r.next
		}
		end = p.end()
	}
	return len(r.plan) - r.next
}

// fetchSpan reads n pieces with one call; what is between them goes to waste.
func (r *ReadResult) fetchSpan(n int) error {
	if r.junk == nil {
		r.junk = alignedPages(1)
	}
	pieces := r.plan[r.next : r.next+n]
	first := &pieces[0]
	at, total := first.page, 0
	r.vec = r.vec[:0]
	for i := range pieces {
		p := &pieces[i]
		for ; at < p.page; at++ {
			r.vec = append(r.vec, r.junk)
			total += pageSize
		}
		size := p.n * block.Size
		r.vec = append(r.vec, r.Buf[r.to:r.to+size])
		r.to += size
		total += size
		at = p.end()
	}
	r.next += n
	got, err := first.file.source(total, aligned(r.Buf)).ReadvAt(r.vec, first.page.at())
	clear(r.vec)
	return readError(err, first.file.name, got, first.page)
}
