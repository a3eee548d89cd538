package sim

import (
	"fmt"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/volume/pg"
	"github.com/sextantdisk/sextant/wire"
)

// oracle knows what clients were told, and checks that it stays true.
type oracle struct {
	violation error
	// must holds every LSN that was acknowledged, or whose value a read has
	// returned: it is on the chain of every later opening (I1, I7).
	must []block.LSN
	seen map[block.LSN]bool
	// newest acknowledged or returned LSN of each block: a read that begins
	// later finds it or a newer one.
	newest map[block.Index]block.LSN
	// Acks, Reads and Opens count.
	Acks, Reads, Opens int
}

func (o *oracle) init() {
	o.seen, o.newest = map[block.LSN]bool{}, map[block.Index]block.LSN{}
}

func (o *oracle) fail(w *World, format string, args ...any) {
	if o.violation == nil {
		o.violation = fmt.Errorf("at %v: %s", w.now, fmt.Sprintf(format, args...))
		w.note("VIOLATION: %v", o.violation)
	}
}

func (o *oracle) keep(l block.LSN) {
	if l != 0 && !o.seen[l] {
		o.seen[l] = true
		o.must = append(o.must, l)
	}
}

// acked: a client was told that r is durable.
func (o *oracle) acked(w *World, g *gateway, r *pg.Record) {
	o.Acks++
	w.note("gateway %d acknowledges %v", g.epoch, r.LSN)
	for _, other := range w.gateways {
		if other.epoch > g.epoch && other.machine.Phase() == pg.Open && !o.onChain(w, other.epoch, r.LSN) {
			o.fail(w, "gateway %d acknowledges %v after %d has opened without it", g.epoch, r.LSN, other.epoch)
		}
	}
	holders := 0
	for _, n := range w.segments {
		if onDisk(n, r.LSN) {
			holders++
		}
	}
	if holders < w.config.Write {
		o.fail(w, "%v is acknowledged with %d copies on disk (R6, R7)", r.LSN, holders)
	}
	o.keep(r.LSN)
	if r.Type == wire.RecordWrite {
		o.newest[r.Block] = max(o.newest[r.Block], r.LSN)
	}
}

func onDisk(n *node, l block.LSN) bool {
	for _, e := range n.disk.entries {
		if e.lsn == l {
			return true
		}
	}
	return false
}

// opened: a gateway serves. All that was promised to clients is on its chain.
func (o *oracle) opened(w *World, g *gateway) {
	o.Opens++
	w.note("gateway %d is open at %v", g.epoch, g.machine.Committed())
	for _, l := range o.must {
		if l.Epoch() < g.epoch && !o.onChain(w, g.epoch, l) {
			o.fail(w, "gateway %d has opened without %v, which was acknowledged or read", g.epoch, l)
		}
	}
}

// onChain reports whether l is on the chain that the writer of epoch e has
// opened, as the most advanced segment of that epoch shows it. If none is left
// with that epoch's records the next opening shows.
func (o *oracle) onChain(w *World, e block.VolumeEpoch, l block.LSN) bool {
	var best *node
	for _, n := range w.segments {
		if n.chain.SCL().Epoch() >= e && (best == nil || n.chain.SCL() > best.chain.SCL()) {
			best = n
		}
	}
	if best == nil {
		return true
	}
	for _, e := range best.path {
		if e.lsn == l {
			return true
		}
	}
	return false
}

// reading is a read under way: what it must at least find.
type reading struct {
	block   block.Index
	atLeast block.LSN
}

func (o *oracle) beginRead(b block.Index) reading { return reading{b, o.newest[b]} }

// returned: a client was given the version found.
func (o *oracle) returned(w *World, g *gateway, r reading, found block.LSN) {
	o.Reads++
	if found < r.atLeast {
		o.fail(w, "gateway %d returned version %v of block %d; %v was acknowledged or returned before the read began (R12, R14)", g.epoch, found, r.block, r.atLeast)
	}
	o.keep(found)
	o.newest[r.block] = max(o.newest[r.block], found)
}
