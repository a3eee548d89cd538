package segmentd

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
	"github.com/sextantdisk/sextant/internal/vfs"
	"github.com/sextantdisk/sextant/logstore"
)

// Bounds of a daemon.
const (
	// maxConns bounds the connections at a time.
	maxConns = 4096
	// maxCatchUps bounds the segments that are pulled up at a time.
	maxCatchUps = 4
	// helloTimeout bounds the greeting.
	helloTimeout = 10 * time.Second
)

// Names in a data folder, beside identity.json.
const (
	lockFile  = "lock"
	logFolder = "log"
)

var noDeadline time.Time

// Config is how a daemon is run.
type Config struct {
	Dir      string
	Zone     block.Zone
	Node     block.NodeID // empty: from the folder, or made
	Listen   string
	Capacity block.ByteCount // 0: what the disk has
	Registry Registry
	FS       vfs.FS
	Clock    clock.Clock
	Logger   *slog.Logger
	Store    logstore.Config
	// ScrubEvery is how often all data is read (rule S1); 0 never.
	ScrubEvery time.Duration
}

// Server is a running segment daemon.
type Server struct {
	cfg   Config
	log   *slog.Logger
	clock clock.Clock
	id    Identity
	store *logstore.Store
	ln    net.Listener
	lock  io.Closer

	ctx       context.Context //nolint:containedctx // the one background context of the service
	cancel    context.CancelCauseFunc
	tasks     sync.WaitGroup
	catchUps  chan struct{} // a place for each pull under way
	taking    throttle      // from peers
	giving    throttle      // to peers
	fromPeers atomic.Uint64 // bytes given to the log that came from them
	diskReads *diskReads
	reassure  chan struct{} // wakes the asker after volumes' epochs
	beatNow   chan struct{} // a heartbeat is to be sent at once
	lookNow   chan struct{} // the log is to be asked for its space at once
	counters  Counters
	scrubber  *scrubber
	room      room
	refusals  seldom                // of records, logged
	births    atomic.Int32          // segments being made; see mu.births
	failure   atomic.Pointer[error] // why the disk has ended, or nil

	mu struct {
		sync.RWMutex
		segments map[block.SegmentID]*hosted
		births   map[block.SegmentID]*birth
		conns    map[net.Conn]*client
		dropped  []SegmentRef // to be reported
		closed   bool
	}
}

// Start opens the data folder, registers with the metadata service and begins
// to serve. It returns when the daemon is ready, or with the reason why it
// cannot be. Error kinds: Mismatch, Version, Corrupt, Invalid, Unavailable,
// NoSpace.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	s := &Server{
		cfg: cfg, log: cfg.Logger, clock: cfg.Clock,
		catchUps: make(chan struct{}, maxCatchUps),
		reassure: make(chan struct{}, 1), beatNow: make(chan struct{}, 1), lookNow: make(chan struct{}, 1), diskReads: newDiskReads(),
	}
	s.taking = throttle{clock: cfg.Clock, served: s.served}
	s.giving = throttle{clock: cfg.Clock, served: s.served}
	s.scrubber = newScrubber(s, cfg.ScrubEvery)
	s.mu.segments = map[block.SegmentID]*hosted{}
	s.mu.births = map[block.SegmentID]*birth{}
	s.mu.conns = map[net.Conn]*client{}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	if err := s.open(ctx); err != nil {
		s.Close()
		return nil, err
	}
	s.spawn(s.accept)
	s.spawn(s.heartbeats)
	s.spawn(s.reassurer)
	s.spawn(s.watch)
	s.spawn(s.scrubber.run)
	s.spawn(s.gossip)
	s.wake(s.lookNow)
	s.wake(s.reassure)
	return s, nil
}

// open does all that can fail before anything is served.
func (s *Server) open(ctx context.Context) error {
	cfg := &s.cfg
	if err := cfg.FS.MkdirAll(cfg.Dir); err != nil {
		return block.Wrap(block.Unavailable, err, "data folder %s", cfg.Dir)
	}
	lock, err := cfg.FS.Lock(path.Join(cfg.Dir, lockFile))
	if err != nil {
		return block.Wrap(block.Unavailable, err, "data folder %s is in use: is another sextant segment running on it?", cfg.Dir)
	}
	s.lock = lock
	if s.id, err = openFolder(cfg.FS, cfg.Dir, cfg.Node, cfg.Zone); err != nil {
		return err
	}
	if err := s.checkLog(); err != nil {
		return err
	}
	s.id.Boot++
	if err := s.id.save(cfg.FS, cfg.Dir); err != nil {
		return err
	}
	if err := s.openLog(); err != nil {
		return err
	}
	if s.ln, err = net.Listen("tcp", cfg.Listen); err != nil {
		return block.Wrap(block.Unavailable, err, "cannot listen on %s: is the port in use?", cfg.Listen)
	}
	return s.register(ctx)
}

func (s *Server) logDir() string { return path.Join(s.cfg.Dir, logFolder) }

// checkLog refuses a folder that has served in a cluster and has lost its
// log: an empty one in its place would come back under the old id as a disk
// that has forgotten what it acknowledged (R28, trap T13). The cluster's id is
// written only after the log was made. Error kinds: Corrupt, Unavailable.
func (s *Server) checkLog() error {
	if s.id.Cluster.IsZero() {
		return nil
	}
	there, err := logstore.Present(s.cfg.FS, s.logDir())
	if err == nil && !there {
		err = block.Errorf(block.Corrupt, "data folder %s has served in cluster %v, but its log is gone: mount or restore what was in %s; if it is lost, start an empty folder under another node id",
			s.cfg.Dir, s.id.Cluster, s.logDir())
	}
	return err
}

// Addr is where the daemon listens.
func (s *Server) Addr() net.Addr { return s.ln.Addr() }

// Identity tells what the data folder is.
func (s *Server) Identity() Identity { return s.id }

// Store is the log; nil if it cannot be opened.
func (s *Server) Store() *logstore.Store { return s.store }

// LogStats are the log's figures, for metrics; all zero if the log cannot be
// opened.
func (s *Server) LogStats() logstore.Stats {
	if s.store == nil {
		return logstore.Stats{}
	}
	return s.store.Stats()
}

// Done is closed when the daemon ends by itself; Err tells why.
func (s *Server) Done() <-chan struct{} { return s.ctx.Done() }

// Err is why the daemon ended by itself, or nil.
func (s *Server) Err() error {
	if err := context.Cause(s.ctx); err != nil && !errors.Is(err, block.Closed) {
		return err
	}
	return nil
}

// spawn starts a goroutine that Close waits for.
func (s *Server) spawn(f func()) {
	s.tasks.Add(1)
	go func() {
		defer s.tasks.Done()
		f()
	}()
}

// wake gives ch a token unless it has one.
func (s *Server) wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// accept takes connections until the listener ends.
func (s *Server) accept() {
	for {
		nc, err := s.ln.Accept()
		if err != nil {
			if s.ctx.Err() != nil {
				return
			}
			s.log.Warn("accept failed", "err", err)
			select {
			case <-s.clock.After(100 * time.Millisecond): // out of descriptors, most likely
			case <-s.ctx.Done():
				return
			}
			continue
		}
		c := newClient(nc)
		if !s.track(c) {
			nc.Close()
			continue
		}
		s.spawn(func() { s.serve(c) })
	}
}

// track notes a connection, if there is room for it.
func (s *Server) track(c *client) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed || len(s.mu.conns) >= maxConns {
		return false
	}
	s.mu.conns[c.Conn] = c
	return true
}

func (s *Server) untrack(nc net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.conns, nc)
}

// closeMost is how long Close waits for a disk that does not answer: longer than
// the log does.
const closeMost = logstore.DeadFlush + 5*time.Second

// Close ends the daemon: connections are cut, goroutines joined, the log
// closed. It may be called again. A disk that does not answer is waited for no
// longer than closeMost; then what waits for it is left behind, and the folder
// stays locked. Error kind: Unavailable.
func (s *Server) Close() error {
	s.cancel(block.Closed)
	s.mu.Lock()
	if s.mu.closed {
		s.mu.Unlock()
		return nil
	}
	s.mu.closed = true
	for nc := range s.mu.conns {
		nc.Close()
	}
	s.mu.Unlock()
	if s.ln != nil {
		s.ln.Close()
	}
	closed := make(chan error, 1)
	go func() { closed <- s.end() }()
	late := s.clock.NewTimer(closeMost)
	defer late.Stop()
	select {
	case err := <-closed:
		return err
	case <-late.C():
		err := block.Errorf(block.Unavailable, "the disk of %s has not answered for %v; the daemon ends without it", s.cfg.Dir, closeMost)
		s.log.Error("not closed", "err", err)
		return err
	}
}

// end joins all tasks and gives folder and log back.
func (s *Server) end() (err error) {
	s.tasks.Wait()
	if s.store != nil {
		err = s.store.Close()
	}
	if s.lock != nil {
		s.lock.Close()
	}
	return err
}
