package logstore

import (
	"encoding/binary"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/mutant"
	"github.com/sextantdisk/sextant/internal/vfs"
)

// A footer repeats the headers of all batches of a sealed file at its end, so
// that a replay need not read the file for them: some 2 MiB instead of 256. It
// is written behind the writers' back, after the next file was begun; a file
// without one, or with one that is not whole, is read by its batch headers.
//
//	batches │ … │ body │ trailer, the last page of the file
//
// The body is, for each batch, the bytes of its header that mean something
// (batchHeader.used), from the first byte of the page on, where the body is
// aligned so that it ends with the page before the trailer. The trailer,
// little-endian, zero where nothing is listed:
//
//	 0  8  magic
//	 8  4  crc32c of the page with this field zero
//	12  4  file number
//	16  8  nonce of the file: a footer of its former life differs
//	24  4  end: the page behind the last batch
//	28  4  batches
//	32  4  length of the body, in bytes
//	36  4  crc32c of the body
//
// A footer is durable only after the next file of the same head is: so a last
// file of the hot log that has one has lost its successor.
type footer struct {
	end     pageNo
	batches int
	body    []byte
	sum     block.Sum // of body
	length  int       // of body
}

const (
	footerMagic = "SXTFOOT\n"
	// footerFrom is from how many pages on a file gets a footer, unless a test
	// has another bound: a small one is as soon read by its headers.
	footerFrom = pageNo(4 * block.MiB / pageSize)
	// footerShare: headers that take more than this part of a file are read
	// where they are.
	footerShare = 8
	// footerSlack is left for the headers of the last batch.
	footerSlack = 8
)

// footerRoom is what a footer of that many bytes takes at the end of a file.
func footerRoom(file pageNo, body int) pageNo {
	if pagesFor(body) > file/footerShare {
		return 0
	}
	return 1 + pagesFor(body)
}

func pagesFor(n int) pageNo { return pageNo((n + pageSize - 1) / pageSize) }

func (t *footer) encodeTrailer(p []byte, h *fileHeader) {
	le := binary.LittleEndian
	copy(p, footerMagic)
	le.PutUint32(p[12:], uint32(h.seq))
	le.PutUint64(p[16:], h.nonce)
	le.PutUint32(p[24:], uint32(t.end))
	le.PutUint32(p[28:], uint32(t.batches))
	le.PutUint32(p[32:], uint32(len(t.body)))
	le.PutUint32(p[36:], uint32(block.Checksum(t.body)))
	le.PutUint32(p[8:], uint32(sumWithout(p, 8)))
}

// decodeTrailer reads the last page of the file that h heads; false if there is
// no footer.
func decodeTrailer(p []byte, h *fileHeader) (t footer, ok bool) {
	le := binary.LittleEndian
	if len(p) != pageSize || string(p[:8]) != footerMagic || block.Sum(le.Uint32(p[8:])) != sumWithout(p, 8) ||
		fileSeq(le.Uint32(p[12:])) != h.seq || le.Uint64(p[16:]) != h.nonce || !allZero(p[40:]) {
		return t, false
	}
	t = footer{
		end: pageNo(le.Uint32(p[24:])), batches: int(le.Uint32(p[28:])),
		length: int(le.Uint32(p[32:])), sum: block.Sum(le.Uint32(p[36:])),
	}
	return t, t.end >= headerCopies && t.end < h.pages && pagesFor(t.length) < h.pages-t.end
}

// readFooter reads the footer of f through r; nil if it has none that is whole.
// What cannot be read is no footer: the batches tell the same.
func readFooter(f *logFile, r vfs.File) *footer {
	h := &f.header
	p := alignedPages(1)
	if err := readPages(r, f.name, p, h.pages-1); err != nil {
		return nil
	}
	t, ok := decodeTrailer(p, h)
	if !ok {
		return nil
	}
	n := pagesFor(t.length)
	body := alignedPages(int(n))
	if err := readPages(r, f.name, body, h.pages-1-n); err != nil {
		return nil
	}
	t.body = body[:t.length]
	whole := block.Checksum(t.body) == t.sum || mutant.On(mutant.RottenFooter)
	if !whole || !t.leadsTo(f) {
		return nil
	}
	return &t
}

// leadsTo tells whether the footer's batches can all be decoded, and end where
// it says.
func (t *footer) leadsTo(f *logFile) bool {
	end, n := pageNo(headerCopies), 0
	for rest := t.body; len(rest) > 0; n++ {
		h, ok := footerEntry(rest, f)
		if !ok || h.page < end {
			return false
		}
		end, rest = h.end(), rest[h.used:]
	}
	return n == t.batches && end == t.end
}

// footerEntry reads the start of a batch's header in a footer.
func footerEntry(p []byte, f *logFile) (h batchHeader, ok bool) {
	if len(p) < batchHeaderSize {
		return h, false
	}
	h.decode(p)
	ok = string(p[:4]) == batchMagic && h.nonce == f.header.nonce && h.file == f.header.seq && h.used >= batchHeaderSize && h.used <= len(p) &&
		h.headerPages > 0 && h.headerPages <= maxHeaderPages && h.page < f.header.pages && h.payloadPages < f.header.pages && h.end() <= f.header.pages
	return h, ok
}

// decodeFooter reads a batch's header from a footer, and gives what follows.
// The footer's checksum covers it; that of the header covers more.
func (f *frame) decodeFooter(p []byte, file *logFile) (rest []byte, st frameState) {
	h, ok := footerEntry(p, file)
	if !ok {
		return nil, frameBad
	}
	f.batchHeader = h
	return p[h.used:], f.decodeRecords(p[:h.used])
}

// headers are those of the batches of a head, for its footer.
type headers struct {
	from    pageNo // what lies before is still to be read from the file
	p       []byte
	batches int
	// none: the file gets no footer. It is short, or they take too much of it.
	none bool
}

// headersFrom begins with the headers of a file of so many pages, from one on.
func (r *filer) headersFrom(from, file pageNo) headers {
	return headers{from: from, none: file < r.footerFrom}
}

// size is what the headers take, roughly for those still to be read.
func (hs *headers) size() int {
	return len(hs.p) + int(hs.from-min(hs.from, headerCopies))*headerGuess
}

// headerGuess is what the header of a batch means, for each of its pages.
const headerGuess = 64

// add takes the header of a durable batch in.
func (hs *headers) add(p []byte, file pageNo) {
	if hs.none {
		return
	}
	if pagesFor(len(hs.p)+len(p)) > file/footerShare {
		hs.p, hs.none = nil, true
		return
	}
	hs.p = append(hs.p, p...)
	hs.batches++
}

// writeFooter writes the footer of f, whose batches have those headers, if
// there is room for it. The caller holds a reference to f. Error kinds: NoSpace
// (then it has none), Unavailable.
func (r *filer) writeFooter(f *logFile, hs headers) error {
	end := pageNo(f.end.Load())
	t := footer{end: end, batches: hs.batches, body: hs.p}
	n := pagesFor(len(hs.p))
	if hs.none || footerRoom(f.header.pages, len(hs.p)) == 0 || n+1 > f.header.pages-end {
		return nil
	}
	f.claims.take(f.header.pages) // nobody zero-writes here any more
	buf := alignedPages(int(n) + 1)
	copy(buf, hs.p)
	t.encodeTrailer(buf[int(n)*pageSize:], &f.header)
	return r.edit(f.name, r.mode, func(w vfs.File) error {
		if err := w.WritevAt([][]byte{buf}, (f.header.pages - 1 - n).at()); err != nil {
			return diskError(err, "writing the footer of", f.name)
		}
		return diskError(w.Sync(), "syncing", f.name)
	})
}
