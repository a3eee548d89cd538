package logstore

import (
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/slab"
	"github.com/sextantdisk/sextant/internal/vfs"
	"github.com/sextantdisk/sextant/internal/vfs/memfs"
)

// harm is what became of a disk behind the store's back, after it was durable:
// bits that rotted, a write that went elsewhere, or nowhere, or only in part,
// though the disk said that it was done, a name that is lost.
type harm struct {
	c     *crasher
	what  string
	disk  *memfs.FS
	clean *Store // the same disk without it
	all   []framed
	// hit are the pages of batches that are not what they were; gone the log
	// files of which nothing can be read.
	hit  map[spot]bool
	gone map[fileSeq]bool
}

// spot is a page of a log file.
type spot struct {
	file fileSeq
	page pageNo
}

// framed is a batch as it lies on the clean disk.
type framed struct {
	file    *logFile
	at, end pageNo
	payload pageNo // where that begins
	recs    []descriptor
	// proven: something stands behind it that was written after it was
	// durable. Nobody misses another one (rules E to G of the table).
	proven bool
}

// harm does something to a disk; nil if there is nothing to do it to.
func (c *crasher) harm(disk *memfs.FS, r *rand.Rand) *harm {
	cfg := c.config()
	cfg.ReadOnly = true
	clean, err := Open(disk.CrashClone(r, 1), "/store", diskA, cfg)
	if err != nil {
		c.fatalf("looking at what a cut has left: %v", err)
	}
	h := &harm{c: c, disk: disk, clean: clean, hit: map[spot]bool{}, gone: map[fileSeq]bool{}}
	for _, f := range clean.files.Load().all {
		h.frames(f)
	}
	kinds := []func(*rand.Rand) bool{
		h.rotBatch, h.rotBatch, h.rotCheckpoint, h.rotCheckpoint, h.rotHeader, h.rotBothHeaders, h.rotFooter,
		h.loseWrite, h.cutWrite, h.misdirect, h.misdirect, h.loseName,
	}
	if len(h.all) == 0 || !kinds[r.IntN(len(kinds))](r) {
		h.close()
		return nil
	}
	return h
}

func (h *harm) close() { _ = h.clean.Close() }

// frames notes the batches of a file.
func (h *harm) frames(f *logFile) {
	sc := newScanner(f, f.reader, pageNo(f.end.Load()))
	defer sc.close()
	for at := pageNo(headerCopies); at < sc.size; {
		st, err := sc.decode(at)
		must(h.c.t, err)
		if st != frameGood {
			h.c.fatalf("%s has no batch at page %d of %d", f.name, at, sc.size)
		}
		fr := &sc.frame
		h.all = append(h.all, framed{
			file: f, at: at, end: fr.end(), payload: at + pageNo(fr.headerPages), recs: slices.Clone(fr.recs),
			proven: fr.end() < sc.size || !h.newest(f),
		})
		at = fr.end()
	}
}

// newest tells whether f is the last file of its log.
func (h *harm) newest(f *logFile) bool {
	return !slices.ContainsFunc(h.clean.files.Load().all, func(o *logFile) bool {
		return o.header.kind == f.header.kind && o.header.seq > f.header.seq
	})
}

// cleaned tells whether files were cleaned: the log has not all records any more.
func (h *harm) cleaned() bool {
	files := h.clean.files.Load()
	return slices.ContainsFunc(files.all, func(f *logFile) bool {
		return f.header.kind == fileCold || f.header.prevSeq != 0 && files.find(f.header.prevSeq) == nil
	})
}

// lossy tells whether the log itself lost something.
func (h *harm) lossy() bool { return len(h.hit) > 0 || len(h.gone) > 0 }

// loses tells whether the log may have lost the records of a batch.
func (h *harm) loses(b *framed) bool {
	for at := b.at; at < b.payload; at++ {
		if h.hit[spot{b.file.header.seq, at}] {
			return true
		}
	}
	return h.gone[b.file.header.seq]
}

// payloadOnly: the blocks of some records, or nothing at all.
func (h *harm) payloadOnly() bool {
	return len(h.gone) == 0 && !slices.ContainsFunc(h.all, func(b framed) bool { return h.loses(&b) || h.losesConfig(&b) })
}

func (h *harm) losesConfig(b *framed) bool {
	at := b.payload
	for i := range b.recs {
		for range b.recs[i].payload() {
			if b.recs[i].typ == TypeConfig && h.hit[spot{b.file.header.seq, at}] {
				return true
			}
			at++
		}
	}
	return false
}

// losesBirth tells whether a configuration of a segment is lost.
func (h *harm) losesBirth(seg segIndex) bool {
	return slices.ContainsFunc(h.all, func(b framed) bool {
		return (h.loses(&b) || h.losesConfig(&b)) && slices.ContainsFunc(b.recs, func(d descriptor) bool { return d.seg == seg && d.typ == TypeConfig })
	})
}

// lost tells whether all places are harmed where the hot log had a record. (What
// the cold one says of it is where blocks lie by now, and for who has nothing but
// the logs.)
func (h *harm) lost(seg segIndex, l block.LSN) bool {
	return !slices.ContainsFunc(h.all, func(b framed) bool {
		return b.file.header.kind == fileHot && !h.loses(&b) && slices.ContainsFunc(b.recs, func(d descriptor) bool {
			return d.seg == seg && d.lsn == l && d.typ.isChange()
		})
	})
}

// excuses tells whether a block at l may be refused: it lay there where harm
// was done; or it lay in a file that was cleaned, and the record is lost of where
// it was moved to, or of what was written over it; or its batch was torn, which is
// not seen where a lost file may have stood behind.
func (h *harm) excuses(s *Store, l location) bool {
	if h.hit[spot{l.file, pageNo(l.page)}] || h.gone[l.file] {
		return true
	}
	durable := slices.ContainsFunc(h.all, func(b framed) bool {
		return b.file.header.seq == l.file && b.at <= pageNo(l.page) && pageNo(l.page) < b.end
	})
	if len(h.gone) > 0 && !durable {
		return true
	}
	lost := slices.ContainsFunc(h.all, func(b framed) bool { return h.loses(&b) })
	return lost && s.files.Load().find(l.file) == nil
}

// damage notes that pages [from, to) of a log file are not what they were, as
// far as batches lie there.
func (h *harm) damage(f *logFile, from, to pageNo) {
	if from == 0 && to >= headerCopies {
		h.gone[f.header.seq] = true
	}
	for i := range h.all {
		b := &h.all[i]
		for at := max(from, b.at); b.file == f && at < min(to, b.end); at++ {
			h.hit[spot{f.header.seq, at}] = true
		}
	}
}

// oneOf draws a batch that is proven.
func (h *harm) oneOf(r *rand.Rand) (framed, bool) {
	proven := slices.DeleteFunc(slices.Clone(h.all), func(b framed) bool { return !b.proven })
	if len(proven) == 0 {
		return framed{}, false
	}
	return proven[r.IntN(len(proven))], true
}

func (h *harm) anyFile(r *rand.Rand) *logFile {
	all := h.clean.files.Load().all
	return all[r.IntN(len(all))]
}

func (h *harm) flip(r *rand.Rand, name string, at int) bool {
	mask := byte(1) << r.IntN(8)
	h.what += fmt.Sprintf("rot of %02x at %d of %s ", mask, at, name)
	return h.disk.Damage("/store/"+name, at, mask)
}

// write puts bytes on the disk, or zeroes as before anything was written.
func (h *harm) write(name string, at pageNo, p []byte) {
	w, err := h.disk.OpenFile("/store/"+name, vfs.ReadWrite)
	must(h.c.t, err)
	must(h.c.t, w.WritevAt([][]byte{p}, at.at()))
	must(h.c.t, w.SyncMeta())
	must(h.c.t, w.Close())
}

// rotBatch: a bit of a proven batch.
func (h *harm) rotBatch(r *rand.Rand) bool {
	b, ok := h.oneOf(r)
	if !ok {
		return false
	}
	page := b.at + pageNo(r.IntN(int(b.end-b.at)))
	at := int(page) * pageSize
	if r.IntN(2) == 0 {
		at += r.IntN(256) // where headers are dense
	} else {
		at += r.IntN(pageSize)
	}
	h.damage(b.file, page, page+1)
	return h.flip(r, b.file.name, at)
}

// rotCheckpoint: a bit of one file of the checkpoints, or of each.
func (h *harm) rotCheckpoint(r *rand.Rand) bool {
	names, err := h.disk.List("/store")
	must(h.c.t, err)
	names = slices.DeleteFunc(names, func(name string) bool {
		_, manifest := parseName(manifestPrefix, name)
		size, err := h.disk.Stat(path.Join("/store", name))
		return err != nil || size == 0 || !manifest && !isContents(name)
	})
	if len(names) == 0 {
		return false
	}
	r.Shuffle(len(names), func(i, k int) { names[i], names[k] = names[k], names[i] })
	if kind := []string{leavesPrefix, statePrefix, manifestPrefix, ""}[r.IntN(4)]; kind != "" {
		names = slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, kind) })
		names = names[:min(1, len(names))]
	}
	for _, name := range names {
		size, err := h.disk.Stat(path.Join("/store", name))
		must(h.c.t, err)
		if r.IntN(4) > 0 {
			size = min(size, 8*crashBlocks) // the first places of a leaf, or what a manifest says
		}
		h.flip(r, name, r.IntN(int(size)))
	}
	return len(names) > 0
}

// rotHeader: a bit of one copy of a log file's header.
func (h *harm) rotHeader(r *rand.Rand) bool {
	return h.flip(r, h.anyFile(r).name, r.IntN(headerCopies)*pageSize+r.IntN(80))
}

// rotBothHeaders: the file's batches cannot be told from others any more.
func (h *harm) rotBothHeaders(r *rand.Rand) bool {
	f := h.anyFile(r)
	h.damage(f, 0, headerCopies)
	return h.flip(r, f.name, r.IntN(80)) && h.flip(r, f.name, pageSize+r.IntN(80))
}

// rotFooter: the batches tell the same.
func (h *harm) rotFooter(r *rand.Rand) bool {
	with := slices.DeleteFunc(slices.Clone(h.clean.files.Load().all), func(f *logFile) bool { return readFooter(f, f.reader) == nil })
	if len(with) == 0 {
		return false
	}
	f := with[r.IntN(len(with))]
	t := readFooter(f, f.reader)
	trailer := int(f.header.pages-1) * pageSize
	if t.length == 0 || r.IntN(4) == 0 {
		return h.flip(r, f.name, trailer+r.IntN(40))
	}
	return h.flip(r, f.name, trailer-int(pagesFor(t.length))*pageSize+r.IntN(t.length))
}

// loseWrite: the disk says that it wrote a batch, and did not.
func (h *harm) loseWrite(r *rand.Rand) bool {
	b, ok := h.oneOf(r)
	if ok {
		h.unwrite(b, b.at)
	}
	return ok
}

// cutWrite: it wrote the first pages of it.
func (h *harm) cutWrite(r *rand.Rand) bool {
	b, ok := h.oneOf(r)
	if !ok || b.end-b.at < 2 {
		return false
	}
	h.unwrite(b, b.at+1+pageNo(r.IntN(int(b.end-b.at)-1)))
	return true
}

func (h *harm) unwrite(b framed, from pageNo) {
	h.what += fmt.Sprintf("pages %d to %d of %s were not written ", from, b.end, b.file.name)
	h.write(b.file.name, from, zeroes()[:int(b.end-from)*pageSize])
	h.damage(b.file, from, b.end)
}

// misdirect: it wrote the batch elsewhere, in any log file, but not over what
// nothing proves.
func (h *harm) misdirect(r *rand.Rand) bool {
	b, ok := h.oneOf(r)
	if !ok {
		return false
	}
	n := b.end - b.at
	buf := slab.Get(int(n) * pageSize)
	defer buf.Release()
	must(h.c.t, b.file.read(buf.Bytes(), b.at))
	to := h.anyFile(r)
	at := pageNo(r.IntN(int(to.header.pages - n + 1)))
	if r.IntN(6) == 0 {
		at = 0
	}
	if slices.ContainsFunc(h.all, func(o framed) bool { return o.file == to && !o.proven && at < o.end && o.at < at+n }) {
		return false
	}
	h.unwrite(b, b.at)
	h.what += fmt.Sprintf("but over page %d of %s ", at, to.name)
	h.write(to.name, at, buf.Bytes())
	h.damage(to, at, at+n)
	return true
}

// loseName: a log file is not in its folder any more. Of the last one of the
// hot log only the footer of the one before it tells.
func (h *harm) loseName(r *rand.Rand) bool {
	f := h.anyFile(r)
	if f.header.kind == fileHot && h.newest(f) {
		before := h.clean.files.Load().find(f.header.prevSeq)
		if before == nil || readFooter(before, before.reader) == nil {
			return false
		}
	}
	h.what += f.name + " is gone "
	h.gone[f.header.seq] = true
	must(h.c.t, h.disk.Remove("/store/"+f.name))
	must(h.c.t, h.disk.SyncDir("/store"))
	return true
}
