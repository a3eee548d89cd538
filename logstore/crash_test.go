package logstore

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/invariant"
)

var (
	crashSeed    = flag.Uint64("crash.seed", 0, "run only this seed of the crash tests")
	crashCount   = flag.Int64("crash.n", 0, "crashes of TestCrashRandom; 0: as many as -crash.time allows")
	crashTime    = flag.Duration("crash.time", 2*time.Second, "how long each of the crash tests goes on")
	crashSubsets = flag.Int("crash.subsets", 1000, "cuts tried at each change of the disk by TestCrashEverySubset")
)

const crashOps = 30 // the length of a script

var (
	// thorough is for few scripts, fleeting for many.
	thorough = crashPlan{again: 16, rot: 16, bare: 4}
	fleeting = crashPlan{subsets: 3, again: 2, rot: 4, bare: 3}
)

// TestCrashEverySubset cuts the power at each change of the disk with every
// subset of what was not synced, or with 1,000 of them where there are more:
// everything acknowledged is there, nothing else appears, no torn tail is
// taken for damage, and no damage for a torn tail. Then the store goes on and
// is cut again.
func TestCrashEverySubset(t *testing.T) {
	plan := thorough
	plan.subsets = *crashSubsets
	crashScripts(t, 1, 0, plan)
}

// TestCrashRandom is the same with three cuts at each change, for many scripts:
// from seed 1 on in a short run, from a seed drawn anew in a long one.
func TestCrashRandom(t *testing.T) {
	from := uint64(1)
	if *crashCount > 0 || *crashTime >= 30*time.Second {
		from = rand.Uint64N(1 << 32)
	}
	crashScripts(t, from, *crashCount, fleeting)
}

// TestCrashSeedsThatFailed are scripts that once showed a bug, for as long as
// the scripts stay what they are; the tests named here have the bug itself.
func TestCrashSeedsThatFailed(t *testing.T) {
	for name, seed := range map[string]uint64{
		"annulled branch counted as complete, TestT14AnnulledBranchIsNoProof": 25,
		"dropped segment came back, TestT13LostDropDoesNotBringASegmentBack":  35,
	} {
		t.Run(name, func(t *testing.T) {
			plan := fleeting
			plan.total, plan.over = new(atomic.Int64), func() bool { return false }
			(&crasher{t: t, seed: seed, plan: plan}).run(crashOps)
		})
	}
}

// crashScripts runs scripts from a seed on, two at a time, until there were n
// crashes, or for -crash.time if n is 0.
func crashScripts(t *testing.T, from uint64, n int64, plan crashPlan) {
	var crashes, scripts atomic.Int64
	start, limit := time.Now(), *crashTime
	if invariant.Enabled {
		limit /= 2 // the race detector makes it twelve times slower
	}
	plan.total = &crashes
	plan.over = func() bool {
		if n > 0 {
			return crashes.Load() >= n
		}
		return time.Since(start) >= limit
	}
	if *crashSeed != 0 {
		plan.over = func() bool { return false }
		(&crasher{t: t, seed: *crashSeed, plan: plan}).run(crashOps)
		t.Logf("seed %d: %d crashes", *crashSeed, crashes.Load())
		return
	}
	var wg sync.WaitGroup
	for range min(2, runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for !t.Failed() && !plan.over() {
				seed := from + uint64(scripts.Add(1)) - 1
				t.Run(fmt.Sprint(seed), func(t *testing.T) {
					(&crasher{t: t, seed: seed, plan: plan}).run(crashOps)
				})
			}
		})
	}
	wg.Wait()
	t.Logf("%d crashes in %d scripts from seed %d on, %v", crashes.Load(), scripts.Load(), from, time.Since(start).Round(time.Millisecond))
}
