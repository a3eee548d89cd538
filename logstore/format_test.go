package logstore

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
)

// dump is the bytes that are not zero, in rows of 16, as pinned below.
func dump(p []byte) string {
	var b strings.Builder
	for at := 0; at < len(p); at += 16 {
		if row := p[at : at+16]; !allZero(row) {
			b.WriteString(strconv.FormatInt(int64(at), 16) + " " + hex.EncodeToString(row) + "\n")
		}
	}
	return b.String()
}

func TestFileHeaderBytesArePinned(t *testing.T) {
	for version, sum := range map[uint32]string{1: "01000000b758751f", 2: "02000000df8a909d", formatVersion: "03000000a816681f"} {
		pinnedHeader(t, version, sum)
	}
}

func pinnedHeader(t *testing.T, version uint32, sum string) {
	t.Helper()
	h := fileHeader{
		version: version,
		disk:    block.DiskID{0: 0x11, 15: 0x22}, seq: 0x1a, kind: fileHot, prevSeq: 0x19, prevValid: 0x33,
		nonce: 0x0102030405060708, firstBatch: 0x99, pages: 0x10000, prevFooter: 0,
	}
	p := make([]byte, pageSize)
	h.encode(p)
	want := "0 5358544c4f470d0a" + sum + `
10 11000000000000000000000000000022
20 1a000000010000001900000033000000
30 08070605040302019900000000000000
40 00000100000000000000000000000000
`
	if got := dump(p); got != want {
		t.Fatalf("the format changed; it may only with a new version\n got\n%s\nwant\n%s", got, want)
	}
	back, err := decodeFileHeader(p)
	must(t, err)
	if back != h {
		t.Fatalf("decoded %+v, encoded %+v", back, h)
	}
}

func TestFileHeaderErrorsAreSeparate(t *testing.T) {
	h := fileHeader{disk: diskA, seq: 1, kind: fileHot, pages: 16}
	page := func(change func(p []byte), sum bool) error {
		p := make([]byte, pageSize)
		h.encode(p)
		change(p)
		if sum {
			s := sumWithout(p, 12)
			p[12], p[13], p[14], p[15] = byte(s), byte(s>>8), byte(s>>16), byte(s>>24)
		}
		_, err := decodeFileHeader(p)
		return err
	}
	wantKind(t, page(func(p []byte) { p[0]++ }, true), block.Corrupt)
	wantKind(t, page(func(p []byte) { p[8]++ }, true), block.Version)
	wantKind(t, page(func(p []byte) { p[8]++ }, false), block.Corrupt) // a flipped bit is no newer version
	wantKind(t, page(func(p []byte) { p[4000]++ }, false), block.Corrupt)
	wantKind(t, page(func(p []byte) { p[40] = 9 }, true), block.Corrupt) // follows a later file
}

// sampleFrame has a record of each type.
func sampleFrame() *frame {
	f := &frame{batchHeader: batchHeader{nonce: 7, file: 3, page: 2, seq: 5, prevPage: 0}}
	f.recs = []descriptor{
		{seg: 1, block: 10, lsn: lsn(1, 1), prev: 0, count: 2, typ: TypeWrite},
		{seg: 1, block: 0, lsn: lsn(1, 2), prev: lsn(1, 1), count: 1 << 21, typ: TypeZero},
		{seg: 1, block: 9, lsn: lsn(1, 3), prev: lsn(1, 2), count: 100, typ: TypeTrim},
		{seg: 1, lsn: lsn(2, 1), prev: lsn(1, 3), typ: TypeEpochOpen},
		{seg: 1, block: 2, typ: TypePromise},
		{seg: 2, block: 2, count: 1, typ: TypeConfig, flags: flagCreated},
		{seg: 1, block: 2, lsn: lsn(1, 1), prev: lsn(2, 1), typ: TypeStatus, flags: flagDamaged},
		{seg: 1, block: 10, lsn: lsn(1, 1), count: 1, typ: TypeReloc, source: location{3, 4, locData}},
		{seg: 2, typ: TypeDrop},
		{typ: TypeFree, block: 0x1a},
		{typ: TypeSyncMark},
	}
	f.sums = []block.Sum{0xa1, 0xa2, 0xc1, 0xd1}
	finish(f)
	return f
}

// finish sets the lengths of a frame that was put together by hand.
func finish(f *frame) {
	f.used, f.payloadPages = batchHeaderSize, 0
	for i := range f.recs {
		f.used += f.recs[i].size()
		f.payloadPages += pageNo(f.recs[i].payload())
	}
	f.records = len(f.recs)
	f.headerPages = (f.used + pageSize - 1) / pageSize
}

func encoded(f *frame) []byte {
	p := make([]byte, f.headerPages*pageSize)
	f.encode(p)
	return p
}

func (f *frame) id() frameID { return frameID{file: f.file, nonce: f.nonce, page: f.page} }

func TestBatchBytesArePinned(t *testing.T) {
	f := sampleFrame()
	p := encoded(f)
	golden := filepath.Join("testdata", "batch.golden")
	if os.Getenv("SEXTANT_UPDATE_GOLDEN") != "" {
		must(t, os.WriteFile(golden, []byte(dump(p)), 0o644))
	}
	b, err := os.ReadFile(golden)
	must(t, err)
	if got := dump(p); got != string(b) {
		t.Fatalf("the format changed; it may only with a new version\n got\n%s\nwant\n%s", got, b)
	}
}

func TestBatchRoundTrip(t *testing.T) {
	f := sampleFrame()
	var g frame
	if st := g.decode(encoded(f), f.id()); st != frameGood {
		t.Fatalf("decoded as state %d", st)
	}
	if !reflect.DeepEqual(*f, g) {
		t.Fatalf("decoded\n%+v\nencoded\n%+v", g, *f)
	}
}

func TestBatchWithManyHeaderPages(t *testing.T) {
	f := &frame{batchHeader: batchHeader{nonce: 7, file: 3, page: 2, seq: 5}}
	for i := range 500 {
		f.recs = append(f.recs, descriptor{seg: 1, block: uint32(i), lsn: lsn(1, block.Seq(i+1)), prev: lsn(1, block.Seq(i)), count: 1, typ: TypeWrite})
		f.sums = append(f.sums, block.Sum(i))
	}
	finish(f)
	p := encoded(f)
	var g frame
	if st := g.decode(p[:pageSize], f.id()); st != frameShort || g.headerPages != 5 {
		t.Fatalf("one page of five is state %d, %d pages", st, g.headerPages)
	}
	if st := g.decode(p, f.id()); st != frameGood || !reflect.DeepEqual(*f, g) {
		t.Fatalf("state %d", st)
	}
}

// TestStaleFrameNeverMatches proves that a frame counts only in its file's
// life and at its place (storage: checksums include fileSeq and offset).
func TestStaleFrameNeverMatches(t *testing.T) {
	f := sampleFrame()
	p := encoded(f)
	for name, id := range map[string]frameID{
		"another file's": {4, f.nonce, f.page}, "misplaced": {f.file, f.nonce, f.page + 1},
	} {
		var g frame
		if st := g.decode(p, id); st != frameNone { // it does not tell of one that was begun here, either
			t.Errorf("%s frame is state %d", name, st)
		}
	}
	var g frame
	if st := g.decode(p, frameID{f.file, f.nonce + 1, f.page}); st != frameNone {
		t.Errorf("a frame of a former life is state %d", st)
	}
}

func TestEveryFlippedBitOfAHeaderIsSeen(t *testing.T) {
	f := sampleFrame()
	p := encoded(f)
	for bit := 0; bit < 8*len(p); bit += 5 {
		p[bit/8] ^= 1 << (bit % 8)
		var g frame
		if st := g.decode(p, f.id()); st == frameGood {
			t.Fatalf("bit %d flipped and not seen", bit)
		}
		p[bit/8] ^= 1 << (bit % 8)
	}
}

// FuzzBatchDecode: the decoder never panics, and what it accepts is exactly
// what the encoder writes. The checksum is set right, so that the fuzzer gets
// behind it.
func FuzzBatchDecode(f *testing.F) {
	s := sampleFrame()
	f.Add(encoded(s)[:512])
	f.Add(encoded(s)[:64])
	f.Add([]byte(batchMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > maxHeaderPages*pageSize {
			return
		}
		p := make([]byte, (len(data)+pageSize-1)/pageSize*pageSize)
		copy(p, data)
		id := frameID{file: 3, nonce: 7, page: 2}
		var g frame
		check := func() {
			if st := g.decode(p, id); st != frameGood {
				return
			}
			q := make([]byte, g.headerPages*pageSize)
			g.encode(q)
			if !bytes.Equal(q, p[:len(q)]) {
				t.Fatalf("accepted\n%s\nbut encodes as\n%s", dump(p[:len(q)]), dump(q))
			}
		}
		check()
		if len(p) == 0 {
			return
		}
		h := min(max(int(p[32])|int(p[33])<<8, 1)*pageSize, len(p))
		sum := sumWithout(p[:h], 4)
		p[4], p[5], p[6], p[7] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
		check()
	})
}

// FuzzFileHeader is the same for file headers.
func FuzzFileHeader(f *testing.F) {
	h := fileHeader{disk: diskA, seq: 2, kind: fileHot, prevSeq: 1, prevValid: 9, nonce: 5, firstBatch: 3, pages: 64}
	p := make([]byte, pageSize)
	h.encode(p)
	f.Add(p[:128])
	f.Fuzz(func(t *testing.T, data []byte) {
		p := make([]byte, pageSize)
		copy(p, data)
		sum := sumWithout(p, 12)
		p[12], p[13], p[14], p[15] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
		got, err := decodeFileHeader(p)
		if err != nil {
			return
		}
		q := make([]byte, pageSize)
		got.encode(q)
		if !bytes.Equal(p, q) {
			t.Fatalf("accepted\n%s\nbut encodes as\n%s", dump(p), dump(q))
		}
	})
}

// FuzzConfig is the same for segments' configurations.
func FuzzConfig(f *testing.F) {
	g := &Segment{id: segID(1), idx: 1}
	own, _ := g.configRecord([]byte("configuration"), 0)
	f.Add(own.payload[:64])
	f.Fuzz(func(t *testing.T, data []byte) {
		id, config, ok := decodeConfig(data)
		if !ok {
			return
		}
		own, err := (&Segment{id: id, idx: 1}).configRecord(config, 0)
		must(t, err)
		if id2, config2, ok := decodeConfig(own.payload); !ok || id2 != id || !bytes.Equal(config, config2) {
			t.Fatalf("%v %q became %v %q", id, config, id2, config2)
		}
	})
}

func TestNamesAreReadStrictly(t *testing.T) {
	if n, ok := parseName(logPrefix, logName(0x1a)); !ok || n != 0x1a {
		t.Fatalf("own name read as %d, %v", n, ok)
	}
	for _, name := range []string{"log-1", "log-0000001A", "log-0000001g", "log-00000001.bak", "spare-00000001", "log-+0000001"} {
		if _, ok := parseName(logPrefix, name); ok {
			t.Errorf("%q passed for a log file", name)
		}
	}
}
