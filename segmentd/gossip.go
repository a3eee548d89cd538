package segmentd

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/segmentd/pull"
	"github.com/sextantdisk/sextant/wire"
)

// Gossip (R20): each segment now and then asks one peer, another one each time,
// where it stands; what it lacks it pulls, with or without a gateway. A round
// costs a daemon one connection to each peer daemon, and 68 bytes a segment.
const (
	gossipFirst = time.Second // after the start
	gossipEvery = 10 * time.Second
	// gossipDoors is how many daemons are asked at a time.
	gossipDoors = 16
	// gossipLookups bounds how often the metadata service is asked for peers
	// in one round, and peersFor is how long its answer is good.
	gossipLookups = 64
	peersFor      = 5 * time.Minute
)

// gossiper owns what gossip remembers; its goroutine is run's. While daemons are
// asked known does not change, and one question at most is about each segment.
type gossiper struct {
	s     *Server
	round int
	known map[block.SegmentID]*acquainted
}

// acquainted is what is known of a segment's peers.
type acquainted struct {
	peers []Peer
	at    time.Time
	watch pull.Watch
}

// door is a daemon that peers are behind.
type door struct {
	node    block.NodeID
	disk    block.DiskID
	address string
}

// question is about one segment and one peer of it.
type question struct {
	h    *hosted
	peer Peer
}

func (s *Server) gossip() {
	g := &gossiper{s: s, known: map[block.SegmentID]*acquainted{}}
	s.repeat(gossipFirst, gossipEvery, nil, g.run)
}

// run is one round.
func (g *gossiper) run() {
	if g.s.Failed() != nil {
		return
	}
	g.round++
	doors := map[door][]question{}
	here := map[block.SegmentID]bool{}
	lookups := 0
	for _, h := range g.s.hostedAll() {
		here[h.log.ID()] = true
		if h.catching.Load() {
			continue
		}
		peer, ok := g.peer(h, &lookups)
		if ok {
			d := door{peer.Node, peer.Disk, peer.Address}
			doors[d] = append(doors[d], question{h, peer})
		}
	}
	for id := range g.known {
		if !here[id] {
			delete(g.known, id)
		}
	}
	g.askAll(doors, g.ask)
}

// askAll asks all doors, some of them side by side: one that hangs holds up
// nobody else.
func (g *gossiper) askAll(doors map[door][]question, ask func(door, []question) error) {
	var asking errgroup.Group
	asking.SetLimit(gossipDoors)
	for d, all := range doors {
		asking.Go(func() error {
			for len(all) > 0 && g.s.ctx.Err() == nil {
				n := min(len(all), wire.MaxStandings)
				if err := ask(d, all[:n]); err != nil {
					g.s.log.Debug("a peer does not say where it stands", "peer", d.node, "err", err)
					break
				}
				all = all[n:]
			}
			return nil
		})
	}
	_ = asking.Wait() // each has logged its own
}

// peer is whom a segment asks in this round.
func (g *gossiper) peer(h *hosted, lookups *int) (Peer, bool) {
	ref := h.ref()
	a := g.known[ref.Segment]
	if a == nil {
		a = &acquainted{}
		g.known[ref.Segment] = a
	}
	now := g.s.clock.Now()
	if (a.at.IsZero() || now.Sub(a.at) >= peersFor) && *lookups < gossipLookups {
		*lookups++
		a.at = now
		ctx, cancel := context.WithTimeout(g.s.ctx, callTimeout)
		peers, err := g.s.cfg.Registry.Peers(ctx, ref.Volume, ref.PG)
		cancel()
		if err != nil {
			g.s.log.Debug("the other copies cannot be found out", "segment", ref.Segment, "err", err)
		} else {
			a.peers = a.peers[:0]
			for _, p := range peers {
				if p.Segment != ref.Segment && p.Address != "" {
					a.peers = append(a.peers, p)
				}
			}
		}
	}
	if len(a.peers) == 0 {
		a.at = time.Time{} // perhaps next time
		return Peer{}, false
	}
	return a.peers[g.round%len(a.peers)], true
}

// ask asks a daemon where some of its segments stand.
func (g *gossiper) ask(d door, all []question) error {
	p, err := g.s.dialPeer(Peer{Node: d.node, Disk: d.disk, Address: d.address}, wire.Identity{})
	if err != nil {
		return err
	}
	defer p.Close()
	var places []wire.Place
	for _, q := range all {
		ref := q.h.ref()
		places = append(places, wire.Place{Volume: ref.Volume, PG: ref.PG, Segment: q.peer.Segment})
	}
	stands, err := p.standing(places...)
	if err != nil {
		return err
	}
	for i, q := range all {
		g.look(q, &stands[i])
	}
	return nil
}

// look has the segment's watch compare, and does what it says.
func (g *gossiper) look(q question, stand *wire.Stand) {
	st := q.h.log.State()
	own := pull.Told{Epoch: q.h.ident().Epoch, SCL: st.SCL, Hydrating: st.Hydrating}
	peer := pull.Told{Epoch: stand.Epoch, SCL: stand.SCL, Floor: stand.Readable, Usable: stand.Here && !stand.Damaged && !stand.Hydrating}
	v := g.known[q.h.log.ID()].watch.Look(own, peer)
	if v.Learn {
		volume := q.h.ref().Volume
		if err := g.s.reassureOne(q.h, volume); err != nil && !errors.Is(err, block.NotFound) {
			g.s.log.Info("a newer epoch of a volume waits to be learned", "segment", q.h.log.ID(), "volume", volume, "err", err)
		}
	}
	if err := q.h.settled(own.Epoch, wire.Progress{Floor: v.Floor}); err != nil {
		g.s.log.Warn("a segment cannot settle what its peer has settled", "segment", q.h.log.ID(), "peer", q.peer.Node, "floor", v.Floor, "err", err)
	}
	if v.UpTo != 0 {
		g.s.pull(q.h, v.UpTo, nil, nil)
	}
}
