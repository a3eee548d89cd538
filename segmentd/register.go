package segmentd

import (
	"context"
	"errors"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/logstore"
)

// register tells the metadata service of this start, for as long as it takes
// to be heard, and learns the cluster's id.
func (s *Server) register(ctx context.Context) error {
	reg := Registration{Identity: s.id, Address: s.ln.Addr().String(), Capacity: s.capacity()}
	for {
		cluster, err := s.tryRegister(ctx, reg)
		if err == nil {
			return s.adopt(cluster)
		}
		if !errors.Is(err, block.Unavailable) {
			return err
		}
		s.log.Warn("metadata service cannot be reached, trying again", "err", err)
		select {
		case <-ctx.Done():
			return block.Wrap(block.Unavailable, err, "registering with the metadata service")
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		case <-s.clock.After(registerRetry):
		}
	}
}

func (s *Server) tryRegister(ctx context.Context, reg Registration) (block.ClusterID, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return s.cfg.Registry.Register(ctx, reg)
}

// adopt makes the folder one of the cluster's, or checks that it is.
func (s *Server) adopt(cluster block.ClusterID) error {
	switch {
	case s.id.Cluster == cluster:
		return nil
	case !s.id.Cluster.IsZero():
		return block.Errorf(block.Mismatch, "data folder %s belongs to cluster %v, the metadata service to %v: check --data and --metadata", s.cfg.Dir, s.id.Cluster, cluster)
	}
	s.id.Cluster = cluster
	return s.id.save(s.cfg.FS, s.cfg.Dir)
}

// capacity is what the disk may hold for us, as the log has found; without a
// log the setting, or what the disk has.
func (s *Server) capacity() block.ByteCount {
	switch {
	case s.store != nil:
		return s.store.Space().Capacity
	case s.cfg.Capacity != 0:
		return s.cfg.Capacity
	}
	space, err := s.cfg.FS.Space(s.cfg.Dir)
	if err != nil {
		s.log.Warn("cannot ask the disk for its free space", "dir", s.cfg.Dir, "err", err)
		return 1 // something must be said; the disk has failed anyway
	}
	return max(1, space.Total)
}

// heartbeats tells the metadata service once a second that this daemon lives.
func (s *Server) heartbeats() {
	s.repeat(0, heartbeatEvery, s.beatNow, s.heartbeat)
}

// repeat does work after first, then every so often, and whenever it is woken,
// until the daemon ends.
func (s *Server) repeat(first, every time.Duration, woken <-chan struct{}, work func()) {
	timer := s.clock.NewTimer(first)
	defer timer.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-timer.C():
		case <-woken:
		}
		work()
		timer.Reset(every)
	}
}

func (s *Server) heartbeat() {
	ctx, cancel := context.WithTimeout(s.ctx, callTimeout)
	defer cancel()
	report := s.Report()
	orders, err := s.cfg.Registry.Heartbeat(ctx, report)
	switch {
	case err == nil:
		s.reported(len(report.Dropped))
		s.drop(orders.Drop)
		if orders.Scrub {
			s.ScrubNow()
		}
	case errors.Is(err, block.NotFound):
		if err := s.register(ctx); err != nil && s.ctx.Err() == nil {
			s.log.Error("registering again failed", "err", err)
		}
	case errors.Is(err, block.Mismatch):
		s.log.Error("another process runs under this node's id, stopping", "err", err)
		s.cancel(err)
	case s.ctx.Err() == nil:
		s.log.Warn("heartbeat failed", "err", err)
	}
}

// Report is what a heartbeat tells.
func (s *Server) Report() Report {
	stats := s.LogStats()
	r := Report{
		Identity: s.id, Folder: s.cfg.Dir, Log: stats.Size, Damages: stats.Damages,
		Stalls: stats.Stalls, LongestFlush: stats.LongestFlush, Hosted: s.Hosted(), Scrub: s.Scrub(), Mended: int(s.counters.Mended.Load()),
	}
	if s.store != nil {
		r.Space = s.space()
		r.Capacity, r.Used = r.Space.Capacity, r.Space.Live+r.Space.Reserved
		r.IndexBlocks, r.IndexBytes = s.store.IndexMemory()
		r.Unmended = s.store.BrokenBatches()
	} else {
		r.Capacity = s.capacity()
	}
	if err := s.Failed(); err != nil {
		r.Failed = err.Error()
	}
	for _, h := range s.hostedAll() {
		st := h.log.State()
		bad := 0
		if st.BadBlocks > 0 {
			bad = len(h.log.Bad())
		}
		h.mu.Lock()
		damaged := h.mu.core.Damaged()
		h.mu.Unlock()
		r.Unmended += bad
		if damaged {
			r.Unmended++
		}
		var state string
		switch {
		case r.Failed != "":
			state = "disk-failed"
		case damaged:
			state = "damaged"
		case st.Hydrating:
			state = "hydrating"
		case h.catching.Load():
			state = "catching-up"
		case bad > 0:
			state = "bad-blocks"
		default:
			continue
		}
		r.Segments = append(r.Segments, SegmentReport{SegmentRef: h.ref(), State: state, BadBlocks: bad, Pull: s.pullReport(h)})
	}
	s.mu.RLock()
	r.Dropped = append(r.Dropped, s.mu.dropped...)
	s.mu.RUnlock()
	return r
}

func (s *Server) hostedAll() []*hosted {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := make([]*hosted, 0, len(s.mu.segments))
	for _, h := range s.mu.segments {
		all = append(all, h)
	}
	return all
}

// reported forgets the first n drops: the metadata service knows of them.
func (s *Server) reported(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.dropped = append([]SegmentRef(nil), s.mu.dropped[n:]...)
}

// drop forgets segments of deleted volumes.
func (s *Server) drop(refs []SegmentRef) {
	if s.Failed() != nil {
		return // they come again, and go with the node when it is removed
	}
	for _, ref := range refs {
		s.mu.Lock()
		delete(s.mu.segments, ref.Segment)
		if b := s.mu.births[ref.Segment]; b != nil {
			b.void = true
		}
		s.mu.Unlock()
		if err := s.store.DropSegment(ref.Segment); err != nil && !errors.Is(err, block.NotFound) {
			s.log.Error("dropping a segment failed", "segment", ref.Segment, "err", err)
			continue
		}
		s.log.Info("segment dropped", "segment", ref.Segment, "volume", ref.Volume, "pg", ref.PG)
		s.mu.Lock()
		s.mu.dropped = append(s.mu.dropped, ref)
		s.mu.Unlock()
	}
}

// reassurer learns, for segments whose log may have lost a promise, the epoch
// that the metadata service has agreed for their volume (trap T14).
func (s *Server) reassurer() {
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.reassure:
		}
		for s.reassureAll() > 0 {
			select {
			case <-s.ctx.Done():
				return
			case <-s.clock.After(time.Second):
			}
		}
	}
}

// reassureAll asks for all that are unsure and counts those that still are.
func (s *Server) reassureAll() (left int) {
	for _, h := range s.hostedAll() {
		h.mu.Lock()
		unsure, volume := h.mu.core.Unsure(), h.mu.core.Meta().Volume
		h.mu.Unlock()
		if !unsure {
			continue
		}
		if err := s.reassureOne(h, volume); err != nil {
			left++
			s.log.Warn("segment with a damaged log still waits for its volume's epoch", "segment", h.log.ID(), "volume", volume, "err", err)
		}
	}
	return left
}

func (s *Server) reassureOne(h *hosted, volume block.VolumeID) error {
	ctx, cancel := context.WithTimeout(s.ctx, callTimeout)
	defer cancel()
	epoch, err := s.cfg.Registry.VolumeEpoch(ctx, volume)
	if err != nil {
		return err
	}
	h.mu.Lock()
	var ticket *logstore.Ticket
	if e := h.mu.core.Reassure(epoch); e != 0 {
		ticket = s.enqueueLocked(h, []logstore.Op{{Segment: h.log, Promise: e}})
	}
	h.mu.Unlock()
	if ticket != nil {
		return ticket.Wait()
	}
	return nil
}
