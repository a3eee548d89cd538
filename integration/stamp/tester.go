package stamp

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
)

// Config says what load a Tester makes.
type Config struct {
	// URI is where the volume is served.
	URI string
	// Connections (default 4) carry Depth (default 32) operations in flight
	// in all.
	Connections, Depth int
	// First and Blocks (default 16,384 blocks = 64 MiB) are the region of the
	// volume that is used. It must be all zeroes at first.
	First  Number
	Blocks int
	// MaxBlocks (default 16) is the length of the longest write or read.
	MaxBlocks int
	// ReadPercent (default 20; negative: none) of the operations are reads.
	ReadPercent int
	// Writer is the tester's name in stamps.
	Writer Writer
	// Seed makes the choice of blocks repeatable.
	Seed uint64
}

const (
	defaultConnections = 4
	defaultDepth       = 32
	defaultBlocks      = 16384
	defaultMaxBlocks   = 16
	defaultReadPercent = 20

	// hotBlocks at the begin of the region get hotPercent of the writes, so
	// that many writes in flight overlap.
	hotBlocks  = 64
	hotPercent = 25

	// verifyBlocks is how much one read of Verify asks for.
	verifyBlocks = 64
	// maxTold bounds the violations that are kept; all are counted.
	maxTold = 50
)

func (c Config) withDefaults() (Config, error) {
	for _, f := range []struct {
		field *int
		value int
	}{
		{&c.Connections, defaultConnections}, {&c.Depth, defaultDepth}, {&c.Blocks, defaultBlocks},
		{&c.MaxBlocks, defaultMaxBlocks}, {&c.ReadPercent, defaultReadPercent},
	} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	if c.Connections < 1 || c.Depth < c.Connections || c.Blocks < 1 || c.MaxBlocks < 1 || c.MaxBlocks > c.Blocks || c.ReadPercent > 100 {
		return c, block.Errorf(block.Invalid, "stamp: a load that makes no sense: %+v", c)
	}
	return c, nil
}

// Tester writes stamps to a volume and judges what it reads.
type Tester struct {
	cfg     Config
	history *History

	mu struct {
		sync.Mutex
		uri    string
		rng    *rand.Rand
		counts Counts
		wrong  []Violation
		// lastDone is when the last operation succeeded.
		lastDone time.Time
	}
}

// Counts tell what a Tester has done.
type Counts struct {
	// Acked writes and reads that were answered.
	Writes, Reads int
	// Unknown writes: the connection broke, or the server said an error.
	Unknown int
	// Refused operations: the server said an error.
	Refused int
	// Violations in all.
	Violations int
	// LongestStall is the longest time without any answer in a Run or a
	// Verify, from when they have connected.
	LongestStall time.Duration
}

// New makes a Tester. Error kind: Invalid.
func New(cfg Config) (*Tester, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	t := &Tester{cfg: cfg, history: NewHistory(cfg.Writer)}
	t.mu.uri = cfg.URI
	t.mu.rng = rand.New(rand.NewPCG(cfg.Seed, uint64(cfg.Writer)))
	return t, nil
}

// SetURI says where the volume is served from now on.
func (t *Tester) SetURI(uri string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.uri = uri
}

// ServerDied must be called when the server was killed for certain, before
// Run or Verify meets its successor: see History.ServerDied.
func (t *Tester) ServerDied() { t.history.ServerDied() }

// Counts are the sums over all Runs.
func (t *Tester) Counts() Counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.counts
}

// Run keeps operations in flight until ctx ends, then waits for those in
// flight and returns nil; or until a connection breaks, which is an error of
// kind Closed. Error answers of the server are counted, and the load goes on.
// Whether what was read was right is for Err to say.
func (t *Tester) Run(ctx context.Context) error {
	conns, err := t.dial(ctx, t.cfg.Connections)
	if err != nil {
		return err
	}
	defer closeAll(conns)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t.connected()
	var wg sync.WaitGroup
	for i := range t.cfg.Depth {
		wg.Go(func() {
			buf := make([]byte, t.cfg.MaxBlocks*block.Size)
			for ctx.Err() == nil {
				if err := t.operate(conns[i%len(conns)], buf); errors.Is(err, block.Closed) {
					cancel(err)
				}
			}
		})
	}
	wg.Wait()
	if cause := context.Cause(ctx); errors.Is(cause, block.Closed) {
		return cause
	}
	return nil
}

// operate does one write or read.
func (t *Tester) operate(c *Conn, buf []byte) error {
	first, count, read := t.choose()
	buf = buf[:count*block.Size]
	if read {
		r := t.history.BeginRead(first, count)
		err := c.Read(buf, offset(first))
		return t.ended(r, buf, err)
	}
	return t.write(c, first, count, buf)
}

// WriteOn writes a new version of each block of [first, first+count) on a
// connection of the caller's. Errors as of Conn.Write.
func (t *Tester) WriteOn(c *Conn, first Number, count int) error {
	return t.write(c, first, count, make([]byte, count*block.Size))
}

// write writes new versions, which it makes in buf.
func (t *Tester) write(c *Conn, first Number, count int, buf []byte) error {
	w := t.history.BeginWrite(first, count)
	for i := range count {
		t.history.Stamp(w, i).Encode(buf[i*block.Size : (i+1)*block.Size])
	}
	err := c.Write(buf, offset(first))
	if err != nil {
		t.history.Unknown(w)
	} else {
		t.history.Acked(w)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.mu.counts.Unknown++
		return t.refusedLocked(err)
	}
	t.mu.counts.Writes++
	t.answeredLocked()
	return nil
}

// ended judges a read and counts it.
func (t *Tester) ended(r *Read, data []byte, err error) error {
	if err != nil {
		data = nil
	}
	wrong := t.history.EndRead(r, data)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		return t.refusedLocked(err)
	}
	t.mu.counts.Reads++
	t.mu.counts.Violations += len(wrong)
	t.mu.wrong = append(t.mu.wrong, wrong[:min(len(wrong), maxTold-len(t.mu.wrong))]...)
	t.answeredLocked()
	return nil
}

func (t *Tester) refusedLocked(err error) error {
	if !errors.Is(err, block.Closed) {
		t.mu.counts.Refused++
	}
	return err
}

// connected begins to measure stalls.
func (t *Tester) connected() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.lastDone = time.Now()
}

func (t *Tester) answeredLocked() {
	now := time.Now()
	if !t.mu.lastDone.IsZero() { // else nothing ran that a stall could be of
		t.mu.counts.LongestStall = max(t.mu.counts.LongestStall, now.Sub(t.mu.lastDone))
	}
	t.mu.lastDone = now
}

// choose picks a range and what to do with it.
func (t *Tester) choose() (first Number, count int, read bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	count = 1 + t.mu.rng.IntN(t.cfg.MaxBlocks)
	if t.mu.rng.IntN(2) == 0 {
		count = 1
	}
	within := t.cfg.Blocks
	if t.mu.rng.IntN(100) < hotPercent {
		within = max(count, min(hotBlocks, within))
	}
	first = t.cfg.First + Number(t.mu.rng.IntN(within-count+1))
	return first, count, t.mu.rng.IntN(100) < t.cfg.ReadPercent
}

// Verify reads the whole region and judges it. Error kinds: those of Dial and
// of Conn.Read if the reading itself fails; Corrupt, as Err says, if anything
// read now or before was wrong.
func (t *Tester) Verify(ctx context.Context) error {
	conns, err := t.dial(ctx, t.cfg.Connections)
	if err != nil {
		return err
	}
	defer closeAll(conns)
	t.connected()
	errs := make([]error, len(conns))
	var wg sync.WaitGroup
	for i, c := range conns {
		wg.Go(func() {
			buf := make([]byte, verifyBlocks*block.Size)
			for at := i * verifyBlocks; at < t.cfg.Blocks && errs[i] == nil; at += len(conns) * verifyBlocks {
				count := min(verifyBlocks, t.cfg.Blocks-at)
				first := t.cfg.First + Number(at)
				r := t.history.BeginRead(first, count)
				data := buf[:count*block.Size]
				errs[i] = t.ended(r, data, c.Read(data, offset(first)))
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return t.Err()
}

// Err is nil if all that was ever read was right, or an error of kind Corrupt
// that tells the violations.
func (t *Tester) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.mu.counts.Violations
	if n == 0 {
		return nil
	}
	var b strings.Builder
	for _, v := range t.mu.wrong {
		fmt.Fprintf(&b, "\n  %v", v)
	}
	return block.Errorf(block.Corrupt, "%d blocks were not what they must be (writer %d, seed %d):%s", n, t.cfg.Writer, t.cfg.Seed, b.String())
}

func (t *Tester) dial(ctx context.Context, n int) ([]*Conn, error) {
	t.mu.Lock()
	uri := t.mu.uri
	t.mu.Unlock()
	var conns []*Conn
	for range n {
		c, err := Dial(ctx, uri)
		if err != nil {
			closeAll(conns)
			return nil, err
		}
		conns = append(conns, c)
		if end := (t.cfg.First + Number(t.cfg.Blocks)) * block.Size; block.ByteCount(end) > c.Size() {
			closeAll(conns)
			return nil, block.Errorf(block.Invalid, "stamp: the region ends at %d, the export %s at %d", end, uri, c.Size())
		}
	}
	return conns, nil
}

func closeAll(conns []*Conn) {
	for _, c := range conns {
		c.Close()
	}
}

func offset(n Number) block.Offset { return block.Offset(n * block.Size) }
