package raftnode

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
)

// garbage is what strangers send.
func garbage(cluster block.ClusterID) map[string][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 70000)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	greeting := func(version uint32, id block.ClusterID) []byte {
		return append(binary.LittleEndian.AppendUint32([]byte(greetingMagic), version), id[:]...)
	}
	return map[string][]byte{
		"nothing":               nil,
		"zeroes":                make([]byte, 4096),
		"noise":                 noise,
		"HTTP/1":                []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"half a greeting":       greeting(1, cluster)[:15],
		"another cluster":       append(greeting(greetingVersion, block.ClusterID{7}), noise...),
		"another version":       append(greeting(greetingVersion+1, cluster), noise...),
		"noise after a welcome": append(greeting(greetingVersion, cluster), noise...),
		"raft calls of noise":   append(greeting(greetingVersion, cluster), bytes.Repeat([]byte{0, 0xdf, 0xff, 0xff, 0xff, 0xff}, 100)...),
		"huge raft arrays":      append(greeting(greetingVersion, cluster), 0, 0x81, 0xa7, 'E', 'n', 't', 'r', 'i', 'e', 's', 0xdd, 0xff, 0xff, 0xff, 0xff),
		"HTTP/2 then noise":     append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), noise...),
		"HTTP/2 huge frame":     append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 0xff, 0xff, 0xff, 1, 4, 0, 0, 0, 1),
	}
}

func throw(t *testing.T, addr string, what []byte) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(what); err != nil {
		return // it hung up in the middle: its right
	}
	c.(*net.TCPConn).CloseWrite()
	io.Copy(io.Discard, c) // until it hangs up, or the deadline
}

// Whatever strangers send on either port, and however many say nothing, the
// member goes on serving.
func TestGarbageOnBothPorts(t *testing.T) {
	n, c := lone(t, nil)
	for name, what := range garbage(n.Cluster()) {
		for _, addr := range []string{n.Addr(), n.RaftAddr()} {
			throw(t, addr, what)
			if err := n.Err(); err != nil {
				t.Fatalf("%s on %s: %v", name, addr, err)
			}
		}
	}
	var silent []net.Conn
	for range 2 * greetingsMax {
		s, err := net.Dial("tcp", n.RaftAddr())
		if err != nil {
			t.Fatal(err)
		}
		silent = append(silent, s)
	}
	create(t, c, "v", block.MiB)
	if n.lead.serving() == 0 {
		t.Fatal("the member does not lead any more")
	}
	for _, s := range silent {
		s.Close()
	}
}

// A caller who says nothing on the raft port keeps a place only for a time;
// more callers than places are turned away.
func TestGreetingsAreBounded(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := newStream(l, l.Addr().String(), block.ClusterID{1}, "m1")
	defer s.Close()
	for range greetingsMax {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
	eventually(t, "all places are taken", func() bool { return len(s.places) == greetingsMax })
	extra, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer extra.Close()
	extra.SetDeadline(time.Now().Add(patience))
	if _, err := extra.Read(make([]byte, 1)); err == nil {
		t.Fatal("a caller too many was answered")
	}
}

// The greeting is on the wire between versions: its bytes are pinned.
func TestGreetingIsPinned(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cluster := block.ClusterID{0xaa, 15: 0xbb}
	s := newStream(l, l.Addr().String(), cluster, "m1")
	defer s.Close()
	go func() {
		if c, err := s.Accept(); err == nil {
			c.Close()
		}
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write([]byte("SXRAFTRP\x01\x00\x00\x00\xaa\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xbb")); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if err != nil || string(answer) != "SXRAFTRP\x01\x00\x00\x00\x01\x02m1" {
		t.Fatalf("answered %q, %v", answer, err)
	}
}

func TestDialTellsWhoAnswers(t *testing.T) {
	streamOf := func(cluster byte, member metadata.MemberID) *stream {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := newStream(l, l.Addr().String(), block.ClusterID{cluster}, member)
		t.Cleanup(func() { s.Close() })
		return s
	}
	one, two, stranger := streamOf(1, "m1"), streamOf(1, "m2"), streamOf(2, "m3")
	go func() {
		if c, err := two.Accept(); err == nil {
			defer c.Close()
			io.Copy(io.Discard, c)
		}
	}()
	c, member, err := one.dial(two.Addr().String(), patience)
	if err != nil || member != "m2" {
		t.Fatalf("dialled %q, %v", member, err)
	}
	c.Close()
	if _, _, err := one.dial(stranger.Addr().String(), patience); !errors.Is(err, block.Mismatch) {
		t.Fatalf("a member of another cluster: %v", err)
	}
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	if _, _, err := one.dial(mute.Addr().String(), 50*time.Millisecond); !errors.Is(err, block.Unavailable) {
		t.Fatalf("somebody who says nothing: %v", err)
	}
}

func TestHealthAndReflectionAnswer(t *testing.T) {
	n, _ := lone(t, nil)
	conn, err := grpc.NewClient(n.Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	h, err := healthpb.NewHealthClient(conn).Check(within(t), &healthpb.HealthCheckRequest{})
	if err != nil || h.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Fatalf("health: %v, %v", h, err)
	}
	s, err := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(&reflectionpb.ServerReflectionRequest{
		MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: "sextant.metadata.v1.Metadata"},
	}); err != nil {
		t.Fatal(err)
	}
	r, err := s.Recv()
	if err != nil || len(r.GetFileDescriptorResponse().GetFileDescriptorProto()) == 0 {
		t.Fatalf("reflection: %v, %v", r, err)
	}
	s.CloseSend()
}
