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
	// groupBlocks of each group are used, of a group that is in use.
	groupBlocks = 256
	// firstGroups are in use from the beginning, newGroups more with each
	// chapter.
	firstGroups = 4
	newGroups   = 2
	// requestMax is the longest request, in blocks.
	requestMax = 64
	// readPercent of the requests are reads.
	readPercent = 40
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
		first, count := c.choose()
		if c.rng.IntN(100) < readPercent {
			err = c.load.read(conn, c.name, first, buf[:count*block.Size])
		} else {
			err = c.load.write(conn, c.name, first, buf[:count*block.Size])
		}
		if errors.Is(err, block.Closed) {
			c.load.gone(c.conn, conn)
		}
	}
}

// choose picks blocks: many requests meet on a few of them.
func (c *client) choose() (first history.Block, count int) {
	switch n := c.rng.IntN(20); {
	case n < 12:
		count = 1
	case n < 19:
		count = 2 + c.rng.IntN(15)
	default:
		count = requestMax
	}
	group := c.rng.IntN(int(c.load.used.Load()))
	within := groupBlocks
	if c.rng.IntN(3) == 0 {
		within = max(count, 4)
	}
	return blockOf(group, c.rng.IntN(within-count+1)), count
}

// blockOf is the block of a volume for one of a group that is used.
func blockOf(group, i int) history.Block {
	return history.Block(group*int(pgSize/block.Size) + i)
}

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

func (l *load) write(conn *stamp.Conn, by history.Client, first history.Block, p []byte) error {
	ops := make([]history.Op, len(p)/block.Size)
	for i := range ops {
		n := l.written[by].Add(1)
		ops[i] = history.Op{Block: first + history.Block(i), Value: history.NewValue(by, n), By: by, Write: true, End: history.Never}
		stamp.Stamp{Number: stamp.Number(ops[i].Block), Version: stamp.Version(n), Writer: stamp.Writer(by)}.Encode(p[i*block.Size:])
	}
	begin := l.clock.Now()
	err := conn.Write(p, offset(first))
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

func (l *load) read(conn *stamp.Conn, by history.Client, first history.Block, p []byte) error {
	begin := l.clock.Now()
	err := conn.Read(p, offset(first))
	end := l.clock.Now()
	if err != nil {
		l.note(nil, err, nil)
		return err
	}
	ops := make([]history.Op, 0, len(p)/block.Size)
	for i := range len(p) / block.Size {
		at := first + history.Block(i)
		s, err := stamp.Decode(p[i*block.Size : (i+1)*block.Size])
		switch {
		case err != nil:
			l.say("block %d: %v", at, err)
		case s != stamp.Stamp{} && s.Number != stamp.Number(at):
			l.say("block %d holds %v", at, s)
		default:
			ops = append(ops, history.Op{Block: at, Value: history.NewValue(history.Client(s.Writer), uint64(s.Version)), By: by, Begin: begin, End: end})
		}
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

func offset(b history.Block) block.Offset { return block.Offset(b * block.Size) }
