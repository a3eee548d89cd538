package logstore

import (
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/slab"
)

// shortPiece is the longest payload that is copied to those beside it, for the
// disk to get fewer and longer pieces of memory: a copy of it costs less than
// a piece does (ADR 41).
const shortPiece = 16 * block.KiB

// encode fills the batch's header pages and the list of what to write: it is
// the header with the short payloads behind it in one piece of memory, and the
// long ones, in their order.
func (b *batch) encode(h *head, seq batchSeq) {
	direct := h.writer.Direct()
	size := b.headerPages() * pageSize
	flat := b.lend(size + b.short(direct))
	p := flat[:size:size]
	clear(p)
	b.header = p
	rest, from := p[batchHeaderSize:], 0 // flat[from:size] is not listed yet
	for i := range b.items {
		it := &b.items[i]
		rest = it.d.encode(rest, it.sums)
		if isShort(it.payload, direct) {
			size += copy(flat[size:], it.payload)
			continue
		}
		long := it.payload
		if direct && !aligned(long) {
			long = b.lend(len(long))
			copy(long, it.payload)
		}
		b.list(flat[from:size])
		b.list(long)
		from = size
	}
	b.list(flat[from:])
	hd := batchHeader{
		nonce: h.file.header.nonce, file: h.file.header.seq, page: h.next, seq: seq,
		headerPages: b.headerPages(), records: len(b.items), payloadPages: b.payload,
		prevPage: h.lastPage, used: b.used,
	}
	hd.encode(p)
}

// list appends p to what is to be written.
func (b *batch) list(p []byte) {
	if len(p) > 0 {
		b.iov = append(b.iov, p)
	}
}

// isShort tells whether p is copied. What goes through the page cache is copied
// there.
func isShort(p []byte, direct bool) bool {
	return direct && block.ByteCount(len(p)) <= shortPiece
}

// short is how many bytes of b's payloads are copied.
func (b *batch) short(direct bool) (n int) {
	for i := range b.items {
		if p := b.items[i].payload; isShort(p, direct) {
			n += len(p)
		}
	}
	return n
}

// lend gives n bytes until release.
func (b *batch) lend(n int) []byte {
	c := slab.Get(n)
	b.lent = append(b.lent, c)
	return c.Bytes()
}

// release gives back what encode has made.
func (b *batch) release() {
	for _, c := range b.lent {
		c.Release()
	}
	clear(b.iov)
	clear(b.lent)
	b.header, b.iov, b.lent = nil, b.iov[:0], b.lent[:0]
}
