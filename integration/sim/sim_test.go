package sim

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

var (
	seedFlag  = flag.Uint64("sim.seed", 0, "run this one seed and print what happened")
	linesFlag = flag.Int("sim.lines", 150, "so many lines of it")
	timeFlag  = flag.Duration("sim.time", 2*time.Second, "run fresh seeds for so long")
	runsFlag  = flag.Int("sim.n", 0, "run so many seeds instead")
	firstFlag = flag.Uint64("sim.first", 0, "from this seed on; 0: from one drawn anew")
	cpusFlag  = flag.Int("sim.cpus", 1, "so many worlds side by side")
)

// TestProtocol runs fresh seeds and prints the command that repeats a failure.
func TestProtocol(t *testing.T) {
	if *seedFlag != 0 {
		show(t, *seedFlag)
		return
	}
	b := &bench{first: *firstFlag, runs: *runsFlag, until: time.Now().Add(*timeFlag)}
	if b.first == 0 {
		b.first = 1 + rand.Uint64N(1<<40)
	}
	start := time.Now()
	var workers sync.WaitGroup
	for range *cpusFlag {
		workers.Go(b.work)
	}
	workers.Wait()
	took := time.Since(start)
	if w := b.failed; w != nil {
		t.Errorf("seed %d, world %d: %v\n%v\nrepeat: make sim SEED=%d", w.seed, w.seed-b.first+1, w.oracle.violation, w.faults, w.seed)
	}
	t.Logf("%d worlds from seed %d in %v: %s", b.done, b.first, took.Round(time.Millisecond), b.sum)
	t.Logf("%.0f events a second on each of %d processors", float64(b.sum.Events)/took.Seconds()/float64(*cpusFlag), *cpusFlag)
	if n := b.done; n > 20 && (b.sum.Acks < 10*n || b.sum.Reads < 10*n || b.sum.Opens < n ||
		n > 100 && (b.sum.Copied < n || b.sum.Mended < n/4 || b.sum.Edits < n)) {
		t.Error("too little happened")
	}
}

// bench runs worlds, one on each processor that it is given, until one fails.
type bench struct {
	first uint64
	runs  int // so many; 0: until a time
	until time.Time

	mu     sync.Mutex
	next   uint64 // worlds that were begun
	done   int
	sum    Count
	failed *World // of the lowest seed
}

func (b *bench) work() {
	for seed, ok := b.take(); ok; seed, ok = b.take() {
		w, err := world(seed)
		b.mu.Lock()
		b.done++
		b.sum.Add(w.Count)
		if err != nil && (b.failed == nil || seed < b.failed.seed) {
			b.failed = w
		}
		b.mu.Unlock()
	}
}

// world runs one; a panic says which it was.
func world(seed uint64) (w *World, err error) {
	defer func() {
		if p := recover(); p != nil {
			panic(fmt.Sprintf("seed %d: %v; repeat: make sim SEED=%[1]d", seed, p))
		}
	}()
	w = New(seed, false)
	return w, w.Run()
}

// take gives the next seed, if there is to be another world.
func (b *bench) take() (uint64, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	over := time.Now().After(b.until)
	if b.runs > 0 {
		over = b.next >= uint64(b.runs)
	}
	if over || b.failed != nil {
		return 0, false
	}
	b.next++
	return b.first + b.next - 1, true
}

// show repeats a seed and prints the last things that happened.
func show(t *testing.T, seed uint64) {
	w := New(seed, true)
	err := w.Run()
	fmt.Println(w.faults)
	for _, line := range w.Trace(*linesFlag) {
		fmt.Println(line)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("no violation: %s", w.Count)
}

// TestSeedsThatFailed runs what failed once again. What a seed brings changes
// when the world draws otherwise; each of these also has a test of its own where
// the rule is kept, which is named here.
func TestSeedsThatFailed(t *testing.T) {
	for seed, why := range map[uint64]string{
		180:           "a group placed lately was taken for empty: pg TestR14OnlyTimeEndsTheWaitForWhoTakesTheGroupForEmpty",
		358:           "a former gateway read from a segment that had left: pg TestR14SegmentThatLeftMayServeAFormerWriter",
		68:            "a damaged copy of an idle group stayed damaged: pg TestS2DamagedMemberOfAnIdleGroupIsTold",
		192:           "a former gateway read what was older than its successor had shown: pg TestR14NewWriterWaitsForTheOldLease",
		113:           "a page that did not link was counted off and not in: pull TestR21ADeadBranchIsLeftByLeaves",
		1975:          "an opening waited for what a damaged member has: pg TestS2DamagedDonorIsNone",
		1127:          "a hydration waited for peers to settle more: pull TestR21NobodyHasSettledMore",
		1885869417:    "a leaf that came twice passed for the newer one: logstore TestR21LeafThatComesTwice",
		16109070859:   "an opening waited for who took records of two branches: pull TestR21TwoBranchesAreLeftByLeaves",
		226933483513:  "who lagged missed a record that had rotten in the logs of two, and was written over: a limit, docs/adr/0033",
		1055145735956: "the copies of one hydration passed for those of the next, of which all were lost: hydration TestR21RoundsAreToldApart",
		864689416551:  "two that lagged gave leaves to each other, for ever: pull TestR21WhoLagsTooGivesNoLeaves",
		540038190736:  "an opening waited for who took a leaf that had rotten: pull TestR21ALeafThatNobodyCanGive",
		422035689676:  "a hydration left out what one before it had copied, of which a part was lost: hydration TestR21RoundsBuildOnTheOneBefore",
		36899655541:   "who has a version whole, and is half-way in a hydration, might not mend it: segmentd TestS2WhoIsHalfWayMends",
		191575259014:  "what settled while a hydration began was lost: logstore TestR22NothingSettlesWhileAHydrationBegins",
	} {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			if _, err := world(seed); err != nil {
				t.Errorf("%s: %v\nrepeat: make sim SEED=%d", why, err, seed)
			}
		})
	}
}

// TestSameSeedSameWorld: nothing but the seed decides what happens.
func TestSameSeedSameWorld(t *testing.T) {
	for seed := uint64(1); seed < 4; seed++ {
		a, b := New(seed, false), New(seed, true)
		if errA, errB := a.Run(), b.Run(); a.Count != b.Count || a.now != b.now || (errA == nil) != (errB == nil) {
			t.Errorf("seed %d: %s, and then %s", seed, a.Count, b.Count)
		}
	}
}
