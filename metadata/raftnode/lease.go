package raftnode

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
)

// lease is a gateway's hold on a volume. It is a courtesy to the holder (no
// other gateway opens the volume by accident), not what keeps data safe:
// that is the epoch (R2, R3) and the read lease at the segments (R14).
type lease struct {
	gateway   metadata.GatewayID
	epoch     block.VolumeEpoch
	renewed   time.Time
	sign      sign // of the last renewal
	unhealthy []metadata.SegmentHealth
	counters  map[string]uint64
}

// sign numbers the openings and renewals that this process has seen, from 1.
type sign uint64

// grant notes that a volume was opened, or that its lease was renewed, if
// the lead is still the one under which that was decided.
func (s *soft) grant(t term, id block.VolumeID, l lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, known := s.mu.leases[id]; s.mu.term != t || known && old.epoch > l.epoch {
		return
	}
	s.mu.signs++
	l.renewed, l.sign = s.clock.Now(), s.mu.signs
	s.mu.leases[id] = l
	s.tellLocked(id)
}

// tellLocked has those look again who wait for news of a volume.
func (s *soft) tellLocked(id block.VolumeID) {
	if news := s.mu.awaited[id]; news != nil {
		delete(s.mu.awaited, id)
		close(news)
	}
}

// release forgets the lease of an epoch that said goodbye, or of a volume
// that was deleted (at whatever epoch it is).
func (s *soft) release(id block.VolumeID, epoch block.VolumeEpoch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.leases[id].epoch <= epoch {
		delete(s.mu.leases, id)
		s.tellLocked(id)
	}
}

// signs counts the signs of life of all leases so far: what is granted later
// has a higher number.
func (s *soft) signs() sign {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.signs
}

// held says whether a volume is, or may be, held by another gateway than
// asker, who asked when there were that many signs of life. It is free with
// nil and no wait; it is held with an error of kind Held: its owner has been
// heard since. If wait is not zero, only time can tell: the lease is alive, but
// its owner may be dead; or this lead is younger than a lease, and the owner, if
// it lives, has not yet renewed here. Then news is closed when it does,
// or says goodbye.
func (s *soft) held(v metadata.Volume, asker metadata.GatewayID, asked sign) (wait time.Duration, news <-chan struct{}, err error) {
	if v.State == metadata.Closed || v.Gateway == asker {
		return 0, nil, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	since := s.mu.since
	if l, known := s.mu.leases[v.ID]; known && l.epoch == v.Epoch {
		if l.sign > asked {
			return 0, nil, block.Errorf(block.Held, "volume %s is held by gateway %s (%s), which is alive: it has just renewed its lease; stop it, or use --force. The lease ends %v after the last renewal",
				v.Name, v.Gateway, v.Description, s.leaseFor)
		}
		since = l.renewed
	}
	wait = s.leaseFor - s.clock.Now().Sub(since)
	if wait <= 0 {
		return 0, nil, nil
	}
	if s.mu.awaited[v.ID] == nil {
		s.mu.awaited[v.ID] = make(chan struct{})
	}
	return wait, s.mu.awaited[v.ID], nil
}

// free waits until it is clear whether another gateway than asker, who asked
// when there were that many signs of life, holds the volume that look gives: a
// living owner is heard within a renewal's time, a dead one's lease runs out.
// Error kinds: Held; those of look.
func (s *soft) free(ctx context.Context, asker metadata.GatewayID, asked sign, look func() (metadata.Volume, error)) (metadata.Volume, error) {
	for {
		v, err := look()
		if err != nil {
			return v, err
		}
		wait, news, err := s.held(v, asker, asked)
		if wait == 0 || err != nil {
			return v, err
		}
		t := s.clock.NewTimer(wait)
		select {
		case <-t.C():
		case <-news:
			t.Stop()
		case <-ctx.Done():
			t.Stop()
			return v, ctx.Err()
		}
	}
}

// describeLease puts into v what is known of its lease.
func (s *soft) describeLease(v *metadata.Volume) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, known := s.mu.leases[v.ID]
	if !known || l.epoch != v.Epoch || v.State == metadata.Closed {
		return
	}
	v.LeaseAge = s.clock.Now().Sub(l.renewed)
	v.Leased = v.LeaseAge < s.leaseFor
}

// reported is what a volume's gateway told last, if it still holds it.
func (s *soft) reported(v metadata.Volume) ([]metadata.SegmentHealth, map[string]uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, known := s.mu.leases[v.ID]
	if !known || l.epoch != v.Epoch {
		return nil, nil
	}
	unhealthy := slices.Clone(l.unhealthy)
	for i := range unhealthy {
		h := &unhealthy[i]
		if r := s.pullingLocked(h.Node, h.Segment); r != nil {
			h.ETA = r.ETA(h.Lag)
		}
	}
	return unhealthy, maps.Clone(l.counters)
}

// pullingLocked is what a node says of a segment that takes from its peers; nil
// if it says nothing.
func (s *soft) pullingLocked(n block.NodeID, id block.SegmentID) *metadata.SegmentReport {
	reports := s.mu.nodes[n].usage.Segments
	i := slices.IndexFunc(reports, func(r metadata.SegmentReport) bool { return r.Segment == id && r.Rate > 0 })
	if i < 0 {
		return nil
	}
	return &reports[i]
}
