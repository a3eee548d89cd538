package volume

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/boxcar"
	"github.com/sextantdisk/sextant/volume/pg"
	"github.com/sextantdisk/sextant/volume/quorum"
	"github.com/sextantdisk/sextant/wire"
)

// Timing and bounds of links.
const (
	dialTimeout   = 3 * time.Second
	greetTimeout  = 5 * time.Second
	redialFirst   = 20 * time.Millisecond
	redialLongest = time.Second
	// linkQueue bounds what may be queued for a daemon that does not take
	// it, over all groups; beyond it the connection is given up and made
	// anew when the daemon answers again (B6).
	linkQueue = 64 * block.MiB
)

// Daemon is a segment daemon as a link sees it.
type Daemon struct {
	Node    block.NodeID
	Disk    block.DiskID
	Address string
}

// route is where the answers with one tag belong.
type route struct {
	tag    wire.Tag
	group  *group
	member quorum.Member
}

// link is the connections to one segment daemon: one for records and their
// acks, one for reads, so that reads do not wait behind records.
type link struct {
	pool *Pool
	log  *slog.Logger
	node block.NodeID
	disk block.DiskID

	reads readSide
	// out is the record connection that is up, or nil.
	out atomic.Pointer[outlet]
	// routes by the lower half of their tags; nil in a place that is free.
	// The slice grows at its end only, so that a copy of it stays good.
	routes atomic.Pointer[[]*atomic.Pointer[route]]

	mu struct {
		sync.Mutex
		address string
		// free are tags that were given back; each is the next one for its
		// place, so that late answers to the last one find nobody.
		free []wire.Tag
	}
}

// outlet is a record connection, to be written to.
type outlet struct {
	*boxcar.Writer
	nc *net.TCPConn
}

// hangUp ends a record connection: who reads it finds its end, and closes it.
func hangUp(nc *net.TCPConn) {
	_ = nc.CloseRead() // fails if it is closed, or not connected any more
	_ = nc.CloseWrite()
}

// attach gives the tag under which answers reach member m of g.
func (l *link) attach(g *group, m quorum.Member) wire.Tag {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k := len(l.mu.free) - 1; k >= 0 {
		tag := l.mu.free[k]
		l.mu.free = l.mu.free[:k]
		(*l.routes.Load())[uint32(tag)].Store(&route{tag, g, m})
		return tag
	}
	var routes []*atomic.Pointer[route]
	if p := l.routes.Load(); p != nil {
		routes = *p
	}
	tag := wire.Tag(len(routes))
	place := new(atomic.Pointer[route])
	place.Store(&route{tag, g, m})
	routes = append(routes, place)
	l.routes.Store(&routes)
	return tag
}

// detach gives a tag back.
func (l *link) detach(tag wire.Tag) {
	l.mu.Lock()
	defer l.mu.Unlock()
	(*l.routes.Load())[uint32(tag)].Store(nil)
	l.mu.free = append(l.mu.free, tag+1<<32)
}

// route finds who has a tag; nil if nobody does.
func (l *link) route(tag wire.Tag) *route {
	p := l.routes.Load()
	if p == nil || uint64(uint32(tag)) >= uint64(len(*p)) {
		return nil
	}
	if r := (*p)[uint32(tag)].Load(); r != nil && r.tag == tag {
		return r
	}
	return nil
}

// eachRoute calls f with all that are there now.
func (l *link) eachRoute(f func(*route)) {
	p := l.routes.Load()
	if p == nil {
		return
	}
	for _, place := range *p {
		if r := place.Load(); r != nil {
			f(r)
		}
	}
}

// queue puts a frame on its way; flush sends it. When the connection is down
// the frame is dropped: its group hears of that.
func (l *link) queue(pieces []boxcar.Piece) {
	w := l.out.Load()
	if w == nil {
		releaseAll(pieces)
		return
	}
	if w.QueuedBytes() > linkQueue {
		l.log.Warn("daemon does not take what it is sent, connection given up", "queued", w.QueuedBytes())
		l.out.CompareAndSwap(w, nil)
		releaseAll(pieces)
		hangUp(w.nc)
		return
	}
	_ = w.QueueAll(pieces) // an error shows at the reader, too
}

func releaseAll(pieces []boxcar.Piece) {
	for i := range pieces {
		if pieces[i].Owner != nil {
			pieces[i].Owner.Release()
		}
	}
}

func (l *link) flush() {
	if w := l.out.Load(); w != nil {
		w.Flush()
	}
	l.reads.flush()
}

// run keeps the record connection up until the pool closes.
func (l *link) run() {
	l.keepUp("records", func(ctx context.Context) (bool, error) {
		nc, r, err := l.dial(ctx, wire.ForWrites)
		if err != nil {
			return false, err
		}
		taker, err := l.pool.taker()
		if err != nil {
			nc.Close()
			return false, err
		}
		fault := make(chan error, 1) // of writing
		w := &outlet{boxcar.New(nc, func(err error) { fault <- err; hangUp(nc) }), nc}
		stop := context.AfterFunc(ctx, func() { hangUp(nc) })
		defer stop()
		l.out.Store(w)
		l.announce(pg.Up)
		began, err := taker.take(l, nc, r)
		l.out.CompareAndSwap(w, nil)
		w.Close()
		l.announce(pg.Down)
		select {
		case err = <-fault: // the end that the reader found was hangUp's
		default:
		}
		return began, err
	})
}

// keepUp runs session again and again, with growing pauses while it fails.
func (l *link) keepUp(what string, session func(context.Context) (bool, error)) {
	ctx, pause := l.pool.ctx, redialFirst
	for fails := 0; ctx.Err() == nil; fails++ {
		ok, err := session(ctx)
		if ctx.Err() != nil {
			return
		}
		if ok {
			fails, pause = 0, redialFirst
		}
		if fails < 2 || fails%60 == 0 {
			l.log.Warn("connection is down", "for", what, "err", err)
		}
		if fails%4 == 3 {
			l.lookUp(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-l.pool.cfg.Clock.After(pause):
		}
		pause = min(2*pause, redialLongest)
	}
}

// lookUp asks whether the daemon has moved to another address.
func (l *link) lookUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	addr, err := l.pool.cfg.Resolve(ctx, l.node)
	if err != nil || addr == "" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.address != addr {
		l.log.Info("daemon has moved", "from", l.mu.address, "to", addr)
		l.mu.address = addr
	}
}

func (l *link) address() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.address
}

// dial connects and greets: the daemon must be the very one (R1).
func (l *link) dial(ctx context.Context, purpose wire.Purpose) (*net.TCPConn, *wire.Reader, error) {
	dialCtx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(dialCtx, "tcp", l.address())
	if err != nil {
		return nil, nil, block.Wrap(block.Unavailable, err, "node %s", l.node)
	}
	nc := conn.(*net.TCPConn) // network "tcp" gives nothing else
	r := wire.NewReader(nc)
	if err := l.greet(nc, r, purpose); err != nil {
		nc.Close()
		return nil, nil, block.Wrap(block.KindOf(err), err, "node %s at %s", l.node, l.address())
	}
	return nc, r, nil
}

func (l *link) greet(nc net.Conn, r *wire.Reader, purpose wire.Purpose) error {
	_ = nc.SetDeadline(l.pool.cfg.Clock.Now().Add(greetTimeout))
	hello := wire.Hello{Cluster: l.pool.cfg.Cluster, Disk: l.disk, Purpose: purpose, Node: l.node, Sender: l.pool.cfg.Name}
	if _, err := nc.Write(hello.Append(nil, 0)); err != nil {
		return err
	}
	h, meta, err := r.Next()
	if err != nil {
		return err
	}
	switch h.Type {
	case wire.TypeWelcome:
		var m wire.Welcome
		if err := m.Decode(meta); err != nil {
			return err
		}
		if m.Cluster != hello.Cluster || m.Disk != hello.Disk || m.Node != hello.Node {
			return block.Errorf(block.Mismatch, "node %s with disk %v answered, disk %v was called", m.Node, m.Disk, hello.Disk)
		}
		return nc.SetDeadline(noDeadline)
	case wire.TypeRefuse:
		var m wire.Refuse
		if err := m.Decode(meta); err != nil {
			return err
		}
		return m.Err()
	}
	return block.Errorf(block.Invalid, "%v is no answer to HELLO", h.Type)
}

var noDeadline time.Time

// announce tells all groups that the connection has come or gone.
func (l *link) announce(kind pg.InputKind) {
	var b batch
	l.eachRoute(func(r *route) { r.group.hear(&b, l, pg.Input{Kind: kind, Member: r.member}) })
	b.run()
}
