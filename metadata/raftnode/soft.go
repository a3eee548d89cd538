package raftnode

import (
	"sync"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
	"github.com/sextantdisk/sextant/metadata"
)

// term counts this process's times of leading; 0 is none.
type term uint64

// soft is what only the leader knows, and loses with its lead: who was heard
// when, which leases are alive, what is being placed. All times are of one
// monotonic clock and never leave this process.
type soft struct {
	clock     clock.Clock
	downAfter time.Duration
	leaseFor  time.Duration

	mu struct {
		sync.Mutex
		term    term      // of leading, to which all below belongs
		since   time.Time // when it began to listen
		nodes   map[block.NodeID]heard
		leases  map[block.VolumeID]lease
		signs   sign                             // of life of all leases; never goes back
		awaited map[block.VolumeID]chan struct{} // closed and taken out when there is news of the owner
		placing map[block.NodeID]int             // segments proposed, not yet applied
		scrub   map[block.NodeID]bool            // to be told with their next heartbeats
	}
}

// heard is a node's last sign of life.
type heard struct {
	at    time.Time
	boot  block.Boot
	usage metadata.Heartbeat // zero after a registration only
}

func newSoft(c clock.Clock, t Timing) *soft {
	s := &soft{clock: c, downAfter: t.DownAfter, leaseFor: t.LeaseFor}
	s.reset(0)
	return s
}

// reset forgets everything: a new term of leading begins.
func (s *soft) reset(t term) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.term, s.mu.since = t, s.clock.Now()
	s.mu.nodes = make(map[block.NodeID]heard)
	s.mu.leases = make(map[block.VolumeID]lease)
	for _, news := range s.mu.awaited {
		close(news) // who waits has to look again
	}
	s.mu.awaited = make(map[block.VolumeID]chan struct{})
	s.mu.placing = make(map[block.NodeID]int)
	s.mu.scrub = make(map[block.NodeID]bool)
}

// wantScrub notes that a node, which the state knows, is to begin a pass.
func (s *soft) wantScrub(id block.NodeID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.scrub[id] = true
}

// takeScrub tells whether it is, once.
func (s *soft) takeScrub(id block.NodeID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	want := s.mu.scrub[id]
	delete(s.mu.scrub, id)
	return want
}

// hear notes a sign of life. The state knows the node, so the table is as
// bounded as the state's.
func (s *soft) hear(id block.NodeID, boot block.Boot, usage metadata.Heartbeat) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.nodes[id] = heard{at: s.clock.Now(), boot: boot, usage: usage}
}

func (s *soft) forgetNode(id block.NodeID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.nodes, id)
	delete(s.mu.scrub, id)
}

// young tells whether the lead is so fresh that a node which lives may not
// have been heard yet.
func (s *soft) young() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.youngLocked(s.clock.Now())
}

func (s *soft) youngLocked(now time.Time) bool { return now.Sub(s.mu.since) < s.downAfter }

// fill puts into nodes what was heard of them. If trusting, a node that a
// young lead has not heard yet counts as up.
func (s *soft) fill(nodes []metadata.Node, trusting bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	for i := range nodes {
		n := &nodes[i]
		h, known := s.mu.nodes[n.ID]
		if !known {
			n.Silent = now.Sub(s.mu.since)
			n.Up = trusting && s.youngLocked(now)
			continue
		}
		n.Heard, n.Silent = true, now.Sub(h.at)
		n.Up = n.Silent < s.downAfter && h.boot == n.Boot
		n.Used, n.Live, n.Log = h.usage.Used, h.usage.Live, h.usage.Log
		if h.usage.Capacity > 0 {
			n.Capacity = h.usage.Capacity
		}
		n.Damaged, n.Health = h.usage.Damages, h.usage.Health
	}
}

// damage is what nodes reported as damaged, up to limit entries: segments with
// damaged blocks, that have lost a part of their log, or whose disk failed.
func (s *soft) damage(nodes []metadata.Node, limit int) []metadata.Damage {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []metadata.Damage
	for _, n := range nodes {
		for _, r := range s.mu.nodes[n.ID].usage.Segments {
			hurt := r.Damaged > 0 || r.State == metadata.ReportDamaged || r.State == metadata.ReportDiskFailed
			if hurt && len(all) < limit {
				all = append(all, metadata.Damage{Node: n.ID, Segment: r})
			}
		}
	}
	return all
}

// choose runs fn on nodes with the segments added that are being placed, and
// notes its choice until placed is called: choices made side by side see
// each other.
func (s *soft) choose(nodes []metadata.Node, fn func([]metadata.Node) ([]block.NodeID, error)) (chosen []block.NodeID, placed func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range nodes {
		nodes[i].Segments += s.mu.placing[nodes[i].ID]
	}
	if chosen, err = fn(nodes); err != nil {
		return nil, nil, err
	}
	in := s.mu.placing // of this term
	for _, id := range chosen {
		in[id]++
	}
	return chosen, func() { s.unplace(in, chosen) }, nil
}

func (s *soft) unplace(in map[block.NodeID]int, chosen []block.NodeID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range chosen {
		if in[id]--; in[id] <= 0 {
			delete(in, id)
		}
	}
}
