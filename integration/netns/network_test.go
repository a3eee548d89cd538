package netns

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sextantdisk/sextant/internal/block"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is for what comes at once on a machine that is not busy.
const patience = 20 * time.Second

func pair(t *testing.T) (n *Network, a, b *Host) {
	t.Helper()
	n, err := New(1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	var hosts []*Host
	for i, zone := range []string{"x", "y"} {
		h, err := n.Host(string(rune('a'+i)), zone)
		if err != nil {
			t.Fatal(err)
		}
		hosts = append(hosts, h)
	}
	return n, hosts[0], hosts[1]
}

// connection is a TCP connection from a to b, until the test ends.
func connection(t *testing.T, a, b *Host) (client, server net.Conn) {
	t.Helper()
	var ln net.Listener
	var err error
	if err = b.Do(func() (err error) {
		ln, err = net.Listen("tcp", net.JoinHostPort(b.Addr().String(), "0"))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if err = a.Do(func() (err error) {
		client, err = net.DialTimeout("tcp", ln.Addr().String(), patience)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if server, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{client, server} {
		t.Cleanup(func() { c.Close() })
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
	}
	return client, server
}

func mustSend(t *testing.T, c net.Conn, p []byte) {
	t.Helper()
	if _, err := c.Write(p); err != nil {
		t.Fatal(err)
	}
}

func mustReceive(t *testing.T, c net.Conn, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatal("other bytes arrived than were sent")
	}
}

// nothingComes for a moment.
func nothingComes(t *testing.T, c net.Conn, while time.Duration) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(while)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d bytes came through, or %v", n, err)
	}
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
}

func megabyte() []byte { return bytes.Repeat([]byte("sextant."), 1<<17) }

func TestHostsReachEachOther(t *testing.T) {
	_, a, b := pair(t)
	client, server := connection(t, a, b)
	go func() { _, _ = client.Write(megabyte()) }()
	mustReceive(t, server, megabyte())
	mustSend(t, server, []byte("back"))
	mustReceive(t, client, []byte("back"))
}

func TestCutAndHealed(t *testing.T) {
	n, a, b := pair(t)
	client, server := connection(t, a, b)
	f := n.Impose(Around("y"), Rule{Cut: true})
	mustSend(t, client, []byte("hello"))
	nothingComes(t, server, 300*time.Millisecond)
	f.Lift()
	mustReceive(t, server, []byte("hello")) // the kernel sends it again
	if n.Stats().Lost == 0 {
		t.Error("nothing was lost")
	}
}

// TestOneWayCut: what b sends arrives, though a's acknowledgements do not.
func TestOneWayCut(t *testing.T) {
	n, a, b := pair(t)
	client, server := connection(t, a, b)
	f := n.Impose(OneWay(a, b), Rule{Cut: true})
	mustSend(t, server, []byte("to a"))
	mustReceive(t, client, []byte("to a"))
	mustSend(t, client, []byte("to b"))
	nothingComes(t, server, 300*time.Millisecond)
	f.Lift()
	mustReceive(t, server, []byte("to b"))
}

func TestHeldBackIsDeliveredWhenLifted(t *testing.T) {
	n, a, b := pair(t)
	client, server := connection(t, a, b)
	f := n.Impose(Into("y"), Rule{Hold: true})
	mustSend(t, client, []byte("hello"))
	nothingComes(t, server, 100*time.Millisecond)
	f.Lift()
	mustReceive(t, server, []byte("hello"))
	if s := n.Stats(); s.Late == 0 {
		t.Errorf("%+v", s)
	}
}

func TestDelay(t *testing.T) {
	n, a, b := pair(t)
	client, server := connection(t, a, b)
	n.Impose(Between(a, b), Rule{Delay: 50 * time.Millisecond})
	start := time.Now()
	mustSend(t, client, []byte("ping"))
	mustReceive(t, server, []byte("ping"))
	mustSend(t, server, []byte("pong"))
	mustReceive(t, client, []byte("pong"))
	if d := time.Since(start); d < 100*time.Millisecond {
		t.Errorf("there and back in %v, want 100 ms at least", d)
	}
}

// TestBadNetworkIsStillTCP: loss, doubling and disorder cost time, not bytes.
func TestBadNetworkIsStillTCP(t *testing.T) {
	n, a, b := pair(t)
	client, server := connection(t, a, b)
	n.Impose(Of(b), Rule{Loss: 0.1, Twice: 0.1, Jitter: 2 * time.Millisecond})
	go func() { _, _ = client.Write(megabyte()) }()
	mustReceive(t, server, megabyte())
	if s := n.Stats(); s.Lost == 0 || s.Late == 0 {
		t.Errorf("%+v", s)
	}
}

func TestBandwidthIsBounded(t *testing.T) {
	n, a, b := pair(t)
	client, server := connection(t, a, b)
	n.Impose(From(a), Rule{BytesPerSecond: 4 * block.MiB})
	start := time.Now()
	go func() { _, _ = client.Write(megabyte()) }()
	mustReceive(t, server, megabyte())
	if d := time.Since(start); d < 200*time.Millisecond {
		t.Errorf("1 MiB in %v at 4 MiB/s", d)
	}
}

// TestSever: half of a segment arrives, then both ends learn that the
// connection is no more; others live on.
func TestSever(t *testing.T) {
	n, a, b := pair(t)
	client, server := connection(t, a, b)
	other, otherServer := connection(t, a, b)
	n.Sever(OneWay(a, b))
	mustSend(t, client, []byte("12345678"))
	got, err := io.ReadAll(server)
	if !errors.Is(err, syscall.ECONNRESET) || string(got) != "1234" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the sender reads: %v", err)
	}
	mustSend(t, other, []byte("hello"))
	mustReceive(t, otherServer, []byte("hello"))
	if n.Stats().Severed != 1 {
		t.Errorf("%+v", n.Stats())
	}
}

func TestLinkDown(t *testing.T) {
	_, a, b := pair(t)
	client, server := connection(t, a, b)
	if err := b.SetLink(false); err != nil {
		t.Fatal(err)
	}
	mustSend(t, client, []byte("hello"))
	nothingComes(t, server, 300*time.Millisecond)
	err := b.Do(func() error {
		c, err := net.DialTimeout("tcp", net.JoinHostPort(a.Addr().String(), "1"), patience)
		if err == nil {
			c.Close()
		}
		return err
	})
	if !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("dialling without a link: %v", err)
	}
	if err := b.SetLink(true); err != nil {
		t.Fatal(err)
	}
	mustReceive(t, server, []byte("hello"))
}

// TestNothingIsLeft: a network that is closed has given its namespaces back.
func TestNothingIsLeft(t *testing.T) {
	n, a, _ := pair(t)
	namespace, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(int(a.namespace.Fd())))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(namespace, "net:[") {
		t.Fatalf("the namespace is %s", namespace)
	}
	n.Close()
	n.Close() // once more changes nothing
	held := func() bool {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range tasks {
			// A thread may be gone by now: that is what is hoped for.
			if ns, err := os.Readlink("/proc/self/task/" + task.Name() + "/ns/net"); err == nil && ns == namespace {
				return true
			}
		}
		return false
	}
	for end := time.Now().Add(patience); held(); {
		if time.Now().After(end) {
			t.Fatal("a thread is still in the namespace")
		}
		<-time.After(time.Millisecond)
	}
	if _, err := n.Host("late", "x"); !errors.Is(err, block.Invalid) {
		t.Errorf("a host of a closed network: %v", err)
	}
}

// TestProcessesInHosts: a process in a host has that host's address only.
func TestProcessesInHosts(t *testing.T) {
	_, a, b := pair(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "cat", "/proc/net/fib_trie")
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := b.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), b.Addr().String()+"\n") || strings.Contains(out.String(), a.Addr().String()+"\n") {
		t.Errorf("b's addresses are\n%s", out.String())
	}
}
