package segmentd

import (
	"sync"
	"sync/atomic"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/invariant"
	"github.com/sextantdisk/sextant/logstore"
	"github.com/sextantdisk/sextant/segmentd/segment"
	"github.com/sextantdisk/sextant/wire"
)

// hosted is one segment of this daemon.
type hosted struct {
	log  *logstore.Segment
	room *room

	// mu fixes the order of admission and of places in the log: whoever
	// admits a message enqueues its records before letting go (trap T4).
	mu struct {
		sync.Mutex
		core *segment.Core
	}
	// catching is set while this segment is being pulled up; pulling has the
	// figures when that has begun.
	catching atomic.Bool
	pulling  atomic.Pointer[pulling]
}

func (s *Server) newHosted(log *logstore.Segment, core *segment.Core) *hosted {
	h := &hosted{log: log, room: &s.room}
	h.mu.core = core
	return h
}

// enqueueLocked gives ops their place in the log. The caller has held h.mu since
// it admitted them: else a fence may get its place in between, and be answered
// without a write that was admitted before it (trap T4).
func (s *Server) enqueueLocked(h *hosted, ops []logstore.Op) *logstore.Ticket {
	if invariant.Enabled && h.mu.TryLock() {
		h.mu.Unlock()
		invariant.Violated("segment %v: a place in the log was asked for without the lock of the admission", h.log.ID())
	}
	return s.store.Enqueue(ops)
}

// answer is the segment's word about where it stands to the writer of an
// epoch, or the news that it is fenced. To be called after the wait for all
// that it is to cover.
func (h *hosted) answer(to block.VolumeEpoch, stamp wire.Stamp) (wire.Ack, *wire.Refuse) {
	st := h.log.State()
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mu.core.Answer(to, segment.Log{
		SCL: st.SCL, Floor: st.Floor, Head: st.Head, Unlinked: st.Pending, Member: segment.MemberIn(st.Config), Full: h.room.full.Load(),
	}, stamp, h.catching.Load())
}

// appendAnswer makes the frame of answer.
func (h *hosted) appendAnswer(b []byte, tag wire.Tag, to block.VolumeEpoch, stamp wire.Stamp) []byte {
	ack, refuse := h.answer(to, stamp)
	if refuse != nil {
		return refuse.Append(b, tag)
	}
	return ack.Append(b, tag)
}

// ref is the segment's place, for reports.
func (h *hosted) ref() SegmentRef {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := h.mu.core.Meta()
	return SegmentRef{Volume: m.Volume, PG: m.PG, Segment: h.log.ID()}
}

// settled does what the writer's progress allows, after its records are
// durable: it moves the floor (R13) and ends the state of damage.
func (h *hosted) settled(epoch block.VolumeEpoch, p wire.Progress) error {
	scl := h.log.SCL()
	if f := segment.FloorFor(epoch, p.Floor, scl); f != 0 {
		if err := h.log.SetFloor(f); err != nil {
			return err
		}
	}
	h.mu.Lock()
	doubtful := h.mu.core.Meta().Doubtful
	complete := h.mu.core.Complete(epoch, p.Committed, scl)
	meta := h.mu.core.Meta()
	h.mu.Unlock()
	if !complete {
		return nil
	}
	if doubtful {
		if err := h.log.EnqueueConfig(meta.Encode()).Wait(); err != nil {
			return err
		}
	}
	return h.log.ClearDamage()
}

// host finds a segment of this daemon.
func (s *Server) host(id block.SegmentID) (*hosted, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	h, ok := s.mu.segments[id]
	return h, ok
}

// logDamaged reports whether parts of the log were found missing, so that a
// segment may have been forgotten.
func (s *Server) logDamaged() bool {
	for _, d := range s.store.Damage() {
		if d.Kind != logstore.DamagePayload && d.Kind != logstore.DamageUnreadable && d.Kind != logstore.DamageHeader {
			return true
		}
	}
	return false
}

// load makes the hosted segments of what the log knows.
func (s *Server) load() error {
	for _, g := range s.store.Segments() {
		st := g.State()
		meta, err := segment.DecodeMeta(st.Config)
		if err != nil {
			return block.Wrap(block.KindOf(err), err, "segment %v", g.ID())
		}
		if !s.id.Cluster.IsZero() && meta.Cluster != s.id.Cluster {
			return block.Errorf(block.Mismatch, "segment %v is of cluster %v, this folder of %v", g.ID(), meta.Cluster, s.id.Cluster)
		}
		s.mu.segments[g.ID()] = s.newHosted(g, segment.New(g.ID(), meta, st.Promised, st.Damaged))
	}
	return nil
}
