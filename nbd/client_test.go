package nbd_test

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/nbd"
	"github.com/sextantdisk/sextant/nbd/nbdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testWait bounds what a test waits for; it is never reached when all is well.
const testWait = 30 * time.Second

// Numbers of the NBD spec, written down here once more so that a wrong
// constant of the server is seen.
const (
	exportName, abort, list, startTLS, info, goOpt = 1, 2, 3, 5, 6, 7
	structured, listMeta, setMeta                  = 8, 9, 10

	ack, server, infoReply, metaReply = 1, 2, 3, 4
	errUnsup, errPolicy, errInvalid   = 1<<31 + 1, 1<<31 + 2, 1<<31 + 3
	errUnknown, errShutdown           = 1<<31 + 6, 1<<31 + 7
	errTooBig                         = 1<<31 + 9

	read, write, disc, flush, trim, cache, writeZeroes, blockStatus = 0, 1, 2, 3, 4, 5, 6, 7

	fua, noHole, df, reqOne, fastZero = 1, 2, 4, 8, 16
)

var be = binary.BigEndian

// client speaks NBD by hand.
type client struct {
	t *testing.T
	net.Conn
}

// dial connects and reads the greeting.
func dial(t *testing.T, s *nbdtest.Running) *client {
	t.Helper()
	nc, err := net.Dial("tcp", s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(testWait))
	c := &client{t: t, Conn: nc}
	if got := string(c.take(18)); got != "NBDMAGICIHAVEOPT\x00\x03" {
		t.Fatalf("greeting %q", got)
	}
	return c
}

// hello is dial, then client flags fixed newstyle and no zeroes.
func hello(t *testing.T, s *nbdtest.Running) *client {
	t.Helper()
	c := dial(t, s)
	c.put(u32(3))
	return c
}

// session is hello, options, then GO of an export without information.
func session(t *testing.T, s *nbdtest.Running, export string, opts ...func(*client)) *client {
	t.Helper()
	c := hello(t, s)
	for _, o := range opts {
		o(c)
	}
	c.option(goOpt, goData(export))
	c.wantReply(goOpt, infoReply)
	c.wantReply(goOpt, ack)
	return c
}

func withStructured(c *client) {
	c.t.Helper()
	c.option(structured, nil)
	c.wantReply(structured, ack)
}

// withStatus selects base:allocation for an export.
func withStatus(export string) func(*client) {
	return func(c *client) {
		c.t.Helper()
		withStructured(c)
		c.option(setMeta, metaData(export, "base:allocation"))
		c.wantReply(setMeta, metaReply)
		c.wantReply(setMeta, ack)
	}
}

func u16(v uint16) []byte { return be.AppendUint16(nil, v) }
func u32(v uint32) []byte { return be.AppendUint32(nil, v) }
func u64(v uint64) []byte { return be.AppendUint64(nil, v) }

func cat(parts ...[]byte) []byte {
	var p []byte
	for _, q := range parts {
		p = append(p, q...)
	}
	return p
}

func goData(export string, infos ...uint16) []byte {
	p := cat(u32(uint32(len(export))), []byte(export), u16(uint16(len(infos))))
	for _, i := range infos {
		p = append(p, u16(i)...)
	}
	return p
}

func metaData(export string, queries ...string) []byte {
	p := cat(u32(uint32(len(export))), []byte(export), u32(uint32(len(queries))))
	for _, q := range queries {
		p = cat(p, u32(uint32(len(q))), []byte(q))
	}
	return p
}

func (c *client) put(parts ...[]byte) {
	c.t.Helper()
	if _, err := c.Write(cat(parts...)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) take(n int) []byte {
	c.t.Helper()
	p := make([]byte, n)
	if _, err := io.ReadFull(c, p); err != nil {
		c.t.Fatalf("read %d bytes: %v", n, err)
	}
	return p
}

// endWait bounds how long wantEnd waits: less than the default timeout of
// handshakes, so that it is not that which ends the connection.
const endWait = 5 * time.Second

// wantEnd expects the server to end the connection without another byte.
func (c *client) wantEnd() {
	c.t.Helper()
	c.SetReadDeadline(time.Now().Add(endWait))
	var p [1]byte
	n, err := c.Read(p[:])
	if n != 0 || err == nil {
		c.t.Fatalf("the server sent %#x, want the end of the connection", p[:n])
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatal("the connection is still open, want its end")
	}
}

func (c *client) option(opt uint32, data []byte) {
	c.t.Helper()
	c.put([]byte("IHAVEOPT"), u32(opt), u32(uint32(len(data))), data)
}

// reply reads one option reply to opt.
func (c *client) reply(opt uint32) (typ uint32, data []byte) {
	c.t.Helper()
	h := c.take(20)
	if magic := be.Uint64(h); magic != 0x3e889045565a9 {
		c.t.Fatalf("reply magic %#x", magic)
	}
	if got := be.Uint32(h[8:]); got != opt {
		c.t.Fatalf("reply to option %d, want %d", got, opt)
	}
	return be.Uint32(h[12:]), c.take(int(be.Uint32(h[16:])))
}

func (c *client) wantReply(opt, typ uint32) []byte {
	c.t.Helper()
	got, data := c.reply(opt)
	if got != typ {
		c.t.Fatalf("option %d: reply type %#x (%q), want %#x", opt, got, data, typ)
	}
	return data
}

// request sends a request header and payload.
func (c *client) request(flags, cmd uint16, cookie, off uint64, n uint32, payload []byte) {
	c.t.Helper()
	c.put(u32(0x25609513), u16(flags), u16(cmd), u64(cookie), u64(off), u32(n), payload)
}

// simple reads a simple reply without data.
func (c *client) simple() (cookie uint64, e nbd.Errno) {
	c.t.Helper()
	h := c.take(16)
	if magic := be.Uint32(h); magic != 0x67446698 {
		c.t.Fatalf("simple reply magic %#x", magic)
	}
	return be.Uint64(h[8:]), nbd.Errno(be.Uint32(h[4:]))
}

func (c *client) wantSimple(cookie uint64, e nbd.Errno) {
	c.t.Helper()
	gotCookie, got := c.simple()
	if gotCookie != cookie || got != e {
		c.t.Fatalf("reply to %d with %v, want to %d with %v", gotCookie, got, cookie, e)
	}
}

// do sends a request and expects a simple reply.
func (c *client) do(flags, cmd uint16, off uint64, n uint32, payload []byte, want nbd.Errno) {
	c.t.Helper()
	cookie := off*31 + uint64(cmd) + 1<<63
	c.request(flags, cmd, cookie, off, n, payload)
	c.wantSimple(cookie, want)
}

// read does a read with simple replies.
func (c *client) read(off uint64, n uint32) []byte {
	c.t.Helper()
	c.do(0, read, off, n, nil, nbd.OK)
	return c.take(int(n))
}

// chunk is one structured reply chunk.
type chunk struct {
	done bool
	typ  uint16
	data []byte
}

func (c *client) chunk(cookie uint64) chunk {
	c.t.Helper()
	h := c.take(20)
	if magic := be.Uint32(h); magic != 0x668e33ef {
		c.t.Fatalf("structured reply magic %#x", magic)
	}
	if got := be.Uint64(h[8:]); got != cookie {
		c.t.Fatalf("chunk for %d, want %d", got, cookie)
	}
	flags := be.Uint16(h[4:])
	if flags > 1 {
		c.t.Fatalf("chunk flags %#x", flags)
	}
	return chunk{done: flags == 1, typ: be.Uint16(h[6:]), data: c.take(int(be.Uint32(h[16:])))}
}

// wantErrorChunk expects an error chunk that ends the reply (rule 30).
func (c *client) wantErrorChunk(cookie uint64, want nbd.Errno) {
	c.t.Helper()
	k := c.chunk(cookie)
	if k.typ != 1<<15+1 || !k.done || len(k.data) < 6 {
		c.t.Fatalf("chunk type %#x, done %v, %d bytes, want a last error chunk", k.typ, k.done, len(k.data))
	}
	if e := nbd.Errno(be.Uint32(k.data)); e != want {
		c.t.Fatalf("error %v, want %v", e, want)
	}
	if n := int(be.Uint16(k.data[4:])); n != len(k.data)-6 || n > 4096 {
		c.t.Fatalf("message of %d bytes in a chunk of %d", n, len(k.data))
	}
}

// alive proves that the stream is in step and the server answers.
func (c *client) alive() {
	c.t.Helper()
	c.do(0, flush, 0, 0, nil, nbd.OK)
}

const diskSize = 64 * block.MiB

// serve starts a server over a writable disk "disk" and a read-only "ro".
func serve(t *testing.T, change func(*nbd.Config, *nbdtest.Backend)) (*nbdtest.Running, *nbdtest.Backend) {
	t.Helper()
	b := nbdtest.NewBackend(
		nbd.Export{Name: "disk", Description: "a disk", Size: diskSize},
		nbd.Export{Name: "ro", Size: diskSize, ReadOnly: true},
		nbd.Export{Name: "coarse", Size: diskSize, MinBlock: 512},
		nbd.Export{Name: "huge", Size: 16 * block.GiB},
	)
	cfg := nbd.Config{Backend: b}
	if change != nil {
		change(&cfg, b)
	}
	return nbdtest.Serve(t, cfg), b
}

// pattern is n bytes that depend on seed.
func pattern(seed byte, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i/512) ^ byte(i*7) ^ seed | 1
	}
	return p
}

// until polls a counter of the server or its backend.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(testWait); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// guarded is a value that a test and its hooks share.
type guarded[T any] struct {
	mu struct {
		sync.Mutex
		v T
	}
}

func (g *guarded[T]) get() T {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mu.v
}

func (g *guarded[T]) update(fn func(*T)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	fn(&g.mu.v)
}

func (g *guarded[T]) set(v T) { g.update(func(p *T) { *p = v }) }
