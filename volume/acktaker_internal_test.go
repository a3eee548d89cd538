package volume

import (
	"errors"
	"io"
	"net"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
	"github.com/sextantdisk/sextant/wire"
)

// stream is a record connection that a taker has, and its peer's end.
type stream struct {
	nc     *net.TCPConn
	theirs net.Conn
	over   chan error // what take returned
}

func newTaker(t *testing.T) *ackTaker {
	t.Helper()
	taker, err := newAckTaker()
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	go func() { defer close(over); taker.run() }()
	t.Cleanup(func() {
		if err := taker.set.Close(); err != nil {
			t.Error(err)
		}
		<-over
	})
	return taker
}

// connect has the taker take one; ahead is what the peer sent with its greeting.
func connect(t *testing.T, taker *ackTaker, ahead []byte) stream {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s := stream{conn.(*net.TCPConn), theirs, make(chan error, 1)}
	t.Cleanup(func() { s.nc.Close(); theirs.Close() })
	r := wire.NewReader(s.nc)
	if len(ahead) > 0 {
		s.send(t, ahead)
		if err := r.Fetch(); err != nil {
			t.Fatal(err)
		}
	}
	go func() {
		_, err := taker.take(&link{}, s.nc, r)
		s.over <- err
	}()
	return s
}

func (s *stream) send(t *testing.T, p []byte) {
	t.Helper()
	if _, err := s.theirs.Write(p); err != nil {
		t.Fatal(err)
	}
}

// ended is what take returned.
func (s *stream) ended(t *testing.T) error {
	t.Helper()
	select {
	case err := <-s.over:
		return err
	case <-clock.Real().After(patience):
		t.Fatal("the connection is still taken")
		return nil
	}
}

// strange is a frame that belongs on no record connection.
func strange() []byte {
	m := wire.Ping{}
	return m.Append(nil, 1)
}

// TestFaultOfOneRecordConnection: whatever comes on one, and however it ends, the
// others of its taker go on.
func TestFaultOfOneRecordConnection(t *testing.T) {
	taker := newTaker(t)
	steady := connect(t, taker, nil)
	refuse := wire.Refuse{Kind: block.Unavailable, Message: "for nobody"}
	for name, c := range map[string]struct {
		do   func(s *stream)
		want error
	}{
		"garbage":             {func(s *stream) { s.send(t, make([]byte, wire.HeaderSize)) }, block.Invalid},
		"a strange frame":     {func(s *stream) { s.send(t, strange()) }, block.Invalid},
		"the peer's end":      {func(s *stream) { s.theirs.Close() }, io.EOF},
		"an end in a frame":   {func(s *stream) { s.send(t, strange()[:5]); s.theirs.Close() }, io.ErrUnexpectedEOF},
		"hung up on this one": {func(s *stream) { hangUp(s.nc) }, io.EOF},
	} {
		s := connect(t, taker, nil)
		s.send(t, refuse.Append(nil, 7)) // for a group that has gone
		c.do(&s)
		if err := s.ended(t); !errors.Is(err, c.want) {
			t.Errorf("%s: ended with %v, want %v", name, err, c.want)
		}
		select {
		case err := <-steady.over:
			t.Fatalf("%s: another connection ended as well, with %v", name, err)
		default:
		}
	}
	steady.send(t, strange()) // it is still heard
	if err := steady.ended(t); !errors.Is(err, block.Invalid) {
		t.Errorf("the other one ended with %v, want kind invalid", err)
	}
	if n := len(taker.mu.streams); n != 0 {
		t.Errorf("%d connections are still kept", n)
	}
}

// TestWhatCameWithTheGreetingIsHeard: it is no longer in the socket, so nothing
// would ever tell of it.
func TestWhatCameWithTheGreetingIsHeard(t *testing.T) {
	s := connect(t, newTaker(t), strange())
	if err := s.ended(t); !errors.Is(err, block.Invalid) {
		t.Errorf("ended with %v, want kind invalid", err)
	}
}

// TestFrameInPieces: what has come of a frame is kept until the rest has.
func TestFrameInPieces(t *testing.T) {
	s := connect(t, newTaker(t), nil)
	refuse := wire.Refuse{Kind: block.Unavailable, Message: "for nobody"}
	frames := append(refuse.Append(nil, 7), strange()...)
	for i := range frames {
		select {
		case err := <-s.over:
			t.Fatalf("ended after %d bytes of %d, with %v", i, len(frames), err)
		default:
		}
		s.send(t, frames[i:i+1])
	}
	if err := s.ended(t); !errors.Is(err, block.Invalid) {
		t.Errorf("ended with %v, want kind invalid", err)
	}
}

// TestNobodyTakes: when a taker has ended, its connections end as well, and new
// ones are not taken.
func TestNobodyTakes(t *testing.T) {
	taker, err := newAckTaker()
	if err != nil {
		t.Fatal(err)
	}
	s := connect(t, taker, nil)
	eventually(t, "the connection to be taken", func() bool {
		taker.mu.Lock()
		defer taker.mu.Unlock()
		return len(taker.mu.streams) == 1
	})
	if err := taker.set.Close(); err != nil {
		t.Fatal(err)
	}
	taker.run()
	if !taker.ended() {
		t.Error("a taker whose set is closed counts as one that takes")
	}
	late := connect(t, taker, nil)
	for _, x := range []stream{s, late} {
		if err := x.ended(t); !errors.Is(err, block.Closed) {
			t.Errorf("ended with %v, want kind closed", err)
		}
	}
}
