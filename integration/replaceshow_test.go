package integration

import (
	"context"
	"flag"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/integration/stamp"
	"github.com/sextantdisk/sextant/internal/block"
)

var (
	replaceFor   = flag.Duration("replace.for", time.Second, "how long each measurement of TestReplaceShow lasts")
	replaceTurns = flag.Int("replace.turns", 1, "measurements with and without a replacement, in turn")
	replaceSize  = flag.Int("replace.size", 32, "MiB of data that a new segment gets")
	replaceJudge = flag.Bool("replace.judge", false, "fail above 50 ms without any answer while the disk gives some, or when the p99 rises by more than 25 %")
)

const (
	showDepth    = 32
	showConns    = 4
	showStallMax = 50 * time.Millisecond
	showP99Max   = 1.25
)

// latencies are what requests took, and when they were answered.
type latencies struct {
	mu   sync.Mutex
	took []time.Duration
	at   []time.Time
}

// run writes 4 KiB blocks at random for a while, showDepth at a time.
func (l *latencies) run(tb testing.TB, conns []*stamp.Conn, size block.ByteCount, during time.Duration) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), during)
	defer cancel()
	var tasks sync.WaitGroup
	for k := range showDepth {
		tasks.Go(func() {
			rng, buf := rand.New(rand.NewPCG(uint64(k), 5)), make([]byte, block.Size)
			buf[0] = byte(k) | 1 // no ZERO record
			for ctx.Err() == nil {
				at := block.Offset(rng.Uint64N(uint64(size)/block.Size) * block.Size)
				began := time.Now()
				if err := conns[k%len(conns)].Write(buf, at); err != nil {
					tb.Errorf("write at %d: %v", at, err)
					return
				}
				l.mu.Lock()
				l.took, l.at = append(l.took, time.Since(began)), append(l.at, time.Now())
				l.mu.Unlock()
			}
		})
	}
	tasks.Wait()
}

// p99 is what 99 of 100 requests took at most.
func (l *latencies) p99() time.Duration {
	slices.Sort(l.took)
	return l.took[len(l.took)*99/100]
}

// stall is the longest time without an answer, and the longest that is left when
// what the disk itself stood still is taken off.
func (l *latencies) stall(w *witness) (longest, ours time.Duration) {
	for i := 1; i < len(l.at); i++ {
		gap := l.at[i].Sub(l.at[i-1])
		longest = max(longest, gap)
		if gap > ours {
			ours = max(ours, gap-w.still(span{l.at[i-1], l.at[i]}))
		}
	}
	return longest, ours
}

// TestReplaceShow measures writes at QD32 with and without a segment being
// replaced, in turn, in one run: the p99 and the longest time without any answer. All
// daemons share this machine's disk, which now and then answers nobody for a while; a
// witness tells when, and that is not counted.
// make replace-show runs it long enough to judge.
func TestReplaceShow(t *testing.T) {
	size := block.ByteCount(*replaceSize) * block.MiB
	var logs []string
	if *replaceJudge { // files as a disk of some size has them
		logs = []string{"--log-file-size", "256MiB"}
	}
	r := newReplacing(t, size.String(), logs...)
	image := randomFile(t, size, 7)
	tool(t, "libnbd-bin", "nbdcopy", "--flush", image, r.c.URI(0, "v"))
	syscall.Sync() // the image's pages: when the kernel writes them back, all others wait
	var conns []*stamp.Conn
	for range showConns {
		conns = append(conns, dial(t, r.c.URI(0, "v")))
	}
	var without, with []time.Duration
	var stallWithout, stallWith, ours time.Duration
	replaced := 0
	for range *replaceTurns {
		var calm, busy latencies
		disk := newWitness(t, t.TempDir())
		calm.run(t, conns, size, *replaceFor)
		done := make(chan struct{})
		go func() {
			defer close(done)
			busy.run(t, conns, size, *replaceFor)
		}()
		replaced += r.replaceUntil(done)
		<-done
		r.whole("calm again") // who has joined fetches what was written meanwhile
		without, with = append(without, calm.p99()), append(with, busy.p99())
		disk.end()
		calmStall, calmOurs := calm.stall(disk)
		busyStall, busyOurs := busy.stall(disk)
		stallWithout, stallWith, ours = max(stallWithout, calmStall), max(stallWith, busyStall), max(ours, busyOurs)
		t.Logf("without: %d writes, p99 %v, longest silence %v (%v without the disk's); with: %d writes, p99 %v, longest silence %v (%v)",
			len(calm.took), calm.p99(), calmStall, calmOurs, len(busy.took), busy.p99(), busyStall, busyOurs)
	}
	slices.Sort(without)
	slices.Sort(with)
	a, b := without[len(without)/2], with[len(with)/2]
	t.Logf("QD%d 4k writes, medians of %d turns: p99 %v without, %v with a replacement (%.2f); longest silence %v and %v, %v while the disk answered others; %d segments of %v replaced",
		showDepth, *replaceTurns, a, b, float64(b)/float64(a), stallWithout, stallWith, ours, replaced, size)
	if replaced == 0 {
		t.Error("nothing was replaced")
	}
	if *replaceJudge && (ours > showStallMax || float64(b) > showP99Max*float64(a)) {
		t.Errorf("silent for %v while the disk answered others, %v are allowed; p99 %v, %v without a replacement", ours, showStallMax, b, a)
	}
}

// replaceUntil replaces a segment of zone 0 again and again until done, at least
// once, and tells how often.
func (r *replacing) replaceUntil(done <-chan struct{}) (n int) {
	for {
		from, to := r.member(0), r.free(0)
		start, leaves, records := time.Now(), r.bytesOf(to, "hydrated_bytes_total"), r.bytesOf(to, "caught_up_bytes_total")
		r.begin(from, to)
		r.replaced(from, to)
		r.tb.Logf("replaced in %v: %v came in leaves, %v in records", time.Since(start).Round(time.Millisecond),
			r.bytesOf(to, "hydrated_bytes_total")-leaves, r.bytesOf(to, "caught_up_bytes_total")-records)
		n++
		select {
		case <-done:
			return n
		default:
		}
	}
}
