package segmentd

import (
	"sync/atomic"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/logstore"
)

// lookShare is after which part of the capacity was appended that the log is
// asked for its space again, if that is before watchEvery: a small disk fills up
// in less.
const lookShare = 256

// room knows whether this disk takes data. What is said of it in acks makes
// gateways send no more before the log must refuse anything (docs/adr/0019).
type room struct {
	full     atomic.Bool   // what acks tell
	level    atomic.Uint32 // logstore.SpaceLevel, as of the last look
	appended atomic.Uint64 // bytes since then
	step     atomic.Uint64 // after how many of them the next look is due
}

// lookForRoom asks the log.
func (s *Server) lookForRoom() {
	space, r := s.store.Space(), &s.room
	r.appended.Store(0)
	r.step.Store(uint64(space.Capacity / lookShare))
	r.full.Store(space.Level >= logstore.SpaceFull)
	if was := logstore.SpaceLevel(r.level.Swap(uint32(space.Level))); was != space.Level {
		s.log.Warn("how full the disk is has changed", "from", was, "to", space.Level,
			"live", space.Live.String(), "capacity", space.Capacity.String())
	}
}

// took notes that so much was appended, and tells whether a look is due.
func (r *room) took(n block.ByteCount) bool { return r.appended.Add(uint64(n)) >= r.step.Load() }

// refused notes at once that the log has refused records.
func (r *room) refused(err error) {
	if block.KindOf(err) == block.NoSpace {
		r.full.Store(true)
	}
}
