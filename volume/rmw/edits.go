package rmw

import (
	"slices"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/mutant"
)

// Item is a change that somebody wants: an edit of a part of one block, or a
// change of whole blocks that waits for one.
type Item struct {
	Block block.Index
	Count block.Count   // 1 for an edit
	Began time.Duration // when it was asked for, on the caller's clock
	Owner any           // the caller's; it is only handed back

	after   block.LSN // what must be committed before it is read
	known   bool      // after is
	reading bool
}

// Edits are those of one group. The zero value has none.
type Edits struct {
	active []*Item // edits, in the order in which they began
	queue  []*Item // in the order in which they came
}

// Busy tells whether an edit is under way.
func (e *Edits) Busy() bool { return len(e.active) > 0 }

// Len is how many items there are.
func (e *Edits) Len() int { return len(e.active) + len(e.queue) }

// Overlaps tells whether a range must wait: it touches an edit that is under
// way, or somebody who waits and goes first.
func (e *Edits) Overlaps(first block.Index, n block.Count) bool {
	return touched(e.active, first, n) || touched(e.queue, first, n)
}

func touched(items []*Item, first block.Index, n block.Count) bool {
	if mutant.On(mutant.EditUnlocked) {
		return false
	}
	for _, i := range items {
		if uint64(first) < uint64(i.Block)+uint64(i.Count) && uint64(i.Block) < uint64(first)+uint64(n) {
			return true
		}
	}
	return false
}

// Wait puts i, which overlaps somebody, at the end of the queue.
func (e *Edits) Wait(i *Item) { e.queue = append(e.queue, i) }

// Start begins an edit that overlaps nobody.
func (e *Edits) Start(i *Item) { e.active = append(e.active, i) }

// Ready appends the edits that are to be read now. The group is open, tail is
// the last record that it has issued, committed what is on a write quorum: a
// read that begins now shows that much.
func (e *Edits) Ready(to []*Item, tail, committed block.LSN) []*Item {
	for _, i := range e.active {
		if !i.known {
			i.after, i.known = tail, true
		}
		if i.reading || committed < i.after && !mutant.On(mutant.EditOfAcked) {
			continue
		}
		i.reading = true
		to = append(to, i)
	}
	return to
}

// Done ends an edit: its record is issued, or it has failed. Next tells who may
// go on.
func (e *Edits) Done(i *Item) {
	if k := slices.Index(e.active, i); k >= 0 {
		e.active = slices.Delete(e.active, k, k+1)
	}
}

// Next takes out of the queue the first who need not wait any more; nil if there
// is none. He is to be started, or issued, before Next is called again.
func (e *Edits) Next() *Item {
	for k, i := range e.queue {
		if !touched(e.active, i.Block, i.Count) && !touched(e.queue[:k], i.Block, i.Count) {
			e.queue = slices.Delete(e.queue, k, k+1)
			return i
		}
	}
	return nil
}

// Expire takes out, and appends, all who have waited since before or at a time:
// nothing of them was issued (B5). An edit that is being read is left to its
// read.
func (e *Edits) Expire(to []*Item, began time.Duration) []*Item {
	old := func(i *Item) bool {
		if i.reading || i.Began > began {
			return false
		}
		to = append(to, i)
		return true
	}
	e.active = slices.DeleteFunc(e.active, old)
	e.queue = slices.DeleteFunc(e.queue, old)
	return to
}

// Abandon takes all out, and gives them.
func (e *Edits) Abandon() []*Item {
	all := slices.Concat(e.active, e.queue)
	*e = Edits{}
	return all
}
