package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/sextantdisk/sextant/metadata"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
	"github.com/sextantdisk/sextant/metadata/state"
	"github.com/sextantdisk/sextant/volume/pg"
	"github.com/sextantdisk/sextant/volume/quorum"
)

// Zones are given up and taken back (R29): somebody begins it, at best of a zone
// that is gone, and at times of one that is well; the gateway carries it on.

// whole is what a volume of these worlds needs.
var whole = metadata.Quorum{Copies: members, Write: writeQuorum, Read: readQuorum}

// decided are the sets of a configuration with their quorums.
func decided(cfg metadata.PGConfig) (sets []quorum.DecidedSet) {
	for _, set := range cfg.Sets {
		q := whole.Of(len(set))
		sets = append(sets, quorum.DecidedSet{At: set, Write: q.Write, Read: q.Read})
	}
	return sets
}

// findsAll tells whether a read quorum of the i-th set has to have all that was
// committed: a new set that is smaller than the old one need not (quorum.Recover).
func findsAll(cfg metadata.PGConfig, i int) bool {
	return i == 0 || whole.Of(len(cfg.Sets[i])).Read >= whole.Of(len(cfg.Sets[0])).Read
}

// loseZones makes it a world in which a zone is away for long, groups go on
// without it and take it back, under takeovers and damage.
func (f *Faults) loseZones(rng *rand.Rand) {
	f.Chaos[reduceGroup] = pace{between(rng, 100*time.Millisecond, time.Second), 0}
	f.Chaos[takeOver] = pace{between(rng, 500*time.Millisecond, 5*time.Second), 0}
	f.Chaos[metaAway] = pace{}
	for _, k := range []chaos{cutZone, crashZone} {
		f.Chaos[k] = pace{}
		if rng.IntN(2) == 0 {
			f.Chaos[k] = pace{between(rng, time.Second, 4*time.Second), between(rng, time.Second, 10*time.Second)}
		}
	}
	for _, k := range []chaos{damageLog, loseDisk} {
		f.Chaos[k] = pace{}
		if rng.IntN(2) == 0 {
			f.Chaos[k] = pace{between(rng, 200*time.Millisecond, 2*time.Second), 500 * time.Millisecond}
		}
	}
	f.Groups, f.Blocks, f.Delay, f.Flush = 1, 1+rng.IntN(3), min(f.Delay, 10*time.Millisecond), min(f.Flush, 10*time.Millisecond)
}

// reduceGroup is an operator who has a group go on without a zone, takes that
// back, or has the group take the zone back.
func (w *World) reduceGroup() {
	i := w.rng.IntN(w.faults.Groups)
	cfg, placed := w.meta.config(i)
	switch {
	case !placed:
	case cfg.Reducing() || cfg.Restoring():
		if w.oneIn(4) {
			w.operate(i, &pb.Command{Body: &pb.Command_CancelChange{CancelChange: &pb.CancelChange{Group: w.meta.changeRef(cfg)}}})
		}
	case cfg.Joint():
	case cfg.Reduced():
		w.bringBack(i, cfg)
	default:
		w.giveUp(i, cfg, w.worstZone())
	}
}

// giveUp has a group go on without a zone, if that is bearable.
func (w *World) giveUp(i int, cfg metadata.PGConfig, zone int) {
	c := &pb.Command{Body: &pb.Command_BeginReduce{BeginReduce: &pb.BeginReduce{Group: w.meta.changeRef(cfg), Zone: zoneName(zone)}}}
	w.operateIf(i, c, func() bool {
		return w.bearable(cfg, func(s metadata.Segment) bool { return w.nodeOf(s).zone == zone }, nil)
	})
}

// bringBack has a group take back what it goes on without; what is gone for good
// is replaced before. It tells whether something was to be done.
func (w *World) bringBack(i int, cfg metadata.PGConfig) bool {
	ref := w.meta.changeRef(cfg)
	for k, s := range cfg.Segments {
		if !cfg.Out(k) || !w.nodeOf(s).gone {
			continue
		}
		to := w.roomFor(cfg, w.nodeOf(s).zone)
		if to == nil {
			return false
		}
		w.operate(i, &pb.Command{Body: &pb.Command_BeginReplace{BeginReplace: &pb.BeginReplace{
			Group: ref, Leaving: s.ID[:], Joining: w.meta.newSegment(to),
		}}})
		return true
	}
	c := &pb.Command{Body: &pb.Command_BeginRestore{BeginRestore: &pb.BeginRestore{Group: ref}}}
	w.operateIf(i, c, func() bool { return w.opens(cfg) })
	return true
}

// opens tells whether a group could be opened while it takes its zone back: that
// needs a write quorum of all six, too. With too many of them gone for good an
// opening in the middle would have no end, and what is being opened is not
// changed, nor changed back (docs/OPERATING.md says when not to do it).
func (w *World) opens(cfg metadata.PGConfig) bool {
	gone := 0
	for _, s := range cfg.Segments {
		if w.nodeOf(s).gone {
			gone++
		}
	}
	return gone <= whole.Copies-whole.Write && w.bearable(cfg, func(metadata.Segment) bool { return false }, nil)
}

// worstZone is the zone of which most is away, most of the time.
func (w *World) worstZone() int {
	zone, worst := w.rng.IntN(zones), 0
	if w.oneIn(4) {
		return zone
	}
	var away [zones]int
	for _, n := range w.nodes[:members] {
		if n.gone || n.down || w.cut[n.zone] > w.now {
			away[n.zone]++
		}
	}
	for z, k := range away {
		if k > worst {
			zone, worst = z, k
		}
	}
	return zone
}

// bearable tells whether a group can go on without those that are doubtful, and
// one more node: each set that is in force, or would be when some segments were
// out, has a write quorum of others that count for data.
func (w *World) bearable(cfg metadata.PGConfig, out func(metadata.Segment) bool, more *node) bool {
	doubtful := func(n *node) bool { return n == more || n.gone || n.hurt() || n.owes() || n.halfWay() }
	for _, set := range cfg.Sets {
		left, lack := 0, 0
		for _, k := range set {
			s := cfg.Segments[k]
			if out(s) {
				continue
			}
			left++
			if doubtful(w.nodeOf(s)) {
				lack++
			}
		}
		if q := whole.Of(left); lack > q.Copies-q.Write {
			return false
		}
	}
	return true
}

// bears tells whether all groups can go on when a node is damaged or gone, too:
// else nothing is lost, but nothing goes on either. Those that are not placed yet
// will be on the first nodes.
func (w *World) bears(n *node) bool {
	for i := range w.faults.Groups {
		cfg, placed := w.meta.config(i)
		if !placed {
			cfg = metadata.PGConfig{Sets: [][]int{nil}}
			for k, first := range w.nodes[:members] {
				cfg.Segments = append(cfg.Segments, metadata.Segment{Node: first.name})
				cfg.Sets[0] = append(cfg.Sets[0], k)
			}
		}
		if !w.bearable(cfg, func(metadata.Segment) bool { return false }, n) {
			return false
		}
	}
	return true
}

// countZones counts what a gateway's word has brought to its end.
func (w *World) countZones(before metadata.PGConfig, r state.Result) {
	switch {
	case r.Err != nil || r.PG.Membership == before.Membership:
	case before.Reducing():
		w.Count.Reduced++
	case before.Restoring():
		w.Count.Restored++
	}
}

// endZones is the operator in a world that is healed: what cannot come to an end
// is taken back, and all zones are. It says what is not done yet.
func (w *World) endZones() string {
	for i := range w.faults.Groups {
		cfg, placed := w.meta.config(i)
		if !placed {
			continue
		}
		switch {
		case w.hopeless(cfg):
			w.operate(i, &pb.Command{Body: &pb.Command_CancelChange{CancelChange: &pb.CancelChange{Group: w.meta.changeRef(cfg)}}})
		case !cfg.Reduced():
		default:
			if why := w.lagging(i, cfg); why != "" {
				return why
			}
			if w.bringBack(i, cfg) {
				return fmt.Sprintf("group %d goes on without a zone", i)
			}
		}
	}
	return ""
}

// lagging tells whether segments that are out have not caught up yet: their
// peers give them what is written, though no writer knows them (R20).
func (w *World) lagging(i int, cfg metadata.PGConfig) string {
	g := w.newest()
	if g == nil || g.group[i] == nil {
		return ""
	}
	x := g.group[i]
	if x.machine.Phase() == pg.Idle {
		x.start()
	}
	if x.machine.Phase() != pg.Open {
		return fmt.Sprintf("group %d, without a zone, is %v", i, x.machine.Phase())
	}
	for k, s := range cfg.Segments {
		n := w.nodeOf(s)
		if !cfg.Out(k) || n.gone {
			continue
		}
		if r := n.replica(s.ID); r != nil && r.core != nil && r.chain.SCL() != x.machine.Tail() {
			w.oracle.group = i
			return fmt.Sprintf("node %d, which is out of group %d, stands at %v, not %v, %s", n.no, i, r.chain.SCL(), x.machine.Tail(), r.pullState())
		}
	}
	return ""
}

// hopeless tells whether a zone cannot be given up, because too much else is
// gone, or cannot be taken back, because some of it is.
func (w *World) hopeless(cfg metadata.PGConfig) bool {
	gone := func(k int) bool { return w.nodeOf(cfg.Segments[k]).gone }
	switch {
	case cfg.Reducing():
		left := slices.DeleteFunc(slices.Clone(cfg.Sets[1]), gone)
		return len(left) < whole.Of(len(cfg.Sets[1])).Write
	case cfg.Restoring():
		return slices.ContainsFunc(cfg.Sets[1], func(k int) bool { return gone(k) && !slices.Contains(cfg.Sets[0], k) })
	}
	return false
}

func zoneName(zone int) string { return fmt.Sprintf("z%d", zone) }
