package segmentd

import (
	"sync/atomic"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/logstore"
)

// lookShare is after which part of the capacity was appended that the log is
// asked for its space again, if that is before watchEvery: a small disk fills up
// in less.
const lookShare = 256

const (
	// shortGrace is for how long the log may refuse records, though not so
	// much of it is live that it is full, before it counts as full: cleaning
	// may only be behind, and what waits for it is held (B5), not failed.
	shortGrace = 3 * time.Second
	// roomShare is which part of the capacity must be free for that to be
	// over.
	roomShare = 64
)

// room knows whether this disk takes data. What is said of it in acks makes
// gateways send no more before the log must refuse anything (docs/adr/0019).
type room struct {
	full     atomic.Bool   // what acks tell
	short    atomic.Int64  // since when the log has refused records and has no room, in Unix ns; 0: it has
	level    atomic.Uint32 // logstore.SpaceLevel, as of the last look
	appended atomic.Uint64 // bytes since then
	step     atomic.Uint64 // after how many of them the next look is due
}

// lookForRoom asks the log.
func (s *Server) lookForRoom() {
	space, r := s.store.Space(), &s.room
	r.appended.Store(0)
	r.step.Store(uint64(space.Capacity / lookShare))
	r.judge(s.clock.Now(), space)
	if was := logstore.SpaceLevel(r.level.Swap(uint32(space.Level))); was != space.Level {
		s.log.Warn("how full the disk is has changed", "from", was, "to", space.Level,
			"live", space.Live.String(), "capacity", space.Capacity.String())
	}
}

// judge decides whether the disk is full.
func (r *room) judge(now time.Time, space logstore.Space) {
	short := r.short.Load()
	if short != 0 && space.Free >= space.Capacity/roomShare {
		r.short.CompareAndSwap(short, 0)
		short = 0
	}
	r.full.Store(space.Level >= logstore.SpaceFull || short != 0 && now.Sub(time.Unix(0, short)) >= shortGrace)
}

// took notes that so much was appended, and tells whether a look is due.
func (r *room) took(n block.ByteCount) bool { return r.appended.Add(uint64(n)) >= r.step.Load() }

// refused notes that the log has refused records.
func (r *room) refused(now time.Time, err error) {
	if block.KindOf(err) == block.NoSpace {
		r.short.CompareAndSwap(0, now.UnixNano())
	}
}

// space is where the log's bytes are; a log that takes no data is full.
func (s *Server) space() logstore.Space {
	space := s.store.Space()
	if s.room.full.Load() {
		space.Level = logstore.SpaceFull
	}
	return space
}
