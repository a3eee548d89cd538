package slab_test

import (
	"sync"
	"testing"
	"unsafe"

	"github.com/sextantdisk/sextant/internal/slab"
)

func address(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

// TestBuffersAreAligned: each buffer, of whatever class, begins on a page and
// has the length that was asked for, which cannot be exceeded by appending
// into its neighbour.
func TestBuffersAreAligned(t *testing.T) {
	for _, n := range []int{1, 511, 4095, 4096, 4097, 8192, 100_000, 1 << 20, 1<<20 + 1, slab.MaxSize} {
		var held []*slab.Buffer
		for range 3 {
			b := slab.Get(n)
			held = append(held, b)
			if address(b.Bytes())%slab.Align != 0 {
				t.Errorf("a buffer of %d bytes begins at %x", n, address(b.Bytes()))
			}
			if b.Len() != n || len(b.Bytes()) != n {
				t.Errorf("asked for %d bytes, got %d", n, b.Len())
			}
		}
		for _, b := range held {
			b.Release()
		}
	}
}

// TestBuffersAreApart: what is lent at one time does not overlap.
func TestBuffersAreApart(t *testing.T) {
	var held []*slab.Buffer
	for i := range 600 { // more than one arena of the smallest class
		b := slab.Get(4096)
		for k := range b.Bytes() {
			b.Bytes()[k] = byte(i)
		}
		held = append(held, b)
	}
	for i, b := range held {
		for _, c := range b.Bytes() {
			if c != byte(i) {
				t.Fatalf("buffer %d was written through another one", i)
			}
		}
		b.Release()
	}
}

// TestMemoryComesBackWithTheLastReference: not before, and then it is lent
// again.
func TestMemoryComesBackWithTheLastReference(t *testing.T) {
	const n = 3 << 20 // a class that nobody else here uses
	b := slab.Get(n)
	at := address(b.Bytes())
	if b.Retain() != b {
		t.Fatal("Retain gives another buffer")
	}
	b.Release()
	other := slab.Get(n)
	if address(other.Bytes()) == at {
		t.Fatal("lent again while a reference is held")
	}
	b.Release()
	again := slab.Get(n - 5)
	if address(again.Bytes()) != at || again.Len() != n-5 {
		t.Error("the memory was not used again")
	}
	other.Release()
	again.Release()
}

// TestMisusePanics: to give back too often, to hold on to what is gone, to
// ask for what is out of range: going on would lend one memory twice.
func TestMisusePanics(t *testing.T) {
	released := func() *slab.Buffer {
		b := slab.Get(17 << 20) // as above
		b.Release()
		return b
	}
	for name, f := range map[string]func(){
		"released twice":          func() { released().Release() },
		"retained after the last": func() { released().Retain() },
		"nothing":                 func() { slab.Get(0) },
		"negative":                func() { slab.Get(-1) },
		"too much":                func() { slab.Get(slab.MaxSize + 1) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}

// TestManyHolders: references are counted from any goroutine; the memory of
// each is its own as long as it is held.
func TestManyHolders(t *testing.T) {
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 500 {
				b := slab.Get(4096 << (i % 3))
				mark := byte(g*31 + i)
				b.Bytes()[0], b.Bytes()[b.Len()-1] = mark, mark
				for range 3 {
					b.Retain()
				}
				var in sync.WaitGroup
				for range 3 {
					in.Add(1)
					go func() { defer in.Done(); b.Release() }()
				}
				in.Wait()
				if b.Bytes()[0] != mark || b.Bytes()[b.Len()-1] != mark {
					t.Error("somebody else has written here")
				}
				b.Release()
			}
		}()
	}
	wg.Wait()
}
