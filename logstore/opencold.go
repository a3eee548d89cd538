package logstore

// byKind parts the log files of the two heads. A file whose kind cannot be read
// is a hot one, unless a cold one names it as the one before it.
func byKind(parts []logPart) (hot, cold []logPart) {
	before := make(map[fileSeq]bool)
	for _, p := range parts {
		if p.file != nil && p.file.header.kind == fileCold {
			before[p.file.header.prevSeq] = true
		}
	}
	for _, p := range parts {
		if p.file != nil && p.file.header.kind == fileCold || p.file == nil && before[p.seq] {
			cold = append(cold, p)
		} else {
			hot = append(hot, p)
		}
	}
	return hot, cold
}

// coldReplay visits the walk of the cold log, which comes behind that of the hot
// one: a RELOC moves a block only from the place that it names, wherever the
// index has it from. Damage there says nothing of what
// is complete: what was moved is named by the index, and missed when it is
// read.
type coldReplay struct{ *replay }

func (r coldReplay) damage(d Damage) error {
	r.store.found(d)
	return nil
}

func (r coldReplay) batch(f *logFile, fr *frame, _ *scanner) error {
	for _, rec := range fr.each() {
		f.note(rec.d)
		if g := r.segs[rec.d.seg]; g != nil {
			g.applyReloc(rec.d, dataAt(f.header.seq, rec.at))
		}
	}
	f.end.Store(uint32(fr.end()))
	return nil
}

// resumeCold goes on where the cold log ends; the next file is begun when it is
// needed.
func (s *Store) resumeCold(end logEnd) (err error) {
	c := &s.cleaner.cold
	c.last, c.next, c.head.next = end.seq, end.batch+1, end.page
	s.mu.applied.cold = end.position()
	if end.file != nil && !end.torn {
		c.head, err = s.reopenHead(end)
	}
	return err
}

// finishFreeing takes files out that were logged as free before a crash; but
// not where the next opening needs one, because a newer checkpoint was lost or
// because the record of a move was.
func (s *Store) finishFreeing(freed map[fileSeq]bool) error {
	for seq := range freed {
		s.freedNow(seq)
		f := s.files.Load().find(seq)
		if f == nil || f.live.Load() != 0 || !s.ckpt.covers(f) {
			continue
		}
		s.removeFile(f)
		if err := f.unpin(); err != nil {
			return diskError(err, "closing", f.name)
		}
		if err := s.filer.recycle(f); err != nil {
			return err
		}
	}
	return nil
}
