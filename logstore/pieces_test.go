package logstore

import (
	"bytes"
	"slices"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/slab"
	"github.com/sextantdisk/sextant/internal/vfs"
)

// directFile only says how it was opened.
type directFile struct {
	vfs.File
	direct bool
}

func (f directFile) Direct() bool { return f.direct }

// TestShortPayloadsBecomeOnePiece encodes a batch of short, long and unaligned
// payloads: its pieces one after the other are the header and the payloads in
// their order; short ones are in one piece with what is before them, and no
// piece is at an odd address where the file bypasses the page cache.
func TestShortPayloadsBecomeOnePiece(t *testing.T) {
	long := int(shortPiece) + pageSize
	for _, c := range []struct {
		name   string
		sizes  []int // of payloads; below zero: at an odd address
		direct bool
		pieces []int
	}{
		{name: "none", direct: true, pieces: []int{pageSize}},
		{name: "short", sizes: []int{4096, 8192, 4096}, direct: true, pieces: []int{5 * pageSize}},
		{name: "long", sizes: []int{long, long}, direct: true, pieces: []int{pageSize, long, long}},
		{name: "mixed", sizes: []int{4096, long, 4096, 4096, -long, 4096}, direct: true,
			pieces: []int{2 * pageSize, long, 2 * pageSize, long, pageSize}},
		{name: "odd and short", sizes: []int{-4096, 4096}, direct: true, pieces: []int{3 * pageSize}},
		{name: "through the cache", sizes: []int{4096, -4096, long}, pieces: []int{pageSize, 4096, 4096, long}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b batch
			b.reset()
			want := make([]byte, 0)
			for i, n := range c.sizes {
				p := payload(n, byte(i+1))
				want = append(want, p...)
				k := len(p) / pageSize
				it := item{d: descriptor{seg: 1, typ: TypeWrite, count: uint32(k)}, sums: make([]block.Sum, k), payload: p}
				if !b.add(it, maxPages, MaxBatch) {
					t.Fatalf("record %d of %d bytes does not fit", i, n)
				}
			}
			h := &head{file: &logFile{}, writer: directFile{direct: c.direct}}
			for range 2 { // a batch may be tried again
				b.encode(h, 7)
				checkPieces(t, &b, c.pieces, want, c.direct)
				b.release()
			}
			if len(b.iov) != 0 || len(b.lent) != 0 || b.header != nil {
				t.Errorf("%d pieces, %d buffers and %d bytes of header are left", len(b.iov), len(b.lent), len(b.header))
			}
		})
	}
}

func checkPieces(t *testing.T, b *batch, pieces []int, want []byte, direct bool) {
	t.Helper()
	var got []int
	for i, p := range b.iov {
		got = append(got, len(p))
		if direct && !aligned(p) {
			t.Errorf("piece %d is at an odd address", i)
		}
	}
	if !slices.Equal(got, pieces) {
		t.Errorf("pieces of %v bytes, want %v", got, pieces)
	}
	all := slices.Concat(b.iov...)
	var h batchHeader
	h.decode(all)
	if string(all[:4]) != batchMagic || h.seq != 7 || h.records != len(b.items) {
		t.Errorf("the header says %+v", h)
	}
	if !bytes.Equal(all[:pageSize], b.header) || !bytes.Equal(all[pageSize:], want) {
		t.Error("the bytes are not header and payloads in their order")
	}
}

const maxPages = pageNo(1 << 15)

// payload is n bytes of fill, at an odd address if n is below zero.
func payload(n int, fill byte) []byte {
	odd := 0
	if n < 0 {
		n, odd = -n, 512
	}
	p := slab.Get(n + odd).Bytes()[odd : odd+n]
	for i := range p {
		p[i] = fill
	}
	return p
}
