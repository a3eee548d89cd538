package vfs

// Span is one of several reads that are done together: Bufs one after the
// other, at most MaxPieces of them, filled from Off on.
type Span struct {
	File File
	Bufs [][]byte
	Off  Offset
	// The outcome, as ReadvAt gives it.
	N   int
	Err error
}

// ReadSpans does all reads and returns when the last one is over. Those of
// files of the operating system that bypass the page cache are with the disk
// all at once: what lies in fifty places costs one wait, not fifty.
func ReadSpans(spans []Span) {
	if len(spans) > 1 {
		if spans = readTogether(spans); len(spans) == 0 {
			return
		}
	}
	for i := range spans {
		spans[i].read()
	}
}

func (s *Span) read() { s.N, s.Err = s.File.ReadvAt(s.Bufs, s.Off) }

func (s *Span) size() (n int) {
	for _, b := range s.Bufs {
		n += len(b)
	}
	return n
}
