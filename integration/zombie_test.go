package integration

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/integration/cluster"
	"github.com/sextantdisk/sextant/integration/stamp"
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/volume/quorum"
)

// TestZombieGateway pauses a gateway under load (SIGSTOP). Another one takes over
// and is written to; then the zombie goes on, with requests in its sockets. It has
// no write accepted and serves no read; its clients are cut, and told neither
// success nor failure (R3, R14, T31, T32). Then the same the other way round.
func TestZombieGateway(t *testing.T) {
	t.Parallel()
	const groups = 20
	c, tester := gateways(t, 2, groups)
	settled(t, c, tester)
	for round := range 4 {
		zombie, next := round%2, 1-round%2
		tester.SetURI(c.URI(zombie, "v"))
		var idle []*stamp.Conn
		for range 8 {
			idle = append(idle, dial(t, c.URI(zombie, "v")))
		}
		stop := load(t.Context(), tester)
		runFor(t, tester, 300)
		if err := c.Gateways[zombie].Pause(); err != nil {
			t.Fatal(err)
		}
		paused := time.Now()

		tester.SetURI(c.URI(next, "v"))
		conn := dial(t, c.URI(next, "v"))
		touchAll(t, tester, conn, groups)
		settled(t, c, tester)
		t.Logf("round %d: taken over %v after the pause", round, time.Since(paused).Round(time.Millisecond))
		stopNext := func() error { return nil }
		if busy := round >= 2; busy {
			stopNext = load(t.Context(), tester)
			runFor(t, tester, 300)
		}
		if err := c.Gateways[zombie].Resume(); err != nil {
			t.Fatal(err)
		}
		// What was in flight may still be answered: acks of a quorum that came
		// before the fence, reads that were verified before the pause. The
		// history judges it. What is asked now must not be.
		for i, conn := range idle {
			var err error
			if i%2 == 0 {
				err = tester.WriteOn(conn, stamp.Number(i), 1)
			} else {
				err = conn.Read(make([]byte, block.Size), block.Offset(i)*block.Size)
			}
			if !errors.Is(err, block.Closed) {
				t.Errorf("round %d: the zombie answered request %d, which came after the takeover: %v", round, i, err)
			}
		}
		if err := stop(); err != nil && !errors.Is(err, block.Closed) {
			t.Fatal(err)
		}
		if err := stopNext(); err != nil {
			t.Fatal(err)
		}
		if n := tester.Counts().Refused; n != 0 {
			t.Errorf("round %d: %d requests were told to have failed", round, n)
		}
		if err := tester.Verify(t.Context()); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		conn.Close()
	}
	t.Logf("%+v", tester.Counts())
}

// TestLivingGatewayIsAskedFirst: a second gateway is refused while the first one
// lives, with its name and what to do; one with --force takes over. The first one's
// clients are cut without an answer to what was in flight, and are refused when they
// come back (T31, T32).
func TestLivingGatewayIsAskedFirst(t *testing.T) {
	t.Parallel()
	c, tester := gateways(t, 2, 8)
	began := time.Now()
	stop := load(t.Context(), tester)
	runFor(t, tester, 100)
	refused := func(uri string, says ...string) {
		t.Helper()
		conn, err := stamp.Dial(t.Context(), uri)
		if err == nil {
			conn.Close()
			t.Fatalf("%s serves a volume that another gateway has", uri)
		}
		for _, s := range append(says, "volume v is held by gateway", "--force") {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("the refusal does not say %q: %v", s, err)
			}
		}
	}
	refused(c.URI(1, "v"), c.Gateways[0].Addr("listen"))
	runFor(t, tester, 100)
	// A successor must not wait on account of those before an owner that had the
	// volume for a moment only.
	await(t, time.Minute, "the owner for longer than a lease", func() bool { return time.Since(began) > quorum.LeaseWait+time.Second })

	forced := forcedGateways(t, c, 1)[0]
	if err := forced.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	uri := "nbd://" + forced.Addr("listen") + "/v"
	tester.SetURI(uri)
	start := time.Now()
	conn := dial(t, uri)
	if err := tester.WriteOn(conn, 0, 1); err != nil {
		t.Fatal(err)
	}
	t.Logf("taken over by force in %v", time.Since(start).Round(time.Millisecond))
	if err := stop(); err != nil && !errors.Is(err, block.Closed) {
		t.Fatal(err)
	}
	if n := tester.Counts().Refused; n != 0 {
		t.Errorf("%d requests were told to have failed", n)
	}
	settled(t, c, tester)
	refused(c.URI(0, "v"), forced.Addr("listen"))
	if err := tester.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// door is an address that leads to one gateway, then to another: what a client
// that reconnects knows of a takeover.
type door struct {
	ln net.Listener
	to atomic.Value // string
}

func newDoor(t *testing.T, to string) *door {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &door{ln: ln}
	d.to.Store(to)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			near, err := ln.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", d.to.Load().(string))
			if err != nil {
				near.Close()
				continue
			}
			go pipe(near, far)
			go pipe(far, near)
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return d
}

func pipe(to, from net.Conn) {
	_, _ = io.Copy(to, from) // ends when either side does
	to.Close()
	from.Close()
}

// TestClientThatReconnectsSeesNoLateCopy: qemu writes version after version to one
// place; a takeover comes in between, and qemu sends again on a new connection what
// was in flight. The zombie's copies of it, which go on when it does, change
// nothing (T31): the last version stays.
func TestClientThatReconnectsSeesNoLateCopy(t *testing.T) {
	t.Parallel()
	c, _ := gateways(t, 2, 4)
	forced := forcedGateways(t, c, 1)[0]
	d := newDoor(t, c.Gateways[0].Addr("listen"))
	opts := fmt.Sprintf("driver=nbd,server.type=inet,server.host=127.0.0.1,server.port=%d,export=v,reconnect-delay=60",
		d.ln.Addr().(*net.TCPAddr).Port)
	cmd := exec.CommandContext(t.Context(), "stdbuf", "-oL", "qemu-io", "--image-opts", opts) // a line a write
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out := &safeBuilder{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v (qemu-io of Debian's qemu-utils; scripts/deps installs it)", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("qemu-io:\n%s", out)
		}
	})
	const versions, at = 120, "512k 64k"
	written := func() int { return strings.Count(out.String(), "wrote 65536/65536 bytes") }
	for v := 1; v <= versions; v++ { // one at a time: qemu-io sees no second line that comes with the first
		takeover := v == versions/2
		if takeover {
			if err := c.Gateways[0].Pause(); err != nil {
				t.Fatal(err)
			}
		}
		fmt.Fprintf(in, "write -P %d %s\n", v, at)
		if takeover {
			if err := forced.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			d.to.Store(forced.Addr("listen"))
			dial(t, "nbd://"+forced.Addr("listen")+"/v")
			await(t, time.Minute, "open in all groups", func() bool { return opened(t, c) })
			if err := c.Gateways[0].Resume(); err != nil { // it finds the write, and cuts qemu off
				t.Fatal(err)
			}
		}
		await(t, time.Minute, "written by qemu", func() bool { return written() >= v })
	}
	fmt.Fprintf(in, "read -P %d %s\n", versions, at)
	await(t, time.Minute, "read by qemu", func() bool { return strings.Contains(out.String(), "read 65536/65536 bytes") })
	fmt.Fprintln(in, "quit")
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text := out.String()
	if n := written(); n != versions || strings.Contains(text, "failed") {
		t.Errorf("%d of %d versions written, or the last one did not stay:\n%s", n, versions, text)
	}
	buf := make([]byte, 64<<10)
	if err := dial(t, "nbd://"+forced.Addr("listen")+"/v").Read(buf, 512<<10); err != nil {
		t.Fatal(err)
	}
	for i, b := range buf {
		if b != versions {
			t.Fatalf("byte %d is of version %d, the last was %d", i, b, versions)
		}
	}
}

// TestDeletedVolumeStaysDeleted: a gateway that sleeps while its volume is deleted
// does not have its segments made again when it wakes (R28).
func TestDeletedVolumeStaysDeleted(t *testing.T) {
	t.Parallel()
	c, tester := gateways(t, 1, 4)
	stop := load(t.Context(), tester)
	runFor(t, tester, 100)
	if err := c.Gateways[0].Pause(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Sextant(t.Context(), "volume", "delete", "v", "--force"); err != nil {
		t.Fatal(err)
	}
	hosted := func(d *cluster.Daemon) float64 { return metric(t, d.Addr("http"), "sextant_segments") }
	for _, d := range c.Segments {
		await(t, time.Minute, "without segments", func() bool { return hosted(d) == 0 })
	}
	joins := func() (sum float64) {
		for _, d := range c.Segments {
			sum += metric(t, d.Addr("http"), "sextant_refused_total")
		}
		return sum
	}
	before := joins()
	if err := c.Gateways[0].Resume(); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil && !errors.Is(err, block.Closed) {
		t.Fatal(err)
	}
	await(t, time.Minute, "refused by the daemons", func() bool { return joins() > before })
	for _, d := range c.Segments {
		if n := hosted(d); n != 0 {
			t.Errorf("%s has %v segments of a deleted volume", d.Name(), n)
		}
	}
}

// safeBuilder is a strings.Builder that may be read while it is written to.
type safeBuilder struct {
	mu struct {
		sync.Mutex
		b strings.Builder
	}
}

func (s *safeBuilder) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.b.Write(p)
}

func (s *safeBuilder) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.b.String()
}
