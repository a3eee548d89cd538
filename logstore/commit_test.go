package logstore

import (
	"testing"
)

// T4: while writes wait for space, a promise or configuration of their segment
// waits behind them; records without payload, other segments, and what the
// store logs for itself do not.
func TestT4NoPromiseOvertakesWritesThatWait(t *testing.T) {
	a, b := &Segment{}, &Segment{}
	own := &ownRecord{}
	one := func(st step) *Ticket { return &Ticket{steps: []step{st}, bytes: st.payload()} }
	recs := func(g *Segment, r Record) step { return step{seg: g, recs: []Record{r}} }
	var h heldBack
	for i, c := range []struct {
		ticket *Ticket
		held   bool
	}{
		{one(step{seg: a, own: own}), false},
		{one(recs(a, write(lsn(1, 1), 0, 1, 1))), true},
		{one(recs(a, trim(lsn(1, 2), lsn(1, 1), 1, 1))), false},
		{one(step{seg: a, own: own}), true},
		{one(step{seg: b, own: own}), false},
		{&Ticket{steps: []step{{seg: a, own: own}}, upkeep: true}, false},
		{one(step{own: own}), false},
		{&Ticket{steps: []step{{seg: b, own: own}, {seg: a, own: own}}}, true},
		{one(step{seg: b, own: own}), true}, // behind the one before
	} {
		if got := h.holds(c.ticket); got != c.held {
			t.Errorf("ticket %d: held %v", i, got)
		}
	}
}
