package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sextantdisk/sextant/integration/history"
	"github.com/sextantdisk/sextant/integration/stamp"
	"github.com/sextantdisk/sextant/internal/block"
)

const (
	// clients each have a connection, and depth requests in flight on it.
	clients = 12
	depth   = 2
	// groupBlocks of a group that is in use are read and written as blocks,
	// sectorBlocks behind them in sectors.
	groupBlocks  = 256
	sectorBlocks = 8
	// firstGroups are in use from the beginning, newGroups more with each
	// chapter.
	firstGroups = 4
	newGroups   = 2
	// requestMax is the longest request, in blocks.
	requestMax = 64
	// readPercent of the requests are reads, sectorPercent are about sectors.
	readPercent   = 40
	sectorPercent = 15
	// sectorsMax is the longest request for sectors, in sectors.
	sectorsMax = 20
	// dialWait is the time between attempts to connect.
	dialWait = 50 * time.Millisecond
)

// load is what all clients have in common.
type load struct {
	world *World
	clock history.Clock
	log   history.Log
	seed  uint64

	// front is the gateway that clients connect to, used how many groups
	// they use.
	front atomic.Int64
	used  atomic.Int64

	// written numbers the writes of each client over all chapters.
	written [clients*depth + 1]atomic.Uint64

	counts struct {
		writes, reads, failed, broken atomic.Int64
	}
	// lastDone is when the last request succeeded, in Unix nanoseconds.
	lastDone atomic.Int64
	// full: the log takes no more.
	full atomic.Bool

	mu struct {
		sync.Mutex
		// conns are those of the clients, by number.
		conns map[int]*stamp.Conn
		wrong []string
	}
}

func newLoad(w *World, seed uint64) *load {
	l := &load{world: w, seed: seed}
	l.mu.conns = map[int]*stamp.Conn{}
	return l
}

// answerMax is how long a request may take when nothing is broken any more.
const answerMax = time.Minute

// run lets all clients work until ctx ends, and waits for them. By then nothing
// is broken any more: it is an error if a request gets no answer within
// answerMax. Error kind: Unavailable.
func (l *load) run(ctx context.Context, chapter int) error {
	l.lastDone.Store(time.Now().UnixNano())
	var work sync.WaitGroup
	for i := range clients * depth {
		c := &client{
			load: l, name: history.Client(i + 1), conn: i / depth,
			rng: rand.New(rand.NewPCG(l.seed, uint64(chapter*clients*depth+i))),
		}
		work.Go(func() { c.work(ctx) })
	}
	done := make(chan struct{})
	go func() { work.Wait(); close(done) }()
	<-ctx.Done()
	timer := time.NewTimer(answerMax)
	defer timer.Stop()
	var err error
	select {
	case <-done:
	case <-timer.C:
		err = block.Errorf(block.Unavailable, "a request had no answer %v after all was mended", answerMax)
	}
	l.abandon(func(int) bool { return true })
	<-done
	return err
}

// abandon ends the connections whose numbers are chosen.
func (l *load) abandon(chosen func(conn int) bool) {
	l.mu.Lock()
	var leave []*stamp.Conn
	for i, c := range l.mu.conns {
		if chosen(i) {
			leave = append(leave, c)
			delete(l.mu.conns, i)
		}
	}
	l.mu.Unlock()
	for _, c := range leave {
		c.Abandon()
	}
}

// moveTo makes a gateway the one that clients connect to. Every other client
// leaves the one it has now; the others stay until they are thrown out.
func (l *load) moveTo(gateway int) {
	l.front.Store(int64(gateway))
	l.abandon(func(conn int) bool { return conn%2 == 0 })
}

// client does one request after another.
type client struct {
	load *load
	name history.Client
	// conn is the number of its connection.
	conn int
	rng  *rand.Rand
}

func (c *client) work(ctx context.Context) {
	buf := make([]byte, requestMax*block.Size)
	for ctx.Err() == nil && !c.load.full.Load() {
		conn, err := c.load.connection(ctx, c.conn)
		if err != nil {
			if pause(ctx, dialWait) != nil {
				return
			}
			continue
		}
		u, at, count := c.choose()
		p := buf[:count*int(u)]
		if c.readsOnly() || c.rng.IntN(100) < readPercent {
			err = c.load.read(conn, c.name, u, at, p)
		} else {
			err = c.load.write(conn, c.name, u, at, p)
		}
		if errors.Is(err, block.Closed) {
			c.load.gone(c.conn, conn)
		}
	}
}

// readsOnly: some of the clients that stay with a gateway that others have left
// never write. Those who do are soon all held up, and a stale read is not seen.
func (c *client) readsOnly() bool { return c.conn%4 == 1 }

// choose picks what a request is about: many requests meet in a few places.
func (c *client) choose() (u unit, at block.Offset, count int) {
	group := c.rng.IntN(int(c.load.used.Load()))
	if c.rng.IntN(100) < sectorPercent {
		count = 1 + c.rng.IntN(sectorsMax)
		first := c.rng.IntN(sectorBlocks*block.Size/int(sectors) - count + 1)
		return sectors, sectorsOf(group) + block.Offset(first*int(sectors)), count
	}
	switch n := c.rng.IntN(20); {
	case n < 12:
		count = 1
	case n < 19:
		count = 2 + c.rng.IntN(15)
	default:
		count = requestMax
	}
	within := groupBlocks
	if c.rng.IntN(3) == 0 {
		within = max(count, 4)
	}
	return wholeBlocks, blocksOf(group) + block.Offset(c.rng.IntN(within-count+1)*block.Size), count
}

// blocksOf is where the blocks of a group begin that are used as such,
// sectorsOf where those begin that are used in sectors.
func blocksOf(group int) block.Offset  { return block.Offset(group) * block.Offset(pgSize) }
func sectorsOf(group int) block.Offset { return blocksOf(group) + groupBlocks*block.Size }

// connection is the connection of a number; it is made if there is none.
func (l *load) connection(ctx context.Context, i int) (*stamp.Conn, error) {
	l.mu.Lock()
	c := l.mu.conns[i]
	l.mu.Unlock()
	if c != nil {
		return c, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c, err := stamp.Dial(ctx, l.world.Cluster.URI(int(l.front.Load()), volumeName))
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if other := l.mu.conns[i]; other != nil {
		c.Abandon() // its twin was faster
		return other, nil
	}
	l.mu.conns[i] = c
	return c, nil
}

// gone forgets a connection that broke.
func (l *load) gone(i int, c *stamp.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.conns[i] == c {
		delete(l.mu.conns, i)
		l.counts.broken.Add(1)
	}
}

func (l *load) write(conn *stamp.Conn, by history.Client, u unit, at block.Offset, p []byte) error {
	ops := make([]history.Op, len(p)/int(u))
	for i := range ops {
		r := u.register(at + block.Offset(i*int(u)))
		v := history.NewValue(by, l.written[by].Add(1))
		ops[i] = history.Op{Block: r, Value: v, By: by, Write: true, End: history.Never}
		u.encode(p[i*int(u):(i+1)*int(u)], r, v)
	}
	begin := l.clock.Now()
	err := conn.Write(p, at)
	end := l.clock.Now()
	for i := range ops {
		ops[i].Begin = begin
		if err == nil {
			ops[i].End = end
		}
	}
	l.note(ops, err, &l.counts.writes)
	return err
}

func (l *load) read(conn *stamp.Conn, by history.Client, u unit, at block.Offset, p []byte) error {
	begin := l.clock.Now()
	err := conn.Read(p, at)
	end := l.clock.Now()
	if err != nil {
		l.note(nil, err, nil)
		return err
	}
	ops := make([]history.Op, 0, len(p)/int(u))
	for i := 0; i < len(p); i += int(u) {
		r := u.register(at + block.Offset(i))
		v, err := u.decode(p[i:i+int(u)], r)
		if err != nil {
			l.say("at offset %d: %v", int(at)+i, err)
			continue
		}
		ops = append(ops, history.Op{Block: r, Value: v, By: by, Begin: begin, End: end})
	}
	l.note(ops, nil, &l.counts.reads)
	return nil
}

// note keeps what a request has done.
func (l *load) note(ops []history.Op, err error, done *atomic.Int64) {
	if !l.log.Add(ops...) {
		l.full.Store(true)
	}
	if err != nil {
		l.counts.failed.Add(1)
		return
	}
	done.Add(1)
	l.lastDone.Store(time.Now().UnixNano())
}

// maxWrong bounds the blocks that are told.
const maxWrong = 50

func (l *load) say(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.mu.wrong) < maxWrong {
		l.mu.wrong = append(l.mu.wrong, fmt.Sprintf(format, args...))
	}
}
