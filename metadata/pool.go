package metadata

import (
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/sextantdisk/sextant/internal/block"
)

// knownMax bounds the addresses that a client remembers.
const knownMax = 16

// pool is a connection to each member that was ever needed, and a guess of
// who leads.
type pool struct {
	seeds int // the first so many of known are never forgotten
	mu    struct {
		sync.Mutex
		closed  bool
		known   []string
		current int // index into known of where calls go
		conns   map[string]*grpc.ClientConn
	}
}

func newPool(addrs []string) *pool {
	p := &pool{}
	for _, a := range addrs {
		if !slices.Contains(p.mu.known, a) {
			p.mu.known = append(p.mu.known, a)
		}
	}
	p.seeds = len(p.mu.known)
	p.mu.conns = make(map[string]*grpc.ClientConn)
	return p
}

// pick is the connection to where calls go now.
func (p *pool) pick() (string, *grpc.ClientConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.closed {
		return "", nil, block.Errorf(block.Closed, "the metadata client is closed")
	}
	addr := p.mu.known[p.mu.current]
	if conn := p.mu.conns[addr]; conn != nil {
		return addr, conn, nil
	}
	conn, err := grpc.NewClient("passthrough:///"+addr,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxReplyBytes), grpc.MaxCallSendMsgSize(MaxRequestBytes)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 3 * time.Second, PermitWithoutStream: true}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: time.Second,
		}))
	if err != nil {
		return "", nil, block.Wrap(block.Invalid, err, "metadata address %q", addr)
	}
	p.mu.conns[addr] = conn
	return addr, conn, nil
}

// works notes that addr has answered: calls stay there.
func (p *pool) works(addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.mu.known, addr); i >= 0 {
		p.mu.current = i
	}
}

// fails notes that addr does not lead: calls go to leader if it is known, or
// else to the next member. If another call has moved on already, nothing
// changes.
func (p *pool) fails(addr, leader string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.closed || p.mu.known[p.mu.current] != addr {
		return
	}
	if leader == "" || leader == addr {
		p.mu.current = (p.mu.current + 1) % len(p.mu.known)
		return
	}
	p.mu.current = p.learnLocked(leader)
}

// learnLocked is the index of addr in known, where it is put if need be in
// place of the address learnt first.
func (p *pool) learnLocked(addr string) int {
	if i := slices.Index(p.mu.known, addr); i >= 0 {
		return i
	}
	if len(p.mu.known) >= knownMax && p.seeds < len(p.mu.known) {
		old := p.mu.known[p.seeds]
		p.mu.known = slices.Delete(p.mu.known, p.seeds, p.seeds+1)
		if conn := p.mu.conns[old]; conn != nil {
			delete(p.mu.conns, old)
			conn.Close()
		}
	}
	if len(p.mu.known) >= knownMax {
		return 0 // as many seeds as there may be: the leader is among them or near
	}
	p.mu.known = append(p.mu.known, addr)
	return len(p.mu.known) - 1
}

func (p *pool) addresses() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.mu.known)
}

func (p *pool) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.closed = true
	for addr, conn := range p.mu.conns {
		delete(p.mu.conns, addr)
		conn.Close() // its only error is that it was closed before
	}
	return nil
}
