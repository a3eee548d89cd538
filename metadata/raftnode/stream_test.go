package raftnode

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

// TestCallerThatStopsHalfWayIsCut: the rest of a request is waited for only so
// long; between requests there may be silence.
func TestCallerThatStopsHalfWayIsCut(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	const limit = 50 * time.Millisecond
	c := &taken{Conn: here, limit: limit}
	say := func(s string) {
		t.Helper()
		if _, err := there.Write([]byte(s)); err != nil {
			t.Error(err)
		}
	}
	buf := make([]byte, 10)
	for range 2 {
		go func() {
			<-time.After(2 * limit) // it may be silent
			say("request")
		}()
		if n, err := c.Read(buf); err != nil || string(buf[:n]) != "request" {
			t.Fatalf("after a silence: %q, %v", buf[:n], err)
		}
		go func() { _, _ = there.Read(make([]byte, 10)) }()
		if _, err := c.Write([]byte("answer")); err != nil {
			t.Fatal(err)
		}
	}
	go say("half")
	if n, err := c.Read(buf); err != nil || string(buf[:n]) != "half" {
		t.Fatalf("half a request: %q, %v", buf[:n], err)
	}
	if _, err := c.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the other half is waited for: %v", err)
	}
}
