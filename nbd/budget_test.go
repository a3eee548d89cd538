package nbd

import (
	"runtime"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/slab"
)

// The charge is the memory that the slab really takes.
func TestChargeIsTheSlabsClass(t *testing.T) {
	for n, want := range map[int]int64{
		1: 4096, 4095: 4096, 4096: 4096, 4097: 8192, 8192: 8192, 1<<20 + 1: 2 << 20, slab.MaxSize: slab.MaxSize,
	} {
		if got := chargeFor(n); got != want {
			t.Errorf("chargeFor(%d) = %d, want %d", n, got, want)
		}
	}
}

// A connection never holds more than it leaves free.
func TestBudgetLeavesAsMuchAsItHolds(t *testing.T) {
	p := newPool(64)
	greedy := newBudget(p, 1000, 1000)
	for greedy.tryTake(1) {
	}
	if n := p.used.Load(); n != 32 {
		t.Errorf("a greedy connection took %d of 64, want 32", n)
	}
	next := newBudget(p, 1000, 1000)
	for next.tryTake(1) {
	}
	if n := p.used.Load(); n != 48 {
		t.Errorf("two greedy connections took %d of 64, want 48", n)
	}
	if !newBudget(p, 1000, 1000).tryTake(8) {
		t.Error("nothing is left for the third")
	}
	greedy.giveBytes(32)
	if !next.tryTake(8) {
		t.Error("what was given back is not lent again")
	}
}

// Its own bounds: requests, and bytes unless nothing else is in flight.
func TestBudgetOfAConnection(t *testing.T) {
	b := newBudget(newPool(1000), 10, 3)
	if !b.tryTake(20) || b.tryTake(1) {
		t.Error("one large request alone is fine, a second is not")
	}
	b.giveRequest(20)
	for i := range 4 {
		if got := b.tryTake(0); got != (i < 3) {
			t.Errorf("request %d: %v", i, got)
		}
	}
}

// A waiting reader is woken by its own connection, by another, and by the end.
func TestBudgetTakeIsWoken(t *testing.T) {
	stop, gone := make(chan struct{}), make(chan struct{})
	for name, wake := range map[string]func(own, other *budget){
		"own bytes":     func(own, _ *budget) { own.giveRequest(8) },
		"another bytes": func(_, other *budget) { other.giveRequest(24) },
		"stop":          func(_, _ *budget) { close(stop) },
		"gone":          func(_, _ *budget) { close(gone) },
	} {
		p := newPool(64)
		other, own := newBudget(p, 1000, 10), newBudget(p, 1000, 10)
		if !other.tryTake(24) || !own.tryTake(8) {
			t.Fatal("no room in an empty pool")
		}
		if own.tryTake(14) {
			t.Fatal("there is room where there should be none")
		}
		got := make(chan bool)
		go func() { got <- own.take(14, stop, gone, time.Hour, func() {}) }()
		for p.parked.Load() == 0 {
			runtime.Gosched() // until it waits, or is about to
		}
		wake(own, other)
		if ok, want := <-got, name != "stop" && name != "gone"; ok != want {
			t.Errorf("%s: take reports %v, want %v", name, ok, want)
		}
		if name == "stop" {
			stop = make(chan struct{})
		}
		if name == "gone" {
			gone = make(chan struct{})
		}
		if n := p.parked.Load(); n != 0 {
			t.Errorf("%s: %d are parked", name, n)
		}
	}
}

// While the pool is what is short, take says so; when it is the connection's
// own bound, nobody else is to blame.
func TestBudgetStarving(t *testing.T) {
	p := newPool(64)
	other, own := newBudget(p, 1000, 10), newBudget(p, 1000, 1)
	if !other.tryTake(32) {
		t.Fatal("no room in an empty pool")
	}
	calls := 0
	if !own.take(30, nil, nil, time.Millisecond, func() {
		if calls++; calls == 3 {
			other.giveRequest(32)
		}
	}) || calls != 3 {
		t.Errorf("starving was called %d times, want 3", calls)
	}
	stop := make(chan struct{})
	time.AfterFunc(20*time.Millisecond, func() { close(stop) })
	if own.take(1, stop, nil, time.Millisecond, func() { t.Error("starving was called for the connection's own bound") }) {
		t.Error("a second request was let in, with room for one")
	}
}
