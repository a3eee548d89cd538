package nbd_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/nbd"
	"github.com/sextantdisk/sextant/nbd/nbdtest"
)

// holding makes a backend keep all requests until the test takes them.
func holding(held chan *nbd.Request) func(*nbd.Config, *nbdtest.Backend) {
	return func(_ *nbd.Config, b *nbdtest.Backend) {
		b.Hook = func(r *nbd.Request) bool { held <- r; return true }
	}
}

// DISC has no reply; what is in flight is finished and answered, nothing
// after it is read, and the device is closed last.
func TestN39DisconnectFinishesWhatIsInFlight(t *testing.T) {
	held := make(chan *nbd.Request, 10)
	s, b := serve(t, holding(held))
	c := session(t, s, "disk")
	c.request(0, write, 1, 0, 4096, pattern(1, 4096))
	c.request(0, write, 2, 4096, 4096, pattern(2, 4096))
	first, second := <-held, <-held
	c.request(0, disc, 3, 0, 0, nil)
	c.request(0, write, 4, 8192, 4096, pattern(3, 4096))
	for _, r := range []*nbd.Request{second, first} {
		if b.Closed.Load() != 0 {
			t.Fatal("the device was closed with a request in flight")
		}
		b.Disk("disk").Do(r)
		r.Complete(nil)
	}
	c.wantSimple(2, nbd.OK)
	c.wantSimple(1, nbd.OK)
	c.wantEnd()
	until(t, "the device is closed", func() bool { return b.Closed.Load() == 1 })
	if len(held) != 0 {
		t.Error("a request after NBD_CMD_DISC reached the device")
	}
}

// A client that vanishes: accepted writes finish, a half write has no effect.
func TestN39ClientVanishes(t *testing.T) {
	held := make(chan *nbd.Request, 10)
	s, b := serve(t, holding(held))
	c := session(t, s, "disk")
	c.request(0, write, 1, 0, 4096, pattern(1, 4096))
	r := <-held
	c.request(0, write, 2, 4096, 4096, pattern(2, 1000)) // and no more
	c.Conn.(*net.TCPConn).SetLinger(0)                   // reset, not an orderly end
	c.Close()
	if b.Closed.Load() != 0 {
		t.Fatal("the device was closed with a request in flight")
	}
	b.Disk("disk").Do(r)
	r.Complete(nil)
	until(t, "the device is closed", func() bool { return b.Closed.Load() == 1 })
	got := make([]byte, 8192)
	b.Disk("disk").Read(0, got)
	if !bytes.Equal(got, append(pattern(1, 4096), make([]byte, 4096)...)) {
		t.Error("the accepted write is not there, or the half one is")
	}
	if len(held) != 0 {
		t.Error("half a write reached the device")
	}
	until(t, "all memory is back", func() bool { return s.Server.Stats().InFlight == 0 })
}

// Shutdown finishes and answers what is in flight, and answers nothing else.
func TestN40Shutdown(t *testing.T) {
	held := make(chan *nbd.Request, 10)
	s, b := serve(t, holding(held))
	c := session(t, s, "disk")
	idle := session(t, s, "disk")
	c.request(0, read, 7, 0, 4096, nil)
	r := <-held
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), testWait)
		defer cancel()
		done <- s.Server.Shutdown(ctx)
	}()
	idle.wantEnd()
	until(t, "the other connection is told too", s.Server.ReadsNoMoreForTesting)
	c.request(0, write, 8, 0, 4096, pattern(1, 4096)) // too late: it is not answered
	select {
	case err := <-done:
		t.Fatalf("Shutdown has ended with a request in flight: %v", err)
	default:
	}
	b.Disk("disk").Do(r)
	r.Complete(nil)
	c.wantSimple(7, nbd.OK)
	c.take(4096)
	c.wantEnd()
	c.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if b.Closed.Load() != 2 || len(held) != 0 {
		t.Errorf("%d devices closed, %d late requests, want 2 and 0", b.Closed.Load(), len(held))
	}
	if _, err := net.Dial("tcp", s.Addr); err == nil {
		t.Error("the server still listens")
	}
}

// Shutdown gives up when its context ends; Close waits for the device.
func TestN40ShutdownEndsWithItsContext(t *testing.T) {
	held := make(chan *nbd.Request, 10)
	s, b := serve(t, holding(held))
	c := session(t, s, "disk")
	c.request(0, flush, 7, 0, 0, nil)
	r := <-held
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if err := s.Server.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown: %v, want that its time is over", err)
	}
	c.wantEnd()
	if b.Closed.Load() != 0 {
		t.Error("the device was closed with a request in flight")
	}
	r.Complete(nil)
	s.Server.Close()
	if b.Closed.Load() != 1 {
		t.Error("Close has not waited for the device")
	}
}

// Trap T32: a gateway that has lost its volume says neither yes nor no.
func TestT32LostVolumeEndsWithoutReply(t *testing.T) {
	for _, kind := range []block.Kind{block.Fenced, block.Held, block.Closed} {
		for _, cmd := range []uint16{read, write, flush} {
			held := make(chan *nbd.Request, 10)
			s, b := serve(t, holding(held))
			c := session(t, s, "disk", withStructured)
			n, payload := uint32(4096), []byte(nil)
			switch cmd {
			case write:
				payload = pattern(1, 4096)
			case flush:
				n = 0
			}
			c.request(0, cmd, 1, 0, n, payload)
			c.request(0, cmd, 2, 0, n, payload)
			first, second := <-held, <-held
			first.Complete(block.Errorf(kind, "epoch 8 holds the volume"))
			second.Complete(nil) // too late to be told
			c.wantEnd()
			until(t, "the device is closed", func() bool { return b.Closed.Load() == 1 })
		}
	}
}

// CompleteLater queues, Flush of the connection sends.
func TestCompleteLaterWaitsForFlush(t *testing.T) {
	held := make(chan *nbd.Request, 10)
	s, _ := serve(t, holding(held))
	one, two := session(t, s, "disk"), session(t, s, "disk")
	var reqs []*nbd.Request
	var conns []nbd.Flusher
	for i, c := range []*client{one, one, two} {
		c.request(0, trim, uint64(i), 0, 4096, nil)
		r := <-held
		reqs, conns = append(reqs, r), append(conns, r.Conn())
	}
	<-time.After(20 * time.Millisecond) // the readers kick, flush and wait again
	for _, r := range reqs {
		r.CompleteLater(nil)
	}
	if conns[0] != conns[1] || conns[0] == conns[2] {
		t.Error("Conn does not tell connections apart")
	}
	one.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if n, err := one.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read %d bytes, %v, before the flush", n, err)
	}
	one.SetReadDeadline(time.Now().Add(testWait))
	conns[0].Flush()
	one.wantSimple(0, nbd.OK)
	one.wantSimple(1, nbd.OK)
	conns[2].Flush()
	two.wantSimple(2, nbd.OK)
	two.Close()
	until(t, "the connection has ended", func() bool { return s.Server.Stats().Conns == 1 })
	conns[2].Flush() // may come late
}

// A request without a connection, as tests of devices use it.
func TestNewRequest(t *testing.T) {
	var got []error
	r := nbd.NewRequest(nbd.OpTrim, 1, 2, nil, func(_ *nbd.Request, err error) { got = append(got, err) })
	r.Conn().Flush()
	r.Complete(nil)
	nbd.NewRequest(nbd.OpTrim, 1, 2, nil, func(_ *nbd.Request, err error) { got = append(got, err) }).CompleteLater(block.NoSpace)
	if len(got) != 2 || got[0] != nil || got[1] != block.NoSpace {
		t.Errorf("completions %v", got)
	}
}

// counters is a Metrics that counts.
type counters struct {
	guarded[map[string]int]
}

func (c *counters) add(what string) {
	c.update(func(p *map[string]int) {
		if *p == nil {
			*p = make(map[string]int)
		}
		(*p)[what]++
	})
}

func (c *counters) ConnOpened(export string) { c.add("opened " + export) }
func (c *counters) ConnClosed(export string) { c.add("closed " + export) }
func (c *counters) HandshakeFailed()         { c.add("failed") }
func (c *counters) RequestDone(op nbd.Op, n block.ByteCount, took time.Duration, e nbd.Errno, severed bool) {
	if took < 0 || took > testWait {
		c.add("odd time")
	}
	what := op.String() + " " + n.String() + " " + e.String()
	if severed {
		what += " severed"
	}
	c.add(what)
}

func TestMetrics(t *testing.T) {
	m := &counters{}
	s, _ := serve(t, func(c *nbd.Config, b *nbdtest.Backend) {
		c.Metrics = m
		b.Hook = func(r *nbd.Request) bool {
			if r.Op == nbd.OpCache {
				r.Complete(block.Fenced)
				return true
			}
			return false
		}
	})
	c := session(t, s, "disk")
	c.do(0, write, 0, 4096, pattern(1, 4096), nbd.OK)
	c.read(0, 4096)
	c.read(0, 4096)
	c.do(0, 99, 0, 0, nil, nbd.EINVAL)
	c.request(0, cache, 0, 0, 1, nil)
	c.wantEnd()
	dial(t, s).Close()
	aborted := hello(t, s)
	aborted.option(abort, nil)
	aborted.wantReply(abort, ack)
	want := map[string]int{
		"opened disk": 1, "closed disk": 1, "failed": 1, "write 4KiB OK": 1, "read 4KiB OK": 2,
		"other 0 EINVAL": 1, "cache 1 EIO severed": 1,
	}
	until(t, "all is counted", func() bool {
		ok := true
		m.update(func(p *map[string]int) {
			for k, n := range want {
				ok = ok && (*p)[k] == n
			}
			ok = ok && len(*p) == len(want)
		})
		return ok
	})
}

func TestConfigIsChecked(t *testing.T) {
	b := nbdtest.NewBackend()
	for _, cfg := range []nbd.Config{
		{}, {Backend: b, Conns: -1}, {Backend: b, ConnBytes: nbd.MaxPayload - 1},
		{Backend: b, ConnBytes: 100 * block.MiB, ServerBytes: 199 * block.MiB}, {Backend: b, HandshakeTimeout: -1},
	} {
		if _, err := nbd.NewServer(cfg); !errors.Is(err, block.Invalid) {
			t.Errorf("%+v: %v, want kind Invalid", cfg, err)
		}
	}
}

// An export that breaks the protocol's rules for block sizes is not served.
func TestN19BadExports(t *testing.T) {
	for _, bad := range []nbd.Export{
		{Size: 4096, MinBlock: 3}, {Size: 1 << 20, MinBlock: 128 << 10}, {Size: 1000, MinBlock: 512},
		{Size: 4096, PreferredBlock: 256}, {Size: 4096, PreferredBlock: 5000}, {Size: 8192, MinBlock: 4096, PreferredBlock: 1024},
		{Size: 4096, PreferredBlock: 64 << 20},
	} {
		bad.Name = "bad"
		b := nbdtest.NewBackend(bad)
		s := nbdtest.Serve(t, nbd.Config{Backend: b})
		c := hello(t, s)
		c.option(list, nil)
		c.wantReply(list, ack)
		for _, opt := range []uint32{info, goOpt} {
			c.option(opt, goData("bad"))
			c.wantReply(opt, errInvalid)
		}
		if b.Opened.Load() != b.Closed.Load() {
			t.Error("a device was left open")
		}
	}
}

// Two servers of one test binary: the child takes its socket from systemd's
// variables.
func TestSocketActivation(t *testing.T) {
	if os.Getenv("NBD_TEST_ACTIVATED") != "" {
		activatedChild(t)
		return
	}
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" -test.run='^TestSocketActivation$'`, os.Args[0])
	cmd.Env = append(os.Environ(), "NBD_TEST_ACTIVATED=1", "LISTEN_FDS=1", "LISTEN_FDNAMES=nbd")
	cmd.ExtraFiles = []*os.File{f}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := cmd.Wait(); err != nil {
			t.Errorf("child: %v\n%s", err, out.String())
		}
	})
	defer wg.Wait()
	nc, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(testWait))
	c := &client{t, nc}
	c.take(18)
	c.put(u32(3))
	c.option(abort, nil)
	c.wantReply(abort, ack)
}

func activatedChild(t *testing.T) {
	listeners, err := nbd.ActivationListeners()
	if err != nil || len(listeners) != 1 {
		t.Fatalf("%d listeners, %v, want 1", len(listeners), err)
	}
	defer listeners[0].Close()
	if os.Getenv("LISTEN_FDS") != "" || os.Getenv("LISTEN_PID") != "" {
		t.Error("the variables are still there")
	}
	again, err := nbd.ActivationListeners()
	if len(again) != 0 || err != nil {
		t.Errorf("the second call gives %d listeners, %v", len(again), err)
	}
	s, err := nbd.NewServer(nbd.Config{Backend: nbdtest.NewBackend()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	nc, err := listeners[0].Accept()
	if err != nil {
		t.Fatal(err)
	}
	s.ServeConn(nc)
}
