package sim

import (
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/mutant"
	"github.com/sextantdisk/sextant/logstore/chain"
	"github.com/sextantdisk/sextant/logstore/hydration"
	"github.com/sextantdisk/sextant/segmentd/pull"
)

// leafBlocks is how many blocks a leaf has here: it comes in as many parts.
const leafBlocks = 2

// leafSize is how many blocks there are of the leaf that begins at a block.
func (w *World) leafSize(first int) int { return min(leafBlocks, w.faults.Blocks-first) }

// ownKind tells what a record is that a segment's log has for itself.
type ownKind uint8

const (
	ownBegin ownKind = iota + 1 // HYDRATE(begin)
	ownCopy                     // COPY of one block
	ownEnd                      // HYDRATE
	ownMend                     // RELOC of a block that was damaged
)

// own is such a record.
type own struct {
	kind  ownKind
	at    int            // how many entries of durable.entries lie before it
	mark  hydration.Mark // of a Begin or an End
	lsn   block.LSN      // up to what, of a leaf, or the version mended
	cut   block.LSN      // of a copy
	block int
	found block.LSN // the version that is copied
}

// Floor implements hydration.Index.
func (r *replica) Floor() block.LSN { return r.chain.Floor() }

// Raise implements hydration.Index.
func (r *replica) Raise(l block.LSN) bool { return r.chain.OnPath(l) && r.chain.SetFloor(l, r) }

// Jump implements hydration.Index.
func (r *replica) Jump(l block.LSN) bool { return r.chain.Jump(l, r) }

// Forget implements hydration.Index.
func (r *replica) Forget() { clear(r.leaves) }

// Mixed implements hydration.Index.
func (r *replica) Mixed(leaf int) { r.leaves[leaf] = 0 }

// Whole implements hydration.Index.
func (r *replica) Whole(leaf int, l block.LSN) {
	if l >= r.leaves[leaf] || !mutant.On(mutant.LeafStaysWhole) {
		r.leaves[leaf] = l
	}
}

// takeOwn applies a record that is durable.
func (r *replica) takeOwn(o *own) {
	switch o.kind {
	case ownBegin:
		r.hydration.Begin(r, o.mark)
	case ownCopy:
		r.base[o.block] = o.found
		first := o.block / leafBlocks * leafBlocks
		r.hydration.Copy(r, hydration.Run{
			Leaf: o.block / leafBlocks, At: block.Count(o.block - first), Count: 1, Of: block.Count(r.n.w.leafSize(first)),
			Cut: o.cut, MaxLSN: o.lsn,
		})
	case ownEnd:
		r.hydration.End(r, o.mark)
		if !r.hydration.On { // the log tells from here on
			r.history, r.jumped = nil, true
		}
	case ownMend:
		r.mended(o)
	}
}

// beginHydration has the log take leaves.
func (r *replica) beginHydration(p *puller) {
	r.n.w.Count.Hydrations++
	o := &own{kind: ownBegin, mark: r.hydration.Start(r.chain.Floor())}
	p.save(op{r: r, own: o}, func() pull.Input { return pull.Input{Kind: pull.Begun, Since: r.hydration.After} })
}

// hydrate has the chain go on from cut.
func (r *replica) hydrate(p *puller, cut block.LSN) {
	if err := r.hydration.MayEnd(r.chain.Floor(), cut); err != nil {
		p.stop(err)
		return
	}
	p.save(op{r: r, own: &own{kind: ownEnd, mark: r.hydration.Mark(cut)}}, func() pull.Input {
		if r.hydration.On {
			return pull.Input{Kind: pull.Stop, Err: block.Errorf(block.Unavailable, "what was copied does not count")}
		}
		if cut != 0 {
			r.n.w.oracle.settled(r, cut)
		}
		return pull.Input{Kind: pull.Hydrated, SCL: r.chain.SCL()}
	})
}

// marks takes the names of leaves.
func (s *source) marks(m *message) {
	in := pull.Input{Kind: pull.Marks, Peer: s.i, Cut: m.found, More: len(m.marks) == pageMarks}
	for _, k := range m.marks {
		k.Own = s.p.r.leaves[int(k.Block)/leafBlocks]
		in.Marks = append(in.Marks, k)
		in.Next = k.Block + leafBlocks
	}
	s.p.step(in)
}

// run logs a block of a leaf; it tells whether that was the leaf's last one.
func (s *source) run(m *message) (last bool) {
	p := s.p
	r, w := p.r, p.r.n.w
	first := int(s.asked[0].Block)
	if m.block == first {
		s.came, s.cut = 0, m.at
	}
	s.came, s.cut = s.came+1, min(s.cut, m.at)
	err := r.hydration.MayCopy(r.chain.Floor(), m.at)
	if err == nil && r.n.full == 2 {
		err = block.Errorf(block.NoSpace, "the disk is full")
	}
	if err != nil {
		p.stop(err)
		return true
	}
	w.Count.Copied++
	o := op{r: r, own: &own{kind: ownCopy, lsn: m.upTo, cut: m.at, block: m.block, found: m.found}}
	if int(s.came) < w.leafSize(first) {
		r.n.enqueue(o)
		return false
	}
	in := pull.Input{Kind: pull.Taken, Peer: s.i, Block: block.Index(first), Cut: s.cut}
	p.save(o, func() pull.Input {
		if w.oneIn(8) {
			r.checkpoint()
		}
		return in
	})
	return true
}

// clean frees the older part of the log: records that are settled, up to some
// LSN, are there no more, only what they have made. What is not in a checkpoint
// is never freed.
func (r *replica) clean() {
	d := &r.disk
	if len(d.history) == 0 || r.jumped || r.core == nil {
		return
	}
	k := 1 + r.n.w.rng.IntN(len(d.history))
	d.reach = max(d.reach, d.history[k-1].LSN)
	d.history, r.history = d.history[k:], r.history[k:]
	if w := r.n.w; w.trace.keep {
		w.note(r.group, "node %d: the log begins at %v now", r.n.no, d.reach)
	}
}

// cleanLogs cleans the logs of a node, or of all.
func (w *World) cleanLogs(n *node) {
	for _, other := range w.nodes {
		if n != nil && n != other {
			continue
		}
		for _, r := range other.replicas {
			r.clean()
		}
	}
}

// donor is a node that gives something to another one just now; nil if none
// does.
func (w *World) donor() *node {
	var donors []*node
	for _, n := range w.nodes {
		for _, r := range n.replicas {
			if !r.pulling() {
				continue
			}
			for _, s := range r.catching.sources {
				if len(s.asked) > 0 && !s.dead {
					donors = append(donors, s.node)
				}
			}
		}
	}
	return anyOf(w.rng, donors)
}

// hydrated is a node whose log has copies of leaves that no checkpoint has yet; nil
// if there is none.
func (w *World) hydrated() *node {
	var nodes []*node
	for _, n := range w.nodes {
		for _, r := range n.replicas {
			if len(r.disk.own) > 0 {
				nodes = append(nodes, n)
				break
			}
		}
	}
	return anyOf(w.rng, nodes)
}

// restore makes the index of a checkpoint.
func (r *replica) restore(d *durable) {
	copy(r.base, d.base)
	copy(r.leaves, d.leaves)
	r.hydration, r.history, r.jumped = d.hydration.Clone(), d.history, false
	r.chain.Restore(chain.Contents[what]{Floor: d.floor, Head: d.floor}, r)
	from := 0
	for i := range d.own {
		o := &d.own[i]
		r.apply(d.entries[from:o.at])
		from = o.at
		r.takeOwn(o)
	}
	r.apply(d.entries[from:])
}
