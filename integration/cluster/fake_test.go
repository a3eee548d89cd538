package cluster

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// fakeEnv makes the test binary play a daemon: it listens where it is told,
// says ready, and answers each line with its pid. The variable's value says
// how it misbehaves.
const fakeEnv = "SEXTANT_FAKE_DAEMON"

const (
	fakeHonest  = "honest"
	fakeDies    = "dies"    // ends before it is ready
	fakeSilent  = "silent"  // never says ready
	fakeGarbled = "garbled" // says something like ready

	fakePanics   = "panics"    // panics when it is asked to end
	fakeForking  = "parent"    // starts an honest daemon and waits for ever
	fakeDiesSoon = "dies-soon" // ends by itself at the first connection
)

func TestMain(m *testing.M) {
	if mode := os.Getenv(fakeEnv); mode != "" {
		fake(mode, os.Args[1:])
		return
	}
	goleak.VerifyTestMain(m)
}

func fake(mode string, args []string) {
	fmt.Println("a line before", strings.Join(args, " "))
	fmt.Fprintln(os.Stderr, "a line of standard error")
	switch mode {
	case fakeDies:
		os.Exit(3)
	case fakeSilent:
		select {}
	case fakeGarbled:
		fmt.Println("ready at once")
		select {}
	case fakeForking:
		fakeParent()
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	line := "ready"
	for _, key := range []string{"listen", "raft", "http"} {
		i := slices.Index(args, "--"+key)
		if i < 0 {
			continue
		}
		l, err := net.Listen("tcp", args[i+1])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		line += " " + key + "=" + l.Addr().String()
		go fakeServe(l, mode)
	}
	fmt.Println(line)
	fmt.Println("a line after")
	for range term {
		switch mode {
		case fakePanics:
			panic("asked to end")
		default:
			os.Exit(0)
		}
	}
}

func fakeServe(l net.Listener, mode string) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		if mode == fakeDiesSoon {
			os.Exit(4)
		}
		go func() {
			for scan := bufio.NewScanner(conn); scan.Scan(); {
				fmt.Fprintln(conn, os.Getpid())
			}
		}()
	}
}

// fakeParent starts a daemon of its own, tells its pid, and waits to be
// killed.
func fakeParent() {
	dir := os.Args[1]
	d := NewDaemon(fakeSpec("child", fakeHonest, dir))
	if err := d.Start(neverDone{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := os.WriteFile(filepath.Join(dir, "pid.tmp"), []byte(strconv.Itoa(d.Pid())), 0o600); err != nil {
		os.Exit(1)
	}
	fmt.Println("ready")
	select {}
}

// fakeEnviron is the environment of a fake daemon: its mode, and no waiting
// of the race detector for other threads at the end.
func fakeEnviron(mode string) []string {
	return []string{fakeEnv + "=" + mode, "GORACE=atexit_sleep_ms=0"}
}

// neverDone is a context without a test to end it.
type neverDone struct{}

func (neverDone) Deadline() (time.Time, bool) { return time.Time{}, false }
func (neverDone) Done() <-chan struct{}       { return nil }
func (neverDone) Err() error                  { return nil }
func (neverDone) Value(any) any               { return nil }

func fakeSpec(name, mode, dir string) Spec {
	return Spec{
		Name: name, Binary: os.Args[0], Env: fakeEnviron(mode),
		LogPath: filepath.Join(dir, name+".log"),
		Args:    func(at func(string) string) []string { return []string{"--listen", at("listen")} },
	}
}
