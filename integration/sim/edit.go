package sim

import (
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/volume/pg"
	"github.com/sextantdisk/sextant/volume/rmw"
	"github.com/sextantdisk/sextant/wire"
)

// Sub-block writes (B1): rmw.Edits says when a block is read to be modified, and
// who waits meanwhile, as in volume/edit.go. What they make is right if each has
// modified the version that its own follows: the oracle sees to that.

// readFrom is the version that an edit has modified; it goes with its record.
type readFrom block.LSN

// edit has a part of a block changed.
func (x *group) edit(b int) {
	i := &rmw.Item{Block: block.Index(b), Count: 1, Began: x.g.now()}
	if x.edits.Overlaps(i.Block, 1) {
		x.edits.Wait(i)
		return
	}
	x.edits.Start(i)
	x.advanceEdits()
}

// issue issues a change of whole blocks, behind edits that it overlaps.
func (x *group) issue(r *pg.Record) {
	if x.edits.Overlaps(r.Block, r.Count) {
		x.edits.Wait(&rmw.Item{Block: r.Block, Count: r.Count, Began: x.g.now(), Owner: r})
		return
	}
	x.step(pg.Input{Kind: pg.Issue, Record: r})
}

// advanceEdits notes the edits whose time has come to read. They do it later: this
// may be in the middle of a step.
func (x *group) advanceEdits() {
	if x.machine.Phase() != pg.Open {
		return
	}
	n := len(x.unread)
	if x.unread = x.edits.Ready(x.unread, x.machine.Tail(), x.machine.Committed()); len(x.unread) > n {
		x.g.w.after(0, func() { x.g.whenAwake(x.readEdits) })
	}
}

// readEdits begins the reads of edits; those that cannot begin now are tried
// again with the next tick.
func (x *group) readEdits() {
	waiting := x.unread
	x.unread = nil
	for _, i := range waiting {
		if x.g.dead {
			return
		}
		if !x.read(int(i.Block), i) {
			x.unread = append(x.unread, i)
		}
	}
}

// modify issues what an edit makes of what it has read, and lets others go on.
func (x *group) modify(i *rmw.Item, found block.LSN) {
	x.edits.Done(i)
	r := x.g.newRecord()
	r.Type, r.Block, r.Count, r.Payload, r.Owner = wire.RecordWrite, i.Block, 1, x.g.w.payload, readFrom(found)
	x.g.w.Count.Edits++
	x.step(pg.Input{Kind: pg.Issue, Record: r})
	x.runQueue()
}

// runQueue starts, or issues, what waited for an edit.
func (x *group) runQueue() {
	for i := x.edits.Next(); i != nil && !x.g.dead; i = x.edits.Next() {
		if r, whole := i.Owner.(*pg.Record); whole {
			x.step(pg.Input{Kind: pg.Issue, Record: r})
			continue
		}
		x.edits.Start(i)
		x.advanceEdits()
	}
	if !x.g.dead {
		x.step(pg.Input{Kind: pg.Collect})
	}
}

// tickEdits fails what has waited for too long (B5), and has reads that could not
// begin try again.
func (x *group) tickEdits() {
	if x.edits.Len() == 0 {
		return
	}
	if held := x.edits.Expire(nil, x.g.now()-x.g.w.faults.Hold); len(held) > 0 {
		x.g.w.Count.Failed += len(held)
		x.runQueue()
	}
	x.readEdits()
}
