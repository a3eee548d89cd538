package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sextantdisk/sextant/internal/block"
)

func startFake(t *testing.T, mode string) *Daemon {
	t.Helper()
	d := NewDaemon(fakeSpec("fake", mode, t.TempDir()))
	if err := d.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Kill)
	return d
}

// ask connects to a fake daemon and gives the pid that it answers with.
func ask(addr string, wait time.Duration) (int, error) {
	conn, err := net.DialTimeout("tcp", addr, wait)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(wait)); err != nil {
		return 0, err
	}
	if _, err := fmt.Fprintln(conn, "who?"); err != nil {
		return 0, err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(line))
}

const patience = 10 * time.Second

func mustAsk(t *testing.T, d *Daemon) int {
	t.Helper()
	pid, err := ask(d.Addr("listen"), patience)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func TestDaemonStartsAndStops(t *testing.T) {
	d := startFake(t, fakeHonest)
	if pid := mustAsk(t, d); pid != d.Pid() {
		t.Errorf("pid %d answers, the daemon's is %d", pid, d.Pid())
	}
	if err := d.Start(t.Context()); !errors.Is(err, block.Invalid) {
		t.Errorf("a second start gave %v", err)
	}
	if err := d.Stop(); err != nil {
		t.Fatal(err)
	}
	if d.Pid() != 0 || d.surprise() != "" {
		t.Errorf("after Stop: pid %d, surprise %q", d.Pid(), d.surprise())
	}
	text := Tail(d.spec.LogPath, 100)
	for _, want := range []string{"a line before", "a line of standard error", "ready listen=", "a line after"} {
		if !strings.Contains(text, want) {
			t.Errorf("the log lacks %q:\n%s", want, text)
		}
	}
}

func TestRestartListensWhereItDid(t *testing.T) {
	d := startFake(t, fakeHonest)
	addr, first := d.Addr("listen"), mustAsk(t, d)
	for range 3 {
		if err := d.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		if d.Addr("listen") != addr {
			t.Errorf("it moved from %s to %s", addr, d.Addr("listen"))
		}
		if pid := mustAsk(t, d); pid == first || pid != d.Pid() {
			t.Errorf("pid %d answers; the first was %d, the daemon's is %d", pid, first, d.Pid())
		}
	}
}

func TestKillIsNoSurprise(t *testing.T) {
	d := startFake(t, fakeHonest)
	d.Kill()
	d.Kill()
	if _, err := ask(d.Addr("listen"), patience); err == nil {
		t.Error("a killed daemon answers")
	}
	if s := d.surprise(); s != "" {
		t.Errorf("surprise %q", s)
	}
	if err := d.Pause(); !errors.Is(err, block.Invalid) {
		t.Errorf("pausing a dead daemon gave %v", err)
	}
}

func TestPauseAnswersNothing(t *testing.T) {
	d := startFake(t, fakeHonest)
	mustAsk(t, d)
	if err := d.Pause(); err != nil {
		t.Fatal(err)
	}
	var timeout net.Error
	if _, err := ask(d.Addr("listen"), 300*time.Millisecond); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("a paused daemon gave %v, want a timeout", err)
	}
	if err := d.Resume(); err != nil {
		t.Fatal(err)
	}
	mustAsk(t, d)
	if err := d.Pause(); err != nil {
		t.Fatal(err)
	}
	d.Kill() // reaches a paused process too
}

func TestStartTellsWhyNot(t *testing.T) {
	for mode, want := range map[string]string{
		fakeDies:    "ended before it said ready",
		fakeGarbled: "not key=value",
		fakeSilent:  "context deadline exceeded",
	} {
		t.Run(mode, func(t *testing.T) {
			ctx := t.Context()
			if mode == fakeSilent {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 200*time.Millisecond)
				defer cancel()
			}
			d := NewDaemon(fakeSpec("fake", mode, t.TempDir()))
			err := d.Start(ctx)
			if err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, block.Unavailable) {
				t.Fatalf("got %v, want %q", err, want)
			}
			if mode != fakeSilent && !strings.Contains(err.Error(), "a line before") {
				t.Errorf("the error does not show the log: %v", err)
			}
			if d.Pid() != 0 {
				t.Error("it still runs")
			}
		})
	}
	d := NewDaemon(Spec{Name: "none", Binary: "/nonexistent/program", LogPath: filepath.Join(t.TempDir(), "log"),
		Args: func(func(string) string) []string { return nil }})
	if err := d.Start(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing program gave %v", err)
	}
}

func TestSurpriseIsTold(t *testing.T) {
	d := startFake(t, fakeDiesSoon)
	if _, err := ask(d.Addr("listen"), patience); err == nil {
		t.Fatal("it answered")
	}
	<-d.Exited()
	if s := d.surprise(); !strings.Contains(s, "exit status 4") {
		t.Errorf("surprise %q", s)
	}
}

// TestNoDaemonOutlivesUs: the kernel kills the daemons of a test process that
// is killed itself.
func TestNoDaemonOutlivesUs(t *testing.T) {
	dir := t.TempDir()
	spec := fakeSpec("parent", fakeForking, dir)
	spec.Args = func(func(string) string) []string { return []string{dir} }
	parent := NewDaemon(spec)
	if err := parent.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "pid.tmp"))
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(string(text))
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(child, 0)
	if err != nil {
		t.Fatalf("the daemon is not there before: %v", err)
	}
	defer unix.Close(fd)
	parent.Kill()
	// A pidfd becomes readable when its process has ended.
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(patience.Milliseconds())); n != 1 {
		t.Fatalf("the daemon of a killed test process is still there (%v)", err)
	}
}

func TestParseReady(t *testing.T) {
	r, ok, err := ParseReady("ready listen=127.0.0.1:1 http=[::1]:2 x=a=b")
	if !ok || err != nil || r["listen"] != "127.0.0.1:1" || r["http"] != "[::1]:2" || r["x"] != "a=b" || len(r) != 3 {
		t.Errorf("got %v, %v, %v", r, ok, err)
	}
	for _, line := range []string{"", "  ", "readying a=b", "msg=ready", "time=1 ready"} {
		if _, ok, err := ParseReady(line); ok || err != nil {
			t.Errorf("%q: %v, %v", line, ok, err)
		}
	}
	for _, line := range []string{"ready now", "ready =x", "ready x=", "ready a=b a=c"} {
		if _, ok, err := ParseReady(line); !ok || !errors.Is(err, block.Invalid) {
			t.Errorf("%q: %v, %v", line, ok, err)
		}
	}
	if r, ok, err := ParseReady("ready"); !ok || err != nil || len(r) != 0 {
		t.Errorf("got %v, %v, %v", r, ok, err)
	}
}
