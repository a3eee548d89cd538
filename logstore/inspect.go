package logstore

import (
	"errors"
	"io/fs"
	"path"
	"slices"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs"
)

// FileInfo is a log file as Inspect finds it.
type FileInfo struct {
	Name       string          `json:"name"`
	Kind       string          `json:"kind"` // hot or cold
	Disk       string          `json:"disk"`
	Size       block.ByteCount `json:"size"`
	FullSize   block.ByteCount `json:"full_size"` // what it may grow to
	Previous   string          `json:"previous,omitempty"`
	PrevValid  block.ByteCount `json:"previous_valid"` // where that one ended
	BadHeaders int             `json:"bad_headers"`
	FooterEnd  block.ByteCount `json:"footer_end,omitempty"` // where the batches end, says the footer; 0: there is none that is whole
	Footer     int             `json:"footer_batches,omitempty"`
}

// BatchInfo is one group commit.
type BatchInfo struct {
	File    string          `json:"file"`
	Offset  block.ByteCount `json:"offset"`
	Batch   int             `json:"batch"`
	Header  block.ByteCount `json:"header_bytes"`
	Payload block.ByteCount `json:"payload_bytes"`
	Records int             `json:"records"`
}

// RecordInfo is one record of the BatchInfo told before it.
type RecordInfo struct {
	Type    string            `json:"type"`
	Segment int               `json:"segment_number"`
	LSN     string            `json:"lsn,omitempty"`
	Prev    string            `json:"prev,omitempty"`
	Block   block.Index       `json:"block"`
	Count   block.Count       `json:"count"`
	Flags   int               `json:"flags"`
	Payload block.ByteCount   `json:"payload_offset,omitempty"`
	Sums    []block.Sum       `json:"sums,omitempty"`
	Epoch   block.VolumeEpoch `json:"epoch,omitempty"` // promised, for promise, config and status
	Source  string            `json:"source,omitempty"`
	// File is what free and seal speak of; with free how many log files remain
	// and how far the cold log had come, with seal where the file ended.
	File      string          `json:"file,omitempty"`
	Remain    int             `json:"files_remaining,omitempty"`
	ColdBatch int             `json:"cold_batch,omitempty"`
	End       block.ByteCount `json:"end,omitempty"`
	// SegmentID is told by config records.
	SegmentID string `json:"segment,omitempty"`
	Config    []byte `json:"config,omitempty"`
}

// LogSummary is what Inspect says at the end.
type LogSummary struct {
	LastFile string          `json:"last_file"`
	End      block.ByteCount `json:"end"`                      // where the log ends in it
	LastCold string          `json:"last_cold_file,omitempty"` // the same of the cold log
	ColdEnd  block.ByteCount `json:"cold_end,omitempty"`
	Torn     bool            `json:"torn"`
	Marked   bool            `json:"marked"` // the last batch proves the one before it
	Files    int             `json:"files"`
	Batches  int             `json:"batches"`
	Records  int             `json:"records"`
	Damages  int             `json:"damages"`
}

// Inspector is told of a log, in its order. Functions that are nil are not
// called; an error from one ends the inspection.
type Inspector struct {
	File   func(FileInfo) error
	Batch  func(BatchInfo) error
	Record func(RecordInfo) error
	Damage func(Damage) error
}

// Inspect reads the log in dir, which no daemon may have open, with the
// decoder and the decisions of Open; it changes nothing. Error kinds:
// NotFound (no log there), Version, Unavailable.
func Inspect(fsys vfs.FS, dir string, in Inspector) (LogSummary, error) {
	lock, err := fsys.Lock(path.Join(dir, lockName))
	if errors.Is(err, fs.ErrNotExist) {
		return LogSummary{}, block.Wrap(block.NotFound, err, "there is no log store in %s", dir)
	}
	if err != nil {
		return LogSummary{}, block.Wrap(block.Unavailable, err, "log store %s cannot be locked: stop its daemon first", dir)
	}
	defer lock.Close()
	parts, err := inspectParts(fsys, dir)
	defer closeParts(parts)
	if err != nil {
		return LogSummary{}, err
	}
	v := inspection{Inspector: in, freed: newFreed()}
	hot, cold := byKind(parts)
	w := walker{parts: hot, v: &v, plain: true, open: func(name string) (vfs.File, error) { return fsys.OpenFile(path.Join(dir, name), vfs.Direct) }}
	c := w
	c.parts = cold
	if err := w.walk(); err != nil {
		return v.sum, err
	}
	v.sum.LastFile, v.sum.End = logName(w.end.seq), w.end.page.bytes()
	v.sum.Torn, v.sum.Marked = w.end.torn, w.end.marked
	if len(cold) > 0 {
		if err := c.walk(); err != nil {
			return v.sum, err
		}
		v.sum.LastCold, v.sum.ColdEnd = logName(c.end.seq), c.end.page.bytes()
	}
	return v.sum, v.tellGone()
}

// Identify tells whose log is in dir, from the first header that can be read:
// to open it with ReadOnly. Error kinds: those of Inspect, Corrupt.
func Identify(fsys vfs.FS, dir string) (block.DiskID, error) {
	parts, err := inspectParts(fsys, dir)
	defer closeParts(parts)
	if err != nil {
		return block.DiskID{}, err
	}
	for _, p := range parts {
		if p.file != nil {
			return p.file.header.disk, nil
		}
	}
	return block.DiskID{}, block.Errorf(block.Corrupt, "no log file in %s has a readable header", dir)
}

// Present reports whether dir holds log files, readable or not. A dir that
// does not exist holds none. Error kind: Unavailable.
func Present(fsys vfs.FS, dir string) (bool, error) {
	names, err := fsys.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, diskError(err, "listing", dir)
	}
	return slices.ContainsFunc(names, func(name string) bool {
		seq, ok := parseName(logPrefix, name)
		return ok && seq != 0
	}), nil
}

func inspectParts(fsys vfs.FS, dir string) (parts []logPart, err error) {
	names, err := fsys.List(dir)
	if err != nil {
		return nil, block.Wrap(block.NotFound, err, "no log store can be read in %s", dir)
	}
	for _, name := range names {
		seq, ok := parseName(logPrefix, name)
		if !ok || seq == 0 {
			continue
		}
		p := logPart{seq: fileSeq(seq), name: name}
		if p.size, err = fsys.Stat(path.Join(dir, name)); err != nil {
			return parts, diskError(err, "examining", name)
		}
		p.file, p.bad, err = openLogFile(fsys, dir, name)
		if err != nil && block.KindOf(err) != block.Corrupt {
			return parts, err
		}
		parts = append(parts, p)
	}
	if len(parts) == 0 {
		return nil, block.Errorf(block.NotFound, "there is no log in %s", dir)
	}
	slices.SortFunc(parts, bySeq)
	return parts, nil
}

// inspection is a visitor that tells an Inspector.
type inspection struct {
	Inspector
	sum   LogSummary
	freed freed
	gone  []Damage // files that are not there, which FREEs may explain
}

// tellGone tells of the files that are gone without having been freed.
func (v *inspection) tellGone() error {
	for _, d := range v.gone {
		if n, ok := parseName(logPrefix, d.File); ok && v.freed.files[fileSeq(n)] {
			continue
		}
		v.sum.Damages++
		if err := tell(v.Damage, d); err != nil {
			return err
		}
	}
	return nil
}

func (v *inspection) file(f *logFile, bad int) error {
	v.sum.Files++
	h := &f.header
	size, err := f.reader.Size()
	if err != nil {
		return diskError(err, "examining", f.name)
	}
	info := FileInfo{Name: f.name, Kind: h.kind.String(), Disk: h.disk.String(), Size: size, FullSize: h.pages.bytes(), PrevValid: h.prevValid.bytes(), BadHeaders: bad}
	if h.prevSeq != 0 {
		info.Previous = logName(h.prevSeq)
	}
	if t := readFooter(f, f.reader); t != nil {
		info.FooterEnd, info.Footer = t.end.bytes(), t.batches
	}
	if bad > 0 {
		if err := v.damage(Damage{Kind: DamageHeader, File: f.name, Length: pageSize}); err != nil {
			return err
		}
	}
	return tell(v.File, info)
}

// tell calls fn, if there is one.
func tell[T any](fn func(T) error, what T) error {
	if fn == nil {
		return nil
	}
	return fn(what)
}

func (v *inspection) damage(d Damage) error {
	if d.Kind == DamageFile && d.Length == 0 {
		v.gone = append(v.gone, d)
		return nil
	}
	v.sum.Damages++
	return tell(v.Damage, d)
}

func (v *inspection) batch(f *logFile, fr *frame, sc *scanner) error {
	v.sum.Batches++
	v.sum.Records += len(fr.recs)
	for i := range fr.recs {
		if fr.recs[i].typ == TypeFree {
			v.freed.add(&fr.recs[i])
		}
	}
	err := tell(v.Batch, BatchInfo{
		File: f.name, Offset: fr.page.bytes(), Batch: int(fr.seq), Header: pageNo(fr.headerPages).bytes(),
		Payload: fr.payloadPages.bytes(), Records: len(fr.recs),
	})
	if err != nil || v.Record == nil {
		return err
	}
	for _, r := range fr.each() {
		info, err := describe(r.d, r.sums, r.at, sc)
		if err != nil {
			return err
		}
		if err := v.Record(info); err != nil {
			return err
		}
	}
	return nil
}

// describe is a record for people.
func describe(d *descriptor, sums []block.Sum, at pageNo, sc *scanner) (RecordInfo, error) {
	info := RecordInfo{Type: d.typ.String(), Segment: int(d.seg), Flags: int(d.flags)}
	if d.payload() > 0 {
		info.Payload, info.Sums = at.bytes(), slices.Clone(sums)
	}
	switch d.typ {
	case TypePromise, TypeStatus, TypeConfig:
		info.Epoch = block.VolumeEpoch(d.block)
	case TypeFree:
		info.File, info.Remain, info.ColdBatch = logName(fileSeq(d.block)), int(d.count), int(d.lsn)
		return info, nil
	case TypeSeal:
		info.File, info.End = logName(fileSeq(d.block)), pageNo(d.count).bytes()
		return info, nil
	case TypeHydrate:
		info.Count = block.Count(d.count)
	default:
		info.Block, info.Count = block.Index(d.block), block.Count(d.count)
	}
	if d.lsn != 0 {
		info.LSN, info.Prev = d.lsn.String(), d.prev.String()
	}
	switch d.typ {
	case TypeReloc:
		info.Source = logName(d.source.file) + " at " + pageNo(d.source.page).bytes().String()
	case TypeConfig:
		p, _, err := sc.config(at, sums)
		if err != nil {
			return info, err
		}
		if id, config, ok := decodeConfig(p); ok {
			info.SegmentID, info.Config = id.String(), config
		}
	}
	return info, nil
}
