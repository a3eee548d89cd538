package sim

import (
	"errors"
	"slices"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
	"github.com/sextantdisk/sextant/metadata/state"
	"github.com/sextantdisk/sextant/volume/pg"
	"github.com/sextantdisk/sextant/volume/quorum"
)

// Segments are replaced (R23 to R27): somebody begins it, the gateway that
// learns of it with a renewal of its lease carries it on, as volume/changes.go
// does, and the node of who left drops it.

// seat takes a configuration, and what it is as quorums.
func (x *group) seat(q *quorum.Config, cfg metadata.PGConfig) {
	x.cfg, x.quorum, x.nodes = cfg, q, make([]*node, len(q.Segments))
	for m, id := range q.Segments {
		for _, s := range cfg.Segments {
			if s.ID == id {
				x.nodes[m] = x.g.w.nodeOf(s)
			}
		}
	}
}

// follows is the configuration that follows the one before.
func follows(before *quorum.Config, cfg metadata.PGConfig) *quorum.Config {
	d := quorum.Decided{Epoch: cfg.Membership, Sets: decided(cfg)}
	for _, s := range cfg.Segments {
		d.Segments = append(d.Segments, s.ID)
		d.Hydrated = append(d.Hydrated, s.Hydrated)
	}
	q, err := before.Adopt(d)
	must(err)
	return q
}

// changing are the groups for which the gateway counts with two sets.
func (g *gateway) changing() (out []metadata.PGMembership) {
	for _, x := range g.group {
		if x != nil && x.quorum.Joint() {
			out = append(out, metadata.PGMembership{PG: block.PGIndex(x.index), Membership: x.quorum.Epoch})
		}
	}
	return out
}

// carryOn takes the next step of a group's change.
func (g *gateway) carryOn(m metadata.PGMembership) {
	x := g.group[m.PG]
	switch {
	case g.dead || x == nil:
	case m.Membership > x.quorum.Epoch:
		x.reread()
	default:
		x.propose()
	}
}

// reread asks for the configuration that was decided.
func (x *group) reread() {
	w, e := x.g.w, x.g.epoch
	w.meta.ask(x.g, true, func() func() {
		err := w.meta.state.CheckOwner(volume, e)
		cfg, _ := w.meta.config(x.index)
		return func() { x.adopt(state.Result{Err: err, PG: cfg}) }
	})
}

// propose has decided what the machine can prove.
func (x *group) propose() {
	ref := &pb.GroupChange{Volume: volume[:], Epoch: uint32(x.g.epoch), Pg: uint32(x.index), Membership: uint32(x.quorum.Epoch)}
	var c *pb.Command
	switch change := x.machine.Change(); {
	case change.MayFinish:
		c = &pb.Command{Body: &pb.Command_FinishChange{FinishChange: &pb.FinishChange{Group: ref}}}
	case change.Caught:
		c = &pb.Command{Body: &pb.Command_MarkHydrated{MarkHydrated: &pb.MarkHydrated{Group: ref}}}
	default:
		return
	}
	w := x.g.w
	w.meta.ask(x.g, true, func() func() {
		before, _ := w.meta.config(x.index)
		r := w.meta.apply(c)
		w.countZones(before, r)
		if w.trace.keep {
			w.note(x.index, "gateway %d proposes %v: %v", x.g.epoch, c.GetBody(), r.Err)
		}
		w.changed()
		if r.Err == nil && c.GetFinishChange() != nil {
			x.parted(r.PG)
		}
		return func() { x.adopt(r) }
	})
}

// parted is the worst moment for the network to part: the change is decided, its
// writer does not know yet, and can still reach who has left (R14).
func (x *group) parted(cfg metadata.PGConfig) {
	w := x.g.w
	p := w.faults.Chaos[split]
	if p.every == 0 || w.healed || x.g.dead || x.g != w.newest() || w.rng.IntN(4) > 0 {
		return
	}
	for _, s := range x.cfg.Segments {
		left := !slices.ContainsFunc(cfg.Segments, func(o metadata.Segment) bool { return o.ID == s.ID })
		if n := w.nodeOf(s); left && !n.gone {
			w.leaveWith(x.g, n.no, w.now+w.upTo(p.lasts)+quorum.LeaseTerm)
			return
		}
	}
}

// adopt goes on with what the metadata service has said.
func (x *group) adopt(r state.Result) {
	switch {
	case errors.Is(r.Err, block.Fenced):
		x.g.end("it may change nothing")
	case r.Err == nil && !x.g.dead:
		x.reconfigure(r.PG)
	}
}

func (x *group) reconfigure(cfg metadata.PGConfig) {
	if cfg.Membership < x.quorum.Epoch {
		return
	}
	next := follows(x.quorum, cfg)
	if !x.machine.MayReconfigure(next) {
		return
	}
	before, g := x.quorum.Segments, x.g
	if g.w.trace.keep {
		g.w.note(x.index, "gateway %d goes on with m%d %v, hydrated %v", g.epoch, cfg.Membership, cfg.Sets, hydrated(cfg))
	}
	x.seat(next, cfg)
	x.step(pg.Input{Kind: pg.Reconfigure, Config: x.quorum})
	for m, n := range x.nodes {
		isNew := m >= len(before) || before[m] != x.quorum.Segments[m]
		if n != nil && isNew && g.conns[n.no].up && !g.dead {
			x.step(pg.Input{Kind: pg.Up, Member: quorum.Member(m)})
		}
	}
	if !g.dead {
		x.propose()
	}
}

func hydrated(cfg metadata.PGConfig) (all []bool) {
	for _, s := range cfg.Segments {
		all = append(all, s.Hydrated)
	}
	return all
}

// changed has nodes drop what has left its group.
func (w *World) changed() {
	for _, n := range w.nodes {
		n.obeySoon()
	}
}

// obeySoon has a node ask what it is to drop, and do that.
func (n *node) obeySoon() {
	w, life := n.w, n.life
	w.after(w.upTo(2*time.Second)+w.meta.trip(n.zone), func() {
		doomed := w.meta.state.Doomed(n.name, 100)
		if len(doomed) == 0 || n.down || n.gone || n.life != life {
			return
		}
		c := &pb.ForgetSegments{Node: string(n.name)}
		for _, ref := range doomed {
			n.drop(ref.Segment)
			c.Segments = append(c.Segments, &pb.SegmentRef{Volume: ref.Volume[:], Pg: uint32(ref.PG), Segment: ref.Segment[:]})
		}
		w.after(w.meta.trip(n.zone), func() { _ = w.meta.apply(&pb.Command{Body: &pb.Command_ForgetSegments{ForgetSegments: c}}) })
	})
}

func (n *node) drop(id block.SegmentID) {
	n.replicas = slices.DeleteFunc(n.replicas, func(r *replica) bool {
		if r.id == id {
			r.dropped = true
			if r.catching != nil {
				r.catching.on = false
			}
		}
		return r.id == id
	})
}

// replaceCopy is an operator who has a segment replaced, at best one that is
// gone, or takes a replacement back.
func (w *World) replaceCopy() {
	i := w.rng.IntN(w.faults.Groups)
	cfg, placed := w.meta.config(i)
	if !placed {
		return
	}
	ref := w.meta.changeRef(cfg)
	if len(cfg.Sets) > 1 {
		if w.oneIn(4) {
			w.operate(i, &pb.Command{Body: &pb.Command_CancelChange{CancelChange: &pb.CancelChange{Group: ref}}})
		}
		return
	}
	leaving := cfg.Segments[w.rng.IntN(len(cfg.Segments))]
	for _, s := range cfg.Segments {
		if w.nodeOf(s).gone {
			leaving = s
		}
	}
	to := w.roomFor(cfg, w.nodeOf(leaving).zone)
	if to == nil {
		return
	}
	w.operate(i, &pb.Command{Body: &pb.Command_BeginReplace{BeginReplace: &pb.BeginReplace{
		Group: ref, Leaving: leaving.ID[:], Joining: w.meta.newSegment(to),
	}}})
}

func (w *World) operate(group int, c *pb.Command) {
	w.operateIf(group, c, func() bool { return true })
}

// operateIf does so if that is bearable when it is decided: more may be lost until
// then.
func (w *World) operateIf(group int, c *pb.Command, bearable func() bool) {
	w.after(w.meta.trip(w.rng.IntN(zones)), func() {
		if bearable() {
			w.decide(group, c)
		}
	})
}

func (w *World) decide(group int, c *pb.Command) {
	r := w.meta.apply(c)
	if w.trace.keep {
		w.note(group, "an operator wants %v: %v", c.GetBody(), r.Err)
	}
	w.changed()
}

// roomFor is a node of a zone that has nothing of a group; a new one if there
// may be more.
func (w *World) roomFor(cfg metadata.PGConfig, zone int) *node {
	for _, n := range w.nodes {
		if n.zone == zone && !n.gone && !slices.ContainsFunc(cfg.Segments, func(s metadata.Segment) bool { return s.Node == n.name }) {
			return n
		}
	}
	if len(w.nodes) == maxNodes {
		return nil
	}
	n := newNode(w, len(w.nodes))
	n.zone = zone
	w.nodes = append(w.nodes, n)
	w.meta.register(n)
	n.gossip()
	n.scrub()
	for _, g := range w.gateways {
		c := &conn{g: g, n: n}
		g.conns = append(g.conns, c)
		if !g.dead && g.epoch != 0 {
			c.dial()
		}
	}
	return n
}

// cancelHopeless is the operator again: changes towards a node that is gone are
// taken back.
func (w *World) cancelHopeless() {
	for i := range w.faults.Groups {
		cfg, placed := w.meta.config(i)
		if !placed {
			continue
		}
		if joining, ok := cfg.Joining(); ok && w.nodeOf(joining).gone {
			w.operate(i, &pb.Command{Body: &pb.Command_CancelChange{CancelChange: &pb.CancelChange{Group: w.meta.changeRef(cfg)}}})
		}
	}
}

// changeRef quotes what is in force now.
func (s *service) changeRef(cfg metadata.PGConfig) *pb.GroupChange {
	return &pb.GroupChange{Volume: volume[:], Epoch: uint32(s.epoch()), Pg: uint32(cfg.Index), Membership: uint32(cfg.Membership)}
}

// departed tells whether a segment is none of its group's any more.
func (s *service) departed(group int, id block.SegmentID) bool {
	cfg, placed := s.config(group)
	return placed && !slices.ContainsFunc(cfg.Segments, func(x metadata.Segment) bool { return x.ID == id })
}
