package integration

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/integration/cluster"
	"github.com/sextantdisk/sextant/integration/stamp"
)

const (
	// patience is longer than any daemon's deadline for a greeting (10 s).
	patience = 20 * time.Second
	// crawl is the pace of a client that sends a byte now and then.
	crawl = 400 * time.Millisecond
	// growthMax is how much more memory a daemon may take for all garbage
	// together; a single length from the wire would be 4 GiB.
	growthMax = 256 << 20
)

// half is the beginning of what each port expects.
var half = map[string]string{
	"metadata": "PRI * HTTP/2.0\r\n\r\nSM",
	"raft":     "SXRAFTRP\x01\x00\x00\x00",
	"segment":  "SX",
	"nbd":      "\x00\x00\x00\x03IHAVEOPT\x00\x00\x00\x07\x00\x00\x10\x00",
	"http":     "GET /metrics HTTP/1.1\r\nHost: a\r\nX-A",
}

// attack sends and then waits for the end, which the daemon must make.
type attack struct {
	name string
	send func(c net.Conn) error
}

func attacks(port string) []attack {
	chance := rand.NewChaCha8([32]byte{'g'})
	random := make([]byte, 64<<10)
	_, _ = chance.Read(random)
	write := func(p []byte) func(net.Conn) error {
		return func(c net.Conn) error { _, err := c.Write(p); return err }
	}
	return []attack{
		{"random bytes", write(random)},
		{"huge lengths", write(bytes.Repeat([]byte{0xff}, 64<<10))},
		{"zeroes", write(make([]byte, 64<<10))},
		{"half a greeting and huge lengths", write(append([]byte(half[port]), bytes.Repeat([]byte{0xff}, 4<<10)...))},
		{"half a greeting, then silence", write([]byte(half[port]))},
		{"silence", func(net.Conn) error { return nil }},
		{"a byte now and then", func(c net.Conn) error {
			for end := time.Now().Add(patience); time.Now().Before(end); {
				if _, err := c.Write([]byte{0xff}); err != nil {
					return err
				}
				<-time.After(crawl)
			}
			return nil
		}},
		{"half a greeting, a byte at a time", func(c net.Conn) error {
			for _, b := range []byte(half[port]) {
				if _, err := c.Write([]byte{b}); err != nil {
					return err
				}
				<-time.After(crawl)
			}
			return nil
		}},
	}
}

// run attacks an address; the daemon must end the connection in time.
func (a attack) run(addr string) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	// The greeting of the other side is taken, so that it cannot be what
	// keeps the connection.
	ended := make(chan error, 1)
	go func() { _, err := io.Copy(io.Discard, c); ended <- err }()
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if err := a.send(c); err != nil && !cut(err) {
		return err
	}
	if err := <-ended; err != nil && !cut(err) {
		return fmt.Errorf("not ended within %v: %w", patience, err)
	}
	return nil
}

// cut tells whether the other side has closed.
func cut(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// peak is the most memory that a process has had, in bytes.
func peak(tb testing.TB, d *cluster.Daemon) int {
	tb.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.Pid()))
	if err != nil {
		tb.Fatal(err)
	}
	for _, line := range strings.Split(string(text), "\n") {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmHWM:" {
			kib, err := strconv.Atoi(f[1])
			if err != nil {
				tb.Fatal(err)
			}
			return kib << 10
		}
	}
	tb.Fatalf("%s: no VmHWM in %q", d.Name(), text)
	return 0
}

// TestGarbage sends garbage to every port of every kind of daemon, under
// load: each connection ends by itself, no daemon does, no client notices.
func TestGarbage(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{Extra: rollingLogs()})
	mustCreate(t, c, "v")
	tester, err := stamp.New(stamp.Config{URI: c.URI(0, "v"), Writer: 1, Seed: 3, Blocks: 2048, Depth: 4})
	if err != nil {
		t.Fatal(err)
	}
	stop := load(t.Context(), tester)
	runFor(t, tester, 200)

	daemons := []*cluster.Daemon{c.Metadata[0], c.Segments[0], c.Gateways[0]}
	before := map[*cluster.Daemon]int{}
	for _, d := range daemons {
		before[d] = peak(t, d)
	}
	targets := []struct{ port, addr string }{
		{"metadata", c.Metadata[0].Addr("listen")}, {"raft", c.Metadata[0].Addr("raft")},
		{"segment", c.Segments[0].Addr("listen")}, {"nbd", c.Gateways[0].Addr("listen")},
	}
	for _, d := range daemons {
		targets = append(targets, struct{ port, addr string }{"http", d.Addr("http")})
	}
	var wg sync.WaitGroup
	for _, to := range targets {
		for _, a := range attacks(to.port) {
			wg.Go(func() {
				if err := a.run(to.addr); err != nil {
					t.Errorf("%s port, %s: %v", to.port, a.name, err)
				}
			})
		}
	}
	wg.Wait()
	runFor(t, tester, 200)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for _, d := range daemons {
		if grown := peak(t, d) - before[d]; grown > growthMax {
			t.Errorf("%s took %d MiB more", d.Name(), grown>>20)
		}
	}
	if n := tester.Counts(); n.Refused+n.Unknown != 0 {
		t.Errorf("the client saw errors: %+v", n)
	}
	if err := tester.Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Sextant(t.Context(), "volume", "create", "after", "--size", "64MiB"); err != nil {
		t.Error(err)
	}
}
