package nbd_test

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/nbd"
	"github.com/sextantdisk/sextant/nbd/nbdtest"
)

// script is a connection whose client has said all that it will say, and
// whose replies are kept up to a bound.
type script struct {
	in *bytes.Reader
	mu struct {
		sync.Mutex
		out    []byte
		closed bool
	}
}

const scriptOutMax = 64 << 20

func (s *script) Read(p []byte) (int, error) { return s.in.Read(p) }

func (s *script) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed || len(s.mu.out)+len(p) > scriptOutMax {
		return 0, net.ErrClosed
	}
	s.mu.out = append(s.mu.out, p...)
	return len(p), nil
}

func (s *script) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.closed = true
	return nil
}

func (s *script) output() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.out
}

type nowhere struct{}

func (nowhere) Network() string { return "script" }
func (nowhere) String() string  { return "script" }

func (s *script) LocalAddr() net.Addr              { return nowhere{} }
func (s *script) RemoteAddr() net.Addr             { return nowhere{} }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// play lets a server hear what a client says and returns what it answers. It
// fails when a device stays open or memory stays lent.
func play(t *testing.T, input []byte) []byte {
	b := nbdtest.NewBackend(nbd.Export{Name: "d", Size: 1 * block.MiB}, nbd.Export{Name: "ro", Size: 4096, ReadOnly: true})
	s, err := nbd.NewServer(nbd.Config{Backend: b, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	c := &script{in: bytes.NewReader(input)}
	hung := time.AfterFunc(testWait/3, func() { panic("the server hangs") })
	s.ServeConn(c)
	hung.Stop()
	if b.Opened.Load() != b.Closed.Load() {
		t.Errorf("%d devices opened, %d closed", b.Opened.Load(), b.Closed.Load())
	}
	if n := s.Stats().InFlight; n != 0 {
		t.Errorf("%d bytes are still lent", n)
	}
	return c.output()
}

// Whatever comes as options: no panic, no hang, and the answers are well
// formed up to the point where transmission begins.
func FuzzHandshake(f *testing.F) {
	opt := func(n uint32, data []byte) []byte {
		return cat([]byte("IHAVEOPT"), u32(n), u32(uint32(len(data))), data)
	}
	for _, seed := range [][]byte{
		nil, u32(3), cat(u32(3), opt(list, nil), opt(abort, nil)), cat(u32(0), opt(exportName, []byte("d"))),
		cat(u32(3), opt(startTLS, nil), opt(structured, nil), opt(listMeta, metaData("d")), opt(setMeta, metaData("d", "base:allocation")), opt(goOpt, goData("d", 3))),
		cat(u32(1), opt(info, goData("", 0, 1, 2, 3, 4)), opt(info, goData("none")), opt(99, make([]byte, 70_000))),
		cat(u32(3), []byte("IHAVEOPT"), u32(goOpt), u32(1<<32-1)),
		cat(u32(3), opt(structured, nil), opt(setMeta, cat(u32(1), []byte("d"), u32(1<<31), u32(1<<31)))),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		out := play(t, input)
		if !bytes.HasPrefix(out, []byte("NBDMAGICIHAVEOPT\x00\x03")) {
			t.Fatalf("output begins with %q", out[:min(len(out), 18)])
		}
		out = out[18:]
		for len(out) >= 20 && be.Uint64(out) == 0x3e889045565a9 {
			n := int(be.Uint32(out[16:]))
			if n > 5000 || len(out) < 20+n {
				t.Fatalf("option reply of %d bytes, %d are there", n, len(out)-20)
			}
			out = out[20+n:]
		}
	})
}

// Whatever comes as requests: no panic, no hang, and the replies are well
// formed to the last byte.
func FuzzTransmission(f *testing.F) {
	req := func(flags, cmd uint16, off uint64, n uint32, payload []byte) []byte {
		return cat(u32(0x25609513), u16(flags), u16(cmd), u64(0xC0FFEE), u64(off), u32(n), payload)
	}
	all := cat(
		req(0, write, 100, 5000, pattern(1, 5000)), req(fua, read, 0, 8192, nil), req(df, read, 0, 1<<20, nil),
		req(0, blockStatus, 0, 1<<20, nil), req(reqOne, blockStatus, 4096, 1, nil), req(noHole|fastZero, writeZeroes, 0, 1<<20, nil),
		req(0, trim, 1, 70_000, nil), req(0, cache, 0, 1, nil), req(0, flush, 0, 0, nil), req(0, 77, 0, 0, nil),
		req(0, write, 1<<20, 512, pattern(1, 512)), req(0, read, 1<<64-1, 1<<32-1, nil), req(0, disc, 0, 0, nil),
	)
	for setup := range byte(4) {
		f.Add(setup, all)
		f.Add(setup, all[:len(all)-30])
		f.Add(setup, req(0, write, 0, 1<<32-1, nil))
		f.Add(setup, req(0, write, 0, 32<<20, []byte("short")))
		f.Add(setup, []byte("\x25\x60\x95\x13"))
	}
	f.Fuzz(func(t *testing.T, setup byte, input []byte) {
		export, opts := "d", []byte(nil)
		opt := func(n uint32, data []byte) {
			opts = cat(opts, []byte("IHAVEOPT"), u32(n), u32(uint32(len(data))), data)
		}
		if setup&1 != 0 {
			export = "ro"
		}
		if setup&2 != 0 {
			opt(structured, nil)
			opt(setMeta, metaData(export, "base:allocation"))
		}
		opt(goOpt, goData(export))
		out := play(t, cat(u32(3), opts, input))
		for len(out) >= 20 && !bytes.HasPrefix(out, u64(0x3e889045565a9)) { // the greeting
			out = out[18:]
		}
		for bytes.HasPrefix(out, u64(0x3e889045565a9)) {
			out = out[20+be.Uint32(out[16:]):]
		}
		checkReplies(t, requests(input), out)
	})
}

// asked is a request of a stream.
type asked struct {
	cmd uint16
	n   int
}

// requests lists what a stream asks for, up to NBD_CMD_DISC or to where it is
// no stream of requests any more.
func requests(p []byte) []asked {
	var all []asked
	for len(p) >= 28 && be.Uint32(p) == 0x25609513 {
		a := asked{cmd: be.Uint16(p[6:]), n: int(be.Uint32(p[24:]))}
		p = p[28:]
		if a.cmd == disc {
			break
		}
		if a.cmd == write {
			if a.n > len(p) {
				break
			}
			p = p[a.n:]
		}
		all = append(all, a)
	}
	return all
}

// checkReplies walks over replies. The memory device completes in order, so
// they come in the order of the requests, one each. Only where the output was
// cut at scriptOutMax may the last be torn.
func checkReplies(t *testing.T, reqs []asked, out []byte) {
	r := bytes.NewReader(out)
	for _, a := range reqs {
		if r.Len() == 0 && len(out) > scriptOutMax/2 {
			return
		}
		for done := false; !done; {
			var h [20]byte
			if _, err := io.ReadFull(r, h[:16]); err != nil {
				t.Fatalf("%d requests, and the reply to %+v is torn: %v", len(reqs), a, err)
			}
			n := 0
			switch be.Uint32(h[:]) {
			case 0x67446698:
				done = true
				if a.cmd == read && be.Uint32(h[4:]) == 0 {
					n = a.n
				}
			case 0x668e33ef:
				io.ReadFull(r, h[16:])
				n = int(be.Uint32(h[16:]))
				done = h[5] == 1
				if typ := be.Uint16(h[6:]); typ == 1 && n < 9 || typ == 2 && n != 12 || typ == 0 && n != 0 {
					t.Fatalf("chunk of type %d with %d bytes", typ, n)
				}
			default:
				t.Fatalf("reply to %+v begins with %x", a, h[:4])
			}
			if got, _ := io.CopyN(io.Discard, r, int64(n)); got != int64(n) {
				t.Fatalf("reply to %+v: %d bytes of %d are there", a, got, n)
			}
		}
	}
	if r.Len() != 0 {
		t.Fatalf("%d bytes more than %d requests have asked for", r.Len(), len(reqs))
	}
}
