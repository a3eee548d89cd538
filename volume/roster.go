package volume

import (
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
	"github.com/sextantdisk/sextant/volume/pg"
	"github.com/sextantdisk/sextant/volume/quorum"
)

// roster is who is in a group and where, as the metadata service has decided
// it. It never changes: a change of the membership makes another one. By member
// number, of which some may be free: their links are nil.
type roster struct {
	cfg     metadata.PGConfig
	quorum  *quorum.Config
	members []metadata.Segment
	links   []*link
}

// newRoster makes the roster of a configuration that follows the one before, in
// a volume with such quorums.
func newRoster(p *Pool, of metadata.Quorum, before *quorum.Config, cfg metadata.PGConfig) (*roster, error) {
	d := quorum.Decided{Epoch: cfg.Membership}
	for _, s := range cfg.Segments {
		d.Segments = append(d.Segments, s.ID)
		d.Hydrated = append(d.Hydrated, s.Hydrated)
	}
	for _, set := range cfg.Sets {
		q := of.Of(len(set))
		d.Sets = append(d.Sets, quorum.DecidedSet{At: set, Write: q.Write, Read: q.Read})
	}
	q, err := before.Adopt(d)
	if err != nil {
		return nil, err
	}
	r := &roster{cfg: cfg, quorum: q, members: make([]metadata.Segment, len(q.Segments)), links: make([]*link, len(q.Segments))}
	for m, id := range q.Segments {
		for _, s := range cfg.Segments {
			if s.ID == id {
				r.members[m] = s
				r.links[m] = p.link(Daemon{Node: s.Node, Disk: s.Disk, Address: s.Address})
			}
		}
	}
	return r, nil
}

// member is the number of the member behind a link, or -1.
func (r *roster) member(l *link) quorum.Member {
	for m, x := range r.links {
		if x == l {
			return quorum.Member(m)
		}
	}
	return -1
}

// same reports whether number m has the same segment in both.
func (r *roster) same(other *roster, m int) bool {
	return m < len(r.members) && m < len(other.members) && r.members[m].ID == other.members[m].ID
}

// reconfigure makes the group go on with the configuration that was decided, if
// it can now: the machine is told, links to new segments are taken, those to
// segments that left are given up.
func (g *group) reconfigure(b *batch, cfg metadata.PGConfig) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	before := g.roster.Load()
	if g.mu.gone || cfg.Membership < before.cfg.Membership {
		return nil
	}
	next, err := newRoster(g.v.cfg.Pool, g.v.info.Quorum, before.quorum, cfg)
	if err != nil {
		return block.Wrap(block.KindOf(err), err, "volume %s, group %v", g.v.info.Name, g.index)
	}
	if !g.mu.machine.MayReconfigure(next.quorum) {
		return nil // the next renewal tells of it again
	}
	g.roster.Store(next)
	g.stepLocked(b, pg.Input{Kind: pg.Reconfigure, Config: next.quorum})
	for m, l := range before.links {
		if l != nil && !next.same(before, m) {
			l.detach(g.mu.tags[m])
		}
	}
	for m, l := range next.links {
		if l != nil && !before.same(next, m) {
			g.seatLocked(b, quorum.Member(m), l)
		}
	}
	if cfg.Membership > before.cfg.Membership {
		g.v.log.Info("the group's segments change", "pg", uint32(g.index), "membership", uint32(cfg.Membership), "sets", next.quorum.String())
	}
	return nil
}

// seatLocked makes member m hear of its link, and the machine know whether it
// is up.
func (g *group) seatLocked(b *batch, m quorum.Member, l *link) {
	if int(m) == len(g.mu.tags) {
		g.mu.tags = append(g.mu.tags, 0)
	}
	g.mu.tags[m] = l.attach(g, m)
	if l.out.Load() != nil {
		g.stepLocked(b, pg.Input{Kind: pg.Up, Member: m})
	}
}
