package vfs_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"

	"github.com/sextantdisk/sextant/internal/slab"
	"github.com/sextantdisk/sextant/internal/vfs"
)

const spanPages = 1024

// spanFile makes a file of spanPages pages of noise and gives its bytes.
func spanFile(t *testing.T, name string, seed uint64) []byte {
	t.Helper()
	f, err := vfs.OS().OpenFile(name, vfs.Create)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rng := rand.NewChaCha8([32]byte{byte(seed)})
	data := make([]byte, spanPages*vfs.DirectAlign)
	_, _ = rng.Read(data)
	if err := f.WritevAt([][]byte{data}, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.SyncMeta(); err != nil {
		t.Fatal(err)
	}
	return data
}

func openSpans(t *testing.T, name string) vfs.File {
	t.Helper()
	f, err := vfs.OS().OpenFile(name, vfs.ReadOnly|vfs.Direct)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestReadSpans reads many places of two files at once, more than one queue
// takes, from several goroutines, and compares each byte.
func TestReadSpans(t *testing.T) {
	dir := t.TempDir()
	names := []string{filepath.Join(dir, "a"), filepath.Join(dir, "b")}
	data := [][]byte{spanFile(t, names[0], 1), spanFile(t, names[1], 2)}
	files := []vfs.File{openSpans(t, names[0]), openSpans(t, names[1])}
	var wg sync.WaitGroup
	for seed := range uint64(8) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rng := rand.New(rand.NewPCG(seed, 0))
			for range 5 {
				checkSpans(t, rng, files, data)
			}
		}()
	}
	wg.Wait()
}

func checkSpans(t *testing.T, rng *rand.Rand, files []vfs.File, data [][]byte) {
	spans := make([]vfs.Span, 1+rng.IntN(300))
	which := make([]int, len(spans))
	var lent []*slab.Buffer
	defer func() {
		for _, buf := range lent {
			buf.Release()
		}
	}()
	for i := range spans {
		k, page := rng.IntN(2), rng.IntN(spanPages-4)
		which[i] = k
		spans[i] = vfs.Span{File: files[k], Off: vfs.Offset(page * vfs.DirectAlign)}
		for range 1 + rng.IntN(3) {
			buf := slab.Get(vfs.DirectAlign)
			lent = append(lent, buf)
			spans[i].Bufs = append(spans[i].Bufs, buf.Bytes())
		}
	}
	vfs.ReadSpans(spans)
	for i, s := range spans {
		got := bytes.Join(s.Bufs, nil)
		if s.Err != nil || s.N != len(got) || !bytes.Equal(got, data[which[i]][s.Off:][:len(got)]) {
			t.Errorf("span %d of %d at %d: %d bytes of %d, error %v, or other bytes than were written", i, len(spans), s.Off, s.N, len(got), s.Err)
			return
		}
	}
}

// TestReadSpansTellsEachError: one read that fails says so itself, and the
// others are whole.
func TestReadSpansTellsEachError(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a")
	data := spanFile(t, name, 3)
	f := openSpans(t, name)
	page := func() []byte {
		buf := slab.Get(vfs.DirectAlign)
		t.Cleanup(buf.Release)
		return buf.Bytes()
	}
	spans := []vfs.Span{
		{File: f, Bufs: [][]byte{page()}, Off: 0},
		{File: f, Bufs: [][]byte{page(), page()}, Off: vfs.Offset(len(data) - vfs.DirectAlign)},
		{File: f, Bufs: [][]byte{page()}, Off: vfs.DirectAlign},
	}
	vfs.ReadSpans(spans)
	for _, i := range []int{0, 2} {
		if s := spans[i]; s.Err != nil || !bytes.Equal(s.Bufs[0], data[s.Off:][:vfs.DirectAlign]) {
			t.Errorf("span %d suffers from its neighbour: %v", i, s.Err)
		}
	}
	if s := spans[1]; !errors.Is(s.Err, io.EOF) || s.N != vfs.DirectAlign || !bytes.Equal(s.Bufs[0], data[s.Off:]) {
		t.Errorf("a read over the end gives %d bytes and %v, not a page and EOF", s.N, s.Err)
	}
}
