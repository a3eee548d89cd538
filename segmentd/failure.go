package segmentd

import (
	"errors"
	"syscall"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/logstore"
	"github.com/sextantdisk/sextant/wire"
)

// watchEvery is how often the disk is looked after: how long its flush takes,
// how much room it has.
const watchEvery = 250 * time.Millisecond

// observer passes on what the log tells, and hears of its end.
type observer struct {
	logstore.Observer
	s *Server
}

// Failed implements logstore.Observer.
func (o observer) Failed(err error) {
	o.s.fail(err)
	if o.Observer != nil {
		o.Observer.Failed(err)
	}
}

// Flushed implements logstore.Observer.
func (o observer) Flushed(records int, n block.ByteCount, d time.Duration) {
	if o.Observer != nil {
		o.Observer.Flushed(records, n, d)
	}
	if o.s.room.took(n) {
		o.s.wake(o.s.lookNow)
	}
}

// Corrupt implements logstore.Observer.
func (o observer) Corrupt(d logstore.Damage) {
	if o.Observer != nil {
		o.Observer.Corrupt(d)
	}
	o.s.wake(o.s.scrubber.heal)
}

// Failed is why this daemon's disk has ended, or nil. From then on its
// segments answer nothing as complete (rule S3): who asks is refused, with the
// reason. Kind: Unavailable.
func (s *Server) Failed() error {
	if p := s.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// fail ends the disk. Gateways hear of it at once: their connections for
// records are cut, and what they ask on new ones is refused. So does the
// metadata service.
func (s *Server) fail(err error) {
	err = block.Wrap(block.Unavailable, err, "the disk of node %s, %s, has failed", s.id.Node, s.cfg.Dir)
	if !s.failure.CompareAndSwap(nil, &err) {
		return
	}
	s.log.Error("disk failed: its segments answer no more; replace the disk under a new node id", "dir", s.cfg.Dir, "disk", s.id.Disk, "err", err)
	s.mu.RLock()
	for nc, c := range s.mu.conns {
		if c.purpose == wire.ForWrites {
			nc.Close()
		}
	}
	s.mu.RUnlock()
	s.wake(s.beatNow)
}

// openLog opens the log and loads what is in it. A disk that cannot be read
// is no reason to end: the daemon serves nothing then, but it tells everybody
// why. Error kinds: those of logstore.Open.
func (s *Server) openLog() error {
	cfg := s.cfg.Store
	cfg.Observer = observer{cfg.Observer, s}
	store, err := logstore.Open(s.cfg.FS, s.logDir(), s.id.Disk, cfg)
	if diskBroken(err) {
		s.fail(err)
		return nil
	}
	if err != nil {
		return err
	}
	s.store = store
	return s.load()
}

// diskBroken tells the errors of a disk, or of a file system that has found
// itself damaged, from all others.
func diskBroken(err error) bool {
	return errors.Is(err, syscall.EIO) || errors.Is(err, syscall.EUCLEAN)
}

// watch looks after the disk until the daemon ends.
func (s *Server) watch() {
	s.repeat(watchEvery, watchEvery, s.lookNow, func() {
		s.cutStopped()
		s.taking.look()
		s.giving.look()
		if s.store != nil {
			s.lookAtFlush()
			s.lookForRoom()
		}
	})
}

// lookAtFlush gives up a disk whose flush does not come back: gateways must
// know that it is gone, not merely slow.
func (s *Server) lookAtFlush() {
	if took := s.store.Flushing(); took > logstore.DeadFlush {
		s.store.Fail(block.Errorf(block.Unavailable, "a flush has not returned for %v", took))
	}
}

// withoutDisk refuses a message of a peer when the disk has ended; READ and
// MAP are served as long as there is a log to read.
func (c *conn) withoutDisk(h wire.Header) (refused bool, err error) {
	failure := c.s.Failed()
	if failure == nil || c.s.store != nil && (h.Type == wire.TypeRead || h.Type == wire.TypeMap) {
		return false, nil
	}
	if err := c.r.Skip(h.PayloadLen); err != nil {
		return true, err
	}
	c.refuse(h.Tag, failure)
	return true, nil
}
