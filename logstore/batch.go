package logstore

import (
	"encoding/binary"
	"iter"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/mutant"
)

// A batch is what one fdatasync makes durable: a frame of header pages, then
// the payload pages of its records, in their order. Frames follow each other
// without gaps. A batch is written only after the one before it is durable;
// so a valid frame proves all before it, and what is missing before a valid
// frame is damage, not a torn tail (trap T14).
//
// The header pages begin with 64 bytes; what is not listed is zero. All
// integers are little-endian.
//
//	 0  4  magic         "SXTB"
//	 4  4  crc32c        of all header pages with this field zero
//	 8  8  nonce         of the file
//	16  4  file          fileSeq: a stale frame of a recycled file differs
//	20  4  page          where the frame begins: a misplaced one differs
//	24  8  batch         one more than the batch before it
//	32  2  header pages
//	34  2  records
//	36  4  payload pages
//	40  4  previous page where the batch before it in this file begins, or 0
//	44  4  used          bytes of the header pages that mean something
//
// Then for each record a descriptor (below), then zeroes to the end of the
// last header page. Payload is covered by the sums in its descriptor.
type batchHeader struct {
	nonce        uint64
	file         fileSeq
	page         pageNo
	seq          batchSeq
	headerPages  int
	records      int
	payloadPages pageNo
	prevPage     pageNo
	used         int
}

const (
	batchMagic      = "SXTB"
	batchHeaderSize = 64
	descriptorSize  = 32
	// sumSize is the metadata of one payload page in this version. Its
	// length stands in each descriptor: encrypted volumes will carry more.
	sumSize    = 4
	sourceSize = 8
)

// end is the page behind the batch.
func (h *batchHeader) end() pageNo { return h.page + pageNo(h.headerPages) + h.payloadPages }

// descriptor is one record in a batch's header:
//
//	 0  4  segment  segIndex; 0 for SYNCMARK, FREE and SEAL
//	 4  4  block    first block; volume epoch for PROMISE, STATUS and CONFIG;
//	                number of the log file for FREE and SEAL
//	 8  8  lsn      the floor for STATUS; for COPY no version is above it;
//	                for HYDRATE the floor that it begins from, or the cut; for
//	                FREE the last batch of the cold log
//	16  8  prev     the head for STATUS; the cut for COPY; the floor before
//	                the cut for HYDRATE; for FREE the highest log file there was
//	24  4  count    blocks of the range; for CONFIG pages of payload; for
//	                HYDRATE the COPYs before it; for FREE how many log files up
//	                to that one remain; for SEAL the page where the file ended
//	28  1  type
//	29  1  flags
//	30  1  meta     bytes of metadata for each payload page: 4, or 0 without payload
//	31  1  zero
//	32  8  source   RELOC only: the location that the first block had
//	       sums     one for each payload page
type descriptor struct {
	seg    segIndex
	block  uint32
	lsn    block.LSN
	prev   block.LSN
	count  uint32
	typ    RecordType
	flags  uint8
	source location
}

// Flags of descriptors.
const (
	flagDamaged uint8 = 1 << iota // STATUS: the segment is damaged
	flagCleared                   // STATUS: the segment is known to be complete again
	flagCreated                   // CONFIG: the segment begins here
	flagZero                      // COPY: the range was written as zeroes
	flagHole                      // COPY: nothing is allocated in the range
	flagBegin                     // HYDRATE: copying begins or goes on; else all is in
)

// payload is the number of payload pages that d has.
func (d *descriptor) payload() int {
	switch d.typ {
	case TypeWrite, TypeReloc, TypeConfig:
		return int(d.count)
	case TypeCopy:
		if d.flags&(flagZero|flagHole) == 0 {
			return int(d.count)
		}
	}
	return 0
}

// size is what d takes in the header, sums included.
func (d *descriptor) size() int {
	n := descriptorSize + sumSize*d.payload()
	if d.typ == TypeReloc {
		n += sourceSize
	}
	return n
}

func (d *descriptor) encode(p []byte, sums []block.Sum) []byte {
	le := binary.LittleEndian
	le.PutUint32(p[0:], uint32(d.seg))
	le.PutUint32(p[4:], d.block)
	le.PutUint64(p[8:], uint64(d.lsn))
	le.PutUint64(p[16:], uint64(d.prev))
	le.PutUint32(p[24:], d.count)
	p[28], p[29], p[30], p[31] = byte(d.typ), d.flags, 0, 0
	if d.payload() > 0 {
		p[30] = sumSize
	}
	p = p[descriptorSize:]
	if d.typ == TypeReloc {
		le.PutUint32(p, uint32(d.source.file))
		le.PutUint16(p[4:], d.source.page)
		le.PutUint16(p[6:], d.source.flags)
		p = p[sourceSize:]
	}
	for _, s := range sums {
		le.PutUint32(p, uint32(s))
		p = p[sumSize:]
	}
	return p
}

// decode reads d from p and gives the rest, sums first. It fails on anything
// that encode would not write.
func (d *descriptor) decode(p []byte) (rest []byte, ok bool) {
	if len(p) < descriptorSize {
		return nil, false
	}
	le := binary.LittleEndian
	d.seg = segIndex(le.Uint32(p[0:]))
	d.block = le.Uint32(p[4:])
	d.lsn = block.LSN(le.Uint64(p[8:]))
	d.prev = block.LSN(le.Uint64(p[16:]))
	d.count = le.Uint32(p[24:])
	d.typ, d.flags, d.source = RecordType(p[28]), p[29], location{}
	meta, zero := p[30], p[31]
	if d.typ == TypeNone || d.typ >= typeEnd || zero != 0 {
		return nil, false
	}
	if d.payload() > 0 != (meta == sumSize) || (meta != 0 && meta != sumSize) {
		return nil, false
	}
	if d.payload() > int(block.MaxRecordBlocks) || len(p) < d.size() {
		return nil, false
	}
	p = p[descriptorSize:]
	if d.typ == TypeReloc {
		d.source = location{fileSeq(le.Uint32(p)), le.Uint16(p[4:]), le.Uint16(p[6:])}
		p = p[sourceSize:]
	}
	return p, true
}

// encode finishes header pages into which the descriptors have been
// written from batchHeaderSize on. p is all the header pages, zero where
// nothing was written.
func (h *batchHeader) encode(p []byte) {
	le := binary.LittleEndian
	copy(p, batchMagic)
	le.PutUint64(p[8:], h.nonce)
	le.PutUint32(p[16:], uint32(h.file))
	le.PutUint32(p[20:], uint32(h.page))
	le.PutUint64(p[24:], uint64(h.seq))
	le.PutUint16(p[32:], uint16(h.headerPages))
	le.PutUint16(p[34:], uint16(h.records))
	le.PutUint32(p[36:], uint32(h.payloadPages))
	le.PutUint32(p[40:], uint32(h.prevPage))
	le.PutUint32(p[44:], uint32(h.used))
	le.PutUint32(p[4:], uint32(sumWithout(p, 4)))
}

// decode reads the fields of h from the 64 bytes at p, without a check.
func (h *batchHeader) decode(p []byte) {
	le := binary.LittleEndian
	*h = batchHeader{
		nonce: le.Uint64(p[8:]), file: fileSeq(le.Uint32(p[16:])), page: pageNo(le.Uint32(p[20:])),
		seq:         batchSeq(le.Uint64(p[24:])),
		headerPages: int(le.Uint16(p[32:])), records: int(le.Uint16(p[34:])),
		payloadPages: pageNo(le.Uint32(p[36:])), prevPage: pageNo(le.Uint32(p[40:])),
		used: int(le.Uint32(p[44:])),
	}
}

// frameState says what a page that should begin a frame holds.
type frameState uint8

const (
	frameNone  frameState = iota // nothing of this file's life
	frameBad                     // the beginning of a frame that is not whole
	frameGood                    // a valid frame
	frameShort                   // perhaps a frame, whose header has more pages than were given
)

// frame is a decoded batch header. Its slices are used again by the next
// decode.
type frame struct {
	batchHeader
	recs []descriptor
	sums []block.Sum // of all records, in order
}

// logged is one record of a frame.
type logged struct {
	d    *descriptor
	sums []block.Sum // of its payload
	at   pageNo      // where that lies
}

// each gives the records of f, in order.
func (f *frame) each() iter.Seq2[int, logged] {
	return func(yield func(int, logged) bool) {
		at, sums := f.page+pageNo(f.headerPages), f.sums
		for i := range f.recs {
			n := f.recs[i].payload()
			if !yield(i, logged{&f.recs[i], sums[:n], at}) {
				return
			}
			at, sums = at+pageNo(n), sums[n:]
		}
	}
}

// frameID is what a frame at its place must say.
type frameID struct {
	file  fileSeq
	nonce uint64
	page  pageNo
}

// lives tells whether a frame with that nonce is of this life of the file.
func (id frameID) lives(nonce uint64) bool {
	return nonce == id.nonce || mutant.On(mutant.StaleFrame)
}

// place tells whether f says that it lies where it lies.
func (id frameID) place(f *frame) bool {
	file := f.file == id.file || mutant.On(mutant.StaleFrame)
	return file && (f.page == id.page || mutant.On(mutant.SumWithoutOffset))
}

// decode reads a frame from the pages at p. For frameShort, headerPages says
// how many pages it takes. It allocates no more than p's length justifies.
func (f *frame) decode(p []byte, id frameID) frameState {
	le := binary.LittleEndian
	if len(p) < pageSize || string(p[:4]) != batchMagic || !id.lives(le.Uint64(p[8:])) {
		return frameNone
	}
	f.batchHeader.decode(p)
	f.nonce = id.nonce
	if !id.place(f) {
		return frameNone // a write that went here by mistake began nothing here
	}
	if f.headerPages == 0 || f.headerPages > maxHeaderPages {
		return frameBad
	}
	if len(p) < f.headerPages*pageSize {
		return frameShort
	}
	p = p[:f.headerPages*pageSize]
	if block.Sum(le.Uint32(p[4:])) != sumWithout(p, 4) {
		return frameBad
	}
	return f.decodeRecords(p)
}

func (f *frame) decodeRecords(p []byte) frameState {
	f.recs, f.sums = f.recs[:0], f.sums[:0]
	if f.used < batchHeaderSize || f.used > len(p) || (f.used+pageSize-1)/pageSize != f.headerPages ||
		f.records*descriptorSize > f.used || !allZero(p[48:batchHeaderSize]) || !allZero(p[f.used:]) {
		return frameBad
	}
	rest := p[batchHeaderSize:f.used]
	payload := pageNo(0)
	for range f.records {
		var d descriptor
		var ok bool
		if rest, ok = d.decode(rest); !ok {
			return frameBad
		}
		n := d.payload()
		for i := range n {
			f.sums = append(f.sums, block.Sum(binary.LittleEndian.Uint32(rest[i*sumSize:])))
		}
		rest = rest[n*sumSize:]
		payload += pageNo(n)
		f.recs = append(f.recs, d)
	}
	if len(rest) != 0 || payload != f.payloadPages || f.end().bytes() > MaxFileSize {
		return frameBad
	}
	return frameGood
}

// marked tells whether the batch ends with a SYNCMARK.
func (f *frame) marked() bool {
	return len(f.recs) > 0 && f.recs[len(f.recs)-1].typ == TypeSyncMark
}

func allZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

// encode writes f's header pages to p, which must be zeroes, as long as the
// header. It is the inverse of decode; appends build their frames piecewise.
func (f *frame) encode(p []byte) {
	rest := p[batchHeaderSize:]
	for _, r := range f.each() {
		rest = r.d.encode(rest, r.sums)
	}
	f.batchHeader.encode(p)
}
