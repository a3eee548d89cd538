package pg

import (
	"slices"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
)

// TestB6WhatIsSentAndLetGoInOneStep: a member whose window was shut has
// fetched more from a peer than it was sent, so that the ring lets go what is
// on its way to it in the same step. The message shows it all the same.
func TestB6WhatIsSentAndLetGoInOneStep(t *testing.T) {
	w := newWorld(t)
	w.open()
	for total := block.ByteCount(0); total < 2*SendWindow; {
		r := w.write(64)
		w.collect()
		total += r.size()
		w.ack(r.LSN, 0, 1, 2, 3, 4)
	}
	shut := w.sent(5)
	w.forget()
	w.ack(w.m.Tail(), 5)
	if w.m.RingBytes() != 0 || len(w.freed) == 0 {
		t.Fatalf("%d bytes are kept though all members have them", w.m.RingBytes())
	}
	for _, s := range w.sends {
		if slices.Contains(s.Records, nil) {
			t.Fatalf("member %d is sent nothing where a record was", s.Member)
		}
	}
	if len(shut) == 0 || w.m.Member(5).SCL != w.m.Tail() {
		t.Errorf("the window never shut, or the member stands at %v", w.m.Member(5).SCL)
	}
}
