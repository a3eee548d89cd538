package logstore

import (
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs"
)

// A log file that is gone, or has no header that can be read, is not among the
// files of the store: neither cleaner nor scrub comes by its blocks. They are
// damaged all the same, and are mended from peers (rule S2) like those that a
// scrub has found.

// noteLost takes in the blocks that lie in files that are not there: gone are
// those that an opening has missed.
func (s *Store) noteLost(gone map[fileSeq]bool) {
	if len(gone) == 0 {
		return
	}
	for _, g := range s.mu.segments {
		g.mu.Lock()
		g.mu.gone = gone
		g.noteLostLocked()
		g.mu.Unlock()
	}
}

// noteLostLocked adds the blocks that lie in files that are gone to the bad
// ones, as many as are remembered. When there are none any more it forgets
// about the files: no record that comes points there.
func (g *Segment) noteLostLocked() {
	if g.mu.gone == nil {
		return
	}
	x := &g.mu.index
	note := func(b block.Index, l location) {
		if l.flags == locData && g.mu.gone[l.file] && x.newest(b).loc == l {
			g.noteBadLocked(b, l)
		}
	}
	for i := range x.base.slots {
		if leaf := x.base.slots[i].leaf; leaf != nil {
			for k := range leaf.locs {
				note(block.Index(i*leafBlocks+k), leaf.locs[k])
			}
		}
	}
	for _, e := range x.chain.Path() {
		for i := range e.Value.data() {
			note(e.Value.block+block.Index(i), e.Value.place(i))
		}
	}
	if len(g.mu.bad) == 0 {
		g.mu.gone = nil
	}
}

// removeLost removes the log files before a checkpoint's positions that have no
// header any more and in which no block lies: nothing is to be had from them. An
// index that is made from the log alone misses them, as it would not be able to
// read them. Error kind: Unavailable.
func (s *Store) removeLost(parts []logPart, from positions, gone map[fileSeq]bool) error {
	for i := range parts {
		p := &parts[i]
		if p.file != nil || gone[p.seq] || p.seq >= from.hot.file || from.cold.file != 0 && p.seq >= from.cold.file {
			continue
		}
		s.cfg.Logger.Warn("a log file without a header, in which no block lies any more, is removed", "file", p.name)
		if err := s.fs.Remove(s.file(p.name)); err != nil {
			return diskError(err, "removing", p.name)
		}
		s.filer.abandon(p.size)
	}
	return nil
}

// mendHeaders writes the copies of log files' headers again that cannot be
// read: the other one alone stands between the file and another bad page. A disk
// that does not take them is no worse than before.
func (s *Store) mendHeaders(parts []logPart) {
	for i := range parts {
		p := &parts[i]
		if p.file == nil || p.bad == 0 {
			continue
		}
		if err := s.filer.mendHeader(p.file); err != nil {
			s.cfg.Logger.Warn("one of two copies of a log file's header is damaged and cannot be written again", "file", p.name, "err", err)
		}
	}
}

// mendHeader writes those copies of f's header again that are not whole. Error
// kinds: NoSpace, Unavailable.
func (r *filer) mendHeader(f *logFile) error {
	good, is := alignedPages(1), alignedPages(1)
	f.header.encode(good)
	return r.edit(f.name, r.mode, func(w vfs.File) error {
		for at := range pageNo(headerCopies) {
			if err := readPages(w, f.name, is, at); err == nil {
				if _, err := decodeFileHeader(is); err == nil {
					continue
				}
			}
			if err := w.WritevAt([][]byte{good}, at.at()); err != nil {
				return diskError(err, "writing the header of", f.name)
			}
		}
		return diskError(w.SyncMeta(), "syncing", f.name)
	})
}
