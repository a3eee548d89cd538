package raftnode

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
)

// Each connection on the Raft port begins with a greeting, so that neither
// strangers' bytes nor members of another cluster get as far as Raft.
// Integers are little-endian.
//
//	caller:    0   8  magic "SXRAFTRP"
//	           8   4  version (greetingVersion)
//	           12  16 cluster id of the caller
//	answerer:  0   8  magic
//	           8   4  version
//	           12  1  verdict: 1 welcome, 2 another cluster, 3 another version
//	           13  1  n, 1 to 63
//	           14  n  member id of the answerer
//
// After a welcome hashicorp/raft's own protocol follows.
const (
	greetingMagic   = "SXRAFTRP"
	greetingVersion = 1
	greetingBytes   = 28
	answerHeadBytes = 14
	memberIDMax     = 63

	verdictWelcome = 1
	verdictCluster = 2
	verdictVersion = 3

	// greetingTimeout bounds the handshake, greetingsMax how many are under
	// way: a caller who says nothing costs one place for so long.
	greetingTimeout = 3 * time.Second
	greetingsMax    = 64
	// requestTimeout is how long a caller may stop in the middle of a request.
	requestTimeout = 30 * time.Second
)

// stream is Raft's network: TCP with the greeting. It implements
// raft.StreamLayer.
type stream struct {
	listener  net.Listener
	advertise net.Addr
	cluster   block.ClusterID
	member    metadata.MemberID

	welcome chan net.Conn
	places  chan struct{}
	done    chan struct{}
	once    sync.Once
	wg      sync.WaitGroup
	mu      struct {
		sync.Mutex
		closed bool
		taken  map[*taken]struct{} // connections that Raft has accepted
	}
}

// taken is a connection that Raft has accepted. Raft's transport forgets
// those when it closes, so the stream remembers them.
//
// Raft answers each request before it reads the next one, on one goroutine. So
// whoever has sent something and has got no answer has stopped half-way when
// Raft reads again: that is waited for only so long. Between requests a
// connection may be silent for ever; TCP tells when the other end is gone.
type taken struct {
	net.Conn
	stream  *stream
	limit   time.Duration
	within  bool // something came since the last answer
	limited bool // a deadline is set
}

// Read waits for the rest of a request no longer than limit.
func (t *taken) Read(p []byte) (int, error) {
	if t.within != t.limited || t.within {
		var until time.Time
		if t.within {
			until = time.Now().Add(t.limit)
		}
		if err := t.Conn.SetReadDeadline(until); err != nil {
			return 0, err
		}
		t.limited = t.within
	}
	n, err := t.Conn.Read(p)
	t.within = t.within || n > 0
	return n, err
}

// Write answers.
func (t *taken) Write(p []byte) (int, error) {
	t.within = false
	return t.Conn.Write(p)
}

// Close ends the connection and lets the stream forget it.
func (t *taken) Close() error {
	t.stream.mu.Lock()
	delete(t.stream.mu.taken, t)
	t.stream.mu.Unlock()
	return t.Conn.Close()
}

func newStream(l net.Listener, advertise string, cluster block.ClusterID, member metadata.MemberID) *stream {
	s := &stream{
		listener: l, advertise: address(advertise), cluster: cluster, member: member,
		welcome: make(chan net.Conn), places: make(chan struct{}, greetingsMax), done: make(chan struct{}),
	}
	s.mu.taken = make(map[*taken]struct{})
	s.wg.Go(s.accept)
	return s
}

// address is a HOST:PORT that need not be resolved yet.
type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }

// Addr is what other members dial.
func (s *stream) Addr() net.Addr { return s.advertise }

// Accept gives the next connection that was welcomed.
func (s *stream) Accept() (net.Conn, error) {
	select {
	case c := <-s.welcome:
		return s.take(c)
	case <-s.done:
		return nil, net.ErrClosed
	}
}

func (s *stream) take(c net.Conn) (net.Conn, error) {
	t := &taken{Conn: c, stream: s, limit: requestTimeout}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		c.Close()
		return nil, net.ErrClosed
	}
	s.mu.taken[t] = struct{}{}
	return t, nil
}

// Close stops listening and ends the connections that were accepted, not
// those that were dialled.
func (s *stream) Close() error {
	s.once.Do(func() {
		close(s.done)
		s.listener.Close() // its error would only say that it was closed
		s.mu.Lock()
		defer s.mu.Unlock()
		s.mu.closed = true
		for t := range s.mu.taken {
			t.Conn.Close()
		}
	})
	s.wg.Wait()
	return nil
}

// accept lives until Close. Errors of a single connection, or of a process
// out of descriptors, pass.
func (s *stream) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			select {
			case <-s.done:
				return
			case <-time.After(10 * time.Millisecond):
				continue
			}
		}
		select {
		case s.places <- struct{}{}:
			s.wg.Go(func() { s.greet(c) })
		default:
			c.Close()
		}
	}
}

// greet lives until the handshake has ended and Raft has taken the
// connection, or until Close.
func (s *stream) greet(c net.Conn) {
	defer func() { <-s.places }()
	stop := s.closeOnDone(c)
	err := s.answer(c)
	if !stop() || err != nil {
		c.Close()
		return
	}
	select {
	case s.welcome <- c:
	case <-s.done:
		c.Close()
	}
}

// closeOnDone ends c when the stream closes, so that Close need not wait for
// a caller who says nothing. The function given ends the watch; it is false
// if c was closed.
func (s *stream) closeOnDone(c net.Conn) (stop func() bool) {
	ended, watched := make(chan struct{}), make(chan bool, 1)
	s.wg.Go(func() {
		select {
		case <-s.done:
			c.Close()
			watched <- false
		case <-ended:
			watched <- true
		}
	})
	return func() bool { close(ended); return <-watched }
}

func (s *stream) answer(c net.Conn) error {
	if err := c.SetDeadline(time.Now().Add(greetingTimeout)); err != nil {
		return err
	}
	var g [greetingBytes]byte
	if _, err := io.ReadFull(c, g[:]); err != nil {
		return err
	}
	if string(g[:8]) != greetingMagic {
		return block.Errorf(block.Mismatch, "raft port: %v is no metadata member", c.RemoteAddr())
	}
	verdict := byte(verdictWelcome)
	switch {
	case binary.LittleEndian.Uint32(g[8:]) != greetingVersion:
		verdict = verdictVersion
	case block.ClusterID(g[12:]) != s.cluster:
		verdict = verdictCluster
	}
	a := binary.LittleEndian.AppendUint32([]byte(greetingMagic), greetingVersion)
	a = append(a, verdict, byte(len(s.member)))
	if _, err := c.Write(append(a, s.member...)); err != nil {
		return err
	}
	if verdict != verdictWelcome {
		return block.Errorf(block.Mismatch, "raft port: %v is of another cluster or version", c.RemoteAddr())
	}
	return c.SetDeadline(time.Time{})
}

// Dial connects to another member.
func (s *stream) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	c, _, err := s.dial(string(to), timeout)
	return c, err
}

// dial connects and tells who answered. Error kinds: Unavailable; Mismatch:
// something else, or a member of another cluster, is there (trap T27);
// Version.
func (s *stream) dial(to string, timeout time.Duration) (net.Conn, metadata.MemberID, error) {
	c, err := net.DialTimeout("tcp", to, timeout)
	if err != nil {
		return nil, "", block.Wrap(block.Unavailable, err, "raft address %s", to)
	}
	member, err := s.introduce(c, min(timeout, greetingTimeout))
	if err != nil {
		c.Close()
		return nil, "", block.Wrap(block.KindOf(err), err, "raft address %s", to)
	}
	return c, member, nil
}

func (s *stream) introduce(c net.Conn, timeout time.Duration) (metadata.MemberID, error) {
	if err := c.SetDeadline(time.Now().Add(timeout)); err != nil {
		return "", err
	}
	g := binary.LittleEndian.AppendUint32([]byte(greetingMagic), greetingVersion)
	if _, err := c.Write(append(g, s.cluster[:]...)); err != nil {
		return "", block.Wrap(block.Unavailable, err, "greeting")
	}
	var head [answerHeadBytes]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return "", block.Wrap(block.Unavailable, err, "no answer to the greeting")
	}
	n := head[13]
	if string(head[:8]) != greetingMagic || n == 0 || n > memberIDMax {
		return "", block.Errorf(block.Mismatch, "no metadata member answers there")
	}
	id := make([]byte, n)
	if _, err := io.ReadFull(c, id); err != nil {
		return "", block.Wrap(block.Unavailable, err, "half an answer to the greeting")
	}
	switch head[12] {
	case verdictWelcome:
		return metadata.MemberID(id), c.SetDeadline(time.Time{})
	case verdictVersion:
		return "", block.Errorf(block.Version, "member %q speaks version %d of the raft port, this program %d", id, binary.LittleEndian.Uint32(head[8:]), greetingVersion)
	}
	return "", block.Errorf(block.Mismatch, "member %q belongs to another cluster", id)
}
