package sim

import (
	"slices"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
	"github.com/sextantdisk/sextant/volume/quorum"
	"github.com/sextantdisk/sextant/wire"
)

// version is a version of a block, by the record that wrote it.
type version struct {
	block int
	lsn   block.LSN
}

// rotten is what is read where the bytes are not those that were written: the
// version of no record.
const rotten = ^block.LSN(0)

// rotBlock has a block of one or two nodes rot, where that is allowed: the same
// limits hold for it as for damage to a log. The bytes cannot be read any more,
// nor be given to anybody, until they are written again.
func (w *World) rotBlock(n *node) {
	if r := w.decayed(); r != nil && w.rng.IntN(2) == 0 { // and its next version rots, too
		r.n.rot(r.group, pick(w.rng, r.disk.rot...).block, 0)
		return
	}
	group, b := w.rng.IntN(w.faults.Groups), w.rng.IntN(w.faults.Blocks)
	l := n.rot(group, b, 0)
	if l == 0 || w.rng.IntN(2) == 0 {
		return
	}
	w.nodes[w.rng.IntN(len(w.nodes))].rot(group, b, l) // the same one elsewhere
}

// decayed is a segment with blocks that have rotten; nil if there is none.
func (w *World) decayed() *replica {
	var all []*replica
	for _, n := range w.nodes {
		for _, r := range n.replicas {
			if len(r.disk.rot) > 0 {
				all = append(all, r)
			}
		}
	}
	return anyOf(w.rng, all)
}

// rot damages the newest version of a block, if it is l or l is 0, and gives it. It
// must be committed: who alone has the end of a log that is recovered, and cannot
// read it, keeps the group from being opened (docs/adr/0033).
func (n *node) rot(group, b int, l block.LSN) block.LSN {
	w := n.w
	if n.down || n.gone || !n.hurt() && !w.bears(n) {
		return 0
	}
	for _, r := range n.replicas {
		if r.group != group || r.core == nil {
			continue
		}
		v := version{b, r.version(b, r.chain.SCL())}
		i := w.oracle.record(v.lsn)
		if l != 0 && v.lsn != l || !i.committed || i.what.typ != wire.RecordWrite || r.rots(b, v.lsn) {
			return 0
		}
		r.disk.rot = append(r.disk.rot, v)
		w.Count.Rotten++
		if w.trace.keep {
			w.note(group, "node %d: version %v of block %d rots", n.no, v.lsn, b)
		}
		return v.lsn
	}
	return 0
}

// rots tells whether a version cannot be read.
func (r *replica) rots(b int, l block.LSN) bool {
	return len(r.disk.rot) > 0 && slices.Contains(r.disk.rot, version{b, l})
}

// finds tells the same, and that it was noticed: it is to be mended.
func (r *replica) finds(b int, l block.LSN) bool {
	if !r.rots(b, l) {
		return false
	}
	if v := (version{b, l}); !slices.Contains(r.bad, v) {
		r.bad = append(r.bad, v)
	}
	return true
}

// live tells whether a version is the newest: older ones are not mended, and
// nobody misses them.
func (r *replica) live(v version) bool { return r.version(v.block, r.chain.SCL()) == v.lsn }

// decays tells whether a block of the segment has rotten that is still needed.
func (r *replica) decays() bool {
	return r.core != nil && slices.ContainsFunc(r.disk.rot, r.live)
}

// owes tells whether a version has rotten that is not settled yet, or would not be
// after a crash: leaves have what was written over it only when it is, so who
// lags needs the record.
func (r *replica) owes() bool {
	return slices.ContainsFunc(r.disk.rot, func(v version) bool { return v.lsn > r.disk.floor })
}

// mend takes a block that a gateway has read elsewhere (S2). Nobody waits for the
// answer.
func (n *node) mend(m *message) {
	r := n.replica(m.id.Segment)
	if !n.failed && r != nil && r.core != nil && r.core.AdmitJoined(&m.id) == nil {
		r.rewrite(version{m.block, m.found})
	}
}

// rewrite writes a block again that has rotten, if what is to be written is what
// was there.
func (r *replica) rewrite(v version) {
	now := r.version(v.block, r.chain.SCL())
	if now == v.lsn && r.rots(v.block, now) {
		r.n.enqueue(op{r: r, own: &own{kind: ownMend, lsn: now, block: v.block}})
	}
}

// heal takes the rot out that a durable record has written over.
func (d *durable) heal(o *own) {
	if len(d.rot) == 0 || o.kind != ownMend && o.kind != ownCopy {
		return
	}
	l := o.lsn
	if o.kind == ownCopy {
		l = o.found
	}
	d.rot = slices.DeleteFunc(d.rot, func(v version) bool { return v == version{o.block, l} })
}

// mended applies a RELOC: the version is the same, its bytes are whole again.
func (r *replica) mended(o *own) {
	r.bad = slices.DeleteFunc(r.bad, func(v version) bool { return v == version{o.block, o.lsn} })
	if w := r.n.w; w.trace.keep {
		w.note(r.group, "node %d: version %v of block %d is mended", r.n.no, o.lsn, o.block)
	}
}

// scrub has a node's segments read all that they have now and then, and bring
// what was found damaged from peers (S1, S2): what segmentd's scrubber does, more
// often.
func (n *node) scrub() {
	w := n.w
	every := w.faults.Scrub
	w.after(every/2+w.upTo(every), func() {
		if !n.down && !n.failed && !n.gone && n.asleepUntil <= w.now {
			for _, r := range n.replicas {
				if r.core == nil || len(r.disk.rot) == 0 {
					continue
				}
				for _, v := range r.disk.rot {
					r.finds(v.block, v.lsn)
				}
				r.askToMend()
			}
		}
		n.scrub()
	})
}

// askToMend asks a peer, another one each time, for what is bad.
func (r *replica) askToMend() {
	w, n := r.n.w, r.n
	r.bad = slices.DeleteFunc(r.bad, func(v version) bool { return !r.live(v) })
	cfg, placed := w.meta.config(r.group)
	peers := slices.DeleteFunc(cfg.Segments, func(s metadata.Segment) bool { return s.ID == r.id })
	if !placed || len(r.bad) == 0 || len(peers) == 0 {
		return
	}
	s, life := pick(w.rng, peers...), n.life
	m := r.core.Meta()
	id := wire.Identity{Cluster: m.Cluster, Volume: m.Volume, Segment: s.ID, PG: m.PG, Epoch: r.core.Promised(), Member: m.Member}
	for _, v := range r.bad {
		w.after(w.delay(w.faults.Delay, n.slow), func() {
			p := w.nodeOf(s).replica(s.ID)
			if p != nil && p.core != nil {
				id.Member = max(id.Member, p.core.Meta().Member) // it is asked first
			}
			if p == nil || !w.near(n.zone, p.n.zone) || !p.holds(&id, v, r.writtenBy(v)) {
				return
			}
			n.after(life, w.delay(w.faults.Delay, p.n.slow), func() {
				if !r.dropped && !n.failed {
					r.rewrite(v)
				}
			})
		})
	}
}

// writtenBy is an LSN as of which its newest version of a block is that one.
func (r *replica) writtenBy(v version) block.LSN {
	if slices.Contains(r.hot[v.block], v.lsn) {
		return v.lsn
	}
	return r.hydration.Newest(r.chain.Floor())
}

// holds tells whether a peer is given a version of a block that it asks for, as of
// an LSN: it knows it by its sum, so it does not matter whether what is here is
// whole.
func (r *replica) holds(id *wire.Identity, v version, at block.LSN) bool {
	return r.core != nil && !r.n.down && !r.n.failed && r.core.AdmitRead(id) == nil &&
		r.version(v.block, at) == v.lsn && !r.finds(v.block, v.lsn)
}

// sendMend has a gateway bring a block that it has read to a member whose copy is
// damaged (B3).
func (x *group) sendMend(m *message, r *reading) {
	for i, n := range x.nodes {
		if n == nil || !r.corrupt.Has(quorum.Member(i)) {
			continue
		}
		w := x.g.w
		a := w.newMessage(msgMend)
		a.group, a.id, a.block, a.found = x.index, x.identity(quorum.Member(i)), r.block, m.found
		x.g.conns[n.no].send(a)
	}
}

// scrubAtLeast is how often a world scrubs that has been healed.
const scrubAtLeast = time.Second
