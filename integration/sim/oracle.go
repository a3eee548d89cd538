package sim

import (
	"fmt"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/volume/pg"
)

// oracle sees everything at once, and checks what must always hold:
//
//   - what one gateway has committed lies on one chain with all that any has
//     committed: nothing acknowledged, nor returned by a read, is ever annulled,
//     and nothing older is committed beside it (I1, I3, I7);
//   - what is committed is on a write quorum's disks, and after each crash some
//     of every read quorum have it (I1, I9);
//   - committed points, floors and promises never go back (I2);
//   - a read returns the newest version at its read-point, and nothing older
//     than what had been acknowledged or returned when it began, whoever told
//     (a register for each block; unacknowledged writes are maybe, for ever);
//   - nothing below a read-point in use is given up (I6);
//   - a change of a part of a block has modified the version before its own (B1);
//   - a leaf that is given to a peer is as of its cut (R21);
//   - a request is answered once.
type oracle struct {
	w         *World
	violation error
	group     int // that it is about, or nobody
	// records has every record that was ever sent, by epoch and sequence.
	records [][]issued
	groups  []history
}

// issued is a record as its writer made it.
type issued struct {
	prev      block.LSN
	what      what
	group     uint8
	known     bool
	committed bool
	answered  bool
	// edit: it was made of the version base of its block (B1).
	edit bool
	base block.LSN
}

// history is what is known of a group.
type history struct {
	tip    block.LSN     // the highest record that was ever committed
	blocks [][]block.LSN // the committed versions of each block, ascending
	newest []block.LSN   // the newest version of each block that a client knows of
}

func (o *oracle) init(w *World) {
	o.w, o.group = w, nobody
	o.groups = make([]history, w.faults.Groups)
	for i := range o.groups {
		o.groups[i] = history{blocks: make([][]block.LSN, w.faults.Blocks), newest: make([]block.LSN, w.faults.Blocks)}
	}
}

func (o *oracle) fail(group int, format string, args ...any) {
	if o.violation != nil {
		return
	}
	o.violation = fmt.Errorf("at %v: %s", o.w.now, fmt.Sprintf(format, args...))
	if group != nobody {
		o.group = group
	}
	if o.w.trace.keep {
		o.w.note(nobody, "VIOLATION: %v", o.violation)
	}
}

// record is what was issued as l; known is false if nothing was.
func (o *oracle) record(l block.LSN) *issued {
	e, s := int(l.Epoch()), int(l.Seq())
	for len(o.records) <= e {
		o.records = append(o.records, nil)
	}
	for len(o.records[e]) <= s {
		o.records[e] = append(o.records[e], issued{})
	}
	return &o.records[e][s]
}

// issued: a writer has sent a record.
func (o *oracle) issued(x *group, r *pg.Record) {
	i := o.record(r.LSN)
	if i.known {
		if i.prev != r.Prev || int(i.group) != x.index {
			o.fail(x.index, "two records have the LSN %v (R5)", r.LSN)
		}
		return
	}
	base, edit := r.Owner.(readFrom)
	*i = issued{prev: r.Prev, what: what{r.Type, uint16(r.Block), uint16(r.Count)}, group: uint8(x.index), known: true, edit: edit, base: block.LSN(base)}
}

// committed: a gateway says that all up to l is on a write quorum.
func (o *oracle) committed(x *group, l block.LSN) {
	h := &o.groups[x.index]
	o.w.Count.Commits++
	if o.w.trace.keep {
		o.w.note(x.index, "gateway %d has committed %v", x.g.epoch, l)
	}
	if l < x.committed {
		o.fail(x.index, "gateway %d: the committed point goes back from %v to %v (I2)", x.g.epoch, x.committed, l)
	}
	o.quorumHas(x, l)
	if l <= h.tip {
		if !o.record(l).committed {
			o.fail(x.index, "gateway %d has committed %v, but %v was committed without it (I1, I3)", x.g.epoch, l, h.tip)
		}
		return
	}
	o.extend(x, h, l)
}

// extend takes in what has been committed since, from the end backwards; it
// must lead to what was committed before.
func (o *oracle) extend(x *group, h *history, l block.LSN) {
	var way []block.LSN
	at := l
	for at > h.tip {
		r := o.record(at)
		if !r.known {
			o.fail(x.index, "gateway %d has committed %v, which nobody has written", x.g.epoch, at)
			return
		}
		r.committed = true
		way = append(way, at)
		at = r.prev
	}
	if at != h.tip {
		o.fail(x.index, "gateway %d has committed %v, whose chain leaves that of %v, which was committed before, at %v (I1, I3, I7)", x.g.epoch, l, h.tip, at)
		return
	}
	for i := len(way) - 1; i >= 0; i-- {
		r := o.record(way[i])
		for b := range r.what.blocks() {
			if before := o.versionAt(x.index, b, way[i]); r.edit && before != r.base {
				o.fail(x.index, "gateway %d: edit %v of block %d has modified version %v; it follows %v, which is lost (B1, T23)", way[i].Epoch(), way[i], b, r.base, before)
			}
			h.blocks[b] = append(h.blocks[b], way[i])
		}
	}
	h.tip = l
}

// quorumHas checks that what is committed is where it must be. Who has left the
// group since it acknowledged may be dropped.
func (o *oracle) quorumHas(x *group, l block.LSN) {
	for _, set := range x.quorum.Sets {
		lack := 0
		for _, m := range set.Members {
			if x.nodes[m].lacks(x.quorum.Segments[m], l) && !o.w.meta.departed(x.index, x.quorum.Segments[m]) {
				lack++
			}
		}
		if lack > len(set.Members)-set.Write {
			o.fail(x.index, "gateway %d has committed %v, and %d of %d have it not on disk (I1, R7)", x.g.epoch, l, lack, len(set.Members))
		}
	}
}

// lacks tells whether a segment would be counted for data in a recovery, and
// has not got l: it says that it is whole, and is not.
func (n *node) lacks(id block.SegmentID, l block.LSN) bool {
	r := n.replica(id)
	switch {
	case n.gone:
		return false
	case r == nil || r.core == nil:
		return true
	case n.down && r.disk.damaged || r.core.Damaged():
		return false
	}
	return r.chain.SCL() < l || l > r.chain.Floor() && !r.chain.OnPath(l)
}

// back: a segment was opened anew. Each read quorum of those that count for
// data still has one that has all that was committed (I1).
func (o *oracle) back(group int) {
	cfg, placed := o.w.meta.config(group)
	tip := o.groups[group].tip
	if !placed || tip == 0 {
		return
	}
	for i, set := range cfg.Sets {
		if !findsAll(cfg, i) {
			continue
		}
		lack := 0
		for _, i := range set {
			if s := cfg.Segments[i]; s.Hydrated && o.w.nodeOf(s).lacks(s.ID, tip) {
				lack++
			}
		}
		if lack >= whole.Of(len(set)).Read {
			o.fail(group, "%v is committed, and %d segments that count for data have it not (I1)", tip, lack)
		}
	}
}

// acked: a client was told that r is durable.
func (o *oracle) acked(x *group, r *pg.Record) {
	o.w.Count.Acks++
	if o.w.trace.keep {
		o.w.note(x.index, "gateway %d acknowledges %v", x.g.epoch, r.LSN)
	}
	i := o.answered(x, r)
	if !i.committed {
		o.fail(x.index, "gateway %d acknowledges %v, which is not committed (R7)", x.g.epoch, r.LSN)
	}
	newest := o.groups[x.index].newest
	for b := r.Block; b < r.Block+block.Index(r.Count); b++ {
		newest[b] = max(newest[b], r.LSN)
	}
}

// failed: a client was told that r was held too long. It may still appear (B7).
func (o *oracle) failed(x *group, r *pg.Record) {
	o.w.Count.Failed++
	if r.LSN != 0 {
		o.answered(x, r)
	}
}

func (o *oracle) answered(x *group, r *pg.Record) *issued {
	i := o.record(r.LSN)
	if i.answered {
		o.fail(x.index, "gateway %d answers %v twice", x.g.epoch, r.LSN)
	}
	i.answered = true
	return i
}

// newest is the newest version of a block that any client knows of.
func (o *oracle) newest(group, b int) block.LSN { return o.groups[group].newest[b] }

// versionAt is the newest committed version of a block at or below at.
func (o *oracle) versionAt(group, b int, at block.LSN) block.LSN {
	vs := o.groups[group].blocks[b]
	for i := len(vs) - 1; i >= 0; i-- {
		if vs[i] <= at {
			return vs[i]
		}
	}
	return 0
}

// returned: a client was given a version.
func (o *oracle) returned(x *group, r *reading, found block.LSN) {
	o.w.Count.Reads++
	if o.w.trace.keep {
		o.w.note(x.index, "gateway %d returns version %v of block %d at %v", x.g.epoch, found, r.block, r.at)
	}
	if want := o.versionAt(x.index, r.block, r.at); found != want {
		o.fail(x.index, "gateway %d read version %v of block %d at %v; it is %v (I4, R11)", x.g.epoch, found, r.block, r.at, want)
	}
	if found < r.atLeast {
		o.fail(x.index, "gateway %d returned version %v of block %d; %v was acknowledged or returned before the read began (R12, R14)", x.g.epoch, found, r.block, r.atLeast)
	}
	n := o.groups[x.index].newest
	n[r.block] = max(n[r.block], found)
}

// empty: a client was told that a group that is not placed reads as zeroes.
func (o *oracle) empty(g *gateway, group, b int) {
	o.w.Count.Reads++
	if l := o.groups[group].newest[b]; l != 0 {
		o.fail(group, "gateway %d says that group %d was never written; %v was acknowledged or returned before (R14)", g.epoch, group, l)
	}
}

// stale: a segment has given up the versions that a read asks for.
func (o *oracle) stale(m *message, r *replica) {
	g := m.conn.g
	if read := &g.reads[m.slot]; !g.dead && read.active && read.gen == m.gen && r.core.Promised() == g.epoch {
		o.fail(r.group, "node %d has settled up to %v; gateway %d reads at %v (I6, R13)", r.n.no, r.chain.Floor(), g.epoch, m.at)
	}
}

// given: a segment gives a block of a leaf to a peer, as of a cut (R21).
func (o *oracle) given(r *replica, b int, cut, found block.LSN) {
	if want := o.versionAt(r.group, b, cut); found != want {
		o.fail(r.group, "node %d gives version %v of block %d as of %v; it is %v (I4, R21)", r.n.no, found, b, cut, want)
	}
}

// settled: a segment gives up what is older than at its floor.
func (o *oracle) settled(r *replica, floor block.LSN) {
	if !o.record(floor).committed {
		o.fail(r.group, "node %d settles up to %v, which is not committed (R13, R17)", r.n.no, floor)
	}
}
