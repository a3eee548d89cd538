package nbd

import (
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/boxcar"
)

// stallable is a connection with replies queued, and its client's end.
func stallable(t *testing.T, held int64, queued bool) (*conn, net.Conn) {
	ours, theirs := net.Pipe()
	c := newConn(nil, ours)
	c.w = boxcar.New(ours, nil)
	c.budget = newBudget(newPool(1000), 1000, 1000)
	if !c.budget.tryTake(held) {
		t.Fatal("no room in an empty pool")
	}
	if queued {
		if err := c.w.Queue(make([]byte, 1_000_000), nil, nil); err != nil {
			t.Fatal(err)
		}
		c.w.Flush()
	}
	t.Cleanup(func() { c.w.Close(); theirs.Close() })
	return c, theirs
}

// Only a client that has taken nothing for the whole time is cut, and of
// several the one that holds most.
func TestReliefPicksTheStalledOne(t *testing.T) {
	small, _ := stallable(t, 10, true)
	large, _ := stallable(t, 50, true)
	reading, client := stallable(t, 400, true)
	idle, _ := stallable(t, 400, false)
	conns := []*conn{small, large, reading, idle}
	r := relief{after: 4 * time.Second}
	now := time.Unix(1000, 0)
	look := func(after time.Duration) *conn {
		now = now.Add(after)
		before := reading.w.Stats().Writes
		if _, err := io.ReadFull(client, make([]byte, 20_000)); err != nil { // more than one write
			t.Fatal(err)
		}
		for reading.w.Stats().Writes == before {
			runtime.Gosched()
		}
		return r.stalled(conns, now)
	}
	for i := range 4 {
		if c := look(time.Second); c != nil {
			t.Fatalf("look %d cuts a client before its time", i)
		}
	}
	if c := look(time.Second); c != large {
		t.Error("the stalled client that holds most is not cut")
	}
	large.severed.Store(true)
	if c := look(time.Second); c != small {
		t.Error("the next stalled client is not cut")
	}
	// After a time in which nobody waited, what was seen says nothing.
	if c := look(time.Minute); c != nil {
		t.Error("a client is cut for what was seen long ago")
	}
}
