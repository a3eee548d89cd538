package nbd_test

import (
	"bytes"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/nbd"
	"github.com/sextantdisk/sextant/nbd/nbdtest"
)

const kib32 = nbdtest.ChunkSize

// The bytes of a structured read, as they are on the wire.
func TestN29StructuredReadBytes(t *testing.T) {
	s, b := serve(t, nil)
	b.Disk("disk").Write(4096, []byte("abcd"))
	c := session(t, s, "disk", withStructured)
	c.request(0, read, 0x1122334455667788, 4096, 4, nil)
	want := "\x66\x8e\x33\xef\x00\x01\x00\x01\x11\x22\x33\x44\x55\x66\x77\x88\x00\x00\x00\x0c" +
		"\x00\x00\x00\x00\x00\x00\x10\x00abcd"
	if got := c.take(len(want)); string(got) != want {
		t.Errorf("got  %x\nwant %x", got, want)
	}
	c.alive()
}

// gather reads a structured reply to a read of n bytes at off and checks that
// its chunks lie in the range, do not overlap and end once.
func gather(t *testing.T, c *client, cookie, off uint64, n int) (data []byte, holes, datas int) {
	t.Helper()
	data = bytes.Repeat([]byte{0xEE}, n)
	covered := make([]bool, n)
	for done := false; !done; {
		k := c.chunk(cookie)
		done = k.done
		at := int(be.Uint64(k.data) - off)
		length := len(k.data) - 8
		switch k.typ {
		case 1:
			datas++
			copy(data[at:at+length], k.data[8:])
		case 2:
			holes++
			if len(k.data) != 12 {
				t.Fatalf("hole chunk of %d bytes", len(k.data))
			}
			length = int(be.Uint32(k.data[8:]))
			clear(data[at : at+length])
		default:
			t.Fatalf("chunk type %#x", k.typ)
		}
		if length == 0 {
			t.Fatal("empty chunk")
		}
		for i := at; i < at+length; i++ {
			if covered[i] {
				t.Fatalf("byte %d is told twice", i)
			}
			covered[i] = true
		}
	}
	if i := bytes.IndexByte(boolBytes(covered), 0); i >= 0 {
		t.Fatalf("byte %d is not told", i)
	}
	return data, holes, datas
}

func boolBytes(p []bool) []byte {
	q := make([]byte, len(p))
	for i, b := range p {
		if b {
			q[i] = 1
		}
	}
	return q
}

func TestN29SparseReads(t *testing.T) {
	s, b := serve(t, nil)
	d := b.Disk("disk")
	for _, i := range []int{1, 2, 5} {
		d.Write(block.Offset(i*kib32), pattern(byte(i), kib32))
	}
	c := session(t, s, "disk", withStructured)
	for _, k := range []struct{ off, n, holes, datas int }{
		{0, 8 * kib32, 3, 2}, {0, kib32, 1, 0}, {kib32, kib32, 0, 1}, {0, 2 * kib32, 1, 1},
		{kib32, 2 * kib32, 0, 1}, {2 * kib32, 2 * kib32, 1, 1},
		{kib32 - 100, 200, 0, 1}, // a short run of zeroes is not worth a chunk
		{kib32 - 4096, 8192, 1, 1}, {3 * kib32, 100, 0, 1},
	} {
		want := make([]byte, k.n)
		d.Read(block.Offset(k.off), want)
		c.request(0, read, 8, uint64(k.off), uint32(k.n), nil)
		got, holes, datas := gather(t, c, 8, uint64(k.off), k.n)
		if !bytes.Equal(got, want) {
			t.Errorf("%+v: wrong bytes", k)
		}
		if holes != k.holes || datas != k.datas {
			t.Errorf("%+v: %d holes and %d data chunks", k, holes, datas)
		}
	}
}

// A very broken pattern of zeroes is cut short, not wrong.
func TestN29ManyHoles(t *testing.T) {
	s, b := serve(t, nil)
	d := b.Disk("disk")
	const n = 400 * kib32
	for i := 0; i < 400; i += 2 {
		d.Write(block.Offset(i*kib32), pattern(byte(i), kib32))
	}
	want := make([]byte, n)
	d.Read(0, want)
	c := session(t, s, "disk", withStructured)
	c.request(0, read, 8, 0, n, nil)
	got, holes, _ := gather(t, c, 8, 0, n)
	if !bytes.Equal(got, want) || holes != 32 {
		t.Errorf("%d holes, right bytes: %v", holes, bytes.Equal(got, want))
	}
}

// What a device tells of zeroes is believed within the bounds of the request.
func TestN29DeviceExtents(t *testing.T) {
	var extents guarded[[]nbd.Extent]
	s, _ := serve(t, func(_ *nbd.Config, b *nbdtest.Backend) {
		b.Hook = func(r *nbd.Request) bool {
			copy(r.Data.Bytes(), bytes.Repeat([]byte{7}, r.Data.Len()))
			r.Extents = append(r.Extents, extents.get()...)
			r.Complete(nil)
			return true
		}
	})
	plain, sparse := session(t, s, "disk"), session(t, s, "disk", withStructured)
	zero := func(n block.ByteCount) nbd.Extent { return nbd.Extent{Length: n, Zero: true} }
	data := func(n block.ByteCount) nbd.Extent { return nbd.Extent{Length: n, Hole: true} }
	for i, k := range []struct {
		extents []nbd.Extent
		zeroes  [2]int // the range that reads as zeroes
	}{
		{nil, [2]int{0, 0}},
		{[]nbd.Extent{data(1 << 40)}, [2]int{0, 0}},
		{[]nbd.Extent{zero(1 << 40)}, [2]int{0, 20000}},
		{[]nbd.Extent{zero(0), zero(5000), zero(5000), data(1)}, [2]int{0, 10000}},
		{[]nbd.Extent{data(7000), zero(6000)}, [2]int{7000, 13000}},
		{[]nbd.Extent{data(7000), data(0), zero(100)}, [2]int{7000, 7100}},
		{[]nbd.Extent{data(1), zero(19999), zero(5)}, [2]int{1, 20000}},
	} {
		extents.set(k.extents)
		want := bytes.Repeat([]byte{7}, 20000)
		clear(want[k.zeroes[0]:k.zeroes[1]])
		if got := plain.read(0, 20000); !bytes.Equal(got, want) {
			t.Errorf("case %d: simple reply has the wrong bytes", i)
		}
		for _, flags := range []uint16{0, df} {
			sparse.request(flags, read, 1, 0, 20000, nil)
			got, holes, _ := gather(t, sparse, 1, 0, 20000)
			if !bytes.Equal(got, want) {
				t.Errorf("case %d: structured reply has the wrong bytes", i)
			}
			if wantHoles := k.zeroes[1]-k.zeroes[0] >= 4096 && flags == 0; (holes == 1) != wantHoles {
				t.Errorf("case %d, flags %d: %d holes", i, flags, holes)
			}
		}
	}
}

// With DF there is one chunk, zeroes and all; without structured replies the
// flag was not offered.
func TestN31DontFragment(t *testing.T) {
	s, b := serve(t, nil)
	d := b.Disk("disk")
	d.Write(2*kib32, pattern(1, kib32))
	want := make([]byte, 4*kib32)
	d.Read(0, want)
	c := session(t, s, "disk", withStructured)
	c.request(df, read, 2, 0, uint32(len(want)), nil)
	k := c.chunk(2)
	if k.typ != 1 || !k.done || !bytes.Equal(k.data[8:], want) {
		t.Errorf("chunk type %d, done %v, %d bytes", k.typ, k.done, len(k.data))
	}
	c = session(t, s, "disk")
	c.do(df, read, 0, 4096, nil, nbd.EINVAL)
}

func TestN32BlockStatus(t *testing.T) {
	s, b := serve(t, nil)
	d := b.Disk("disk")
	d.Write(kib32, pattern(1, kib32))
	d.Write(2*kib32, pattern(1, kib32))
	c := session(t, s, "disk", withStatus("disk"))
	for _, k := range []struct {
		flags  uint16
		off, n uint32
		want   []byte
	}{
		{0, 0, 4 * kib32, cat(u32(1), u32(kib32), u32(3), u32(2*kib32), u32(0), u32(kib32), u32(3))},
		{reqOne, 0, 4 * kib32, cat(u32(1), u32(kib32), u32(3))},
		{0, kib32 + 5, 10, cat(u32(1), u32(10), u32(0))},
		{reqOne, kib32, 2 * kib32, cat(u32(1), u32(2*kib32), u32(0))},
		{0, uint32(diskSize) - 4096, 4096, cat(u32(1), u32(4096), u32(3))},
	} {
		c.request(k.flags, blockStatus, 4, uint64(k.off), k.n, nil)
		got := c.chunk(4)
		if got.typ != 5 || !got.done || !bytes.Equal(got.data, k.want) {
			t.Errorf("%+v: chunk %+v", k, got)
		}
	}
	// Without structured replies, and without a context.
	session(t, s, "disk").do(0, blockStatus, 0, 4096, nil, nbd.EINVAL)
	c = session(t, s, "disk", withStructured)
	c.request(0, blockStatus, 4, 0, 4096, nil)
	c.wantErrorChunk(4, nbd.EINVAL)
	c.alive()
}

// What a device tells is merged, cut to the request and bounded.
func TestN32DeviceExtents(t *testing.T) {
	var extents guarded[[]nbd.Extent]
	s, _ := serve(t, func(_ *nbd.Config, b *nbdtest.Backend) {
		b.Hook = func(r *nbd.Request) bool {
			r.Extents = append(r.Extents, extents.get()...)
			r.Complete(nil)
			return true
		}
	})
	c := session(t, s, "huge", withStatus("huge"))
	status := func(flags uint16, n uint32) []byte {
		t.Helper()
		c.request(flags, blockStatus, 4, 0, n, nil)
		k := c.chunk(4)
		if k.typ != 5 || !k.done {
			t.Fatalf("chunk %+v", k)
		}
		return k.data[4:]
	}
	if got := status(0, 1<<32-1); !bytes.Equal(got, cat(u32(1<<32-1), u32(0))) {
		t.Errorf("a device that knows nothing: %x, want all data", got)
	}
	extents.set([]nbd.Extent{{}, {Length: 4096, Zero: true}, {Length: 1 << 33, Zero: true}, {Length: 1, Hole: true}})
	if got := status(0, 1<<32-1); !bytes.Equal(got, cat(u32(1<<32-1), u32(2))) {
		t.Errorf("merged and cut: %x", got)
	}
	var many []nbd.Extent
	for i := range 20_000 {
		many = append(many, nbd.Extent{Length: 4096, Hole: i%2 == 0, Zero: i%2 == 0})
	}
	extents.set(many)
	if got := status(0, 1<<31); len(got) != 8192*8 {
		t.Errorf("%d extents, want 8192", len(got)/8)
	}
	if got := status(reqOne, 1<<31); !bytes.Equal(got, cat(u32(4096), u32(3))) {
		t.Errorf("with REQ_ONE: %x", got)
	}
}
