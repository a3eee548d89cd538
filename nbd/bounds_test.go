package nbd_test

import (
	"io"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/nbd"
	"github.com/sextantdisk/sextant/nbd/nbdtest"
)

// A connection has no more requests in flight than it may.
func TestBoundRequestsInFlight(t *testing.T) {
	held := make(chan *nbd.Request, 100)
	var inFlight, most guarded[int]
	s, _ := serve(t, func(c *nbd.Config, b *nbdtest.Backend) {
		c.ConnRequests = 5
		b.Hook = func(r *nbd.Request) bool {
			inFlight.update(func(n *int) { *n++ })
			most.update(func(m *int) { *m = max(*m, inFlight.get()) })
			held <- r
			return true
		}
	})
	c := session(t, s, "disk")
	var all []byte
	for i := range 20 {
		all = cat(all, u32(0x25609513), u16(0), u16(trim), u64(uint64(i)), u64(0), u32(4096))
	}
	c.put(all) // in one write: they are all at hand
	until(t, "five requests are in flight", func() bool { return inFlight.get() == 5 })
	for i := range 20 {
		r := <-held
		inFlight.update(func(n *int) { *n-- })
		r.Complete(nil)
		c.wantSimple(uint64(i), nbd.OK)
	}
	if n := most.get(); n != 5 {
		t.Errorf("%d requests were in flight, want at most 5", n)
	}
}

// Nor more bytes.
func TestBoundBytesInFlight(t *testing.T) {
	held := make(chan *nbd.Request, 100)
	s, _ := serve(t, func(c *nbd.Config, b *nbdtest.Backend) {
		c.ConnBytes = nbd.MaxPayload
		holding(held)(c, b)
	})
	c := session(t, s, "disk")
	const n = 10 << 20 // takes 16 MiB
	for i := range 6 {
		c.request(0, read, uint64(i), 0, n, nil)
	}
	for i := range 6 {
		r := <-held
		if got := s.Server.Stats().InFlight; got > nbd.MaxPayload {
			t.Fatalf("%v are lent, want at most %v", got, nbd.MaxPayload)
		}
		r.Complete(nil)
		c.wantSimple(uint64(i), nbd.OK)
		c.take(n)
	}
	until(t, "all memory is back", func() bool { return s.Server.Stats().InFlight == 0 })
}

// stick makes clients that ask for 512 MiB each and read nothing.
func stick(t *testing.T, s *nbdtest.Running, n int) []*client {
	var stuck []*client
	for range n {
		c := session(t, s, "disk")
		stuck = append(stuck, c)
		for i := range 64 {
			c.request(0, read, uint64(i), 0, 8<<20, nil)
		}
	}
	return stuck
}

// A few clients that do not read their replies block only themselves, and may
// take their time.
func TestStuckClientsBlockOnlyThemselves(t *testing.T) {
	const total = 256 * block.MiB
	s, b := serve(t, func(c *nbd.Config, _ *nbdtest.Backend) { c.ConnBytes, c.ServerBytes = 64*block.MiB, total })
	b.Disk("disk").Write(0, pattern(1, 8<<20))
	stuck := stick(t, s, 3)
	until(t, "they have taken most of the memory", func() bool { return s.Server.Stats().InFlight > total/2 })
	good := session(t, s, "disk")
	for i := range 100 {
		p := pattern(byte(i), 64<<10)
		good.do(0, write, 16<<20, 64<<10, p, nbd.OK)
		good.read(16<<20, 64<<10)
		if n := s.Server.Stats().InFlight; n > total {
			t.Fatalf("%v are lent, want at most %v", n, total)
		}
	}
	good.read(0, 8<<20)
	for _, c := range stuck { // they wake up and get everything
		for i := range 64 {
			c.wantSimple(uint64(i), nbd.OK)
			if _, err := io.CopyN(io.Discard, c, 8<<20); err != nil {
				t.Fatal(err)
			}
		}
	}
	until(t, "all memory is back", func() bool { return s.Server.Stats().InFlight == 0 })
}

// So many stuck clients that the memory is used up: those are cut that others
// wait for, and only those that take nothing.
func TestManyStuckClientsAreCut(t *testing.T) {
	const total = 128 * block.MiB
	s, b := serve(t, func(c *nbd.Config, _ *nbdtest.Backend) { c.ConnBytes, c.ServerBytes = 64*block.MiB, total })
	nbd.SetStallTimeForTesting(s.Server, 200*time.Millisecond)
	b.Disk("disk").Write(0, pattern(1, 8<<20))
	stick(t, s, 8)
	until(t, "they have taken most of the memory", func() bool { return s.Server.Stats().InFlight > total/2 })
	good := session(t, s, "disk")
	for range 3 {
		good.do(0, write, 0, uint32(nbd.MaxPayload), make([]byte, nbd.MaxPayload), nbd.OK)
		good.read(0, uint32(nbd.MaxPayload))
	}
	if n := s.Server.Stats().Conns; n == 9 {
		t.Error("no connection was cut")
	}
}

// Small replies that nobody reads are bounded too: by the requests.
func TestStuckClientOfSmallReplies(t *testing.T) {
	s, _ := serve(t, nil)
	c := session(t, s, "disk")
	sent := make(chan error, 1)
	go func() {
		p := cat(u32(0x25609513), u16(0), u16(99), u64(1), u64(0), u32(0))
		var many []byte
		for range 1000 {
			many = append(many, p...)
		}
		c.SetWriteDeadline(time.Now().Add(2 * time.Second))
		for {
			if _, err := c.Write(many); err != nil {
				sent <- err
				return
			}
		}
	}()
	if err := <-sent; err == nil {
		t.Error("requests without end were accepted, though nobody reads the replies")
	}
}

// In steady state a request costs no allocation, nor does its reply.
func TestSteadyStateDoesNotAllocate(t *testing.T) {
	s, b := serve(t, nil)
	b.Disk("disk").Write(0, pattern(1, 1<<20))
	for name, c := range map[string]*client{
		"simple":     session(t, s, "disk"),
		"structured": session(t, s, "disk", withStructured),
	} {
		readReply := 16
		if name == "structured" {
			readReply = 28
		}
		reqs := cat(
			u32(0x25609513), u16(0), u16(read), u64(1), u64(4096), u32(4096),
			u32(0x25609513), u16(0), u16(write), u64(2), u64(8192), u32(4096), pattern(2, 4096),
			u32(0x25609513), u16(0), u16(read), u64(3), u64(16384), u32(4096),
		)
		replies := make([]byte, 2*(readReply+4096)+16)
		got := testing.AllocsPerRun(500, func() {
			if _, err := c.Write(reqs); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(c, replies); err != nil {
				t.Fatal(err)
			}
		})
		if limit := 0.0; got > limit && !raceEnabled {
			t.Errorf("%s replies: %v allocations for three requests, want %v", name, got, limit)
		}
	}
}
