package logstore

import (
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs"
)

// visitor is told what a walk of the log finds, in the order of the log.
type visitor interface {
	// file begins; bad counts its unreadable header copies.
	file(f *logFile, bad int) error
	// batch: fr is valid during the call. sc may be used to read payload.
	batch(f *logFile, fr *frame, sc *scanner) error
	// damage: a part of the log is lost here.
	damage(d Damage) error
}

// logEnd is where a log ends.
type logEnd struct {
	file     *logFile // the last one, or nil if it has no header
	seq      fileSeq  // number of the last file
	page     pageNo   // behind the last batch
	lastPage pageNo   // where that batch began, or 0
	batch    batchSeq // number of the last batch
	torn     bool     // nothing may be appended to this file
	marked   bool     // the last batch is a SYNCMARK
	lost     bool     // at least one file stood behind the last one
}

// position is where a replay from here would begin.
func (e *logEnd) position() position {
	return position{file: e.seq, page: e.page, lastPage: e.lastPage, batch: e.batch}
}

// logPart is a log file by its name, before its header is known to be good.
type logPart struct {
	seq  fileSeq
	name string
	file *logFile // nil if no header copy is whole
	bad  int
	size block.ByteCount
}

// walker reads a log from its first file, or from a position, to its end.
type walker struct {
	parts []logPart // ascending; none before from's file
	from  position
	freed map[fileSeq]bool // files that are gone and should be
	// ends are where files ended whose successors are gone.
	ends  map[fileSeq]pageNo
	plain bool // read batches, not footers
	v     visitor
	// open opens a file for this walk alone, past the page cache if possible.
	open func(name string) (vfs.File, error)
	end  logEnd
	// held is the last batch found in the last file: it is visited when
	// what stands behind it is known.
	held    frame
	holding bool
}

// walk reads all files and decides where the log ends.
func (w *walker) walk() error {
	if w.from.file != 0 && (len(w.parts) == 0 || w.parts[0].seq != w.from.file) {
		w.end = logEnd{seq: w.from.file, batch: w.from.batch, page: headerCopies, torn: true}
		if !w.freed[w.from.file] {
			if err := w.v.damage(Damage{Kind: DamageFile, File: logName(w.from.file)}); err != nil {
				return err
			}
		}
	}
	for i := range w.parts {
		p := &w.parts[i]
		if err := w.link(i); err != nil {
			return err
		}
		w.end.file, w.end.seq, w.end.lastPage, w.end.page = p.file, p.seq, 0, headerCopies
		midway := w.from.file != 0 && p.seq == w.from.file
		if p.file == nil {
			w.end.torn = true
			if err := w.v.damage(Damage{Kind: DamageFile, File: p.name, Length: p.size}); err != nil {
				return err
			}
			continue
		}
		if err := w.v.file(p.file, p.bad); err != nil {
			return err
		}
		w.end.torn = false
		w.end.batch = p.file.header.firstBatch - 1
		if midway {
			w.end.page, w.end.lastPage, w.end.batch = w.from.page, w.from.lastPage, w.from.batch
		}
		if err := w.one(i, midway); err != nil {
			return err
		}
	}
	return nil
}

// length is how much of the log was walked, in bytes: roughly, damage included.
func (w *walker) length() (n block.ByteCount) {
	for i := range w.parts {
		p := &w.parts[i]
		switch {
		case p.file == nil:
		case p.seq == w.from.file:
			n += pageNo(p.file.end.Load()).bytes() - w.from.page.bytes()
		default:
			n += pageNo(p.file.end.Load()).bytes()
		}
	}
	return n
}

// link checks that part i follows the one before it.
func (w *walker) link(i int) error {
	f := w.parts[i].file
	if f == nil || f.header.seq == w.from.file {
		return nil
	}
	before := w.from.file
	if i > 0 {
		before = w.parts[i-1].seq
	}
	if f.header.prevSeq == before || w.freed[f.header.prevSeq] {
		return nil
	}
	return w.v.damage(Damage{Kind: DamageFile, File: logName(f.header.prevSeq)})
}

// limit is where part i ends according to its successor: known if that one
// has a header, or is gone and a SEAL says it, sealed if there is one at all.
func (w *walker) limit(i int) (at pageNo, sealed, known bool) {
	last := i+1 == len(w.parts)
	if !last {
		if next := w.parts[i+1].file; next != nil && next.header.prevSeq == w.parts[i].seq {
			return next.header.prevValid, true, true
		}
	}
	if end, ok := w.ends[w.parts[i].seq]; ok {
		return end, true, true
	}
	return 0, !last, false
}

// one walks one file; midway says that it begins where a checkpoint ends.
func (w *walker) one(i int, midway bool) error {
	p := &w.parts[i]
	size := pageNo(p.size / pageSize)
	limit, sealed, known := w.limit(i)
	if known {
		size = min(size, limit)
	}
	reader, err := w.open(p.name)
	if err != nil {
		return diskError(err, "opening", p.name)
	}
	defer func() { _ = reader.Close() }() // it was only read
	sc := newScanner(p.file, reader, size)
	defer sc.close()
	if midway {
		if err := w.meet(p, sc); err != nil {
			return err
		}
		if known {
			w.end.page = min(w.end.page, limit)
		}
	}
	if err := w.short(p, sc, reader, sealed); err != nil {
		return err
	}
	for {
		st, err := sc.decode(w.end.page)
		if err != nil {
			return err
		}
		if st == frameGood && sc.frame.seq > w.end.batch {
			if err := w.take(p.file, sc, sealed); err != nil {
				return err
			}
			continue
		}
		e := ending{sealed: sealed, begun: st != frameNone}
		e.atEnd = known && w.end.page == limit
		more, err := w.finish(p, sc, e, limit, known)
		if err != nil || !more {
			return err
		}
	}
}

// short walks a file by its footer, if it has one: what is read then is the
// page behind. A last file that has one has lost its successor; what stood
// there is not known.
func (w *walker) short(p *logPart, sc *scanner, reader vfs.File, sealed bool) error {
	if w.plain {
		return nil
	}
	t := readFooter(p.file, reader)
	if t == nil {
		return nil
	}
	for rest := t.body; len(rest) > 0; {
		var st frameState
		if rest, st = sc.frame.decodeFooter(rest, p.file); st != frameGood {
			return nil // go on with the batches
		}
		fr := &sc.frame
		if fr.page < w.end.page || fr.seq <= w.end.batch {
			continue
		}
		if fr.page > w.end.page {
			p.file.addGap(gap{w.end.page, fr.page})
		}
		if err := w.take(p.file, sc, true); err != nil {
			return err
		}
	}
	if !sealed && p.file.header.kind == fileHot {
		w.end.torn, w.end.lost = true, true
		return w.v.damage(Damage{Kind: DamageFile, File: "the log file behind " + p.name})
	}
	return nil
}

// meet makes sure that the log is what the checkpoint was made of: the batch
// before the position must be there. If it is not, then what stood behind it
// may be lost as well; nothing is appended to this file.
func (w *walker) meet(p *logPart, sc *scanner) error {
	if w.from.lastPage == 0 {
		return nil
	}
	st, err := sc.decode(w.from.lastPage)
	if err != nil {
		return err
	}
	fr := &sc.frame
	if st == frameGood && fr.seq == w.from.batch && fr.end() == w.from.page {
		w.end.marked = fr.marked()
		return nil
	}
	w.end.torn = true
	return w.v.damage(Damage{Kind: DamageBatch, File: p.name, Offset: w.from.lastPage.bytes(), Length: (w.from.page - w.from.lastPage).bytes()})
}

// take visits the frame that sc has found; in the last file it is held back
// and the one before it is visited.
func (w *walker) take(f *logFile, sc *scanner, sealed bool) error {
	fr := &sc.frame
	if fr.seq != w.end.batch+1 {
		d := Damage{Kind: DamageBatch, File: f.name, Offset: w.end.page.bytes()}
		if err := w.v.damage(d); err != nil {
			return err
		}
	}
	w.end.lastPage, w.end.page, w.end.batch = fr.page, fr.end(), fr.seq
	w.end.marked = fr.marked()
	if sealed {
		return w.v.batch(f, fr, sc)
	}
	w.held, sc.frame = sc.frame, w.held
	holding := w.holding
	w.holding = true
	if !holding {
		return nil
	}
	return w.v.batch(f, &sc.frame, sc)
}

// let visits the batch that was held back.
func (w *walker) let(f *logFile, sc *scanner) error {
	if !w.holding {
		return nil
	}
	w.holding = false
	return w.v.batch(f, &w.held, sc)
}

// finish acts on the verdict; more says that the file goes on. Where a successor
// cannot say where the file ended, it ended behind its last frame.
func (w *walker) finish(p *logPart, sc *scanner, e ending, limit pageNo, known bool) (more bool, err error) {
	at, resume := w.end.page, pageNo(0)
	if !e.atEnd {
		if resume, e.later, err = sc.later(at, w.end.batch); err != nil {
			return false, err
		}
		e.atEnd = e.sealed && !known && !e.later
	}
	e.whole = true
	if w.holding && !e.later && !e.begun {
		if e.whole, err = sc.whole(&w.held); err != nil {
			return false, err
		}
	}
	switch e.decide() {
	case endOfFile, endOfLog:
		return false, w.let(p.file, sc)
	case tornHere:
		w.end.torn = true
		return false, w.let(p.file, sc)
	case tornLast:
		w.end.torn, w.holding = true, false
		w.end.page, w.end.lastPage, w.end.batch, w.end.marked = w.held.page, w.held.prevPage, w.held.seq-1, false
		return false, nil
	case damagedGap:
		return true, w.gap(p, sc, Damage{Kind: DamageBatch, File: p.name, Offset: at.bytes(), Length: (resume - at).bytes()}, resume)
	default:
		return false, w.gap(p, sc, Damage{Kind: DamageTail, File: p.name, Offset: at.bytes(), Length: (limit - at).bytes()}, limit)
	}
}

// gap steps over damage.
func (w *walker) gap(p *logPart, sc *scanner, d Damage, to pageNo) error {
	if err := w.let(p.file, sc); err != nil {
		return err
	}
	p.file.addGap(gap{w.end.page, to})
	w.end.page = to
	if err := w.v.damage(d); err != nil {
		return err
	}
	if d.Kind == DamageBatch { // the lost batches are reported once
		st, err := sc.decode(to)
		if err != nil {
			return err
		}
		if st == frameGood {
			w.end.batch = sc.frame.seq - 1
		}
	}
	return nil
}
