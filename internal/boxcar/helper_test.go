package boxcar

import (
	"context"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testWait bounds what a test waits for; it is never reached when all is well.
const testWait = 20 * time.Second

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), testWait)
	t.Cleanup(cancel)
	return ctx
}

// kinds are the connections that every test of order and release runs over.
var kinds = []string{"tcp", "unix", "pipe"}

// pair makes a connection of a kind: ours, and the peer's end.
func pair(t *testing.T, kind string) (ours, theirs net.Conn) {
	t.Helper()
	if kind == "pipe" {
		ours, theirs = net.Pipe()
	} else {
		addr := "127.0.0.1:0"
		if kind == "unix" {
			addr = filepath.Join(t.TempDir(), "s")
		}
		l, err := net.Listen(kind, addr)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ours, err = net.Dial(kind, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if theirs, err = l.Accept(); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	theirs.SetDeadline(time.Now().Add(testWait))
	return ours, theirs
}

// counter is an owner that knows how often it was released.
type counter struct{ n atomic.Int32 }

func (c *counter) Release() { c.n.Add(1) }

// fill writes to conn until its buffers are full: the peer does not read.
func fill(t *testing.T, w *Writer, owner Releaser) {
	t.Helper()
	body := make([]byte, 1<<20)
	for w.Stats().HandOffs == 0 {
		if err := w.Queue(nil, body, owner); err != nil {
			t.Fatal(err)
		}
		w.Flush()
	}
}
