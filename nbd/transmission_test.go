package nbd_test

import (
	"bytes"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/nbd"
	"github.com/sextantdisk/sextant/nbd/nbdtest"
)

// Requests that are not aligned to anything work (the gateway does
// read-modify-write).
func TestN20ByteGranularRequests(t *testing.T) {
	s, b := serve(t, nil)
	c := session(t, s, "disk")
	want := make([]byte, 200_000)
	for i, r := range []struct{ off, n int }{{1, 1}, {511, 2}, {4095, 4098}, {32767, 70_001}, {100_003, 7}} {
		p := pattern(byte(i), r.n)
		copy(want[r.off:], p)
		c.do(0, write, uint64(r.off), uint32(r.n), p, nbd.OK)
	}
	if got := c.read(0, uint32(len(want))); !bytes.Equal(got, want) {
		t.Error("what is read is not what was written")
	}
	got := make([]byte, len(want))
	b.Disk("disk").Read(0, got)
	if !bytes.Equal(got, want) {
		t.Error("what is stored is not what was written")
	}
	// nbd-tester-client's: over 1 MiB at offset 1.
	if got := c.read(1, 1<<20+14); !bytes.Equal(got[:1000], want[1:1001]) {
		t.Error("a long read at offset 1 is wrong")
	}
}

// An export with a minimum block refuses what is not aligned, and stays.
func TestN20N34UnalignedIsRefused(t *testing.T) {
	s, _ := serve(t, nil)
	c := session(t, s, "coarse")
	c.do(0, write, 1, 512, pattern(1, 512), nbd.EINVAL)
	c.do(0, write, 512, 100, pattern(1, 100), nbd.EINVAL)
	c.do(0, read, 100, 512, nil, nbd.EINVAL)
	c.do(0, trim, 512, 1, nil, nbd.EINVAL)
	c.do(0, write, 512, 512, pattern(1, 512), nbd.OK)
}

func TestN21LargestPayload(t *testing.T) {
	s, _ := serve(t, nil)
	c := session(t, s, "disk")
	n := uint32(nbd.MaxPayload)
	p := pattern(9, int(n))
	c.do(fua, write, 4096, n, p, nbd.OK)
	if got := c.read(4096, n); !bytes.Equal(got, p) {
		t.Error("32 MiB came back different")
	}
	c.do(0, read, 0, n+1, nil, nbd.EINVAL)
	c.do(0, read, 0, 1<<32-1, nil, nbd.EINVAL)
	c.do(0, write, 0, n+1, make([]byte, n+1), nbd.EINVAL) // is consumed
	c.do(0, write, 0, 2*n, make([]byte, 2*n), nbd.EINVAL)
	c.alive()
	c.request(0, write, 1, 0, 2*n+1, nil)
	c.wantEnd()
}

// Commands without payload take up to 4 GiB - 1, without memory for it.
func TestN22LongRangesWithoutPayload(t *testing.T) {
	s, b := serve(t, nil)
	c := session(t, s, "huge", withStatus("huge"))
	c.do(0, write, 0, 4096, pattern(1, 4096), nbd.OK)
	const all = 1<<32 - 1
	c.do(0, cache, 1<<32, all, nil, nbd.OK)
	c.do(0, writeZeroes, 1<<32, all, nil, nbd.OK)
	c.request(0, blockStatus, 3, 1<<32, all, nil)
	if k := c.chunk(3); !bytes.Equal(k.data, cat(u32(1), u32(all), u32(3))) {
		t.Errorf("status %x", k.data)
	}
	c.do(0, trim, 0, all, nil, nbd.OK)
	got := make([]byte, 4096)
	if b.Disk("huge").Read(0, got); !bytes.Equal(got, make([]byte, 4096)) {
		t.Error("the trimmed range does not read as zeroes")
	}
	if n := s.Server.Stats().InFlight; n != 0 {
		t.Errorf("%d bytes are lent", n)
	}
}

func TestN23WrongMagicEnds(t *testing.T) {
	s, _ := serve(t, nil)
	for _, magic := range []uint32{0, 0x25609514, 0x67446698, 0x13956025} {
		c := session(t, s, "disk")
		c.alive()
		c.put(u32(magic), make([]byte, 24))
		c.wantEnd()
	}
}

// Replies go out in the order in which requests are completed, each with its
// cookie.
func TestN23RepliesOutOfOrder(t *testing.T) {
	held := make(chan *nbd.Request, 3)
	s, b := serve(t, func(_ *nbd.Config, b *nbdtest.Backend) {
		b.Hook = func(r *nbd.Request) bool { held <- r; return true }
	})
	c := session(t, s, "disk")
	cookies := []uint64{1<<64 - 1, 0, 0x0102030405060708}
	var reqs []*nbd.Request
	for i, k := range cookies {
		c.request(0, read, k, uint64(i)*4096, 512, nil)
		reqs = append(reqs, <-held)
	}
	b.Disk("disk").Write(8192, pattern(3, 512))
	for _, i := range []int{2, 0, 1} {
		b.Disk("disk").Do(reqs[i])
		reqs[i].Complete(nil)
		c.wantSimple(cookies[i], nbd.OK)
		want := make([]byte, 512)
		if i == 2 {
			want = pattern(3, 512)
		}
		if got := c.take(512); !bytes.Equal(got, want) {
			t.Errorf("read %d got the wrong bytes", i)
		}
	}
}

// What one connection was told is done, the next one sees; flush reaches the
// device.
func TestN24MultiConn(t *testing.T) {
	var flushed atomic.Int32
	s, _ := serve(t, func(_ *nbd.Config, b *nbdtest.Backend) {
		b.Hook = func(r *nbd.Request) bool {
			if r.Op == nbd.OpFlush {
				flushed.Add(1)
			}
			return false
		}
	})
	one, two := session(t, s, "disk"), session(t, s, "disk")
	for i := range 50 {
		p := pattern(byte(i), 4096)
		one.do(0, write, 4096, 4096, p, nbd.OK)
		if got := two.read(4096, 4096); !bytes.Equal(got, p) {
			t.Fatalf("the second connection does not see write %d", i)
		}
	}
	two.alive()
	if n := flushed.Load(); n != 1 {
		t.Errorf("%d flushes reached the device, want 1", n)
	}
	two.do(0, flush, 4096, 0, nil, nbd.EINVAL)
	two.do(0, flush, 0, 1, nil, nbd.EINVAL)
}

// FUA is accepted on every command, and told to the device.
func TestN25FUAEverywhere(t *testing.T) {
	var with, without guarded[[]nbd.Op]
	s, _ := serve(t, func(_ *nbd.Config, b *nbdtest.Backend) {
		b.Hook = func(r *nbd.Request) bool {
			if r.FUA {
				with.update(func(p *[]nbd.Op) { *p = append(*p, r.Op) })
			} else {
				without.update(func(p *[]nbd.Op) { *p = append(*p, r.Op) })
			}
			return false
		}
	})
	c := session(t, s, "disk", withStatus("disk"))
	for _, flags := range []uint16{fua, 0} {
		c.do(flags, write, 0, 1, []byte{1}, nbd.OK)
		for _, cmd := range []uint16{trim, cache, writeZeroes} {
			c.do(flags, cmd, 0, 4096, nil, nbd.OK)
		}
		c.do(flags, flush, 0, 0, nil, nbd.OK)
		for _, cmd := range []uint16{read, blockStatus} {
			c.request(flags, cmd, 1, 0, 4096, nil)
			if k := c.chunk(1); k.typ&(1<<15) != 0 {
				t.Errorf("command %d with flags %d failed", cmd, flags)
			}
		}
	}
	if len(with.get()) != 7 || len(without.get()) != 7 {
		t.Errorf("with FUA %v, without %v, want seven each", with.get(), without.get())
	}
}

func TestN26Flags(t *testing.T) {
	s, _ := serve(t, nil)
	for _, k := range []struct {
		export string
		opts   []func(*client)
		want   uint16
	}{
		{"disk", nil, 0x0d6d},
		{"disk", []func(*client){withStructured}, 0x0ded},
		{"ro", nil, 0x050f},
		{"ro", []func(*client){withStructured}, 0x058f},
	} {
		c := hello(t, s)
		for _, o := range k.opts {
			o(c)
		}
		c.option(info, goData(k.export))
		if got := be.Uint16(c.wantReply(info, infoReply)[10:]); got != k.want {
			t.Errorf("%s: transmission flags %#x, want %#x", k.export, got, k.want)
		}
	}
}

func TestN26ReadOnlyStays(t *testing.T) {
	s, _ := serve(t, nil)
	c := session(t, s, "ro")
	c.do(0, write, 0, 4096, pattern(1, 4096), nbd.EPERM)
	c.do(0, write, 0, 0, nil, nbd.EPERM)
	c.do(0, trim, 0, 4096, nil, nbd.EPERM)
	c.do(fua|noHole, writeZeroes, 0, 4096, nil, nbd.EPERM)
	if got := c.read(0, 4096); !bytes.Equal(got, make([]byte, 4096)) {
		t.Error("the read-only export was written to")
	}
	c.alive()
}

// A write that is refused has its payload read all the same.
func TestN27RefusedWritesConsumeTheirPayload(t *testing.T) {
	s, _ := serve(t, func(_ *nbd.Config, b *nbdtest.Backend) {
		b.Hook = func(r *nbd.Request) bool {
			if r.Op == nbd.OpWrite && r.Offset == 8192 {
				r.Complete(block.Errorf(block.NoSpace, "full"))
				return true
			}
			return false
		}
	})
	c := session(t, s, "disk")
	// A payload that looks like requests must not be taken for them.
	evil := bytes.Repeat(cat(u32(0x25609513), u16(0), u16(disc), make([]byte, 20)), 3000)
	n := uint32(len(evil))
	for range 3 {
		c.do(0, write, uint64(diskSize), n, evil, nbd.ENOSPC)
		c.do(0, write, 1<<64-1, n, evil, nbd.ENOSPC)
		c.do(0x8000, write, 0, n, evil, nbd.EINVAL)
		c.do(0, write, 8192, n, evil, nbd.ENOSPC)
		c.do(0, write, 0, n, evil, nbd.OK)
	}
	c.alive()
}

func TestN28FailedReadCarriesNoData(t *testing.T) {
	s, _ := serve(t, func(_ *nbd.Config, b *nbdtest.Backend) {
		b.Hook = func(r *nbd.Request) bool {
			if r.Op == nbd.OpRead {
				r.Complete(block.Errorf(block.Corrupt, "block 7: checksum does not match"))
				return true
			}
			return false
		}
	})
	c := session(t, s, "disk")
	c.do(0, read, 0, 4096, nil, nbd.EIO)
	c.alive()

	c = session(t, s, "disk", withStructured)
	c.request(0, read, 11, 0, 4096, nil)
	k := c.chunk(11)
	want := cat(u32(5), u16(32), []byte("block 7: checksum does not match"))
	if k.typ != 0x8001 || !k.done || !bytes.Equal(k.data, want) {
		t.Errorf("chunk %+v, want a last error chunk with %q", k, want)
	}
	c.alive()
}

func TestN34Errors(t *testing.T) {
	s, _ := serve(t, nil)
	end := uint64(diskSize)
	for _, opts := range [][]func(*client){nil, {withStatus("disk")}} {
		c := session(t, s, "disk", opts...)
		for _, k := range []struct {
			flags, cmd uint16
			off        uint64
			n          uint32
			want       nbd.Errno
		}{
			{0, write, end - 100, 101, nbd.ENOSPC}, {0, write, end + 1, 0, nbd.ENOSPC},
			{0, writeZeroes, end - 1, 2, nbd.ENOSPC}, {0, writeZeroes, 1<<64 - 1, 1<<32 - 1, nbd.ENOSPC},
			{0, trim, end - 1, 2, nbd.EINVAL}, {0, trim, 1<<64 - 4096, 8192, nbd.EINVAL},
			{0, cache, end, 1, nbd.EINVAL},
			{0, 8, 0, 0, nbd.EINVAL}, {0, 12345, 0, 1 << 31, nbd.EINVAL}, {0, 65535, 0, 1, nbd.EINVAL},
			{32, trim, 0, 1, nbd.EINVAL}, {0x8000, flush, 0, 0, nbd.EINVAL},
			{noHole, trim, 0, 1, nbd.EINVAL}, {df, trim, 0, 1, nbd.EINVAL}, {reqOne, cache, 0, 1, nbd.EINVAL},
			{fastZero, trim, 0, 1, nbd.EINVAL}, {df, writeZeroes, 0, 1, nbd.EINVAL},
			{0, write, end - 100, 100, nbd.OK}, {0, trim, end, 0, nbd.OK},
		} {
			var payload []byte
			if k.cmd == write {
				payload = make([]byte, k.n)
			}
			c.do(k.flags, k.cmd, k.off, k.n, payload, k.want)
		}
		for _, k := range []struct {
			flags, cmd uint16
			off        uint64
			n          uint32
		}{
			{0, read, end, 1}, {0, read, end + 1, 0}, {0, read, 1<<64 - 1, 2}, {noHole, read, 0, 1},
			{0, blockStatus, end, 1}, {0, blockStatus, 0, 0}, {fastZero, blockStatus, 0, 1},
		} {
			if opts == nil {
				c.do(k.flags, k.cmd, k.off, k.n, nil, nbd.EINVAL)
				continue
			}
			c.request(k.flags, k.cmd, 9, k.off, k.n, nil)
			c.wantErrorChunk(9, nbd.EINVAL)
		}
		c.alive()
	}
}

// Kinds of error become errno in one place.
func TestN34DeviceErrors(t *testing.T) {
	var result guarded[error]
	s, _ := serve(t, func(_ *nbd.Config, b *nbdtest.Backend) {
		b.Hook = func(r *nbd.Request) bool { r.Complete(result.get()); return true }
	})
	c := session(t, s, "disk")
	for kind, want := range map[block.Kind]nbd.Errno{
		block.Unknown: nbd.EIO, block.Invalid: nbd.EINVAL, block.NotFound: nbd.EIO, block.Exists: nbd.EIO,
		block.Stale: nbd.EIO, block.Mismatch: nbd.EIO, block.Corrupt: nbd.EIO, block.NoSpace: nbd.ENOSPC,
		block.ReadOnly: nbd.EPERM, block.Behind: nbd.EIO, block.Unavailable: nbd.EIO, block.Version: nbd.EIO,
	} {
		result.set(block.Wrap(kind, bytes.ErrTooLarge, "volume x"))
		c.do(0, trim, 0, 4096, nil, want)
	}
}

func TestN35LengthZero(t *testing.T) {
	var submitted atomic.Int32
	s, _ := serve(t, func(_ *nbd.Config, b *nbdtest.Backend) {
		b.Hook = func(r *nbd.Request) bool { submitted.Add(1); return false }
	})
	c := session(t, s, "disk")
	for _, cmd := range []uint16{read, write, trim, cache, writeZeroes} {
		c.do(0, cmd, 4096, 0, nil, nbd.OK)
	}
	c = session(t, s, "disk", withStructured)
	c.request(0, read, 6, 4096, 0, nil)
	if k := c.chunk(6); k.typ != 0 || !k.done || len(k.data) != 0 {
		t.Errorf("chunk %+v, want a last empty one", k)
	}
	c.request(df, read, 7, 4096, 0, nil)
	if k := c.chunk(7); k.typ != 0 || !k.done {
		t.Errorf("chunk %+v, want a last empty one", k)
	}
	if n := submitted.Load(); n != 0 {
		t.Errorf("%d empty requests reached the device", n)
	}
}

func TestN36WriteZeroes(t *testing.T) {
	var noHoles guarded[[]bool]
	s, b := serve(t, func(_ *nbd.Config, b *nbdtest.Backend) {
		b.Hook = func(r *nbd.Request) bool {
			if r.Op == nbd.OpWriteZeroes {
				noHoles.update(func(p *[]bool) { *p = append(*p, r.NoHole) })
			}
			return false
		}
	})
	c := session(t, s, "disk", withStatus("disk"))
	for _, flags := range []uint16{0, noHole, fastZero, noHole | fastZero | fua} {
		b.Disk("disk").Write(0, pattern(1, nbdtest.ChunkSize))
		c.do(flags, writeZeroes, 0, nbdtest.ChunkSize, nil, nbd.OK)
		got := pattern(1, nbdtest.ChunkSize)
		if b.Disk("disk").Read(0, got); !bytes.Equal(got, make([]byte, len(got))) {
			t.Errorf("flags %d: the range does not read as zeroes", flags)
		}
		c.request(0, blockStatus, 1, 0, nbdtest.ChunkSize, nil)
		hole := be.Uint32(c.chunk(1).data[8:])&1 != 0
		if want := flags&noHole == 0; hole != want {
			t.Errorf("flags %d: hole %v, want %v", flags, hole, want)
		}
	}
	want := []bool{false, true, false, true}
	if got := noHoles.get(); !slices.Equal(got, want) {
		t.Errorf("NoHole as the device saw it: %v, want %v", got, want)
	}
}

func TestN37TrimReadsAsZeroes(t *testing.T) {
	s, b := serve(t, nil)
	c := session(t, s, "disk", withStatus("disk"))
	b.Disk("disk").Write(0, pattern(1, 3*nbdtest.ChunkSize))
	c.do(0, trim, 100, 2*nbdtest.ChunkSize, nil, nbd.OK)
	want := append(pattern(1, 100), make([]byte, 2*nbdtest.ChunkSize)...)
	got := make([]byte, len(want))
	if b.Disk("disk").Read(0, got); !bytes.Equal(got, want) {
		t.Error("the trimmed range does not read as zeroes, or too much was trimmed")
	}
	c.request(0, blockStatus, 1, nbdtest.ChunkSize, nbdtest.ChunkSize, nil)
	if k := c.chunk(1); !bytes.Equal(k.data, cat(u32(1), u32(nbdtest.ChunkSize), u32(3))) {
		t.Errorf("status %x, want one hole", k.data)
	}
}

func TestN38Cache(t *testing.T) {
	s, b := serve(t, nil)
	c := session(t, s, "disk")
	b.Disk("disk").Write(0, pattern(1, 4096))
	c.do(0, cache, 0, 1<<20, nil, nbd.OK)
	c.do(df, cache, 0, 4096, nil, nbd.EINVAL)
	if got := c.read(0, 4096); !bytes.Equal(got, pattern(1, 4096)) {
		t.Error("cache has changed the contents")
	}
}
