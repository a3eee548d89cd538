package logstore

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"math"
	"path"
	"sync"
	"syscall"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/slab"
	"github.com/sextantdisk/sextant/internal/vfs"
)

// filer makes log files: of spares, which were log files before, or of new ones
// with their space reserved, when there is no spare. Neither can run out of space
// later; an fdatasync of blocks that were written before costs half of one that
// must also record that they are written now.
//
// Names tell how far a file is: new-N is being made, or waits for the head to
// need it; spare-N waits to be used again; log-S has a durable header. Each step
// is durable before the next.
type filer struct {
	fs       vfs.FS
	dir      string
	disk     block.DiskID
	fileSize block.ByteCount
	capacity block.ByteCount // 0: no bound
	mode     vfs.Mode        // vfs.Direct or 0
	// maxSpares is how many files are kept that were cleaned.
	maxSpares int
	// footerFrom is from how many pages on a file gets a footer.
	footerFrom pageNo

	mu struct {
		sync.Mutex
		spares  []string
		next    *blank // made ahead; nil: none
		making  int    // spares that are not durable yet
		nextNew uint32
		planned block.ByteCount // full lengths of log files and spares
		// limit is what log files and spares may take: the capacity, or
		// less if the file system has less. It is asked now and then.
		limit block.ByteCount
		// lastSeq is the highest number that a log file ever had.
		lastSeq fileSeq
	}
}

// measure asks the file system how much room there is.
func (r *filer) measure() {
	space, err := r.fs.Space(r.dir)
	r.mu.Lock()
	defer r.mu.Unlock()
	limit := r.mu.planned + space.Free
	if err != nil { // then the setting must do
		limit = math.MaxInt64
	}
	if r.capacity > 0 {
		limit = min(limit, r.capacity)
	}
	r.mu.limit = limit
}

// limit is what log files may take.
func (r *filer) limit() block.ByteCount {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.limit
}

// growStep is how much is zero-written at a time.
const growStep = pageNo(1 * block.MiB / pageSize)

func newFiler(fs vfs.FS, dir string, disk block.DiskID, cfg *Config) *filer {
	r := &filer{fs: fs, dir: dir, disk: disk, fileSize: cfg.FileSize, capacity: cfg.Capacity, maxSpares: cfg.Spares, footerFrom: cfg.footerFrom}
	if cfg.Direct == DirectAuto {
		r.mode = vfs.Direct
	}
	return r
}

// diskError gives an error of the file system a kind: NoSpace goes by, all
// else ends the log (rule S3).
func diskError(err error, what, name string) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return block.Wrap(block.NoSpace, err, "the disk is full: %s %s", what, name)
	}
	return block.Wrap(block.Unavailable, err, "the disk failed: %s %s", what, name)
}

// edit opens a file, which mode may have made, has fn change it, and closes it.
// Error kinds: those of fn, NoSpace, Unavailable.
func (r *filer) edit(name string, mode vfs.Mode, fn func(w vfs.File) error) error {
	what := "opening"
	if mode&vfs.Create != 0 {
		what = "making"
	}
	w, err := r.fs.OpenFile(path.Join(r.dir, name), vfs.ReadWrite|mode)
	if err != nil {
		return diskError(err, what, name)
	}
	err = fn(w)
	if cerr := w.Close(); err == nil {
		err = diskError(cerr, "closing", name)
	}
	return err
}

// adopt counts a file found at opening in.
func (r *filer) adopt(size block.ByteCount) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.planned += size
}

// abandon takes off what adopt has counted in.
func (r *filer) abandon(size block.ByteCount) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.planned -= min(r.mu.planned, size)
}

func (r *filer) adoptSpare(name string, n uint32, size block.ByteCount) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.spares = append(r.mu.spares, name)
	r.mu.planned += size
	r.mu.nextNew = max(r.mu.nextNew, n)
}

func (r *filer) spares() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.mu.spares)
}

// head is the file that batches are appended to. Its leader owns it.
type head struct {
	file     *logFile
	writer   vfs.File
	next     pageNo // where the next batch goes
	lastPage pageNo // where the last batch of this file began, or 0
	// reserved: the file was taken out of the reserve; clients' records do
	// not get in before there are others again.
	reserved bool
	hs       headers // of the batches, for the footer
}

// room is how many pages are left for batches: all, in a file that has none.
func (h *head) room() pageNo {
	if h.file == nil {
		return 0
	}
	left := h.file.header.pages - h.next
	if h.next == headerCopies || h.hs.none {
		return left
	}
	return left - min(left, footerRoom(h.file.header.pages, h.hs.size())+footerSlack)
}

// position is where the head stands, behind the batch of that number.
func (h *head) position(last batchSeq) position {
	return position{file: h.file.header.seq, page: h.next, lastPage: h.lastPage, batch: last}
}

// make makes the next log file ready for its first batch, durably; h says what
// the caller knows of it. Error kinds: NoSpace, Unavailable.
func (r *filer) make(h fileHeader, who taker) (head, error) {
	r.measure()
	free, reserve := r.room()
	if !who.mayTake(free, reserve) {
		return head{}, r.fullError(free)
	}
	b, err := r.take()
	if err != nil {
		return head{}, err
	}
	h.disk, h.nonce, h.pages, h.seq = r.disk, newNonce(), b.pages, r.number()
	hd, err := r.activate(b, h)
	switch {
	case err != nil && b.origin == blankSpare:
		r.returnSpare(b.name)
	case err != nil:
		r.discard(b)
	}
	hd.reserved = !takeClient.mayTake(free, reserve)
	return hd, err
}

func (r *filer) fullError(free int) error {
	return block.Errorf(block.NoSpace, "log store %s is full: %d free log files of %v are left, which are not for this; trim, delete volumes or enlarge its capacity",
		r.dir, free, r.fileSize)
}

// admit decides whether who may append to h.
func (r *filer) admit(h *head, who taker) error {
	if !h.reserved || who != takeClient {
		return nil
	}
	r.measure()
	free, reserve := r.room()
	if !who.mayTake(free, reserve) {
		return r.fullError(free)
	}
	h.reserved = false
	return nil
}

// number gives out the number of a new file.
func (r *filer) number() fileSeq {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.lastSeq++
	return r.mu.lastSeq
}

// numbered notes a number that a file has, or had.
func (r *filer) numbered(seq fileSeq) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.lastSeq = max(r.mu.lastSeq, seq)
}

// newest is the highest number that a file has, or had.
func (r *filer) newest() fileSeq {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.lastSeq
}

// room is how many log files are free, spares and the next one included, and how
// many of them are the reserve.
func (r *filer) room() (free, reserve int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.roomLocked()
}

func (r *filer) roomLocked() (free, reserve int) {
	free = len(r.mu.spares) + int((r.mu.limit-min(r.mu.limit, r.mu.planned))/r.fileSize)
	if r.mu.next != nil {
		free++
	}
	return free, reserveOf(int(r.mu.limit / r.fileSize))
}

func newNonce() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return binary.LittleEndian.Uint64(b[:])
}

// wipe writes zeroes to pages [from, to); nothing is durable yet.
func (r *filer) wipe(w vfs.File, name string, from, to pageNo) error {
	buf := zeroes()
	for p := from; p < to; p += growStep {
		n := min(growStep, to-p)
		if err := w.WritevAt([][]byte{buf[:n*pageSize]}, p.at()); err != nil {
			return diskError(err, "zero-writing", name)
		}
	}
	return nil
}

// zeroes is growStep pages of zeroes, aligned, shared, not to be written to.
var zeroes = sync.OnceValue(func() []byte {
	b := slab.Get(int(growStep) * pageSize).Bytes()
	clear(b)
	return b
})
