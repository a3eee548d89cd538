package stamp

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
)

func newTester(t *testing.T, uri string) *Tester {
	t.Helper()
	tt, err := New(Config{URI: uri, Blocks: diskBlocks, Seed: 11, Writer: us})
	if err != nil {
		t.Fatal(err)
	}
	return tt
}

// runUntil runs load until enough says so, on the counts so far.
func runUntil(t *testing.T, tt *Tester, enough func(Counts) bool) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- tt.Run(ctx) }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-tick.C:
			if enough(tt.Counts()) {
				cancel()
				return <-done
			}
		}
	}
}

func moreWrites(tt *Tester, n int) func(Counts) bool {
	n += tt.Counts().Writes
	return func(c Counts) bool { return c.Writes >= n }
}

func TestHonestServerPasses(t *testing.T) {
	s := serve(t, newDisk())
	tt := newTester(t, s.uri())
	if err := runUntil(t, tt, moreWrites(tt, 3000)); err != nil {
		t.Fatal(err)
	}
	if err := tt.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := tt.Counts()
	if c.Writes < 3000 || c.Reads < 300 || c.Unknown != 0 || c.Refused != 0 || c.LongestStall == 0 {
		t.Errorf("%+v", c)
	}
}

// TestHonestCrashesPass: writes in flight at the server's death may have
// happened or not; all that was acknowledged is there.
func TestHonestCrashesPass(t *testing.T) {
	d := newDisk()
	tt := newTester(t, "")
	for range 5 {
		s := serve(t, d)
		tt.SetURI(s.uri())
		ready := moreWrites(tt, 300)
		err := runUntil(t, tt, func(c Counts) bool {
			if ready(c) {
				s.kill()
			}
			return false
		})
		if !errors.Is(err, block.Closed) {
			t.Fatalf("the load ended with %v, want a broken connection", err)
		}
		tt.ServerDied()
		after := serve(t, d)
		tt.SetURI(after.uri())
		if err := tt.Verify(t.Context()); err != nil {
			t.Fatal(err)
		}
		after.kill()
	}
	if c := tt.Counts(); c.Unknown == 0 {
		t.Errorf("no write was in flight at any death: %+v", c)
	}
}

// TestLiesAreCaught: each of these servers breaks one promise, rarely, and is
// found out by its own name.
func TestLiesAreCaught(t *testing.T) {
	every := func(n int) func() bool {
		i := 0
		return func() bool { i++; return i%n == 0 }
	}
	lies := map[string]struct {
		tell func(d *disk)
		want string
	}{
		"loses an acknowledged write": {func(d *disk) {
			now := every(200)
			d.lieWrite = func(at int, p []byte) {
				if !now() {
					copy(d.data[at:], p)
				}
			}
		}, "which was superseded"},
		"tears a block": {func(d *disk) {
			now := every(200)
			d.lieWrite = func(at int, p []byte) {
				if now() {
					p = p[:len(p)-512]
				}
				copy(d.data[at:], p)
			}
		}, "torn: begins as"},
		"writes to the wrong place": {func(d *disk) {
			now := every(200)
			d.lieWrite = func(at int, p []byte) {
				if now() {
					at ^= block.Size
					p = p[:min(len(p), len(d.data)-at)]
				}
				copy(d.data[at:], p)
			}
		}, "which belongs elsewhere"},
		"swaps two blocks of a write": {func(d *disk) {
			now := every(50)
			d.lieWrite = func(at int, p []byte) {
				if len(p) >= 2*block.Size && now() {
					p = slices.Concat(p[block.Size:2*block.Size], p[:block.Size], p[2*block.Size:])
				}
				copy(d.data[at:], p)
			}
		}, "which belongs elsewhere"},
		"flips a bit": {func(d *disk) {
			now := every(100)
			d.lieRead = func(_ int, p []byte) {
				if now() {
					p[len(p)-1] ^= 1
				}
			}
		}, "torn: begins as"},
		"goes back in time on one read": {func(d *disk) {
			now := every(100)
			old := make([]byte, len(d.data))
			d.lieWrite = func(at int, p []byte) {
				copy(old[at:], d.data[at:at+len(p)])
				copy(d.data[at:], p)
			}
			d.lieRead = func(at int, p []byte) {
				if now() {
					copy(p, old[at:])
				}
			}
		}, "which was superseded"},
	}
	for name, lie := range lies {
		t.Run(name, func(t *testing.T) {
			d := newDisk()
			lie.tell(d)
			tt := newTester(t, serve(t, d).uri())
			caught := func() bool {
				err := tt.Err()
				return errors.Is(err, block.Corrupt) && strings.Contains(err.Error(), lie.want)
			}
			if err := runUntil(t, tt, func(Counts) bool { return caught() }); err != nil {
				t.Fatal(err)
			}
			if !caught() {
				t.Errorf("after %+v: got %v, want %q", tt.Counts(), tt.Err(), lie.want)
			}
		})
	}
}

// TestDishonestCrashIsCaught: a server that acknowledges before it is safe
// loses, in a crash, what it had acknowledged last.
func TestDishonestCrashIsCaught(t *testing.T) {
	d := newDisk()
	safe := slices.Clone(d.data)
	writes := 0
	d.lieWrite = func(at int, p []byte) {
		copy(d.data[at:], p)
		if writes++; writes%500 == 0 {
			copy(safe, d.data)
		}
	}
	s := serve(t, d)
	tt := newTester(t, s.uri())
	if err := runUntil(t, tt, moreWrites(tt, 1200)); err != nil {
		t.Fatal(err)
	}
	s.kill()
	tt.ServerDied()
	copy(d.data, safe)
	tt.SetURI(serve(t, d).uri())
	if err := tt.Verify(t.Context()); !errors.Is(err, block.Corrupt) {
		t.Errorf("got %v, want a violation", err)
	}
}

// TestRisenWriteIsCaught: a write that did not survive the crash appears
// after a later read has shown that it is not there.
func TestRisenWriteIsCaught(t *testing.T) {
	d := newDisk()
	var ghost []byte
	ghostAt := 0
	d.lieWrite = func(at int, p []byte) {
		if at == 0 {
			ghost, ghostAt = slices.Clone(p), at
			return
		}
		copy(d.data[at:], p)
	}
	s := serve(t, d)
	tt := newTester(t, s.uri())
	w := tt.history.BeginWrite(0, 1)
	p := make([]byte, block.Size)
	tt.history.Stamp(w, 0).Encode(p)
	d.write(0, p)
	tt.history.Unknown(w)
	s.kill()
	tt.ServerDied()
	tt.SetURI(serve(t, d).uri())
	if err := tt.Verify(t.Context()); err != nil {
		t.Fatalf("the write may be lost: %v", err)
	}
	copy(d.data[ghostAt:], ghost)
	if err := tt.Verify(t.Context()); err == nil || !strings.Contains(err.Error(), "version 1 of writer 7, which was superseded; want zeroes") {
		t.Errorf("got %v", err)
	}
}

func TestRefusedWritesMayHaveHappened(t *testing.T) {
	d := newDisk()
	n := 0
	d.errno = func(cmd uint16) uint32 {
		d.mu.Lock()
		defer d.mu.Unlock()
		if n++; cmd == cmdWrite && n%10 == 0 {
			return 28
		}
		return 0
	}
	tt := newTester(t, serve(t, d).uri())
	if err := runUntil(t, tt, moreWrites(tt, 500)); err != nil {
		t.Fatal(err)
	}
	if err := tt.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	if c := tt.Counts(); c.Refused == 0 || c.Refused != c.Unknown {
		t.Errorf("%+v", c)
	}
}

func TestDialSaysWhatIsWrong(t *testing.T) {
	s := serve(t, newDisk())
	addr := s.listener.Addr().String()
	for uri, want := range map[string]block.Kind{
		"nbd://" + addr + "/other":            block.NotFound,
		"http://" + addr:                      block.Invalid,
		"nbd:///x":                            block.Invalid,
		"nbd+unix:///x":                       block.Invalid,
		"nbd+unix:///x?socket=/nonexistent/s": block.Unavailable,
	} {
		if _, err := Dial(t.Context(), uri); !errors.Is(err, want) {
			t.Errorf("%s: %v, want kind %v", uri, err, want)
		}
	}
	for _, cfg := range []Config{{Depth: 1, Connections: 2}, {Blocks: 4, MaxBlocks: 5}, {ReadPercent: 101}} {
		if _, err := New(cfg); !errors.Is(err, block.Invalid) {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
	tt, err := New(Config{URI: s.uri(), Blocks: diskBlocks + 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := tt.Run(t.Context()); !errors.Is(err, block.Invalid) {
		t.Errorf("a region beyond the end: %v", err)
	}
}

func TestStallIsMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tt := newTester(t, "")
		tt.mu.lastDone = time.Now()
		for _, pause := range []time.Duration{time.Second, 3 * time.Second, 2 * time.Second} {
			<-time.After(pause)
			tt.mu.Lock()
			tt.answeredLocked()
			tt.mu.Unlock()
		}
		if got := tt.Counts().LongestStall; got != 3*time.Second {
			t.Errorf("longest stall %v, want 3s", got)
		}
	})
}

func TestStampRoundTrip(t *testing.T) {
	p := make([]byte, block.Size)
	s := Stamp{Number: 1 << 40, Version: 9, Writer: us}
	s.Encode(p)
	if got, err := Decode(p); err != nil || got != s {
		t.Errorf("%v, %v", got, err)
	}
	for i := range p {
		p[i] ^= 0x10
		if _, err := Decode(p); !errors.Is(err, block.Corrupt) {
			t.Fatalf("a flipped bit in byte %d is not seen: %v", i, err)
		}
		p[i] ^= 0x10
	}
	if _, err := Decode(p[:512]); !errors.Is(err, block.Invalid) {
		t.Errorf("a short block: %v", err)
	}
}
