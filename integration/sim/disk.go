package sim

import (
	"slices"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/mutant"
	"github.com/sextantdisk/sextant/logstore/chain"
	"github.com/sextantdisk/sextant/segmentd/pull"
	"github.com/sextantdisk/sextant/segmentd/segment"
	"github.com/sextantdisk/sextant/wire"
)

// durable is what a crash leaves of a segment.
type durable struct {
	exists   bool
	meta     segment.Meta
	promised block.VolumeEpoch
	damaged  bool        // the log has lost a part
	floor    block.LSN   // of the last checkpoint
	base     []block.LSN // newest version of each block at or below it
	settled  int         // how many records of replica.history there were then
	entries  []entry     // of above it, in the log's order
}

// op is a step in the log: all of it is durable, or nothing.
type op struct {
	r       *replica
	promise block.VolumeEpoch
	meta    *segment.Meta
	records []entry
	owed    owed
}

// owed is what is to be done when a step is durable.
type owed struct {
	conn     *conn // to whom an ack is owed; nil: to nobody
	life     uint32
	epoch    block.VolumeEpoch
	progress wire.Progress
	page     uint32 // the catch-up that waits for this page; 0: none
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
		if o.owed.page != 0 {
			o.r.pageDone(o)
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
}

// checkpoint forgets what is settled.
func (r *replica) checkpoint() {
	d := &r.disk
	d.floor = r.chain.Floor()
	d.base = append(d.base[:0], r.base...)
	d.settled = len(r.history)
	d.entries = slices.DeleteFunc(d.entries, func(e entry) bool { return e.LSN <= d.floor })
}

// load makes a segment again from what is on disk.
func (r *replica) load() {
	d := &r.disk
	r.core, r.chain, r.watch = nil, chain.Chain[what]{}, pull.Watch{}
	r.catching = pulling{no: r.catching.no}
	if !d.exists {
		return
	}
	r.core = segment.New(r.id, d.meta, d.promised, d.damaged)
	clear(r.base)
	for b := range r.hot {
		r.hot[b] = r.hot[b][:0]
	}
	copy(r.base, d.base)
	r.history = r.history[:d.settled]
	r.chain.Restore(chain.Contents[what]{Floor: d.floor, Head: d.floor}, r)
	r.apply(d.entries)
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
		d.entries = append(d.entries[:from], d.entries[to:]...)
	}
	if r.n.w.rng.IntN(2) == 0 {
		d.promised = d.meta.Born
	}
	d.damaged = true
}
