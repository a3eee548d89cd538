package sim

import (
	"cmp"
	"slices"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/mutant"
	"github.com/sextantdisk/sextant/logstore/chain"
	"github.com/sextantdisk/sextant/logstore/hydration"
	"github.com/sextantdisk/sextant/segmentd/pull"
	"github.com/sextantdisk/sextant/segmentd/segment"
	"github.com/sextantdisk/sextant/wire"
)

// replica is a segment on a node: the daemon's state machine, the chain, and
// an index that knows the newest version of each block.
type replica struct {
	n     *node
	id    block.SegmentID
	group int
	disk  durable
	// dropped: it left its group, and is no more.
	dropped bool

	// lost in a crash:
	core      *segment.Core
	chain     chain.Chain[what]
	base      []block.LSN   // newest version of each block at or below the floor
	leaves    []block.LSN   // up to where each leaf is settled
	hot       [][]block.LSN // versions of each block on the chain above it, ascending
	history   []entry       // the chain at or below the floor, as far as the log reaches back
	hydration hydration.State
	jumped    bool    // since the last checkpoint history began anew
	catching  *puller // the last pull; nil: there was none
	watch     pull.Watch
	bad       []version // damage that was found
}

// Join implements chain.Events: e's versions can be read.
func (r *replica) Join(e entry) {
	for b := range e.Value.blocks() {
		r.hot[b] = append(r.hot[b], e.LSN)
	}
}

// Leave implements chain.Events: e is annulled.
func (r *replica) Leave(e entry) {
	for b := range e.Value.blocks() {
		r.hot[b] = r.hot[b][:len(r.hot[b])-1]
	}
}

// Settle implements chain.Events: e's versions are the oldest that can be read.
func (r *replica) Settle(e entry) {
	r.history = append(r.history, e)
	for b := range e.Value.blocks() {
		r.base[b] = e.LSN
		r.hot[b] = slices.Delete(r.hot[b], 0, 1)
		if l := &r.leaves[b/leafBlocks]; e.LSN > *l || !mutant.On(mutant.LeafStaysNew) {
			*l = e.LSN
		}
	}
}

// Drop implements chain.Events.
func (r *replica) Drop(entry) {}

func (r *replica) apply(es []entry) {
	for _, e := range es {
		r.chain.Add(e, r)
	}
}

// version is the newest version of a block at or below a point on the chain.
func (r *replica) version(b int, at block.LSN) block.LSN {
	vs := r.hot[b]
	for i := len(vs) - 1; i >= 0; i-- {
		if vs[i] <= at {
			return vs[i]
		}
	}
	return r.base[b]
}

// records appends up to n records of the complete chain in (after, upTo].
func (r *replica) records(to []entry, after, upTo block.LSN, n int) []entry {
	for _, part := range [][]entry{r.history, r.chain.Path()} {
		i, _ := slices.BinarySearchFunc(part, after+1, func(e entry, l block.LSN) int { return cmp.Compare(e.LSN, l) })
		for ; i < len(part) && part[i].LSN <= upTo && n > 0; i++ {
			to = append(to, part[i])
			n--
		}
	}
	return to
}

// bear answers a JOIN of a segment that is not here, which makes it if the
// metadata service says that it belongs here, and that the writer is the newest
// (R24, R28).
func (n *node) bear(m *message) {
	w, life, join := n.w, n.life, *m
	join.records = nil
	w.after(w.meta.trip(n.zone), func() {
		placed := w.meta.isPlaced(n, &join.id) || mutant.On(mutant.BornUnasked)
		w.after(w.upTo(w.faults.Delay), func() {
			switch {
			case n.life != life || n.down || n.failed:
			case !placed:
				n.refuse(&join, &wire.Refuse{Kind: block.NotFound, Message: "no segment of this node"})
			default:
				n.create(&join.id, join.group).bare(&join)
			}
		})
	})
}

// create makes a segment, unless somebody was quicker; it may have been lost in
// a crash before it was durable.
func (n *node) create(id *wire.Identity, group int) *replica {
	r := n.replica(id.Segment)
	if r == nil {
		k := n.w.faults.Blocks
		r = &replica{n: n, id: id.Segment, group: group, base: make([]block.LSN, k), hot: make([][]block.LSN, k),
			leaves: make([]block.LSN, (k+leafBlocks-1)/leafBlocks)}
		n.replicas = append(n.replicas, r)
	}
	if r.core == nil {
		meta := segment.NewMeta(id)
		r.core = segment.New(r.id, meta, id.Epoch, false)
		n.enqueue(op{r: r, promise: id.Epoch, meta: &meta})
	}
	return r
}

// bare takes JOIN and PING.
func (r *replica) bare(m *message) {
	v := r.core.AdmitBare(&m.id, r.disk.promised)
	if v.Refuse != nil {
		r.n.refuse(m, v.Refuse)
		return
	}
	due := owed{conn: m.conn, life: m.life, epoch: m.id.Epoch, progress: m.progress}
	if v.Promise == 0 && v.Meta == nil {
		r.answer(&due)
		return
	}
	r.n.enqueue(op{r: r, promise: v.Promise, meta: v.Meta, owed: due})
}

// write takes records.
func (r *replica) write(m *message) {
	v := r.core.Admit(&m.id)
	if v.Refuse != nil {
		r.n.refuse(m, v.Refuse)
		return
	}
	if r.n.full == 2 && hasData(m.records) {
		r.n.refuse(m, &wire.Refuse{Kind: block.NoSpace, Message: "the disk is full"})
		return
	}
	if w := r.n.w; w.trace.keep {
		w.note(r.group, "node %d takes %v to %v of gateway %d", r.n.no, m.records[0].LSN, m.records[len(m.records)-1].LSN, m.id.Epoch)
	}
	r.n.enqueue(op{r: r, promise: v.Promise, meta: v.Meta, records: r.n.w.takeRecords(m),
		owed: owed{conn: m.conn, life: m.life, epoch: m.id.Epoch, progress: m.progress}})
}

func hasData(es []entry) bool {
	for _, e := range es {
		if e.Value.typ == wire.RecordWrite {
			return true
		}
	}
	return false
}

// answer settles what the progress allows and says where the segment stands.
func (r *replica) answer(o *owed) {
	r.settled(o.epoch, o.progress)
	r.say(o.conn, o.life, o.epoch, o.progress.Stamp)
}

// say sends an ack.
func (r *replica) say(c *conn, life uint32, to block.VolumeEpoch, stamp wire.Stamp) {
	w := r.n.w
	m := w.newMessage(msgAck)
	m.group, m.id.Segment = r.group, r.id
	m.ack, m.refuse = r.core.Answer(to, segment.Log{
		SCL: r.chain.SCL(), Floor: r.chain.Floor(), Head: r.chain.Head(), Unlinked: r.chain.Pending(), Member: r.disk.meta.Member, Full: r.n.full > 0,
	}, stamp, r.pulling())
	if w.trace.keep {
		w.note(r.group, "node %d tells gateway %d: SCL %v, damaged %v, gap %v, fenced %v", r.n.no, c.g.epoch, m.ack.SCL, m.ack.Damaged, m.ack.Gap, m.refuse != nil)
	}
	c.reply(life, m)
}

// settled does what the writer's progress allows.
func (r *replica) settled(epoch block.VolumeEpoch, p wire.Progress) {
	w, scl := r.n.w, r.chain.SCL()
	if f := segment.FloorFor(epoch, p.Floor, scl); f > r.chain.Floor() && !r.hydration.Still() {
		if !r.chain.SetFloor(f, r) {
			w.oracle.fail(r.group, "node %d: floor %v of gateway %d is not on its path: %s", r.n.no, f, epoch, r.chain.Describe())
			return
		}
		w.oracle.settled(r, f)
		if len(r.disk.entries) > 256 || w.oneIn(16) {
			r.checkpoint()
		}
	}
	if r.core.Complete(epoch, p.Committed, scl) {
		r.disk.damaged = false
		if w.trace.keep {
			w.note(r.group, "node %d: no more damaged at %v", r.n.no, scl)
		}
	}
}

// reassure asks the metadata service for the volume's epoch, which a log that
// may have lost a promise must know before it admits anything.
func (r *replica) reassure() {
	w, life := r.n.w, r.n.life
	w.after(w.meta.trip(r.n.zone), func() {
		current := w.meta.epoch()
		w.after(w.upTo(w.faults.Delay), func() {
			if r.n.life != life || r.core == nil {
				return
			}
			if e := r.core.Reassure(current); e != 0 {
				r.n.enqueue(op{r: r, promise: e})
			}
		})
	})
}

// read gives the version of a block at a read-point.
func (r *replica) read(m *message) {
	if refuse := r.core.AdmitRead(&m.id); refuse != nil {
		r.n.refuse(m, refuse)
		return
	}
	w := r.n.w
	err := r.hydration.Readable(m.at)
	if err == nil {
		err = r.chain.Readable(m.at)
	}
	if err != nil {
		if block.KindOf(err) == block.Stale {
			w.oracle.stale(m, r)
		}
		r.n.refuse(m, &wire.Refuse{Kind: block.KindOf(err), Message: "cannot be read here"})
		return
	}
	found := r.version(m.block, m.at)
	if r.finds(m.block, found) {
		if !mutant.On(mutant.RotServed) {
			r.n.refuse(m, &wire.Refuse{Kind: block.Corrupt, Message: "damaged here"})
			return
		}
		found = rotten
	}
	a := w.newMessage(msgData)
	a.group, a.id, a.slot, a.gen = m.group, m.id, m.slot, m.gen
	a.found = found
	m.conn.reply(m.life, a)
}
