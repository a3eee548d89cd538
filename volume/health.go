package volume

import (
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/volume/pg"
	"github.com/sextantdisk/sextant/volume/quorum"
)

// GroupHealth is a look at one protection group, for metrics.
type GroupHealth struct {
	PG    block.PGIndex
	Phase pg.Phase
	// Held: it is open, but fewer members than a write quorum take records,
	// so writes wait (B5).
	Held bool
	// Segments are its members, in their order.
	Segments []SegmentHealth
}

// SegmentHealth is a look at one segment of a group.
type SegmentHealth struct {
	ID   block.SegmentID
	Node block.NodeID
	pg.MemberStatus
}

// Health calls f with each group that is placed. What f is given is used
// again for the next group. One group's lock is held at a time, and not while
// f runs, so the groups are looked at one after another.
func (v *Volume) Health(f func(*GroupHealth)) {
	var h GroupHealth
	v.eachGroup(func(g *group) {
		if g.health(&h) {
			f(&h)
		}
	})
}

func (g *group) health(h *GroupHealth) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.gone {
		return false
	}
	h.PG, h.Phase, h.Segments = g.index, g.mu.machine.Phase(), h.Segments[:0]
	var streaming quorum.Votes
	r := g.roster.Load()
	for i, s := range r.members {
		if s.ID.IsZero() {
			continue
		}
		st := g.mu.machine.Member(quorum.Member(i))
		if st.State == pg.Streaming {
			streaming = streaming.Add(quorum.Member(i))
		}
		h.Segments = append(h.Segments, SegmentHealth{ID: s.ID, Node: s.Node, MemberStatus: st})
	}
	h.Held = h.Phase == pg.Open && !r.quorum.Writes(streaming)
	return true
}

// PendingBytes is what is admitted and not done (R10).
func (v *Volume) PendingBytes() block.ByteCount {
	return block.ByteCount(max(v.pending.used.Load(), 0))
}
