package volume

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
)

// PoolConfig is what a pool of links needs.
type PoolConfig struct {
	Cluster block.ClusterID
	Name    string // of this gateway, for the daemons' logs
	Clock   clock.Clock
	Logger  *slog.Logger
	// Resolve tells where a node listens now.
	Resolve func(ctx context.Context, node block.NodeID) (string, error)
}

// Pool keeps the connections to segment daemons, one link each, for all
// volumes of a gateway.
type Pool struct {
	cfg    PoolConfig
	start  time.Duration   // of the clock's Elapsed
	ctx    context.Context //nolint:containedctx // the one background context of the service
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	hearing sync.WaitGroup // mu.takers' goroutines, which end after the links'

	mu struct {
		sync.Mutex
		links  map[block.DiskID]*link
		takers []*ackTaker
		turn   int // which of them the last link got
	}
}

// NewPool makes an empty pool; links come with the volumes that need them.
func NewPool(cfg PoolConfig) *Pool {
	p := &Pool{cfg: cfg, start: cfg.Clock.Elapsed()}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.mu.links = map[block.DiskID]*link{}
	p.spawn(p.hedge)
	return p
}

// now is the time since the pool was made, suspended time included. All that
// is compared with stamps and leases is read off this one clock (R14).
func (p *Pool) now() time.Duration { return p.cfg.Clock.Elapsed() - p.start }

func (p *Pool) spawn(f func()) {
	p.tasks.Add(1)
	go func() {
		defer p.tasks.Done()
		f()
	}()
}

// link gives the link to a daemon, making it if need be.
func (p *Pool) link(d Daemon) *link {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l, ok := p.mu.links[d.Disk]; ok {
		return l
	}
	l := &link{pool: p, node: d.Node, disk: d.Disk, log: p.cfg.Logger.With("node", string(d.Node))}
	l.mu.address = d.Address
	l.reads.init(l)
	p.mu.links[d.Disk] = l
	p.spawn(l.run)
	p.spawn(l.reads.run)
	return l
}

func (p *Pool) all() []*link {
	p.mu.Lock()
	defer p.mu.Unlock()
	links := make([]*link, 0, len(p.mu.links))
	for _, l := range p.mu.links {
		links = append(links, l)
	}
	return links
}

// Close ends all links. Volumes must be closed before.
func (p *Pool) Close() {
	p.cancel()
	p.tasks.Wait()
	p.endTakers()
}
