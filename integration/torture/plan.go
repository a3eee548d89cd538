package torture

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// The size of the world. Segment daemon i, metadata member i and gateway i are
// in zone i modulo zones.
const (
	zones     = 3
	segments  = 6
	gateways  = 3
	metadatas = 3
	// fullDiskOf is the segment daemon whose disk can be filled.
	fullDiskOf = 1
)

// kind is what an event does.
type kind string

// What can happen. Each ends after Event.For, but for those that are over at
// once (sever, move).
const (
	killSegment   kind = "kill -9 of segment"
	pauseSegment  kind = "SIGSTOP of segment"
	loseDisk      kind = "kill -9 and loss of the disk of segment"
	fullDisk      kind = "full disk of segment"
	killGateway   kind = "kill -9 of gateway"
	pauseGateway  kind = "SIGSTOP of gateway"
	move          kind = "clients begin to use gateway"
	killMetadata  kind = "kill -9 of metadata"
	pauseMetadata kind = "SIGSTOP of metadata"
	cutZone       kind = "all links cut off zone"
	cutInto       kind = "nothing reaches zone"
	linkDown      kind = "link down of segment"
	deafGateway   kind = "segment hears nothing of gateway"
	slowZone      kind = "slow links of zone"
	lossyZone     kind = "packets are lost at zone"
	narrowSegment kind = "narrow link of segment"
	holdSegment   kind = "packets are held back at segment"
	sever         kind = "connections are cut in mid-frame around zone"
	blackout      kind = "kill -9 of everything"
)

// ordinary are the kinds that a chapter is mixed of.
var ordinary = []kind{
	killSegment, pauseSegment, fullDisk, killGateway, pauseGateway, move, killMetadata, pauseMetadata,
	cutZone, cutInto, linkDown, deafGateway, slowZone, lossyZone, narrowSegment, holdSegment, sever,
}

// Event is one fault.
type Event struct {
	Kind kind
	// At is when it begins, counted from the chapter's beginning; For is for
	// how long.
	At, For time.Duration
	// Of are the numbers of what it hits: daemons of the kind's role, a zone,
	// or, for deafGateway, a segment and a gateway.
	Of []int
}

// String prints one line of a plan.
func (e Event) String() string {
	return fmt.Sprintf("%6.2fs +%5.2fs  %s %v", e.At.Seconds(), e.For.Seconds(), e.Kind, e.Of)
}

// Chapter is a time of faults, after which all is mended and judged.
type Chapter struct {
	Number int
	// Beyond: more may be broken at once than the product promises to live
	// with. Then writes and reads may stop, but nothing may be lost.
	Beyond bool
	// Length is how long faults begin; Front is the gateway that clients use
	// at first.
	Length time.Duration
	Front  int
	Events []Event
}

// String prints the plan.
func (c Chapter) String() string {
	var b strings.Builder
	what := "within what is promised"
	if c.Beyond {
		what = "beyond what is promised"
	}
	fmt.Fprintf(&b, "chapter %d, %v, %s, clients at gateway %d\n", c.Number, c.Length, what, c.Front)
	for _, e := range c.Events {
		fmt.Fprintln(&b, "  "+e.String())
	}
	return b.String()
}

const (
	// beyondEvery is how often a chapter is beyond what is promised.
	beyondEvery = 3
	// loseEvery is how often one loses a disk. Its copies are replaced, in the
	// middle of the other faults, before the chapter ends.
	loseEvery = 2
	// recovery is how long what was hit counts as hit after the fault.
	recovery = 4 * time.Second
	// moveAfter is how soon clients leave a gateway that was hit.
	moveAfter = time.Second
	// mayHit is how many copies may be missing at once within what is
	// promised.
	mayHit = 2
)

// planner makes the chapters of a run. The same seed gives the same chapters.
type planner struct {
	seed   uint64
	number int
	front  int
	// lost counts disks that the chapter has lost: their copies may not be
	// replaced yet.
	lost int
}

// next plans the next chapter.
func (p *planner) next(length time.Duration) Chapter {
	c := Chapter{Number: p.number, Beyond: p.number%beyondEvery == beyondEvery-1, Length: length, Front: p.front}
	rng := rand.New(rand.NewPCG(p.seed, uint64(p.number)))
	p.number++
	p.lost = 0
	// Swarm: each chapter has a mix of its own.
	var mix []kind
	for _, k := range ordinary {
		for range []int{0, 1, 1, 3}[rng.IntN(4)] {
			mix = append(mix, k)
		}
	}
	if len(mix) == 0 {
		mix = ordinary
	}
	if c.Beyond {
		for _, e := range p.outage(rng, length) {
			p.add(&c, e)
		}
	}
	if p.number%loseEvery == 0 && p.add(&c, Event{Kind: loseDisk, At: length / 4, For: spell(rng), Of: []int{rng.IntN(segments)}}) {
		p.lost++
	} else if !c.Beyond {
		p.add(&c, p.zombie(rng))
	}
	for at := spell(rng) / 2; at < length; at += time.Duration(rng.Int64N(int64(2 * time.Second))) {
		p.add(&c, p.draw(rng, mix[rng.IntN(len(mix))], at))
	}
	slices.SortStableFunc(c.Events, func(a, b Event) int { return int(a.At - b.At) })
	return c
}

// spell is how long something lasts: mostly short, at times some seconds.
func spell(rng *rand.Rand) time.Duration {
	if rng.IntN(3) > 0 {
		return 100*time.Millisecond + time.Duration(rng.Int64N(int64(2*time.Second)))
	}
	return 2*time.Second + time.Duration(rng.Int64N(int64(6*time.Second)))
}

// draw picks what an event of a kind is about.
func (p *planner) draw(rng *rand.Rand, k kind, at time.Duration) Event {
	e := Event{Kind: k, At: at, For: spell(rng)}
	switch k {
	case cutZone, cutInto:
		e.Of = []int{p.front % zones} // with the gateway that is used, as often as not
		if rng.IntN(2) == 0 {
			e.Of = []int{rng.IntN(zones)}
		}
	case slowZone, lossyZone:
		e.Of = []int{rng.IntN(zones)}
	case sever:
		e.Of, e.For = []int{rng.IntN(zones)}, 0
	case killGateway, pauseGateway:
		e.Of = []int{p.front} // those that nobody uses are not worth it
		if rng.IntN(4) == 0 {
			e.Of = []int{rng.IntN(gateways)}
		}
	case move:
		e.Of, e.For = []int{rng.IntN(gateways)}, 0
	case killMetadata, pauseMetadata:
		e.Of = []int{rng.IntN(metadatas)}
	case fullDisk:
		e.Of = []int{fullDiskOf}
	case deafGateway:
		e.Of = []int{rng.IntN(segments), p.front}
	default:
		e.Of = []int{rng.IntN(segments)}
	}
	return e
}

// outage is more than anybody promises to live with.
func (p *planner) outage(rng *rand.Rand, length time.Duration) []Event {
	at := time.Duration(rng.Int64N(int64(length / 2)))
	e := Event{At: at, For: 2*time.Second + time.Duration(rng.Int64N(int64(6*time.Second)))}
	switch rng.IntN(5) {
	case 0:
		e.Kind = blackout
	case 1:
		e.Kind, e.Of = cutZone, rng.Perm(zones)[:2]
	case 2:
		e.Kind, e.Of = killMetadata, rng.Perm(metadatas)[:2]
	case 3:
		e.Kind, e.Of = killSegment, rng.Perm(segments)[:mayHit+1+rng.IntN(segments-mayHit)]
	default:
		return p.swap(rng, at)
	}
	return []Event{e}
}

// swap kills two copies; when they are back, and lack what was written
// meanwhile, three of the other four and the gateway: the next gateway has only
// one left that has it all, and that one was slow.
func (p *planner) swap(rng *rand.Rand, at time.Duration) []Event {
	const away = 4 * time.Second
	order := rng.Perm(segments)
	return []Event{
		{Kind: killSegment, At: at, For: away, Of: order[:2]},
		{Kind: narrowSegment, At: at, For: away, Of: order[2:3]},
		{Kind: killSegment, At: at + away, For: away, Of: order[3:]},
		{Kind: killGateway, At: at + away, For: time.Second, Of: []int{p.front}},
	}
}

// zombie cuts the gateway in use off, with the copies of its zone, for long
// enough that another one has taken over and was written to: those who stay
// must not be given what is old.
func (p *planner) zombie(rng *rand.Rand) Event {
	at := time.Second + time.Duration(rng.Int64N(int64(8*time.Second)))
	return Event{Kind: cutZone, At: at, For: 6*time.Second + spell(rng), Of: []int{p.front % zones}}
}

// add takes an event into the chapter, if it goes with the others: a daemon
// has one fault of its own at a time, and, unless the chapter is beyond, no
// more copies and members are missing than may be. Clients of a gateway that
// it hits are moved.
func (p *planner) add(c *Chapter, e Event) bool {
	over := []Event{e}
	for _, o := range c.Events {
		if o.At <= e.At+e.For+recovery && e.At <= o.At+o.For+recovery {
			if o.Kind == blackout || e.Kind == blackout || sameDaemon(o, e) {
				return false
			}
			over = append(over, o)
		}
	}
	var hit, members set
	for _, o := range over {
		hit |= o.hits()
		members |= o.members()
	}
	if !c.Beyond && (hit.size()+p.lost > mayHit || members.size() > (metadatas-1)/2) {
		return false
	}
	c.Events = append(c.Events, e)
	if e.Kind == move {
		p.front = e.Of[0]
	}
	if e.gateways()&(1<<p.front) != 0 {
		for i := range gateways {
			g := (p.front + 1 + i) % gateways
			if e.gateways()&(1<<g) == 0 {
				c.Events = append(c.Events, Event{Kind: move, At: e.At + moveAfter, Of: []int{g}})
				p.front = g
				break
			}
		}
	}
	return true
}

// set is a set of small numbers.
type set uint

func (s set) size() (n int) {
	for ; s != 0; s &= s - 1 {
		n++
	}
	return n
}

func of(numbers []int) (s set) {
	for _, n := range numbers {
		s |= 1 << n
	}
	return s
}

// inZones are those of n daemons that are in one of some zones.
func inZones(n int, numbers []int) (s set) {
	for i := range n {
		if slices.Contains(numbers, i%zones) {
			s |= 1 << i
		}
	}
	return s
}

// hits are the segments that the event takes away, as far as a quorum goes.
func (e Event) hits() set {
	switch e.Kind {
	case killSegment, pauseSegment, loseDisk, fullDisk, linkDown, holdSegment:
		return of(e.Of)
	case deafGateway:
		return of(e.Of[:1])
	case cutZone, cutInto:
		return inZones(segments, e.Of)
	case blackout:
		return 1<<segments - 1
	}
	return 0
}

// members are the metadata members that it takes away.
func (e Event) members() set {
	switch e.Kind {
	case killMetadata, pauseMetadata:
		return of(e.Of)
	case cutZone, cutInto:
		return inZones(metadatas, e.Of)
	case blackout:
		return 1<<metadatas - 1
	}
	return 0
}

// gateways are those that it takes away from clients.
func (e Event) gateways() set {
	switch e.Kind {
	case killGateway, pauseGateway:
		return of(e.Of)
	case cutZone, cutInto:
		return inZones(gateways, e.Of)
	}
	return 0
}

// daemon names a process by role and number.
type daemon struct {
	role string
	i    int
}

// daemons are the processes whose running it changes.
func (e Event) daemons() (all []daemon) {
	var role string
	switch e.Kind {
	case killSegment, pauseSegment, loseDisk, fullDisk, linkDown:
		role = "segment"
	case killGateway, pauseGateway:
		role = "nbd"
	case killMetadata, pauseMetadata:
		role = "metadata"
	default:
		return nil
	}
	for _, i := range e.Of {
		all = append(all, daemon{role, i})
	}
	return all
}

func sameDaemon(a, b Event) bool {
	return slices.ContainsFunc(a.daemons(), func(d daemon) bool { return slices.Contains(b.daemons(), d) })
}
