package segmentd

import (
	"context"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/mutant"
	"github.com/sextantdisk/sextant/segmentd/segment"
	"github.com/sextantdisk/sextant/wire"
)

// A segment is made when its writer joins it for the first time. A daemon
// cannot tell that from a writer that is cut off and joins what was dropped
// since: with its volume, or because another segment took its place. Made
// again, empty, under its old id it would have forgotten what it promised and
// acknowledged (R28). So the metadata service is asked before: the segment must
// be one of the group's as agreed now, and the epoch the volume's newest. That
// takes a while, and is done beside the connection.

// maxBirths bounds the segments that are being made at a time; who joins one
// more is refused for now, and joins again.
const maxBirths = 4096

// birth is a segment that is being made.
type birth struct {
	done chan struct{} // closed when it was made, or was not
	// void: it was ordered to be dropped meanwhile. Guarded by Server.mu.
	void bool
	// doubtful: see segment.Meta. It belongs to whoever makes the segment.
	doubtful bool
}

// bear answers a Join of a segment that is not here, which makes it.
func (c *conn) bear(tag wire.Tag, m *wire.Join) {
	s := c.s
	if m.Cluster != s.id.Cluster {
		c.refuse(tag, block.Errorf(block.Mismatch, "this daemon is of cluster %v, the message of %v", s.id.Cluster, m.Cluster))
		return
	}
	if s.births.Add(1) > maxBirths {
		s.births.Add(-1)
		c.refuse(tag, block.Errorf(block.Unavailable, "node %s makes %d segments just now: join later", s.id.Node, maxBirths))
		return
	}
	c.beside.Add(1)
	go func() {
		defer c.beside.Done()
		defer s.births.Add(-1)
		r := &round{c: c}
		host, err := s.create(&m.Identity)
		if err != nil {
			c.log.Error("segment cannot be made", "segment", m.Segment, "err", err)
			refusal := s.refusal(err)
			r.send(refusal.Append(r.head[:0], tag))
		} else {
			c.admitPlain(r, host, tag, &m.Identity, m.Progress)
		}
		r.finish()
	}()
}

// create makes a segment that a writer asks for, or finds it if somebody else
// was quicker. Error kinds: Invalid; NotFound: it is not the group's (any
// more); Fenced; Unavailable; NoSpace.
func (s *Server) create(id *wire.Identity) (*hosted, error) {
	if id.Segment.IsZero() || id.Epoch == 0 {
		return nil, block.Errorf(block.Invalid, "segment %v of epoch %d cannot be made", id.Segment, id.Epoch)
	}
	for {
		host, other, mine := s.expect(id.Segment)
		switch {
		case host != nil:
			return host, nil
		case mine != nil:
			host, err := s.makeNew(id, mine)
			return host, s.delivered(id.Segment, mine, host, err)
		}
		select { // it may fail because of who asked: then it is our turn
		case <-other.done:
		case <-s.ctx.Done():
			return nil, context.Cause(s.ctx)
		}
	}
}

// expect finds a segment, or who is making it, or makes that the caller.
func (s *Server) expect(id block.SegmentID) (host *hosted, other, mine *birth) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h, ok := s.mu.segments[id]; ok {
		return h, nil, nil
	}
	if b := s.mu.births[id]; b != nil {
		return nil, b, nil
	}
	mine = &birth{done: make(chan struct{})}
	for _, ref := range s.mu.dropped { // the metadata service does not know yet
		mine.void = mine.void || ref.Segment == id
	}
	s.mu.births[id] = mine
	return nil, nil, mine
}

// makeNew makes a segment in the log. On a log that has lost a part it may have
// been here before: it is born in doubt, and not admitted to before the
// metadata service has told the volume's epoch.
func (s *Server) makeNew(id *wire.Identity, b *birth) (*hosted, error) {
	ctx, cancel := context.WithTimeout(s.ctx, callTimeout)
	defer cancel()
	if err := s.cfg.Registry.Placed(ctx, s.id.Disk, SegmentRef{Volume: id.Volume, PG: id.PG, Segment: id.Segment}, id.Epoch); err != nil && !mutant.On(mutant.BornUnasked) {
		return nil, block.Wrap(block.KindOf(err), err, "making segment %v", id.Segment)
	}
	if s.isVoid(b) {
		return nil, dropped(id.Segment)
	}
	meta := segment.NewMeta(id)
	meta.Doubtful = s.logDamaged()
	b.doubtful = meta.Doubtful
	g, err := s.store.CreateSegment(id.Segment, id.Epoch, meta.Encode())
	if err != nil {
		return nil, err
	}
	return s.newHosted(g, segment.New(id.Segment, meta, id.Epoch, meta.Doubtful)), nil
}

func (s *Server) isVoid(b *birth) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return b.void
}

func dropped(id block.SegmentID) error {
	return block.Errorf(block.NotFound, "segment %v was ordered to be dropped", id)
}

// delivered ends a birth: the segment is there for all from now on, unless it
// was ordered to be dropped while it was made. It gives err on, or that.
func (s *Server) delivered(id block.SegmentID, b *birth, host *hosted, err error) error {
	s.mu.Lock()
	delete(s.mu.births, id)
	void := b.void
	if err == nil && !void {
		s.mu.segments[id] = host
	}
	s.mu.Unlock()
	defer close(b.done)
	switch {
	case err != nil:
		return err
	case void:
		if err := s.store.DropSegment(id); err != nil {
			s.log.Error("dropping a segment failed", "segment", id, "err", err)
		}
		return dropped(id)
	case b.doubtful:
		s.wake(s.reassure)
	}
	return nil
}
