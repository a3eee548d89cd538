package sim

import (
	"fmt"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/volume/pg"
	"github.com/sextantdisk/sextant/volume/quorum"
)

// stillFor is how long clients go on in a world that was healed.
const stillFor = 2 * time.Second

// heal ends all that goes wrong. Who sleeps wakes up in time, disks have room, and what is
// gone stays gone.
func (w *World) heal() {
	w.healed, w.quietAt = true, w.now+stillFor
	if w.trace.keep {
		w.note(nobody, "everything is healed")
	}
	w.cut, w.meta.away = [zones]time.Duration{}, 0
	for _, n := range w.nodes {
		n.stallUntil, n.full, n.slow = 0, 0, false
		if n.failed {
			n.crash(0)
		}
	}
	for _, g := range w.gateways {
		g.metaApart = 0
		for _, c := range g.conns {
			c.apartUntil, c.heldOut, c.heldBack = 0, 0, 0
		}
	}
	if w.faults.Gossip == 0 { // daemons always do
		w.faults.Gossip = time.Second
		for _, n := range w.nodes {
			n.gossip()
		}
	}
	w.faults.Late, w.faults.Scrub = 0, min(w.faults.Scrub, scrubAtLeast)
	if w.newest() == nil {
		w.takeover()
	}
}

// unwell says what is not well yet in a world that was healed: nothing if the
// newest gateway has placed and opened all groups, all that was asked of it is
// done, and all copies are equal (I4).
func (w *World) unwell() string {
	w.cancelHopeless()
	if why := w.endZones(); why != "" {
		return why
	}
	g := w.newest()
	if g == nil || g.epoch == 0 {
		return "there is no gateway"
	}
	for _, why := range []func(*group) string{(*group).unopened, (*group).unwell} { // no group changes before all are open
		for i, x := range g.group {
			if x == nil {
				continue
			}
			if why := why(x); why != "" {
				w.oracle.group = i
				return fmt.Sprintf("gateway %d, group %d: %s", g.epoch, i, why)
			}
		}
	}
	return ""
}

// unopened says so of a group that is not open.
func (x *group) unopened() string {
	if x.machine.Phase() == pg.Idle {
		x.start()
	}
	if p := x.machine.Phase(); p != pg.Open {
		return "is " + p.String()
	}
	return ""
}

func (x *group) unwell() string {
	m := x.machine
	if n, _ := m.Pending(); n > 0 {
		return fmt.Sprintf("%d writes wait", n)
	}
	if n := x.edits.Len(); n > 0 {
		return fmt.Sprintf("%d edits wait", n)
	}
	if !m.LeaseSettled() {
		return "waits for a former lease"
	}
	if !m.MayReturn(x.g.now(), x.g.confirmed) {
		return "has no read lease"
	}
	if x.quorum.Joint() {
		return "its segments are being changed: " + x.quorum.String()
	}
	for i, n := range x.nodes {
		if n == nil || n.gone {
			continue
		}
		r := n.replica(x.quorum.Segments[i])
		if r == nil || r.core == nil {
			return fmt.Sprintf("node %d has no segment", n.no)
		}
		if s := m.Member(quorum.Member(i)); s.State != pg.Streaming || s.Damaged || r.core.Damaged() {
			return fmt.Sprintf("node %d is %v at %v, damaged %v, %s", n.no, s.State, s.SCL, s.Damaged, r.pullState())
		}
		if scl := r.chain.SCL(); scl != m.Tail() {
			return fmt.Sprintf("node %d stands at %v, not %v", n.no, scl, m.Tail())
		}
		if r.decays() {
			return fmt.Sprintf("node %d has blocks that have rotten: %v", n.no, r.disk.rot)
		}
		x.compare(r, m.Tail())
	}
	return ""
}

// compare holds a segment against what was committed, block by block (I4).
func (x *group) compare(r *replica, at block.LSN) {
	for b := range x.g.w.faults.Blocks {
		if got, want := r.version(b, at), x.g.w.oracle.versionAt(x.index, b, at); got != want {
			x.g.w.oracle.fail(x.index, "node %d has version %v of block %d at %v, not %v (I4)", r.n.no, got, b, at, want)
		}
	}
}
