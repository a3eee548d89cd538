package pollset

import (
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sextantdisk/sextant/internal/block"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testWait bounds what a test waits for; it is never reached when all is well.
const testWait = 20 * time.Second

// pair is a connection: the end that is in a set, and the peer's.
type pair struct {
	ours   *net.TCPConn
	sock   *Socket
	theirs net.Conn
}

func newPair(t *testing.T) pair {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer ln.Close()
	conn, err := net.Dial("tcp", ln.Addr().String())
	must(t, err)
	theirs, err := ln.Accept()
	must(t, err)
	t.Cleanup(func() { conn.Close(); theirs.Close() })
	ours := conn.(*net.TCPConn)
	sock, err := NewSocket(ours)
	must(t, err)
	return pair{ours, sock, theirs}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newSet has a pair for each key, and ends a test that waits for ever.
func newSet(t *testing.T, keys ...Key) (*Set, []pair) {
	t.Helper()
	s, err := New()
	must(t, err)
	t.Cleanup(func() { s.Close() })
	late := time.AfterFunc(testWait, func() { s.Close() })
	t.Cleanup(func() { late.Stop() })
	var pairs []pair
	for _, k := range keys {
		p := newPair(t)
		must(t, s.Add(p.sock, k))
		pairs = append(pairs, p)
	}
	return s, pairs
}

func send(t *testing.T, p pair, what string) {
	t.Helper()
	_, err := p.theirs.Write([]byte(what))
	must(t, err)
}

// wait is Wait, in order.
func wait(t *testing.T, s *Set) []Key {
	t.Helper()
	keys, err := s.Wait(nil)
	must(t, err)
	slices.Sort(keys)
	return keys
}

func read(t *testing.T, p pair, n int) string {
	t.Helper()
	buf := make([]byte, n)
	n, err := p.sock.Read(buf)
	must(t, err)
	return string(buf[:n])
}

func TestWaitTellsWhoCanBeRead(t *testing.T) {
	const high = Key(1<<63 | 1<<31 | 7) // all bits of a key come back
	s, p := newSet(t, 1, high, 3)
	send(t, p[1], "second")
	if keys := wait(t, s); !slices.Equal(keys, []Key{high}) {
		t.Fatalf("told %v", keys)
	}
	if got := read(t, p[1], 100); got != "second" {
		t.Errorf("read %q", got)
	}
	send(t, p[0], "first")
	send(t, p[2], "third")
	var told []Key
	for len(told) < 2 { // they may come one after the other
		for _, k := range wait(t, s) {
			read(t, p[k-1], 100)
			told = append(told, k)
		}
	}
	if slices.Sort(told); !slices.Equal(told, []Key{1, 3}) {
		t.Errorf("told %v", told)
	}
}

func TestWhatIsLeftIsToldAgain(t *testing.T) {
	s, p := newSet(t, 5)
	send(t, p[0], "abcdef")
	got := ""
	for len(got) < 6 {
		if keys := wait(t, s); !slices.Equal(keys, []Key{5}) {
			t.Fatalf("told %v after %q", keys, got)
		}
		got += read(t, p[0], 2)
	}
	if _, err := p[0].sock.Read(make([]byte, 2)); !errors.Is(err, ErrEmpty) {
		t.Errorf("an empty socket: %v, want ErrEmpty", err)
	}
}

// TestEndIsTold: whichever side ends a connection, and however.
func TestEndIsTold(t *testing.T) {
	for name, end := range map[string]func(p pair) error{
		"by the peer":         func(p pair) error { return p.theirs.Close() },
		"by half, the peer's": func(p pair) error { return p.theirs.(*net.TCPConn).CloseWrite() },
		"by our own half":     func(p pair) error { return p.ours.CloseRead() },
	} {
		t.Run(name, func(t *testing.T) {
			s, p := newSet(t, 1, 2)
			must(t, end(p[1]))
			if keys := wait(t, s); !slices.Equal(keys, []Key{2}) {
				t.Fatalf("told %v", keys)
			}
			if n, err := p[1].sock.Read(make([]byte, 8)); n != 0 || !errors.Is(err, io.EOF) {
				t.Errorf("read %d bytes, %v, want io.EOF", n, err)
			}
		})
	}
}

func TestResetIsTold(t *testing.T) {
	s, p := newSet(t, 1)
	must(t, p[0].theirs.(*net.TCPConn).SetLinger(0))
	must(t, p[0].theirs.Close())
	if keys := wait(t, s); !slices.Equal(keys, []Key{1}) {
		t.Fatalf("told %v", keys)
	}
	if _, err := p[0].sock.Read(make([]byte, 8)); !errors.Is(err, block.Unavailable) {
		t.Errorf("a connection that was reset: %v, want kind unavailable", err)
	}
}

func TestWhoIsRemovedIsNotTold(t *testing.T) {
	s, p := newSet(t, 1, 2)
	send(t, p[0], "x")
	must(t, s.Remove(p[0].sock))
	send(t, p[1], "y")
	if keys := wait(t, s); !slices.Equal(keys, []Key{2}) {
		t.Errorf("told %v", keys)
	}
}

// TestAllAreTold: more than one Wait tells of, by and by.
func TestAllAreTold(t *testing.T) {
	var keys []Key
	for k := range Key(maxTold + 30) {
		keys = append(keys, k)
	}
	s, p := newSet(t, keys...)
	for _, x := range p {
		send(t, x, "z")
	}
	told := map[Key]bool{}
	for len(told) < len(keys) {
		for _, k := range wait(t, s) {
			if told[k] {
				t.Fatalf("%d was told again after it was read", k)
			}
			read(t, p[k], 1)
			told[k] = true
		}
	}
}

func TestCloseEndsWait(t *testing.T) {
	s, _ := newSet(t, 1)
	over := make(chan error)
	go func() {
		_, err := s.Wait(nil)
		over <- err
	}()
	must(t, s.Close())
	if err := <-over; !errors.Is(err, block.Closed) {
		t.Errorf("Wait ended with %v, want kind closed", err)
	}
	if err := s.Close(); !errors.Is(err, block.Closed) {
		t.Errorf("a second Close: %v, want kind closed", err)
	}
}

func TestWhatIsClosedIsNotAdded(t *testing.T) {
	s, _ := newSet(t)
	p := newPair(t)
	must(t, p.ours.Close())
	if err := s.Add(p.sock, 1); !errors.Is(err, block.Closed) {
		t.Errorf("a closed socket: %v, want kind closed", err)
	}
	if _, err := p.sock.Read(make([]byte, 1)); !errors.Is(err, block.Closed) {
		t.Errorf("read: %v, want kind closed", err)
	}
	must(t, s.Close())
	if err := s.Add(newPair(t).sock, 1); !errors.Is(err, block.Closed) {
		t.Errorf("a closed set: %v, want kind closed", err)
	}
}
