package logstore

import (
	"slices"
	"sync"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/slab"
)

// scanCost is what a record counts for in a scan's budget beside its payload.
const scanCost = 512

// Scan calls fn for the records of the complete chain in (after, upTo], in
// order of LSN, until about maxBytes of payload were given, at least one
// record if there is one (rule R20). The record and its payload are valid
// during the call only; sums were verified. It stops with fn's error.
//
// after need not be on the chain: the first record's Prev tells whether the
// receiver can link it; if not, it must ask again from its own floor, which
// is on every chain. Error kinds: Behind (upTo > SCL), NotFound (a part is not
// in the log any more), Corrupt, Unavailable, Closed.
func (g *Segment) Scan(after, upTo block.LSN, maxBytes block.ByteCount, fn func(Record) error) error {
	if after >= upTo {
		return nil
	}
	for range 2 { // all may be settled while it is looked for above the floor
		given, err := g.scanOnce(after, upTo, maxBytes, fn)
		if given || err != nil {
			return err
		}
	}
	return block.Errorf(block.NotFound, "segment %v has no record after %v up to %v", g.id, after, upTo)
}

// scanOnce is Scan, but may give nothing if the floor moves meanwhile.
func (g *Segment) scanOnce(after, upTo block.LSN, maxBytes block.ByteCount, fn func(Record) error) (given bool, err error) {
	view, err := g.scanView(after, upTo)
	if err != nil {
		return false, err
	}
	if after >= view.floor {
		return g.scanChain(after, upTo, maxBytes, fn)
	}
	refs, err := g.collect(view, after, min(upTo, view.floor), maxBytes)
	if err != nil {
		return false, err
	}
	if err := g.emit(refs, fn); err != nil {
		return true, err
	}
	used := cost(refs)
	if after = refs[len(refs)-1].d.lsn; after < view.floor || used >= maxBytes {
		return true, nil
	}
	_, err = g.scanChain(after, upTo, maxBytes-used, fn)
	return true, err
}

// cost is what refs count for in a scan's budget.
func cost(refs []recordRef) (sum block.ByteCount) {
	for i := range refs {
		sum += scanCost + block.ByteCount(refs[i].d.payload())*block.Size
	}
	return sum
}

// scanView is what a scan of the log needs of the index, taken at once.
type scanView struct {
	floor block.LSN
	opens []opening
	files *fileTable
}

// onChain tells whether a record of the log is on the complete chain.
func (v *scanView) onChain(l block.LSN) bool { return l <= v.floor && !annulled(v.opens, l) }

func (g *Segment) scanView(after, upTo block.LSN) (*scanView, error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	x := &g.mu.index
	if scl := x.chain.SCL(); upTo > scl {
		return nil, block.Errorf(block.Behind, "segment %v is complete up to %v, not up to %v", g.id, scl, upTo)
	}
	if err := x.hydration.Tells(after); err != nil {
		return nil, block.Wrap(block.KindOf(err), err, "segment %v", g.id)
	}
	return &scanView{floor: x.chain.Floor(), opens: x.opens, files: g.store.files.Load()}, nil
}

// recordRef is a change to a segment as it stands in a log file.
type recordRef struct {
	file    *logFile
	payload pageNo
	sums    []block.Sum // shared with others of the file
	d       descriptor
}

// scanCache remembers what the last scans decoded, because the next ones go
// on in the same files.
type scanCache struct {
	mu struct {
		sync.Mutex
		dirs []scanDir // the latest last
	}
}

// scanDir is the changes to one segment in one file, up to a page. It is
// replaced, never changed.
type scanDir struct {
	seg  *Segment
	file *logFile
	end  pageNo
	refs []recordRef
}

// maxScanDirs bounds the cache; one takes up to some 6 MiB.
const maxScanDirs = 8

func (c *scanCache) get(seg *Segment, file *logFile) scanDir {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range c.mu.dirs {
		if d.seg == seg && d.file == file {
			return d
		}
	}
	return scanDir{seg: seg, file: file, end: headerCopies}
}

// forget drops what is known of a file that goes.
func (c *scanCache) forget(file *logFile) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.dirs = slices.DeleteFunc(c.mu.dirs, func(o scanDir) bool { return o.file == file })
}

func (c *scanCache) put(d scanDir) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.dirs = slices.DeleteFunc(c.mu.dirs, func(o scanDir) bool { return o.seg == d.seg && o.file == d.file })
	if len(c.mu.dirs) == maxScanDirs {
		c.mu.dirs = slices.Delete(c.mu.dirs, 0, 1)
	}
	c.mu.dirs = append(c.mu.dirs, d)
}

// collect finds the records of a scan: the lowest ones that are on the chain
// in (after, upTo], as many as maxBytes allows.
func (g *Segment) collect(v *scanView, after, upTo block.LSN, maxBytes block.ByteCount) ([]recordRef, error) {
	type part struct {
		file *logFile
		span span
	}
	var parts []part
	for _, f := range v.files.all {
		if f.header.kind == fileCold {
			continue // what was moved is not in order, nor all of it there
		}
		if s, ok := f.span(g.idx); ok && s.min <= upTo && s.max > after {
			parts = append(parts, part{f, s})
		}
	}
	slices.SortStableFunc(parts, func(a, b part) int { return cmpLSN(a.span.min, b.span.min) })
	var refs []recordRef
	full, ceiling := false, upTo // full: what is above ceiling was left out
	for _, p := range parts {
		if p.span.min > ceiling {
			break
		}
		all, err := g.recordsOf(p.file)
		if err != nil {
			return nil, err
		}
		for i := range all {
			if l := all[i].d.lsn; l > after && l <= ceiling && v.onChain(l) {
				refs = append(refs, all[i])
			}
		}
		var cut bool
		if refs, cut = lowest(refs, maxBytes); cut {
			full, ceiling = true, refs[len(refs)-1].d.lsn
		}
	}
	if err := checkLinks(g.id, refs, after); err != nil {
		return nil, err
	}
	if last := refs[len(refs)-1].d.lsn; upTo == v.floor && !full && last != upTo {
		return nil, block.Errorf(block.NotFound, "segment %v has no records after %v in its log any more", g.id, last)
	}
	return refs, nil
}

// lowest sorts refs, takes out doubles, and cuts them to the budget.
func lowest(refs []recordRef, maxBytes block.ByteCount) (cut []recordRef, full bool) {
	slices.SortStableFunc(refs, func(a, b recordRef) int { return cmpLSN(a.d.lsn, b.d.lsn) })
	refs = slices.CompactFunc(refs, func(a, b recordRef) bool { return a.d.lsn == b.d.lsn })
	sum := block.ByteCount(0)
	for i := range refs {
		sum += scanCost + block.ByteCount(refs[i].d.payload())*block.Size
		if sum > maxBytes {
			return refs[:max(i, 1)], true
		}
	}
	return refs, false
}

func cmpLSN(a, b block.LSN) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// checkLinks makes sure that no record of the chain is missing between refs,
// or before them: then it has been cleaned, or lost.
func checkLinks(id block.SegmentID, refs []recordRef, after block.LSN) error {
	last := after
	for i := range refs {
		prev := refs[i].d.prev
		if prev > last || (i > 0 && prev != last) {
			return block.Errorf(block.NotFound, "segment %v has no record %v in its log any more", id, prev)
		}
		last = refs[i].d.lsn
	}
	if len(refs) == 0 {
		return block.Errorf(block.NotFound, "segment %v has no records after %v in its log any more", id, after)
	}
	return nil
}

// recordsOf decodes the changes to g in a file, or remembers them.
func (g *Segment) recordsOf(f *logFile) ([]recordRef, error) {
	d := g.store.scans.get(g, f)
	end := pageNo(f.end.Load())
	if d.end == end {
		return d.refs, nil
	}
	refs, err := g.decodeRecords(f, slices.Clip(d.refs), d.end, end)
	if err != nil {
		return nil, err
	}
	g.store.scans.put(scanDir{seg: g, file: f, end: end, refs: refs})
	return refs, nil
}

func (g *Segment) decodeRecords(f *logFile, refs []recordRef, from, end pageNo) ([]recordRef, error) {
	if !f.pin() {
		return nil, f.goneError()
	}
	defer func() { _ = f.unpin() }() // the last one closes a file that was only read
	sc := newScanner(f, f.source(bigWindow*pageSize, true), end)
	defer sc.close()
	for at := from; at < end; {
		st, err := sc.decode(at)
		if err != nil {
			return nil, err
		}
		if st != frameGood {
			next := f.gapAt(at)
			if next == at { // it was good when it was written or replayed
				d := Damage{Kind: DamageBatch, File: f.name, Offset: at.bytes()}
				g.store.found(d)
				return nil, d.err()
			}
			at = next
			continue
		}
		refs = g.pick(refs, f, &sc.frame)
		at = sc.frame.end()
	}
	return refs, nil
}

// pick appends the changes to g in a batch.
func (g *Segment) pick(refs []recordRef, f *logFile, fr *frame) []recordRef {
	for _, r := range fr.each() {
		if r.d.seg == g.idx && r.d.typ.isChange() {
			refs = append(refs, recordRef{file: f, payload: r.at, sums: slices.Clone(r.sums), d: *r.d})
		}
	}
	return refs
}

// emit reads the payloads and calls fn.
func (g *Segment) emit(refs []recordRef, fn func(Record) error) error {
	buf := slab.Get(int(block.MaxRecordBytes))
	defer buf.Release()
	for i := range refs {
		r := &refs[i]
		rec := Record{Type: r.d.typ, LSN: r.d.lsn, Prev: r.d.prev, Block: block.Index(r.d.block), Count: block.Count(r.d.count)}
		if n := r.d.payload(); n > 0 {
			rec.Sums, rec.Payload = r.sums, buf.Bytes()[:n*block.Size]
			if err := g.fetchRecord(r, rec.Payload); err != nil {
				return err
			}
		}
		if err := fn(rec); err != nil {
			return err
		}
	}
	return nil
}

// fetchRecord reads a WRITE's payload, and where that is damaged, what it was
// mended with.
func (g *Segment) fetchRecord(r *recordRef, p []byte) error {
	if err := readPinned(r.file, p, r.payload); err != nil {
		return err
	}
	for i := range r.sums {
		b := p[i*block.Size : (i+1)*block.Size]
		at := r.payload + pageNo(i)
		got := block.Checksum(b)
		if got == r.sums[i] {
			continue
		}
		if now, file := g.movedFrom(r, i); file != nil {
			if err := readPinned(file, b, pageNo(now.page)); err != nil {
				return err
			}
			if block.Checksum(b) == r.sums[i] {
				continue
			}
		}
		return g.rotten(Damage{Kind: DamagePayload, File: r.file.name, Offset: at.bytes(), Length: block.Size,
			Segment: g.id, Block: block.Index(r.d.block) + block.Index(i), Expected: r.sums[i], Found: got}, dataAt(r.file.header.seq, at))
	}
	return nil
}

// movedFrom is where block i of a record lies by now, if it lies elsewhere
// than r says. Of a settled record it is known by its checksum only.
func (g *Segment) movedFrom(r *recordRef, i int) (l location, f *logFile) {
	b := block.Index(r.d.block) + block.Index(i)
	g.mu.RLock()
	defer g.mu.RUnlock()
	if e, ok := g.mu.index.chain.Get(r.d.lsn); ok {
		l = e.Value.place(i)
	} else if loc, sum := g.mu.index.base.get(b); loc.flags == locData && sum == r.sums[i] {
		l = loc
	}
	if l.flags != locData || l == dataAt(r.file.header.seq, r.payload+pageNo(i)) {
		return l, nil
	}
	return l, g.store.files.Load().find(l.file)
}

func readPinned(f *logFile, p []byte, at pageNo) error {
	if !f.pin() {
		return f.goneError()
	}
	err := f.read(p, at)
	if uerr := f.unpin(); err == nil && uerr != nil {
		err = diskError(uerr, "closing", f.name)
	}
	return err
}
