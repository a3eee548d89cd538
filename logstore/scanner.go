package logstore

import (
	"encoding/binary"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/slab"
	"github.com/sextantdisk/sextant/internal/vfs"
)

const (
	// bigWindow is what is read at once where batches are small, so that
	// headers come in with their neighbours' payload.
	bigWindow = 256
	// smallWindow is read where batches are long: their payload is skipped.
	smallWindow = 2
	// longBatch is from how many pages on a batch is long.
	longBatch = 64
)

// scanner decodes the frames of one log file.
type scanner struct {
	file *logFile
	// reader is the file's own, or one past the page cache: there the kernel
	// reads ahead, up to 8 MiB each time, what the scanner skips.
	reader vfs.File
	size   pageNo // no frame goes beyond
	buf    *slab.Buffer
	from   pageNo // what buf holds: n pages from there
	n      int
	long   bool // the last batch was long
	// frame is what decode found; valid until the next decode.
	frame frame
}

func newScanner(f *logFile, reader vfs.File, size pageNo) *scanner {
	return &scanner{file: f, reader: reader, size: size, buf: slab.Get(bigWindow * pageSize)}
}

func (sc *scanner) close() { sc.buf.Release() }

// window is n pages from at, fewer if the file ends before.
func (sc *scanner) window(at pageNo, n int) ([]byte, error) {
	n = min(n, int(sc.size)-int(at))
	if n <= 0 {
		return nil, nil
	}
	if at < sc.from || int(at)+n > int(sc.from)+sc.n {
		want := bigWindow
		if sc.long {
			want = max(n, smallWindow)
		}
		want = min(want, int(sc.size)-int(at))
		sc.n = 0
		if err := readPages(sc.reader, sc.file.name, sc.buf.Bytes()[:want*pageSize], at); err != nil {
			return nil, err
		}
		sc.from, sc.n = at, want
	}
	off := int(at-sc.from) * pageSize
	return sc.buf.Bytes()[off : off+n*pageSize], nil
}

// decode reads the frame at a page into sc.frame.
func (sc *scanner) decode(at pageNo) (frameState, error) {
	p, err := sc.window(at, 1)
	if err != nil {
		return frameNone, err
	}
	st := sc.frame.decode(p, sc.file.id(at))
	if st == frameShort {
		if p, err = sc.window(at, sc.frame.headerPages); err != nil {
			return frameNone, err
		}
		st = sc.frame.decode(p, sc.file.id(at))
	}
	if st == frameShort || (st == frameGood && sc.frame.end() > sc.size) {
		return frameBad, nil
	}
	if st == frameGood {
		sc.long = sc.frame.end()-at >= longBatch
	}
	return st, nil
}

// later finds the first valid frame behind at whose number is above after.
func (sc *scanner) later(at pageNo, after batchSeq) (pageNo, bool, error) {
	sc.long = false
	id := sc.file.id(0)
	for at++; at < sc.size; at++ {
		p, err := sc.window(at, 1)
		if err != nil {
			return 0, false, err
		}
		if string(p[:4]) != batchMagic || !id.lives(binary.LittleEndian.Uint64(p[8:])) {
			continue
		}
		st, err := sc.decode(at)
		if err != nil {
			return 0, false, err
		}
		if st == frameGood && sc.frame.seq > after {
			return at, true, nil
		}
	}
	return 0, false, nil
}

// payload reads n pages from at, as far as the window goes at once.
func (sc *scanner) payload(at pageNo, n int, fn func(p []byte, i int) bool) error {
	for i := range n {
		p, err := sc.window(at+pageNo(i), 1)
		if err != nil {
			return err
		}
		if !fn(p, i) {
			return nil
		}
	}
	return nil
}

// whole tells whether all payload of fr has its checksums.
func (sc *scanner) whole(fr *frame) (bool, error) {
	ok := true
	sc.long = false
	err := sc.payload(fr.page+pageNo(fr.headerPages), int(fr.payloadPages), func(p []byte, i int) bool {
		ok = block.Checksum(p) == fr.sums[i]
		return ok
	})
	return ok, err
}

// config reads the payload of a CONFIG; good tells whether it has its sums.
func (sc *scanner) config(at pageNo, sums []block.Sum) (p []byte, good bool, err error) {
	good = true
	err = sc.payload(at, len(sums), func(page []byte, i int) bool {
		good = len(page) == pageSize && block.Checksum(page) == sums[i]
		p = append(p, page...)
		return good
	})
	return p, good, err
}
