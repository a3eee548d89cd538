package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/integration/cluster"
	"github.com/sextantdisk/sextant/integration/stamp"
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
)

var (
	takeoverGroups = flag.String("takeover.groups", "1,100", "numbers of written groups for TestTakeoverAfterKill, with commas")
	takeoverWithin = flag.Duration("takeover.within", 20*time.Second, "how long a takeover may take, the former lease not counted")
)

// takeoverPG is the size of a group: the smallest.
const takeoverPG = block.MiB

// gateways starts a cluster with n gateways and a volume of so many groups, all
// written through the first.
func gateways(t *testing.T, n, groups int) (*cluster.Cluster, *stamp.Tester) {
	t.Helper()
	c := cluster.Start(t, cluster.Options{Gateways: n, Extra: map[string][]string{"segment": {"--log-file-size", "64MiB"}}})
	size := block.ByteCount(groups) * takeoverPG
	mustCreateSized(t, c, "v", fmt.Sprint(uint64(size)), fmt.Sprint(uint64(takeoverPG)))
	tester, err := stamp.New(stamp.Config{URI: c.URI(0, "v"), Writer: 1, Seed: 1, Blocks: int(size / block.Size), MaxBlocks: 8, Depth: 16})
	if err != nil {
		t.Fatal(err)
	}
	touchAll(t, tester, dial(t, c.URI(0, "v")), groups)
	return c, tester
}

// touchAll writes one block of each group and reads it back, side by side.
func touchAll(t *testing.T, tester *stamp.Tester, conn *stamp.Conn, groups int) {
	t.Helper()
	const lanes = 16
	errs := make([]error, lanes)
	var wg sync.WaitGroup
	for lane := range lanes {
		wg.Go(func() {
			for g := lane; g < groups && errs[lane] == nil; g += lanes {
				errs[lane] = tester.WriteOn(conn, stamp.Number(g)*stamp.Number(takeoverPG/block.Size), 1)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// opened tells whether all groups of the volume are open.
func opened(t *testing.T, c *cluster.Cluster) bool {
	t.Helper()
	out, err := c.Sextant(t.Context(), "volume", "show", "v", "--output", "json")
	if err != nil {
		t.Fatal(err)
	}
	var v struct{ State string }
	if err := json.Unmarshal(out, &v); err != nil {
		t.Fatal(err)
	}
	return v.State == metadata.Open.String()
}

// settled waits until the volume's new owner has opened all groups: from then on no
// write of a former one can come through any more, and the tester is told so.
func settled(t *testing.T, c *cluster.Cluster, tester *stamp.Tester) {
	t.Helper()
	await(t, time.Minute, "open in all groups", func() bool { return opened(t, c) })
	tester.ServerDied()
}

// TestTakeoverAfterKill kills a gateway with SIGKILL under load; another one serves
// the volume, first what is used, when the lease is over (R14, B7). It prints how
// long that took, and what it cost for each group.
func TestTakeoverAfterKill(t *testing.T) {
	for _, text := range strings.Split(*takeoverGroups, ",") {
		groups, err := strconv.Atoi(text)
		if err != nil || groups < 1 {
			t.Fatalf("-takeover.groups %q", *takeoverGroups)
		}
		t.Run(text+" groups", func(t *testing.T) { takeoverAfterKill(t, groups) })
	}
}

func takeoverAfterKill(t *testing.T, groups int) {
	c, tester := gateways(t, 2, groups)
	settled(t, c, tester)
	stop := load(t.Context(), tester)
	runFor(t, tester, 500)
	before, idle := measure(t, c), metric(t, c.Gateways[1].Addr("http"), "go_goroutines")
	c.Gateways[0].Kill()
	killed := time.Now()
	if err := stop(); err != nil && !errors.Is(err, block.Closed) {
		t.Fatal(err)
	}

	conn := dial(t, c.URI(1, "v"))
	connected := time.Since(killed)
	if err := tester.WriteOn(conn, 0, 1); err != nil {
		t.Fatal(err)
	}
	first := time.Since(killed)
	touchAll(t, tester, conn, groups)
	all := time.Since(killed)
	await(t, time.Minute, "open in all groups", func() bool { return opened(t, c) })
	cost := measure(t, c).since(before)
	wait := min(connected, metadata.LeaseFor) // for the lease; opening lies within it, or after it
	t.Logf("%d groups: connected %v after the kill (the lease: at most %v), first write %v, a write in each group %v",
		groups, connected.Round(time.Millisecond), metadata.LeaseFor, first.Round(time.Millisecond), all.Round(time.Millisecond))
	t.Logf("beside the lease: %v to the first write, %v to a write in each group", (first - wait).Round(time.Millisecond), (all - wait).Round(time.Millisecond))
	t.Logf("a group, its first write and its part of the load before included: %.2f ms of CPU in the gateway, %.2f ms in all segment daemons, %.2f ms in metadata; %.3f commands through Raft; goroutines of the gateway %v, %v before",
		cost.gateway/float64(groups), cost.segments/float64(groups), cost.metadata/float64(groups), cost.commands/float64(groups),
		metric(t, c.Gateways[1].Addr("http"), "go_goroutines"), idle)
	if late := all - wait; late > *takeoverWithin {
		t.Errorf("%d groups: the other gateway served all of them %v after the lease, %v are allowed", groups, late, *takeoverWithin)
	}
	if cost.commands > 10 {
		t.Errorf("%.0f commands went through Raft: they must not grow with the groups", cost.commands)
	}

	tester.ServerDied()
	tester.SetURI(c.URI(1, "v"))
	stop = load(t.Context(), tester)
	runFor(t, tester, 500)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if err := tester.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", tester.Counts())
}

// work is what daemons have done: milliseconds of CPU, and commands agreed.
type work struct{ gateway, segments, metadata, commands float64 }

func (w work) since(o work) work {
	return work{w.gateway - o.gateway, w.segments - o.segments, w.metadata - o.metadata, w.commands - o.commands}
}

// measure looks at the second gateway and all daemons.
func measure(t *testing.T, c *cluster.Cluster) (w work) {
	t.Helper()
	w.gateway = cpu(t, c.Gateways[1])
	for _, d := range c.Segments {
		w.segments += cpu(t, d)
	}
	w.metadata = cpu(t, c.Metadata[0])
	w.commands = metric(t, c.Metadata[0].Addr("http"), "sextant_metadata_applied_index")
	return w
}

// cpu is the time that a daemon has computed, in milliseconds.
func cpu(t *testing.T, d *cluster.Daemon) float64 {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	sum := 0.0
	for _, f := range fields[11:13] { // utime and stime (proc_pid_stat(5)), in ticks of 10 ms
		n, err := strconv.ParseFloat(f, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += n * 10
	}
	return sum
}

// TestOpeningInterruptedAgainAndAgain kills gateways while they open the volume,
// each a little later than the one before, in turn; the last one serves all that
// was ever acknowledged (R3, R4, B7).
func TestOpeningInterruptedAgainAndAgain(t *testing.T) {
	t.Parallel()
	const groups, rounds, serving = 50, 12, 2
	c, tester := gateways(t, 2, groups)
	stop := load(t.Context(), tester)
	runFor(t, tester, 500)
	c.Gateways[0].Kill()
	if err := stop(); err != nil && !errors.Is(err, block.Closed) {
		t.Fatal(err)
	}
	forced := forcedGateways(t, c, 2)
	var wrote atomic.Int64
	for round := range rounds + serving {
		g := forced[round%2]
		if err := g.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		uri := "nbd://" + g.Addr("listen") + "/v"
		ended := make(chan struct{})
		go func() { // opens, and writes as soon as it can, until the gateway is dead
			defer close(ended)
			conn, err := stamp.Dial(t.Context(), uri)
			if err != nil {
				return
			}
			defer conn.Close()
			for i := 0; tester.WriteOn(conn, stamp.Number(i%groups)*stamp.Number(takeoverPG/block.Size)+1, 1) == nil; i++ {
				wrote.Add(1)
			}
		}()
		if before := wrote.Load(); round < rounds {
			timer := time.NewTimer(time.Duration(2*round*round) * time.Millisecond)
			<-timer.C
		} else { // the last ones have just begun to serve
			await(t, time.Minute, "served", func() bool { return wrote.Load() > before })
		}
		g.Kill()
		<-ended
		tester.ServerDied()
	}
	if err := forced[0].Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	tester.SetURI("nbd://" + forced[0].Addr("listen") + "/v")
	if err := tester.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	settled(t, c, tester)
	t.Logf("%d writes acknowledged by gateways that were killed while opening; %+v", wrote.Load(), tester.Counts())
}

// forcedGateways are further gateways, not started, that take volumes over from
// living ones.
func forcedGateways(t *testing.T, c *cluster.Cluster, n int) (forced []*cluster.Daemon) {
	t.Helper()
	for i := range n {
		name := fmt.Sprintf("forced-%d", i)
		log := filepath.Join(t.TempDir(), name+".log")
		d := cluster.NewDaemon(cluster.Spec{
			Name: name, Binary: cluster.Build(t), LogPath: log,
			Args: func(at func(string) string) []string {
				return []string{"nbd", "--force", "--listen", at("listen"), "--metadata", c.MetadataAddrs(), "--http", at("http")}
			},
		})
		t.Cleanup(func() {
			if err := d.Stop(); err != nil {
				t.Error(err)
			}
			if t.Failed() {
				t.Logf("--- %s\n%s", name, cluster.Tail(log, 100))
			}
		})
		forced = append(forced, d)
	}
	return forced
}
