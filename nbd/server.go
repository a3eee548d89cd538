package nbd

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
)

// MaxPayload is the longest read or write, in bytes (rule 21).
const MaxPayload = 32 * block.MiB

// Defaults and bounds of Config.
const (
	defaultConns            = 1024
	defaultHandshakes       = 100
	defaultHandshakeTimeout = 10 * time.Second
	defaultConnRequests     = 1024
	defaultConnBytes        = 64 * block.MiB
	defaultServerBytes      = 512 * block.MiB
)

const (
	// openTimeMax bounds Backend.Open, which may wait for a lease.
	openTimeMax = 60 * time.Second
	// drainTimeMax bounds how long a connection that ends waits for its
	// client to take the last replies.
	drainTimeMax = 10 * time.Second
	// lingerTimeMax bounds how long it then waits for the client to close:
	// closing first, with unread bytes, would destroy replies on their way.
	lingerTimeMax = time.Second
	// acceptPause is waited after an accept that failed for lack of
	// something, such as file descriptors.
	acceptPause = 50 * time.Millisecond
)

// Config says how to serve. Zero fields take their default.
type Config struct {
	Backend Backend      // must be set
	Log     *slog.Logger // default: slog.Default()
	Metrics Metrics      // default: none

	// Conns bounds the connections (default 1024), Handshakes those that
	// have not opened an export (default 100; one more ends the oldest).
	Conns, Handshakes int
	// HandshakeTimeout bounds the time a client takes to open an export,
	// not counting what the Backend takes; default 10 s.
	HandshakeTimeout time.Duration
	// ConnRequests and ConnBytes bound what one connection has in flight;
	// default 1024 and 64 MiB. ConnBytes is at least MaxPayload.
	ConnRequests int
	ConnBytes    block.ByteCount
	// ServerBytes bounds the bytes in flight on all connections; default
	// 512 MiB. It is at least twice ConnBytes: a connection may hold half.
	ServerBytes block.ByteCount
}

// withDefaults fills in the defaults and checks the result. Error kind:
// Invalid.
func (c Config) withDefaults() (Config, error) {
	setDefault(&c.Conns, defaultConns)
	setDefault(&c.Handshakes, defaultHandshakes)
	setDefault(&c.HandshakeTimeout, defaultHandshakeTimeout)
	setDefault(&c.ConnRequests, defaultConnRequests)
	setDefault(&c.ConnBytes, defaultConnBytes)
	setDefault(&c.ServerBytes, defaultServerBytes)
	if c.Log == nil {
		c.Log = slog.Default()
	}
	switch {
	case c.Backend == nil:
		return c, block.Errorf(block.Invalid, "nbd config: a backend is needed")
	case c.Conns < 1 || c.Handshakes < 1 || c.ConnRequests < 1 || c.HandshakeTimeout < 0:
		return c, block.Errorf(block.Invalid, "nbd config: bounds must be positive")
	case c.ConnBytes < MaxPayload:
		return c, block.Errorf(block.Invalid, "nbd config: %v in flight for a connection is less than one payload of %v", c.ConnBytes, MaxPayload)
	case c.ServerBytes < 2*c.ConnBytes:
		return c, block.Errorf(block.Invalid, "nbd config: %v in flight for the server is less than twice the %v of one connection", c.ServerBytes, c.ConnBytes)
	}
	return c, nil
}

func setDefault[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

// Server serves the exports of a Backend.
type Server struct {
	cfg    Config
	pool   *pool
	relief relief
	// ctx ends when the server stops: it is what Backend calls get, and
	// its Done channel stops readers that wait for memory.
	ctx  context.Context //nolint:containedctx // the one background context of the service
	stop context.CancelFunc
	wg   sync.WaitGroup // connections; Add only under mu and before stopping

	mu struct {
		sync.Mutex
		stopping   bool
		listeners  map[net.Listener]struct{}
		conns      map[*conn]struct{}
		handshakes int // of conns, those in phaseHandshake
	}
}

// NewServer makes a server that listens nowhere yet. Error kind: Invalid.
func NewServer(cfg Config) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, pool: newPool(int64(cfg.ServerBytes)), relief: relief{after: stallTimeMax}}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.mu.listeners = make(map[net.Listener]struct{})
	s.mu.conns = make(map[*conn]struct{})
	return s, nil
}

// Serve accepts connections from l until the server stops, then returns nil,
// or until l fails. It closes l. It may be called for several listeners.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	s.mu.Lock()
	if s.mu.stopping {
		s.mu.Unlock()
		return nil
	}
	s.mu.listeners[l] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.mu.listeners, l)
		s.mu.Unlock()
	}()
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			if c := s.admit(nc); c != nil {
				go s.serve(c)
			}
		case s.ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return block.Wrap(block.Closed, err, "accept on %v", l.Addr())
		default:
			s.cfg.Log.Warn("accept failed, trying again", "listener", l.Addr().String(), "err", err)
			select {
			case <-time.After(acceptPause):
			case <-s.ctx.Done():
				return nil
			}
		}
	}
}

// ServeConn serves one connection that was accepted elsewhere and returns
// when it has ended. It closes nc.
func (s *Server) ServeConn(nc net.Conn) {
	if c := s.admit(nc); c != nil {
		s.serve(c)
	}
}

// admit takes nc in, or closes it and returns nil.
func (s *Server) admit(nc net.Conn) *conn {
	if t, ok := nc.(*net.TCPConn); ok {
		_ = t.SetNoDelay(true) // rule 13; on by default
	}
	c := newConn(s, nc)
	var evicted *conn
	s.mu.Lock()
	full := len(s.mu.conns) >= s.cfg.Conns
	if s.mu.stopping || full {
		s.mu.Unlock()
		if full {
			s.cfg.Log.Warn("too many connections, one refused", "limit", s.cfg.Conns, "client", nc.RemoteAddr().String())
		}
		nc.Close()
		return nil
	}
	if s.mu.handshakes >= s.cfg.Handshakes {
		evicted = s.oldestHandshakeLocked()
		s.setPhaseLocked(evicted, phaseEvicted)
	}
	s.mu.conns[c] = struct{}{}
	s.setPhaseLocked(c, phaseHandshake)
	s.wg.Add(1)
	s.mu.Unlock()
	if evicted != nil {
		evicted.nc.Close()
	}
	return c
}

// oldestHandshakeLocked finds whose place a new connection takes.
func (s *Server) oldestHandshakeLocked() *conn {
	var oldest *conn
	for c := range s.mu.conns {
		if c.phase == phaseHandshake && (oldest == nil || c.accepted.Before(oldest.accepted)) {
			oldest = c
		}
	}
	return oldest
}

// phase is how far a connection has come.
type phase uint8

const (
	phaseNone      phase = iota
	phaseHandshake       // counted in mu.handshakes
	phaseOpen            // is opening an export
	phaseServing         // has opened an export and reads requests
	phaseEvicted         // had to make place during its handshake
)

// setPhaseLocked keeps count of handshakes.
func (s *Server) setPhaseLocked(c *conn, p phase) {
	if c.phase == phaseHandshake {
		s.mu.handshakes--
	}
	if p == phaseHandshake {
		s.mu.handshakes++
	}
	c.phase = p
}

// setPhase is setPhaseLocked for callers without the lock; an evicted
// connection stays evicted.
func (s *Server) setPhase(c *conn, p phase) {
	s.mu.Lock()
	if c.phase != phaseEvicted {
		s.setPhaseLocked(c, p)
	}
	s.mu.Unlock()
}

// serve runs c from handshake to end.
func (s *Server) serve(c *conn) {
	defer s.wg.Done()
	c.run()
	s.mu.Lock()
	s.setPhaseLocked(c, phaseNone)
	delete(s.mu.conns, c)
	s.mu.Unlock()
}

// Stats may be called at any time.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{
		Conns:      len(s.mu.conns),
		Handshakes: s.mu.handshakes,
		InFlight:   block.ByteCount(max(s.pool.used.Load(), 0)),
	}
}

// begin stops listening and tells all connections to stop reading.
func (s *Server) begin() []*conn {
	s.mu.Lock()
	s.mu.stopping = true
	conns := make([]*conn, 0, len(s.mu.conns))
	for c := range s.mu.conns {
		conns = append(conns, c)
	}
	listeners := make([]net.Listener, 0, len(s.mu.listeners))
	for l := range s.mu.listeners {
		listeners = append(listeners, l)
	}
	s.mu.Unlock()
	s.stop()
	for _, l := range listeners {
		l.Close()
	}
	for _, c := range conns {
		c.stopReading()
	}
	return conns
}

// Shutdown stops the server in good order (rule 40): nothing more is read,
// requests in flight are finished and answered, then each connection is
// closed. Requests that were not read are not answered: a kernel client sends
// them again when it has reconnected, where ESHUTDOWN would be an I/O error to
// its file system. When ctx ends first the connections are cut, and its error
// is returned at once; Close then waits for the rest.
func (s *Server) Shutdown(ctx context.Context) error {
	conns := s.begin()
	done := make(chan struct{})
	go func() { s.wg.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		for _, c := range conns {
			c.nc.Close()
		}
		return ctx.Err()
	}
}

// Close cuts all connections. It returns when the devices have completed what
// had been submitted and have been closed.
func (s *Server) Close() error {
	for _, c := range s.begin() {
		c.nc.Close()
	}
	s.wg.Wait()
	return nil
}
