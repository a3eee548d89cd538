package nbd_test

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/nbd"
	"github.com/sextantdisk/sextant/nbd/nbdtest"
)

func TestN1UnknownClientFlagsDrop(t *testing.T) {
	s, _ := serve(t, nil)
	for _, flags := range []uint32{4, 7, 1 << 31} {
		c := dial(t, s)
		c.put(u32(flags))
		c.wantEnd()
	}
}

func TestN2PaddingAfterExportName(t *testing.T) {
	s, _ := serve(t, nil)
	reply := cat(u64(uint64(diskSize)), u16(0x0d6d))
	for flags, padding := range map[uint32]int{0: 124, 1: 124, 2: 0, 3: 0} {
		c := dial(t, s)
		c.put(u32(flags))
		c.option(exportName, []byte("disk"))
		if got := c.take(10 + padding); !bytes.Equal(got, append(reply, make([]byte, padding)...)) {
			t.Errorf("client flags %d: export name reply %x", flags, got)
		}
		c.alive()
	}
	c := dial(t, s)
	c.put(u32(1)) // no NO_ZEROES, but GO never pads
	c.option(goOpt, goData("disk"))
	c.wantReply(goOpt, infoReply)
	c.wantReply(goOpt, ack)
	c.alive()
}

func TestN3ExportNameCannotFail(t *testing.T) {
	s, b := serve(t, nil)
	for _, name := range []string{"none", "a\x00b", "\xff\xfe", strings.Repeat("n", 5000), strings.Repeat("n", 70_000)} {
		c := hello(t, s)
		c.option(exportName, []byte(name))
		c.wantEnd()
	}
	// Without fixed newstyle there is no other option.
	c := dial(t, s)
	c.put(u32(0))
	c.option(list, nil)
	c.wantEnd()
	if n := b.Opened.Load(); n != 0 {
		t.Errorf("%d devices were opened", n)
	}
}

func TestN4UnknownOption(t *testing.T) {
	s, _ := serve(t, nil)
	c := hello(t, s)
	for _, opt := range []uint32{0, 4, 11, 12, 99, 1<<32 - 1} {
		c.option(opt, []byte("some data"))
		c.wantReply(opt, errUnsup)
	}
	c.option(goOpt, goData("disk"))
	c.wantReply(goOpt, infoReply)
}

func TestN5LongOptions(t *testing.T) {
	s, _ := serve(t, nil)
	c := hello(t, s)
	for _, opt := range []uint32{list, info, goOpt, setMeta, 99} {
		c.option(opt, make([]byte, 64<<10+1))
		c.wantReply(opt, errTooBig)
	}
	c.option(99, make([]byte, 1<<20))
	c.wantReply(99, errTooBig)
	c.option(99, make([]byte, 64<<10))
	c.wantReply(99, errUnsup)
	// Only the header: nobody waits for 4 GiB.
	c.put([]byte("IHAVEOPT"), u32(goOpt), u32(1<<32-1))
	c.wantEnd()

	c = hello(t, s)
	c.put([]byte("IHAVEOPT"), u32(list), u32(1<<20+1))
	c.wantEnd()

	c = hello(t, s)
	for range 256 {
		c.option(99, nil)
		c.wantReply(99, errUnsup)
	}
	c.wantEnd()

	c = hello(t, s)
	c.put([]byte("IHAVEOPS"), u32(list), u32(0))
	c.wantEnd()
}

func TestN6Strings(t *testing.T) {
	s, _ := serve(t, func(c *nbd.Config, _ *nbdtest.Backend) {
		c.Backend = nbdtest.NewBackend(
			nbd.Export{Name: strings.Repeat("n", 255), Description: strings.Repeat("ü", 2000), Size: 4096},
			nbd.Export{Name: strings.Repeat("m", 256), Size: 4096},
		)
	})
	c := hello(t, s)
	for _, opt := range []uint32{info, goOpt} {
		c.option(opt, goData(strings.Repeat("x", 4096)))
		c.wantReply(opt, errUnknown)
		for _, bad := range []string{strings.Repeat("x", 4097), "a\x00", "\xc3\x28"} {
			c.option(opt, goData(bad))
			c.wantReply(opt, errInvalid)
		}
	}
	c.option(list, nil)
	entry := c.wantReply(list, server)
	if n := be.Uint32(entry); n != 255 || len(entry) < 900 || len(entry) > 1024 || !bytes.HasSuffix(entry, []byte("ü")) {
		t.Errorf("entry of %d bytes with a name of %d ends in %q", len(entry), n, entry[len(entry)-4:])
	}
	c.wantReply(list, ack) // the name of 256 bytes is left out
}

func TestN7InfoRequests(t *testing.T) {
	s, _ := serve(t, nil)
	c := hello(t, s)
	long := goData("disk", 1, 2)
	for _, opt := range []uint32{info, goOpt} {
		for _, bad := range [][]byte{
			nil, u32(0), cat(u32(5), []byte("disk"), u16(0)), cat(u32(1<<32-1), []byte("disk"), u16(0)),
			long[:len(long)-1], append(long[:len(long):len(long)], 0), cat(u32(4), []byte("disk"), u16(65535)),
		} {
			c.option(opt, bad)
			c.wantReply(opt, errInvalid)
		}
	}
	c.option(info, goData("none", 3))
	c.wantReply(info, errUnknown)

	// "" is the default export; unknown items are ignored, others answered
	// once each.
	c.option(info, goData("", 77, 3, 3, 1, 2, 0, 65535))
	for _, want := range [][]byte{
		cat(u16(0), u64(uint64(diskSize)), u16(0x0d6d)),
		cat(u16(3), u32(1), u32(4096), u32(32<<20)),
		cat(u16(1), []byte("disk")),
		cat(u16(2), []byte("a disk")),
	} {
		if got := c.wantReply(info, infoReply); !bytes.Equal(got, want) {
			t.Errorf("item %x, want %x", got, want)
		}
	}
	c.wantReply(info, ack)
}

func TestN8InfoThenGoAreTheSame(t *testing.T) {
	s, _ := serve(t, nil)
	c := hello(t, s)
	var answers [2][]byte
	for i, opt := range []uint32{info, goOpt} {
		c.option(opt, goData("ro", 1, 2, 3))
		for typ := uint32(infoReply); typ != ack; {
			var data []byte
			typ, data = c.reply(opt)
			answers[i] = append(answers[i], data...)
		}
	}
	if len(answers[0]) == 0 || !bytes.Equal(answers[0], answers[1]) {
		t.Errorf("INFO %x, GO %x", answers[0], answers[1])
	}
}

func TestN9OptionsWithoutData(t *testing.T) {
	s, _ := serve(t, nil)
	c := hello(t, s)
	for _, opt := range []uint32{list, structured, startTLS} {
		c.option(opt, []byte("data"))
		c.wantReply(opt, errInvalid)
	}
	c.option(list, nil)
	for _, want := range []string{"\x00\x00\x00\x04diska disk", "\x00\x00\x00\x02ro", "\x00\x00\x00\x06coarse", "\x00\x00\x00\x04huge"} {
		if got := c.wantReply(list, server); string(got) != want {
			t.Errorf("entry %q, want %q", got, want)
		}
	}
	c.wantReply(list, ack)
}

func TestN10Abort(t *testing.T) {
	s, _ := serve(t, nil)
	c := hello(t, s)
	c.option(abort, []byte("ignored"))
	c.wantReply(abort, ack)
	c.wantEnd()

	c = hello(t, s)
	c.option(abort, nil)
	c.Close() // without reading the ACK
	until(t, "the connection has ended", func() bool { return s.Server.Stats().Conns == 0 })
}

// An option that comes while the server shuts down gets ERR_SHUTDOWN.
func TestN11ShutdownInHandshake(t *testing.T) {
	inList := make(chan struct{})
	s, _ := serve(t, func(_ *nbd.Config, b *nbdtest.Backend) {
		b.OnList = func(ctx context.Context) { close(inList); <-ctx.Done() }
	})
	c := hello(t, s)
	c.put([]byte("IHAVEOPT"), u32(list), u32(0), []byte("IHAVEOPT"), u32(goOpt), u32(10), goData("disk"))
	<-inList
	ctx, cancel := context.WithTimeout(context.Background(), testWait)
	defer cancel()
	if err := s.Server.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		c.wantReply(list, server)
	}
	c.wantReply(list, ack)
	c.wantReply(goOpt, errShutdown)
	c.wantEnd()
}

func TestN12NothingIsOpenedBeforeGo(t *testing.T) {
	s, b := serve(t, nil)
	nc, err := net.Dial("tcp", s.Addr) // a port scan
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
	c := hello(t, s)
	c.option(list, nil)
	for range 4 {
		c.wantReply(list, server)
	}
	c.wantReply(list, ack)
	c.option(info, goData("disk"))
	c.wantReply(info, infoReply)
	c.wantReply(info, ack)
	withStatus("disk")(c)
	if n := b.Opened.Load(); n != 0 {
		t.Fatalf("%d devices were opened before GO", n)
	}
	c.option(goOpt, goData("disk"))
	c.wantReply(goOpt, infoReply)
	c.wantReply(goOpt, ack)
	if n := b.Opened.Load(); n != 1 {
		t.Errorf("%d devices are open after GO, want 1", n)
	}
	c.request(0, disc, 0, 0, 0, nil)
	c.wantEnd()
	until(t, "the device is closed", func() bool { return b.Closed.Load() == 1 })
}

func TestN12HandshakeDeadline(t *testing.T) {
	s, _ := serve(t, func(c *nbd.Config, _ *nbdtest.Backend) { c.HandshakeTimeout = 50 * time.Millisecond })
	dial(t, s).wantEnd()
	hello(t, s).wantEnd()
	c := hello(t, s)
	c.put([]byte("IHAVEOPT"), u32(goOpt), u32(10), []byte("half"))
	c.wantEnd()
	// Who has opened an export has all the time there is.
	c = session(t, s, "disk")
	<-time.After(100 * time.Millisecond)
	c.alive()
}

// The time that the backend takes is not counted.
func TestN12SlowOpenIsNotTheClientsFault(t *testing.T) {
	s, _ := serve(t, func(c *nbd.Config, b *nbdtest.Backend) {
		c.HandshakeTimeout = 200 * time.Millisecond
		b.OnOpen = func(_ context.Context, name string) error {
			<-time.After(300 * time.Millisecond)
			if name == "ro" {
				return block.Errorf(block.Held, "another gateway holds it")
			}
			return nil
		}
	})
	c := hello(t, s)
	c.option(goOpt, goData("ro"))
	if got := c.wantReply(goOpt, errPolicy); string(got) != "another gateway holds it" {
		t.Errorf("message %q", got)
	}
	c.option(goOpt, goData("disk"))
	c.wantReply(goOpt, infoReply)
	c.wantReply(goOpt, ack)
	c.alive()
}

func TestN12TooManyHandshakes(t *testing.T) {
	s, _ := serve(t, func(c *nbd.Config, _ *nbdtest.Backend) { c.Handshakes = 3 })
	served := session(t, s, "disk")
	var waiting []*client
	for range 5 {
		waiting = append(waiting, hello(t, s))
	}
	waiting[0].wantEnd()
	waiting[1].wantEnd()
	for _, c := range waiting[2:] {
		c.option(99, nil)
		c.wantReply(99, errUnsup)
	}
	if st := s.Server.Stats(); st.Handshakes != 3 || st.Conns != 4 {
		t.Errorf("%d handshakes of %d connections, want 3 of 4", st.Handshakes, st.Conns)
	}
	served.alive()
}

func TestTooManyConnections(t *testing.T) {
	s, _ := serve(t, func(c *nbd.Config, _ *nbdtest.Backend) { c.Conns = 2 })
	first := session(t, s, "disk")
	session(t, s, "disk")
	nc, err := net.Dial("tcp", s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	(&client{t, nc}).wantEnd()
	first.alive()
}

func TestN14N15NoTLS(t *testing.T) {
	s, _ := serve(t, nil)
	c := hello(t, s)
	c.option(startTLS, nil)
	c.wantReply(startTLS, errPolicy)
	c.option(startTLS, []byte("x"))
	c.wantReply(startTLS, errInvalid)
	c.option(goOpt, goData("disk"))
	c.wantReply(goOpt, infoReply)
}

func TestN33MetaContexts(t *testing.T) {
	s, _ := serve(t, nil)
	c := hello(t, s)
	for _, opt := range []uint32{listMeta, setMeta} { // before structured replies
		c.option(opt, metaData("disk", "base:allocation"))
		c.wantReply(opt, errInvalid)
	}
	withStructured(c)
	name := "base:allocation"
	for _, k := range []struct {
		opt     uint32
		queries []string
		found   bool
	}{
		{listMeta, nil, true},
		{listMeta, []string{"base:"}, true},
		{listMeta, []string{name, "base:", name}, true},
		{listMeta, []string{"qemu:", "base:none", "", "base"}, false},
		{setMeta, nil, false},
		{setMeta, []string{"base:"}, false},
		{setMeta, []string{"x-other:y", "base:allocation2", ":"}, false},
		{setMeta, []string{"x-other:y", name, name}, true},
	} {
		c.option(k.opt, metaData("disk", k.queries...))
		if k.found {
			if got := c.wantReply(k.opt, metaReply); string(got[4:]) != name {
				t.Errorf("%v: context %q", k, got)
			}
		}
		c.wantReply(k.opt, ack)
	}
	for _, opt := range []uint32{listMeta, setMeta} {
		good := metaData("disk", name)
		for _, bad := range [][]byte{
			nil, good[:len(good)-1], append(good[:len(good):len(good)], 0), good[:8],
			cat(u32(4), []byte("disk"), u32(2), u32(1<<32-1)), cat(u32(400), []byte("disk"), u32(0)),
			metaData("di\x00k", name), metaData("disk", "\xff"),
		} {
			c.option(opt, bad)
			c.wantReply(opt, errInvalid)
		}
		c.option(opt, metaData("none", name))
		c.wantReply(opt, errUnknown)
		c.option(opt, cat(u32(4), []byte("disk"), u32(257)))
		c.wantReply(opt, errTooBig)
	}
}

// A selection is replaced even by a SET that fails, and holds for its export
// only.
func TestN33SelectionIsForgotten(t *testing.T) {
	s, _ := serve(t, nil)
	for what, spoil := range map[string]func(*client){
		"nothing": func(*client) {},
		"failed":  func(c *client) { c.option(setMeta, nil); c.wantReply(setMeta, errInvalid) },
		"empty":   func(c *client) { c.option(setMeta, metaData("disk")); c.wantReply(setMeta, ack) },
		"other":   func(c *client) { withStatus("ro")(c) },
	} {
		c := session(t, s, "disk", withStatus("disk"), spoil)
		c.request(0, blockStatus, 5, 0, 4096, nil)
		if what == "nothing" {
			if k := c.chunk(5); k.typ != 5 {
				t.Errorf("chunk type %d, want block status", k.typ)
			}
			continue
		}
		c.wantErrorChunk(5, nbd.EINVAL)
		c.alive()
	}
}
