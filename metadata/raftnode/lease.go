package raftnode

import (
	"context"
	"maps"
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
	unhealthy []metadata.SegmentHealth
	counters  map[string]uint64
}

// grant notes that a volume was opened, or that its lease was renewed, if
// the lead is still the one under which that was decided.
func (s *soft) grant(t term, id block.VolumeID, l lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, known := s.mu.leases[id]; s.mu.term != t || known && old.epoch > l.epoch {
		return
	}
	l.renewed = s.clock.Now()
	s.mu.leases[id] = l
}

// release forgets the lease of an epoch that said goodbye, or of a volume
// that was deleted (at whatever epoch it is).
func (s *soft) release(id block.VolumeID, epoch block.VolumeEpoch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.leases[id].epoch <= epoch {
		delete(s.mu.leases, id)
	}
}

// held says whether a volume is, or may be, held by another gateway than
// asker: nil if it is free, an error of kind Held if it is not. wait is not
// zero when only time can tell, because this lead is younger than a lease
// and the holder, if it lives, has not yet renewed here.
func (s *soft) held(v metadata.Volume, asker metadata.GatewayID) (wait time.Duration, err error) {
	if v.State == metadata.Closed || v.Gateway == asker {
		return 0, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	l, known := s.mu.leases[v.ID]
	if known && l.epoch == v.Epoch {
		if age := now.Sub(l.renewed); age < s.leaseFor {
			return 0, block.Errorf(block.Held, "volume %s is held by gateway %s (%s), which was heard %v ago: stop that one, or take the volume over", v.Name, v.Gateway, v.Description, age.Round(time.Millisecond))
		}
		return 0, nil
	}
	return max(0, s.leaseFor-now.Sub(s.mu.since)), nil
}

// free waits until it is clear that no other gateway than asker holds the
// volume that look gives. Error kinds: Held; those of look.
func (s *soft) free(ctx context.Context, asker metadata.GatewayID, look func() (metadata.Volume, error)) (metadata.Volume, error) {
	for {
		v, err := look()
		if err != nil {
			return v, err
		}
		wait, err := s.held(v, asker)
		if wait == 0 || err != nil {
			return v, err
		}
		t := s.clock.NewTimer(wait)
		select {
		case <-t.C():
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
	return l.unhealthy, maps.Clone(l.counters)
}
