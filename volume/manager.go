package volume

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
)

// linger is how long a volume stays open when its last client has gone: most
// come back at once, and opening costs an epoch.
const linger = 2 * time.Second

// Manager opens volumes when the first client comes, shares them among
// clients, and closes them after the last has gone.
type Manager struct {
	cfg    Config
	ctx    context.Context //nolint:containedctx // the one background context of the service
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	mu struct {
		sync.Mutex
		open map[string]*shared
		// lost are volumes that another gateway has taken from this one.
		lost map[string]bool
	}
}

// shared is a volume that is open, or being opened.
type shared struct {
	ready chan struct{} // closed when v or err is set
	v     *Volume
	err   error
	users int
	idle  int // counts how often it became idle
}

// NewManager makes a Manager that opens volumes with cfg. Takeover counts for a
// volume until another gateway has taken it from this one: of two that may both
// take over, each would else take it back for the clients that it has cut, for
// ever.
func NewManager(cfg Config) *Manager {
	m := &Manager{cfg: cfg}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.mu.open = map[string]*shared{}
	m.mu.lost = map[string]bool{}
	return m
}

// Acquire gives the volume of that name, opening it if need be. Release must
// follow. Error kinds: those of Open; Closed.
func (m *Manager) Acquire(ctx context.Context, name string) (*Volume, error) {
	for {
		s, mine := m.enter(name)
		if s == nil {
			return nil, block.Errorf(block.Closed, "gateway is shutting down")
		}
		if mine {
			s.v, s.err = m.openVolume(ctx, name, s)
			close(s.ready)
		}
		select {
		case <-s.ready:
		case <-ctx.Done():
			m.leave(name, s)
			return nil, block.Wrap(block.Unavailable, ctx.Err(), "waiting for volume %s to be opened", name)
		}
		switch {
		case s.err != nil:
			m.forget(name, s)
			if !mine && errors.Is(s.err, context.Canceled) {
				continue // whoever opened it gave up; we have not
			}
			return nil, s.err
		case s.v.ended() == nil:
			return s.v, nil
		}
		m.forget(name, s) // it has ended meanwhile: open it anew
	}
}

// enter finds the entry of a name, or makes one; then mine is true and the
// caller must open the volume.
func (m *Manager) enter(name string) (s *shared, mine bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ctx.Err() != nil {
		return nil, false
	}
	s, ok := m.mu.open[name]
	if !ok {
		s = &shared{ready: make(chan struct{})}
		m.mu.open[name] = s
	}
	s.users++
	return s, !ok
}

func (m *Manager) openVolume(ctx context.Context, name string, s *shared) (*Volume, error) {
	cfg := m.cfg
	m.mu.Lock()
	cfg.Takeover = cfg.Takeover && !m.mu.lost[name]
	m.mu.Unlock()
	cfg.Ended = func(err error) {
		if errors.Is(err, block.Fenced) {
			m.mu.Lock()
			m.mu.lost[name] = true
			m.mu.Unlock()
		}
		m.forget(name, s)
		if m.cfg.Ended != nil {
			m.cfg.Ended(err)
		}
	}
	return Open(ctx, name, cfg)
}

// forget makes the next Acquire of the name open it anew.
func (m *Manager) forget(name string, s *shared) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.open[name] == s {
		delete(m.mu.open, name)
	}
}

// Release gives back what Acquire gave.
func (m *Manager) Release(name string, v *Volume) {
	m.mu.Lock()
	s := m.mu.open[name]
	m.mu.Unlock()
	if s != nil && s.v == v {
		m.leave(name, s)
		return
	}
	m.spawn(func() { m.closeVolume(v) }) // it has ended; this joins its goroutines
}

// leave counts a user out; the last one starts the linger time.
func (m *Manager) leave(name string, s *shared) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s.users--
	if s.users > 0 {
		return
	}
	s.idle++
	idle := s.idle
	m.spawn(func() {
		select {
		case <-m.ctx.Done():
			return // Close does it
		case <-m.cfg.Pool.cfg.Clock.After(linger):
		}
		m.closeIdle(name, s, idle)
	})
}

// closeIdle closes a volume that nobody has used since it became idle.
func (m *Manager) closeIdle(name string, s *shared, idle int) {
	m.mu.Lock()
	if m.mu.open[name] != s || s.users > 0 || s.idle != idle {
		m.mu.Unlock()
		return
	}
	delete(m.mu.open, name)
	m.mu.Unlock()
	<-s.ready
	if s.v != nil {
		m.closeVolume(s.v)
	}
}

func (m *Manager) closeVolume(v *Volume) {
	ctx, cancel := context.WithTimeout(context.Background(), placeTimeout)
	defer cancel()
	if err := v.Close(ctx); err != nil {
		v.log.Warn("closing the volume: the next gateway will have to wait for our lease", "err", err)
	}
}

func (m *Manager) spawn(f func()) {
	m.tasks.Add(1)
	go func() {
		defer m.tasks.Done()
		f()
	}()
}

// Volumes lists the volumes that are open.
func (m *Manager) Volumes() []*Volume {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []*Volume
	for _, s := range m.mu.open {
		select {
		case <-s.ready:
			if s.v != nil {
				out = append(out, s.v)
			}
		default:
		}
	}
	return out
}

// Close closes all volumes in good order. Clients must have gone.
func (m *Manager) Close() {
	m.cancel()
	m.mu.Lock()
	open := m.mu.open
	m.mu.open = map[string]*shared{}
	m.mu.Unlock()
	for _, s := range open {
		<-s.ready
		if s.v != nil {
			m.closeVolume(s.v)
		}
	}
	m.tasks.Wait()
}
