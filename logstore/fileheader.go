package logstore

import (
	"cmp"
	"encoding/binary"

	"github.com/sextantdisk/sextant/internal/block"
)

// fileMagic begins each log file. The line ends show what a transfer that
// mends text has done to it.
const fileMagic = "SXTLOG\r\n"

// fileKind says which of a store's heads wrote the file.
type fileKind uint8

const (
	fileHot  fileKind = 1 // client writes and catch-up
	fileCold fileKind = 2 // what cleaning moves
)

func (k fileKind) String() string {
	if k == fileCold {
		return "cold"
	}
	return "hot"
}

// fileHeader is the first page of a log file, and the second. All integers
// are little-endian; what is not listed is zero.
//
//	 0  8  magic
//	 8  4  version
//	12  4  crc32c of the page with this field zero. Magic, version and crc
//	       have the same place in all versions
//	16 16  disk         whose file this is: files cannot move between disks
//	32  4  seq          the file's own number
//	36  1  kind
//	40  4  prevSeq      the file before it among those of its kind; 0 for the
//	                    first one. It may have been cleaned since
//	44  4  prevValid    where that one ended, in pages: what lies behind is
//	                    not to be read, torn or not (trap T17)
//	48  8  nonce        random; in each frame, so that neither a client's
//	                    data nor a recycled page can pass for a frame
//	56  8  firstBatch   number of the first batch: what a damaged start lost
//	64  4  pages        length that the file grows to
//	68  4  prevFooter   page of the predecessor's footer; 0: it has none
type fileHeader struct {
	version    uint32 // 0: formatVersion, the one that is written
	disk       block.DiskID
	seq        fileSeq
	kind       fileKind
	prevSeq    fileSeq
	prevValid  pageNo
	nonce      uint64
	firstBatch batchSeq
	pages      pageNo
	prevFooter pageNo
}

// encode writes h to a page of zeroes.
func (h *fileHeader) encode(p []byte) {
	le := binary.LittleEndian
	copy(p, fileMagic)
	le.PutUint32(p[8:], cmp.Or(h.version, formatVersion))
	copy(p[16:], h.disk[:])
	le.PutUint32(p[32:], uint32(h.seq))
	p[36] = byte(h.kind)
	le.PutUint32(p[40:], uint32(h.prevSeq))
	le.PutUint32(p[44:], uint32(h.prevValid))
	le.PutUint64(p[48:], h.nonce)
	le.PutUint64(p[56:], uint64(h.firstBatch))
	le.PutUint32(p[64:], uint32(h.pages))
	le.PutUint32(p[68:], uint32(h.prevFooter))
	le.PutUint32(p[12:], uint32(sumWithout(p, 12)))
}

var noSum [4]byte

// sumWithout is the checksum of p with the four bytes at off taken as zero.
func sumWithout(p []byte, off int) block.Sum {
	return block.Checksum(p[:off]).Extend(noSum[:]).Extend(p[off+4:])
}

// decodeFileHeader reads a page. Error kinds: Corrupt, Version.
func decodeFileHeader(p []byte) (h fileHeader, err error) {
	le := binary.LittleEndian
	if len(p) != pageSize || string(p[:8]) != fileMagic {
		return h, block.Errorf(block.Corrupt, "not a log file: no magic at its start")
	}
	if want, got := block.Sum(le.Uint32(p[12:])), sumWithout(p, 12); want != got {
		return h, block.Errorf(block.Corrupt, "header has checksum %08x instead of %08x", uint32(got), uint32(want))
	}
	if v := le.Uint32(p[8:]); v == 0 || v > formatVersion {
		return h, block.Errorf(block.Version, "log format %d is newer than the %d that this program knows: run a newer one", v, formatVersion)
	}
	h.version = le.Uint32(p[8:])
	copy(h.disk[:], p[16:])
	h.seq = fileSeq(le.Uint32(p[32:]))
	h.kind = fileKind(p[36])
	h.prevSeq = fileSeq(le.Uint32(p[40:]))
	h.prevValid = pageNo(le.Uint32(p[44:]))
	h.nonce = le.Uint64(p[48:])
	h.firstBatch = batchSeq(le.Uint64(p[56:]))
	h.pages = pageNo(le.Uint32(p[64:]))
	h.prevFooter = pageNo(le.Uint32(p[68:]))
	if h.kind != fileHot && h.kind != fileCold || !allZero(p[37:40]) || !allZero(p[72:]) {
		return h, block.Errorf(block.Corrupt, "header of file %d says what format %d has no place for", h.seq, formatVersion)
	}
	if h.seq == 0 || h.prevSeq >= h.seq || h.pages < headerCopies || h.pages.bytes() > MaxFileSize {
		return h, block.Errorf(block.Corrupt, "header of file %d with predecessor %d and %d pages makes no sense", h.seq, h.prevSeq, h.pages)
	}
	return h, nil
}
