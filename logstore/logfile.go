package logstore

import (
	"errors"
	"io"
	"math"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs"
)

// logFile is one file of the log, open for reading.
//
// References: the store holds one, each read one while it lasts. The file is
// closed when the last one goes. A reader takes its reference under the lock
// of the index in which it found the location, so that whoever moves blocks
// away (which takes that lock) and then drops the store's reference knows
// that no reader comes after.
type logFile struct {
	name   string // without folder
	header fileHeader
	reader vfs.File // through the page cache
	past   direct   // past it
	refs   atomic.Int32
	// claims keep who appends and who zero-writes ahead apart.
	claims *claims
	// end is the page behind the last batch that is durable and applied.
	end atomic.Uint32
	// live counts the references of the indexes to blocks of the file; see
	// ledger.
	live atomic.Int64
	// sealed: nothing is appended any more.
	sealed atomic.Bool
	// going: a FREE of it is logged. The leader sets it.
	going bool
	// left is called when the last reference is gone of a file that was
	// taken out of the store, by who had it; nil otherwise.
	left atomic.Pointer[func()]

	// The cleaner sets these. stuck is how much was live when not all of it
	// could be moved, -1 before; deadSince when nothing was found live first.
	stuck     atomic.Int64
	deadSince time.Time
	// moved is how often what lies here was moved, as far as is known.
	moved moveCount

	mu struct {
		sync.RWMutex
		// spans has each segment that a record of this file speaks of, but
		// those that only a DROP does, and between which LSNs its changes
		// and moves in here are: noSpan if there are none.
		spans map[segIndex]span
		// gaps are damaged ranges that a scan of the file steps over.
		gaps []gap
		// broken are where a scrub found headers of batches damaged, at
		// most maxBad.
		broken []pageNo
	}
}

// span is a range of LSNs, both ends included.
type span struct{ min, max block.LSN }

// noSpan has nothing in it.
var noSpan = span{min: math.MaxUint64}

// gap is a damaged range of pages: [from, to).
type gap struct{ from, to pageNo }

// direct is a second descriptor of a log file, past the page cache. It is
// opened when it is needed first: most files are read rarely.
type direct struct {
	once sync.Once
	open func() (vfs.File, error)
	file vfs.File // nil: not opened, or not possible
}

// get is the descriptor, or nil where there is no such.
func (d *direct) get() vfs.File {
	d.once.Do(func() {
		f, err := d.open()
		switch {
		case err != nil: // reads go through the page cache then
		case !f.Direct():
			_ = f.Close() // only read from
		default:
			d.file = f
		}
	})
	return d.file
}

// close closes the descriptor if there is one. Nobody calls get any more.
func (d *direct) close() error {
	d.once.Do(func() {})
	if d.file == nil {
		return nil
	}
	return d.file.Close()
}

func newLogFile(fs vfs.FS, dir, name string, h fileHeader, reader vfs.File) *logFile {
	f := &logFile{name: name, header: h, reader: reader, claims: &claims{}}
	f.past.open = func() (vfs.File, error) { return fs.OpenFile(path.Join(dir, name), vfs.ReadOnly|vfs.Direct) }
	f.refs.Store(1)
	f.stuck.Store(-1)
	f.end.Store(headerCopies)
	f.claims.mu.taken = headerCopies
	f.mu.spans = make(map[segIndex]span)
	if h.kind == fileCold {
		f.moved = 1 // at least
	}
	return f
}

// pin takes a reference; false if the file is closed.
func (f *logFile) pin() bool {
	for {
		n := f.refs.Load()
		if n == 0 {
			return false
		}
		if f.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// unpin gives a reference back.
func (f *logFile) unpin() error {
	if f.refs.Add(-1) != 0 {
		return nil
	}
	err := errors.Join(f.reader.Close(), f.past.close())
	if left := f.left.Load(); left != nil {
		(*left)()
	}
	return err
}

// goneError says why a file cannot be pinned. Kinds: NotFound, Closed.
func (f *logFile) goneError() error {
	if f.left.Load() != nil {
		return block.Errorf(block.NotFound, "log file %s was cleaned meanwhile", f.name)
	}
	return block.Errorf(block.Closed, "the log store is closed")
}

// pastCacheFrom is from which length on a read that memory cannot serve goes
// past the page cache: filling it page by page costs more than the copy from
// it would save, and long reads would drive out what short ones come back to.
const pastCacheFrom = 16 * pageSize

// read fills p from page on. Error kinds: Corrupt if the file ends before,
// Unavailable.
func (f *logFile) read(p []byte, from pageNo) error {
	return readPages(f.source(len(p), aligned(p)), f.name, p, from)
}

// source is what to read n bytes from that memory does not have.
func (f *logFile) source(n int, aligned bool) vfs.File {
	if n < pastCacheFrom {
		return f.reader
	}
	return f.pastCache(aligned)
}

// pastCache is the descriptor past the page cache, if there is one that can
// read into such memory.
func (f *logFile) pastCache(aligned bool) vfs.File {
	if d := f.past.get(); d != nil && aligned {
		return d
	}
	return f.reader
}

// again reads one block past the page cache, for who doubts what memory gave,
// and gives its checksum.
func (f *logFile) again(dst []byte, page pageNo) (block.Sum, error) {
	if err := readPages(f.pastCache(aligned(dst)), f.name, dst, page); err != nil {
		return 0, err
	}
	return block.Checksum(dst), nil
}

func readPages(r vfs.File, name string, p []byte, from pageNo) error {
	n, err := r.ReadAt(p, from.at())
	return readError(err, name, n, from)
}

// readError gives the outcome of a read of log file name at page from a kind.
func readError(err error, name string, n int, from pageNo) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, io.EOF) {
		return block.Errorf(block.Corrupt, "log file %s ends at %d, inside of what was written", name, int64(from.at())+int64(n))
	}
	return block.Wrap(block.Unavailable, err, "log file %s cannot be read at %d", name, int64(from.at()))
}

// note takes a record of f into the span of its segment.
func (f *logFile) note(d *descriptor) {
	if d.seg == 0 || d.typ == TypeDrop {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s, ok := f.mu.spans[d.seg]
	if !ok {
		s = noSpan
	}
	if d.typ.isChange() || d.typ == TypeReloc {
		s = span{min(s.min, d.lsn), max(s.max, d.lsn)}
	}
	f.mu.spans[d.seg] = s
}

func (f *logFile) span(seg segIndex) (span, bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	s, ok := f.mu.spans[seg]
	return s, ok
}

// segments are those with changes in f.
func (f *logFile) segments() (segs []segIndex) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for seg, s := range f.mu.spans {
		if s != noSpan {
			segs = append(segs, seg)
		}
	}
	return segs
}

// forget takes back what a walk has found in f.
func (f *logFile) forget() {
	f.end.Store(headerCopies)
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.mu.spans)
	f.mu.gaps = nil
}

func (f *logFile) addGap(g gap) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.gaps = append(f.mu.gaps, g)
}

// gapAt is where the log goes on if it is damaged at p; p itself if not.
func (f *logFile) gapAt(p pageNo) pageNo {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, g := range f.mu.gaps {
		if g.from == p {
			return g.to
		}
	}
	return p
}

// id is what a frame at page p of f must say.
func (f *logFile) id(p pageNo) frameID {
	return frameID{file: f.header.seq, nonce: f.header.nonce, page: p}
}

// openLogFile opens a log file and reads its header, from whichever copy is
// whole; bad tells how many copies are not. Error kinds: Corrupt (no copy is
// whole), Version, Unavailable.
func openLogFile(fs vfs.FS, dir, name string) (f *logFile, bad int, err error) {
	reader, err := fs.OpenFile(path.Join(dir, name), vfs.ReadOnly)
	if err != nil {
		return nil, 0, block.Wrap(block.Unavailable, err, "log file cannot be opened")
	}
	h, bad, err := readHeader(reader, name)
	if err != nil {
		reader.Close()
		return nil, bad, err
	}
	return newLogFile(fs, dir, name, h, reader), bad, nil
}

func readHeader(r vfs.File, name string) (h fileHeader, bad int, err error) {
	var p [headerCopies * pageSize]byte
	if _, err := r.ReadAt(p[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return h, 0, block.Wrap(block.Unavailable, err, "log file cannot be read")
	}
	found := false
	for i := range headerCopies {
		c, cerr := decodeFileHeader(p[i*pageSize : (i+1)*pageSize])
		switch {
		case block.KindOf(cerr) == block.Version:
			return h, bad, cerr
		case cerr != nil:
			bad++
			err = cerr
		default:
			h, found = c, true
		}
	}
	if !found {
		return h, bad, err
	}
	if logName(h.seq) != name {
		return h, bad, block.Errorf(block.Corrupt, "log file %s says that it is %s: was it renamed or copied?", name, logName(h.seq))
	}
	return h, bad, nil
}

// fileTable is the set of log files, ascending by number; a new one is made for
// each change. That copies 12 bytes for each file: a disk of some TiB has ten
// thousand of them, and who enqueues waits meanwhile.
type fileTable struct {
	all  []*logFile
	seqs []fileSeq // of all: to search in without looking at the files
}

// find is the file of that number, or nil.
func (t *fileTable) find(seq fileSeq) *logFile {
	if i, ok := slices.BinarySearch(t.seqs, seq); ok {
		return t.all[i]
	}
	return nil
}

func (t *fileTable) with(f *logFile) *fileTable {
	i, _ := slices.BinarySearch(t.seqs, f.header.seq)
	return &fileTable{inserted(t.all, i, f), inserted(t.seqs, i, f.header.seq)}
}

func (t *fileTable) without(f *logFile) *fileTable {
	i, ok := slices.BinarySearch(t.seqs, f.header.seq)
	if !ok {
		return t
	}
	return &fileTable{slices.Concat(t.all[:i], t.all[i+1:]), slices.Concat(t.seqs[:i], t.seqs[i+1:])}
}

// inserted is a copy of all with one more at i.
func inserted[T any](all []T, i int, one T) []T {
	n := make([]T, len(all)+1)
	copy(n, all[:i])
	n[i] = one
	copy(n[i+1:], all[i:])
	return n
}
