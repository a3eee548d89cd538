package logstore

import (
	"path"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/slab"
	"github.com/sextantdisk/sextant/internal/vfs"
)

// blank is a file that becomes a log file.
type blank struct {
	name   string
	origin blankOrigin
	pages  pageNo
	claims *claims // of a file made ahead
}

type blankOrigin uint8

const (
	blankSpare blankOrigin = iota // was a log file
	blankNext                     // made ahead: its space is taken
	blankNew                      // not made yet
)

// take gives the file that becomes the next log file. Error kind: NoSpace.
func (r *filer) take() (blank, error) {
	if name, ok := r.takeSpare(); ok {
		return blank{name: name, origin: blankSpare, pages: pageNo(r.fileSize / pageSize)}, nil
	}
	if b := r.takeNext(); b != nil {
		return *b, nil
	}
	return r.reserve()
}

// reserve counts a new file of full length in. Error kind: NoSpace.
func (r *filer) reserve() (blank, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.capacity > 0 && r.mu.planned+r.fileSize > r.capacity {
		return blank{}, block.Errorf(block.NoSpace, "log files take %v of the %v that the store may use", r.mu.planned, r.capacity)
	}
	r.mu.planned += r.fileSize
	r.mu.nextNew++
	return blank{name: fileName(newPrefix, r.mu.nextNew), origin: blankNew, pages: pageNo(r.fileSize / pageSize)}, nil
}

func (r *filer) unreserve() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.planned -= r.fileSize
}

// discard gives up a file that reserve has counted in. It may not exist; a
// leftover is removed at the next opening.
func (r *filer) discard(b blank) {
	r.unreserve()
	_ = r.fs.Remove(path.Join(r.dir, b.name))
}

func (r *filer) takeSpare() (string, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.mu.spares) == 0 {
		return "", false
	}
	name := r.mu.spares[0]
	r.mu.spares = r.mu.spares[1:]
	return name, true
}

// returnSpare puts a spare back that was taken in vain.
func (r *filer) returnSpare(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.spares = append(r.mu.spares, name)
}

// giveUpSpare removes the next file, or a spare one, so that there is room for something else;
// false if there is none.
func (r *filer) giveUpSpare() bool {
	b := r.takeNext()
	if b == nil {
		name, ok := r.takeSpare()
		if !ok {
			return false
		}
		b = &blank{name: name}
	}
	r.unreserve()
	return r.fs.Remove(path.Join(r.dir, b.name)) == nil
}

// upcoming is the file that was made ahead, nil if there is none.
func (r *filer) upcoming() *blank {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.next
}

func (r *filer) takeNext() *blank {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.mu.next
	r.mu.next = nil
	return b
}

// prepare makes a file ahead, so that the head need not wait for its space when
// it comes to it; false if there are others, or if clients could not have it.
// Only the filler calls it. Error kinds: NoSpace, Unavailable.
func (r *filer) prepare() (made bool, err error) {
	r.mu.Lock()
	free, reserve := r.roomLocked()
	enough := len(r.mu.spares)+r.mu.making > 0 || r.mu.next != nil || !takeClient.mayTake(free, reserve)
	r.mu.Unlock()
	if enough {
		return false, nil
	}
	b, err := r.reserve()
	if err != nil {
		return false, err
	}
	err = r.edit(b.name, vfs.Create|r.mode, func(w vfs.File) error {
		if err := w.Allocate(b.pages.bytes()); err != nil {
			return diskError(err, "taking space for", b.name)
		}
		if err := r.wipe(w, b.name, 0, headerCopies); err != nil {
			return err
		}
		return diskError(w.SyncMeta(), "syncing", b.name)
	})
	if err != nil {
		r.discard(b)
		return false, err
	}
	b.origin, b.claims = blankNext, &claims{}
	b.claims.mu.taken, b.claims.mu.filled = headerCopies, headerCopies
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.next = &b
	return true, nil
}

// activate turns a blank into the log file that h says.
func (r *filer) activate(b blank, h fileHeader) (hd head, err error) {
	name, full := b.name, path.Join(r.dir, b.name)
	mode := vfs.ReadWrite | r.mode
	if b.origin == blankNew {
		mode |= vfs.Create
	}
	w, err := r.fs.OpenFile(full, mode)
	if err != nil {
		return hd, diskError(err, "opening", name)
	}
	defer func() {
		if err != nil {
			w.Close()
		}
	}()
	switch b.origin {
	case blankSpare:
		size, err := w.Size()
		if err != nil {
			return hd, diskError(err, "examining", name)
		}
		h.pages = pageNo(size / pageSize)
	case blankNew:
		if err := w.Allocate(h.pages.bytes()); err != nil {
			return hd, diskError(err, "taking space for", name)
		}
	}
	if err := writeHeader(w, &h, name); err != nil {
		return hd, err
	}
	logPath := path.Join(r.dir, logName(h.seq))
	if err := r.fs.Rename(full, logPath); err != nil {
		return hd, diskError(err, "renaming", name)
	}
	if err := r.fs.SyncDir(r.dir); err != nil { // who knows which name it has now
		return hd, block.Wrap(block.Unavailable, err, "the disk failed: syncing %s", r.dir)
	}
	reader, err := r.fs.OpenFile(logPath, vfs.ReadOnly)
	if err != nil {
		return hd, block.Wrap(block.Unavailable, err, "the disk failed: opening %s", logPath)
	}
	f := newLogFile(r.fs, r.dir, logName(h.seq), h, reader)
	switch b.origin {
	case blankSpare:
		f.claims.mu.filled = h.pages
	case blankNext: // the filler may be writing there
		f.claims = b.claims
	}
	return head{file: f, writer: w, next: headerCopies, hs: r.headersFrom(headerCopies, h.pages)}, nil
}

func writeHeader(w vfs.File, h *fileHeader, name string) error {
	buf := slab.Get(headerCopies * pageSize)
	defer buf.Release()
	p := buf.Bytes()
	clear(p)
	for i := range headerCopies {
		h.encode(p[i*pageSize : (i+1)*pageSize])
	}
	if err := w.WritevAt([][]byte{p}, 0); err != nil {
		return diskError(err, "writing", name)
	}
	return diskError(w.SyncMeta(), "syncing", name)
}
