package rmw

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sextantdisk/sextant/internal/block"
)

func edit(b block.Index, began time.Duration) *Item {
	return &Item{Block: b, Count: 1, Began: began}
}

func wantReady(t *testing.T, e *Edits, tail, committed block.LSN, want ...*Item) {
	t.Helper()
	if got := e.Ready(nil, tail, committed); !slices.Equal(got, want) {
		t.Fatalf("with tail %v and %v committed %d edits are to be read, want %d", tail, committed, len(got), len(want))
	}
}

func wantNext(t *testing.T, e *Edits, want *Item) {
	t.Helper()
	if got := e.Next(); got != want {
		t.Fatalf("%+v goes on, want %+v", got, want)
	}
}

// B1: an edit reads when all that was issued before it is committed, and once;
// what is issued later does not matter.
func TestB1EditReadsTheNewestIssued(t *testing.T) {
	var e Edits
	a, b := edit(1, 0), edit(2, 0)
	e.Start(a)
	wantReady(t, &e, 10, 8)
	e.Start(b)
	wantReady(t, &e, 12, 9)
	wantReady(t, &e, 14, 10, a)
	wantReady(t, &e, 14, 11)
	wantReady(t, &e, 20, 13, b)
	e.Done(a)
	e.Done(b)
	if e.Busy() || e.Len() != 0 {
		t.Fatalf("%+v", e)
	}
}

// B1: who overlaps an edit, or somebody who waits for one, keeps his place; others
// go by.
func TestB1NobodyOvertakes(t *testing.T) {
	var e Edits
	first := edit(5, 0)
	e.Start(first)
	if e.Overlaps(0, 5) || e.Overlaps(6, 1) || !e.Overlaps(0, 6) || !e.Overlaps(5, 1) {
		t.Fatal("overlaps are not what they are")
	}
	wide, second, third := &Item{Block: 4, Count: 3}, edit(6, 0), edit(9, 0)
	for _, i := range []*Item{wide, second} {
		if !e.Overlaps(i.Block, i.Count) {
			t.Fatalf("%+v does not wait", i)
		}
		e.Wait(i)
	}
	if e.Overlaps(9, 1) {
		t.Fatal("who touches nobody waits")
	}
	e.Start(third)
	wantNext(t, &e, nil)
	e.Done(first)
	wantNext(t, &e, wide) // issued by whoever asked
	wantNext(t, &e, second)
	wantNext(t, &e, nil)
}

// B5: who has waited for the hold time is given up, unless he is being read; who
// waited for him goes on.
func TestB5ExpiredAreGivenUp(t *testing.T) {
	var e Edits
	reading, old, behind := edit(1, 1), edit(2, 2), edit(2, 9)
	e.Start(reading)
	wantReady(t, &e, 5, 5, reading)
	e.Start(old)
	e.Wait(behind)
	e.Wait(&Item{Block: 1, Count: 2, Began: 3})
	if held := e.Expire(nil, 3); len(held) != 2 || held[0] != old {
		t.Fatalf("%d are given up", len(held))
	}
	wantNext(t, &e, behind)
	e.Start(behind)
	if all := e.Abandon(); len(all) != 2 || e.Len() != 0 {
		t.Fatalf("%d are abandoned, %d are left", len(all), e.Len())
	}
}

// B1: whatever comes and ends in which order, edits of one block are never under
// way together, what overlaps takes effect in the order in which it came, and in
// the end nobody is left.
func TestB1OrderQuick(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var e Edits
		var came, issued, active []*Item
		isEdit := map[*Item]bool{}
		start := func(i *Item) {
			if !isEdit[i] {
				issued = append(issued, i)
				return
			}
			for _, a := range active {
				if a.Block == i.Block {
					t.Fatalf("two edits of block %d are under way", i.Block)
				}
			}
			active = append(active, i)
			e.Start(i)
		}
		end := func(k int) {
			i := active[k]
			active = slices.Delete(active, k, k+1)
			issued = append(issued, i)
			e.Done(i)
			for n := e.Next(); n != nil; n = e.Next() {
				start(n)
			}
		}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			if len(active) > 0 && rapid.Bool().Draw(t, "end") {
				end(rapid.IntRange(0, len(active)-1).Draw(t, "which"))
				continue
			}
			i := &Item{Block: block.Index(rapid.IntRange(0, 5).Draw(t, "block")), Count: 1}
			if isEdit[i] = rapid.Bool().Draw(t, "edit"); !isEdit[i] {
				i.Count = block.Count(rapid.IntRange(1, 3).Draw(t, "count"))
			}
			came = append(came, i)
			if e.Overlaps(i.Block, i.Count) {
				e.Wait(i)
			} else {
				start(i)
			}
		}
		for len(active) > 0 {
			end(0)
		}
		if len(issued) != len(came) || e.Len() != 0 {
			t.Fatalf("%d of %d have taken effect, %d are left", len(issued), len(came), e.Len())
		}
		for k, i := range came {
			for _, j := range came[k+1:] {
				if touched([]*Item{i}, j.Block, j.Count) && slices.Index(issued, i) > slices.Index(issued, j) {
					t.Fatalf("%+v overtook %+v", j, i)
				}
			}
		}
	})
}
