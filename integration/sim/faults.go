package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
)

// chaos is a sort of thing that goes wrong.
type chaos uint8

const (
	takeOver      chaos = iota // another gateway opens the volume
	breakConn                  // a connection breaks
	holdConn                   // one direction of a connection stands still
	partition                  // a gateway and some nodes are apart
	cutZone                    // a zone is cut off
	crashNode                  // a daemon crashes
	crashZone                  // all daemons of a zone crash
	crashAll                   // all daemons crash: the power is gone
	freezeNode                 // a daemon stands still
	freezeGateway              // a gateway stands still
	stallDisk                  // a flush takes long
	failDisk                   // a disk reports an error: its log ends (S3)
	fillDisk                   // a disk is full for a while
	damageLog                  // a daemon crashes, and finds a part of its log lost
	loseDisk                   // a disk is gone for good
	metaAway                   // the metadata service cannot be reached
	replaceCopy                // somebody has a segment replaced, or a replacement cancelled
	split                      // a gateway stays with two nodes; the others, and metadata, go to the next
	reduceGroup                // somebody has a group go on without a zone, or take it back
	cleanLog                   // the older part of a log is cleaned away, of one node or of all
	rotBlock                   // a block rots, in one copy or two
	killDonor                  // a node crashes that gives something to another one
	chaosKinds
)

var chaosNames = [chaosKinds]string{
	"takeover", "break", "hold", "partition", "cut-zone", "crash", "crash-zone", "crash-all", "freeze-node",
	"freeze-gateway", "stall", "fail-disk", "fill-disk", "damage", "lose-disk", "meta-away", "replace", "split", "reduce",
	"clean", "rot", "kill-donor",
}

// pace is how often a sort of chaos comes, and for how long, at most: 0 is
// never.
type pace struct{ every, lasts time.Duration }

// bounds of what is drawn for each sort of chaos: the mean time between two,
// the longest time it lasts, and how many runs of ten do without.
var bounds = [chaosKinds]struct {
	often, seldom, lasts time.Duration
	without              int
}{
	takeOver:      {100 * time.Millisecond, 6 * time.Second, 0, 0},
	breakConn:     {50 * time.Millisecond, 3 * time.Second, 0, 3},
	holdConn:      {100 * time.Millisecond, 4 * time.Second, 4 * time.Second, 5},
	partition:     {200 * time.Millisecond, 4 * time.Second, 6 * time.Second, 4},
	cutZone:       {time.Second, 8 * time.Second, 6 * time.Second, 6},
	crashNode:     {100 * time.Millisecond, 4 * time.Second, 2 * time.Second, 3},
	crashZone:     {2 * time.Second, 10 * time.Second, 3 * time.Second, 7},
	crashAll:      {4 * time.Second, 20 * time.Second, 2 * time.Second, 7},
	freezeNode:    {300 * time.Millisecond, 5 * time.Second, 4 * time.Second, 6},
	freezeGateway: {200 * time.Millisecond, 6 * time.Second, 6 * time.Second, 4},
	stallDisk:     {300 * time.Millisecond, 5 * time.Second, 3 * time.Second, 6},
	failDisk:      {3 * time.Second, 20 * time.Second, 4 * time.Second, 7},
	fillDisk:      {time.Second, 10 * time.Second, 4 * time.Second, 7},
	damageLog:     {time.Second, 10 * time.Second, 2 * time.Second, 6},
	loseDisk:      {4 * time.Second, 20 * time.Second, 0, 7},
	replaceCopy:   {300 * time.Millisecond, 4 * time.Second, 0, 4},
	split:         {800 * time.Millisecond, 5 * time.Second, 5 * time.Second, 6},
	metaAway:      {500 * time.Millisecond, 8 * time.Second, 6 * time.Second, 5},
	reduceGroup:   {500 * time.Millisecond, 5 * time.Second, 0, 6},
	cleanLog:      {50 * time.Millisecond, 4 * time.Second, 0, 3},
	rotBlock:      {100 * time.Millisecond, 4 * time.Second, 0, 4},
	killDonor:     {300 * time.Millisecond, 5 * time.Second, 2 * time.Second, 5},
}

// Faults is how unkind a world is, and how small its limits are.
type Faults struct {
	Chaos  [chaosKinds]pace
	Groups int
	Blocks int // of each group
	Delay  time.Duration
	Flush  time.Duration
	// Late: one message, or flush, in so many takes ten times as long; 0: none.
	Late int
	// Slow nodes take ten times as long for everything.
	Slow int
	// Pace is the mean time between a gateway's requests, Depth how many
	// writes may be pending, Reads which share of requests, in tenths, reads.
	Pace  time.Duration
	Depth int
	Reads int
	// Edits: one write in so many changes a part of a block; 0: none.
	Edits int
	Hold  time.Duration
	// Gossip is the mean time between two questions of a node to its peers; 0:
	// they ask nothing.
	Gossip time.Duration
	// Scrub is the mean time between two looks of a node at all that it has.
	Scrub time.Duration
	Drift float64 // how wrong a clock may run, either way
	// Payload is what a record counts for in rings and windows.
	Payload block.ByteCount
	Ring    block.ByteCount
	// Kill: one takeover in so many kills the gateway before; Clean: has it
	// say goodbye.
	Kill, Clean int
	Run         time.Duration
}

// maxDrift is what R14's 10 % of drift allow between two clocks.
const maxDrift = 0.0475

// DrawFaults makes a mix of faults.
func DrawFaults(rng *rand.Rand) Faults {
	f := Faults{
		Groups: 1 + rng.IntN(3), Blocks: 1 + rng.IntN(8), Delay: between(rng, 200*time.Microsecond, 60*time.Millisecond),
		Flush: between(rng, 200*time.Microsecond, 40*time.Millisecond), Late: pick(rng, 0, 8, 40, 200), Slow: pick(rng, 0, 0, 1, 2, 3),
		Pace: between(rng, 2*time.Millisecond, 60*time.Millisecond), Depth: pick(rng, 1, 4, 16, 64), Reads: rng.IntN(9),
		Hold: between(rng, time.Second, time.Minute), Drift: []float64{0, maxDrift}[rng.IntN(2)],
		Payload: pick[block.ByteCount](rng, 1, 16, 64) * block.Size, Ring: block.ByteCount(pick(rng, 1, 4, 64, 1024)) * 16 * block.KiB,
		Kill: 2 + rng.IntN(6), Clean: 3 + rng.IntN(10), Run: between(rng, 4*time.Second, 20*time.Second),
	}
	if rng.IntN(3) > 0 {
		f.Gossip = between(rng, 100*time.Millisecond, 4*time.Second)
	}
	f.Edits = pick(rng, 0, 2, 8)
	f.Scrub = between(rng, 200*time.Millisecond, 8*time.Second)
	for k, b := range bounds {
		if rng.IntN(10) < b.without {
			continue
		}
		f.Chaos[k] = pace{between(rng, b.often, b.seldom), between(rng, 10*time.Millisecond, max(b.lasts, 20*time.Millisecond))}
	}
	switch n := rng.IntN(12); {
	case n < 3:
		f.duel(rng)
	case n < 5:
		f.move(rng)
	case n < 7:
		f.loseZones(rng)
	case n < 9:
		f.dry(rng)
	}
	return f
}

// dry makes it a world in which logs reach back to hardly anything, segments are
// away for long, and those that they are hydrated from die and rot.
func (f *Faults) dry(rng *rand.Rand) {
	f.Chaos[cleanLog] = pace{between(rng, 20*time.Millisecond, 300*time.Millisecond), 0}
	f.Chaos[crashNode] = pace{between(rng, 200*time.Millisecond, 2*time.Second), between(rng, 300*time.Millisecond, 3*time.Second)}
	f.Chaos[killDonor] = pace{between(rng, 50*time.Millisecond, time.Second), between(rng, 10*time.Millisecond, time.Second)}
	f.Chaos[rotBlock] = pace{between(rng, 100*time.Millisecond, 2*time.Second), 0}
	f.Chaos[takeOver] = pace{between(rng, time.Second, 8*time.Second), 0}
	if rng.IntN(2) == 0 {
		f.Chaos[damageLog] = pace{between(rng, 50*time.Millisecond, time.Second), 200 * time.Millisecond}
	}
	if rng.IntN(2) == 0 {
		f.Chaos[replaceCopy] = pace{between(rng, 200*time.Millisecond, 2*time.Second), 0}
	}
	f.Blocks, f.Ring = 1+rng.IntN(24), block.ByteCount(1+rng.IntN(4))*16*block.KiB
	f.Delay, f.Flush, f.Pace = min(f.Delay, 5*time.Millisecond), min(f.Flush, 5*time.Millisecond), min(f.Pace, 10*time.Millisecond)
	f.Gossip = between(rng, 100*time.Millisecond, time.Second)
}

// move makes it a world in which segments are replaced all the time, under
// takeovers and damage.
func (f *Faults) move(rng *rand.Rand) {
	f.Chaos[replaceCopy] = pace{between(rng, 100*time.Millisecond, time.Second), 0}
	f.Chaos[takeOver] = pace{between(rng, 300*time.Millisecond, 3*time.Second), 0}
	f.Chaos[metaAway] = pace{}
	if rng.IntN(2) == 0 {
		f.Chaos[split] = pace{between(rng, 2*time.Second, 4*time.Second), time.Second}
	}
	if rng.IntN(2) == 0 {
		f.Chaos[damageLog] = pace{between(rng, 200*time.Millisecond, 2*time.Second), 500 * time.Millisecond}
	}
	f.Groups, f.Blocks, f.Delay, f.Flush = 1, 1+rng.IntN(3), min(f.Delay, 10*time.Millisecond), min(f.Flush, 10*time.Millisecond)
}

// duel makes it a world in which two gateways live side by side most of the
// time, each with nodes of its own, and not much else happens: leases are lost
// in seconds, while most worlds have a takeover each second.
func (f *Faults) duel(rng *rand.Rand) {
	calm := f.Chaos[crashNode]
	f.Chaos = [chaosKinds]pace{}
	f.Chaos[split] = pace{between(rng, 3*time.Second, 6*time.Second), between(rng, time.Second, 4*time.Second)}
	f.Chaos[takeOver] = pace{8 * time.Second, 0}
	if rng.IntN(2) == 0 {
		f.Chaos[replaceCopy] = pace{2 * time.Second, 0}
	}
	f.Chaos[crashNode] = calm
	if rng.IntN(2) == 0 {
		f.Chaos[freezeGateway] = pace{between(rng, time.Second, 4*time.Second), 3 * time.Second}
	}
	if rng.IntN(2) == 0 {
		f.Chaos[crashAll] = pace{3 * time.Second, 100 * time.Millisecond}
	}
	f.Blocks, f.Reads, f.Run = 1+rng.IntN(2), 3+rng.IntN(5), 12*time.Second
	f.Delay, f.Pace, f.Kill, f.Slow = min(f.Delay, 10*time.Millisecond), min(f.Pace, 10*time.Millisecond), 20, 0
}

// between is a random time, each power of two in the range as likely as the
// next one.
func between(rng *rand.Rand, lo, hi time.Duration) time.Duration {
	return time.Duration(float64(lo) * math.Exp(rng.Float64()*math.Log(float64(hi)/float64(lo))))
}

func pick[T any](rng *rand.Rand, from ...T) T { return from[rng.IntN(len(from))] }

// anyOf is one of them, nil if there is none.
func anyOf[T any](rng *rand.Rand, all []*T) *T {
	if len(all) == 0 {
		return nil
	}
	return pick(rng, all...)
}

// String is the mix, without what does not come.
func (f Faults) String() string {
	s := fmt.Sprintf("%d groups of %d blocks, delay %v, flush %v, late 1/%d, %d slow, a request each %v, %d deep, %d/10 reads, edits 1/%d, hold %v, drift %v, payload %v, ring %v, gossip %v, scrub %v",
		f.Groups, f.Blocks, f.Delay, f.Flush, f.Late, f.Slow, f.Pace, f.Depth, f.Reads, f.Edits, f.Hold, f.Drift, f.Payload, f.Ring, f.Gossip, f.Scrub)
	for k, p := range f.Chaos {
		if p.every != 0 {
			s += fmt.Sprintf(", %s %v/%v", chaosNames[k], p.every, p.lasts)
		}
	}
	return s
}
