package sim

import (
	"slices"

	"github.com/sextantdisk/sextant/metadata"
	"github.com/sextantdisk/sextant/segmentd/pull"
	"github.com/sextantdisk/sextant/wire"
)

// gossip has a node's segments ask peers now and then where they stand, and
// pull what they lack, with or without a gateway (R20): what segmentd/gossip.go
// does, more often.
func (n *node) gossip() {
	w := n.w
	every := w.faults.Gossip
	if every == 0 {
		return
	}
	w.after(every/2+w.upTo(every), func() {
		if !n.down && !n.failed && !n.gone && n.asleepUntil <= w.now {
			for _, r := range n.replicas {
				r.askPeer()
			}
		}
		n.gossip()
	})
}

// askPeer asks one of the group's other segments where it stands.
func (r *replica) askPeer() {
	w, n := r.n.w, r.n
	cfg, placed := w.meta.config(r.group)
	peers := slices.DeleteFunc(cfg.Segments, func(s metadata.Segment) bool { return s.ID == r.id })
	if !placed || r.core == nil || r.pulling() || len(peers) == 0 {
		return
	}
	s, life := pick(w.rng, peers...), n.life
	peer := w.nodeOf(s)
	w.after(w.delay(w.faults.Delay, n.slow), func() {
		p := peer.replica(s.ID)
		if p == nil || p.core == nil || peer.down || peer.failed || !w.near(n.zone, peer.zone) {
			return
		}
		told := pull.Told{Epoch: p.core.Promised(), SCL: p.chain.SCL(), Floor: p.hydration.Lowest(p.chain.Floor()), Usable: !p.core.Unsure() && !p.core.Damaged() && !p.hydration.On}
		n.after(life, w.delay(w.faults.Delay, peer.slow), func() {
			if !n.failed && !r.dropped && r.core != nil {
				r.look(told)
			}
		})
	})
}

// look compares, and pulls what is missing or learns of a newer writer.
func (r *replica) look(peer pull.Told) {
	v := r.watch.Look(pull.Told{Epoch: r.core.Promised(), SCL: r.chain.SCL(), Hydrating: r.hydration.On}, peer)
	if v.Learn {
		r.reassure()
	}
	r.settled(r.core.Promised(), wire.Progress{Floor: v.Floor})
	if v.UpTo == 0 || r.pulling() {
		return
	}
	r.n.w.Count.Gossips++
	r.newPuller().begin(v.UpTo)
}
