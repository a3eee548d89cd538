package segmentd

import (
	"sync/atomic"

	"github.com/sextantdisk/sextant/internal/block"
)

// room knows whether this disk takes data. What is said of it in acks makes
// gateways send no more before the log must refuse anything (docs/adr/0019).
type room struct{ full atomic.Bool }

// look asks the log; it is done in short intervals.
func (s *Server) lookForRoom() { s.room.full.Store(false) }

// refused notes that the log has refused records.
func (r *room) refused(err error) {
	if block.KindOf(err) == block.NoSpace {
		r.full.Store(true)
	}
}
