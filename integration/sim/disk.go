package sim

import (
	"slices"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/mutant"
	"github.com/sextantdisk/sextant/logstore/chain"
	"github.com/sextantdisk/sextant/logstore/hydration"
	"github.com/sextantdisk/sextant/segmentd/pull"
	"github.com/sextantdisk/sextant/segmentd/segment"
	"github.com/sextantdisk/sextant/wire"
)

// durable is what a crash leaves of a segment.
type durable struct {
	exists   bool
	meta     segment.Meta
	promised block.VolumeEpoch
	damaged  bool // the log has lost a part
	// of the last checkpoint:
	floor     block.LSN
	base      []block.LSN // replica.base, and so on
	leaves    []block.LSN
	hydration hydration.State
	history   []entry
	// since then, in the log's order:
	entries []entry // above the floor
	own     []own
	reach   block.LSN // records up to there were cleaned away
	rot     []version // what cannot be read any more
}

// op is a step in the log: all of it is durable, or nothing.
type op struct {
	r       *replica
	promise block.VolumeEpoch
	meta    *segment.Meta
	records []entry
	own     *own
	owed    owed
}

// owed is what is to be done when a step is durable.
type owed struct {
	conn     *conn // to whom an ack is owed; nil: to nobody
	life     uint32
	epoch    block.VolumeEpoch
	progress wire.Progress
	then     func() // for a pull; nil: nothing
}

// enqueue gives a step its place in the log.
func (n *node) enqueue(o op) {
	n.queue = append(n.queue, o)
	if mutant.On(mutant.AckBeforeSync) {
		o.r.apply(o.records)
		if o.owed.conn != nil {
			o.r.answer(&o.owed)
		}
	}
	n.flush()
}

// flush writes all that is queued; one flush is under way at a time (T14).
func (n *node) flush() {
	if n.inFlight > 0 || len(n.queue) == 0 {
		return
	}
	n.inFlight = len(n.queue)
	d := n.w.delay(n.w.faults.Flush, n.slow)
	n.w.put(max(n.w.now+d, n.stallUntil), event{kind: evFlushed, a: int32(n.no), b: int32(n.life)})
}

// flushed: what was on its way is durable. Then it counts, then it is answered.
func (n *node) flushed(life uint32) {
	if n.life != life || n.failed {
		return
	}
	batch := n.queue[:n.inFlight]
	for i := range batch {
		if o := &batch[i]; !o.r.dropped {
			n.persist(o)
			o.r.apply(o.records)
			if o.own != nil {
				o.r.takeOwn(o.own)
			}
		}
	}
	for i := range batch {
		o := &batch[i]
		if o.r.dropped {
			continue
		}
		if o.owed.conn != nil && !coveredLater(batch[i+1:], o) {
			o.r.answer(&o.owed)
		}
		if o.owed.then != nil {
			o.owed.then()
		}
		n.w.freeRecords(o.records)
	}
	k := copy(n.queue, n.queue[n.inFlight:])
	clear(n.queue[k:])
	n.queue, n.inFlight = n.queue[:k], 0
	n.flush()
}

// coveredLater tells whether a later step's ack says all that this one's
// would: one ack a flush (R6).
func coveredLater(later []op, o *op) bool {
	for i := range later {
		l := &later[i]
		if l.r == o.r && l.owed.conn == o.owed.conn && l.owed.life == o.owed.life && l.owed.epoch == o.owed.epoch {
			return true
		}
	}
	return false
}

// persist makes a step durable.
func (n *node) persist(o *op) {
	d := &o.r.disk
	d.promised = max(d.promised, o.promise)
	if o.meta != nil {
		d.meta, d.exists = *o.meta, true
	}
	d.entries = append(d.entries, o.records...)
	if o.own != nil {
		o.own.at = len(d.entries)
		d.own = append(d.own, *o.own)
		d.heal(o.own)
		if o.own.kind == ownMend {
			n.w.Count.Mended++
		}
	}
}

// checkpoint forgets what is settled.
func (r *replica) checkpoint() {
	d := &r.disk
	d.floor, d.history, r.jumped = r.chain.Floor(), r.history, false
	d.base, d.leaves = append(d.base[:0], r.base...), append(d.leaves[:0], r.leaves...)
	d.hydration, d.own = r.hydration.Clone(), d.own[:0]
	d.entries = slices.DeleteFunc(d.entries, func(e entry) bool { return e.LSN <= d.floor })
}

// load makes a segment again from what is on disk.
func (r *replica) load() {
	d := &r.disk
	r.core, r.chain, r.watch, r.catching, r.bad = nil, chain.Chain[what]{}, pull.Watch{}, nil, r.bad[:0]
	if !d.exists {
		return
	}
	r.core = segment.New(r.id, d.meta, d.promised, d.damaged)
	clear(r.base)
	clear(r.leaves)
	for b := range r.hot {
		r.hot[b] = r.hot[b][:0]
	}
	r.restore(d)
	d.damaged = r.core.Damaged()
	if r.core.Unsure() {
		r.reassure()
	}
	r.n.w.oracle.back(r.group)
	if w := r.n.w; w.trace.keep {
		w.note(r.group, "node %d: segment is back at %v, promised %d, damaged %v", r.n.no, r.chain.SCL(), d.promised, d.damaged)
	}
}

// lose takes a part of a segment's log away: the daemon finds that out when it
// opens it. A promise may be among what is lost.
func (r *replica) lose() {
	d := &r.disk
	if !d.exists {
		return
	}
	if k := len(d.entries); k > 0 {
		from := r.n.w.rng.IntN(k)
		to := from + r.n.w.rng.IntN(k-from) + 1
		if r.n.w.rng.IntN(2) == 0 {
			to = k
		}
		d.cut(from, to)
	}
	if k := len(d.own); k > 0 && r.n.w.rng.IntN(2) == 0 {
		from := r.n.w.rng.IntN(k)
		d.own = slices.Delete(d.own, from, from+1+r.n.w.rng.IntN(k-from))
	}
	if r.n.w.rng.IntN(2) == 0 {
		d.promised = d.meta.Born
	}
	d.damaged = true
}

// cut takes entries out of the log, and what the segment has logged for itself
// between them.
func (d *durable) cut(from, to int) {
	lost := d.entries[from:to]
	d.rot = slices.DeleteFunc(d.rot, func(v version) bool {
		return slices.ContainsFunc(lost, func(e entry) bool { return e.LSN == v.lsn })
	})
	d.own = slices.DeleteFunc(d.own, func(o own) bool { return o.at > from && o.at <= to })
	for i := range d.own {
		if o := &d.own[i]; o.at > to {
			o.at -= to - from
		}
	}
	d.entries = append(d.entries[:from], d.entries[to:]...)
}
