package nbd

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
)

// The buffered reader gives the same bytes as the plain one, whatever the
// sizes of reads and of what the socket brings.
func TestReaderAgainstTheDumbOne(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	input := make([]byte, 1<<20)
	for i := range input {
		input[i] = byte(rng.Uint32())
	}
	for _, src := range []io.Reader{
		bytes.NewReader(input), iotest.HalfReader(bytes.NewReader(input)), &ragged{bytes.NewReader(input), rng},
		iotest.DataErrReader(bytes.NewReader(input)),
	} {
		idles := 0
		d := &reader{src: src, buf: make([]byte, 100), idle: func() { idles++ }}
		pos := 0
		for step := 0; pos < len(input); step++ {
			n := min(1+rng.IntN(30), len(input)-pos)
			switch rng.IntN(4) {
			case 0:
				got, err := d.next(n)
				if err != nil || !bytes.Equal(got, input[pos:pos+n]) {
					t.Fatalf("next(%d) at %d: wrong bytes or %v", n, pos, err)
				}
			case 1:
				n = min(rng.IntN(3*directMin), len(input)-pos)
				got := make([]byte, n)
				if err := d.full(got); err != nil || !bytes.Equal(got, input[pos:pos+n]) {
					t.Fatalf("full(%d) at %d: wrong bytes or %v", n, pos, err)
				}
			case 2:
				n = min(rng.IntN(500), len(input)-pos)
				if err := d.skip(int64(n)); err != nil {
					t.Fatalf("skip(%d) at %d: %v", n, pos, err)
				}
			case 3:
				n = 0
				d.resize(max(100+rng.IntN(200), 2*(d.w-d.r)))
			}
			pos += n
		}
		if _, err := d.next(1); err != io.EOF {
			t.Errorf("next at the end: %v, want io.EOF", err)
		}
		if err := d.full(make([]byte, 1)); err != io.ErrUnexpectedEOF {
			t.Errorf("full at the end: %v, want an unexpected end", err)
		}
		if err := d.skip(1); err != io.ErrUnexpectedEOF {
			t.Errorf("skip at the end: %v, want an unexpected end", err)
		}
		if idles == 0 {
			t.Error("idle was never called")
		}
	}
}

// ragged reads pieces of random size.
type ragged struct {
	io.Reader
	rng *rand.Rand
}

func (r *ragged) Read(p []byte) (int, error) {
	return r.Reader.Read(p[:min(len(p), 1+r.rng.IntN(200))])
}

// A half header is not a clean end, and a source that brings nothing is not
// asked for ever.
func TestReaderErrors(t *testing.T) {
	d := &reader{src: bytes.NewReader([]byte("abc")), buf: make([]byte, 100)}
	if _, err := d.next(4); err != io.ErrUnexpectedEOF {
		t.Errorf("half a header: %v", err)
	}
	broken := errors.New("broken")
	d = &reader{src: iotest.ErrReader(broken), buf: make([]byte, 100)}
	if _, err := d.next(4); err != broken {
		t.Errorf("broken source: %v", err)
	}
	d = &reader{src: nothing{}, buf: make([]byte, 100)}
	if err := d.full(make([]byte, 100_000)); err != io.ErrNoProgress {
		t.Errorf("source without progress: %v", err)
	}
}

type nothing struct{}

func (nothing) Read([]byte) (int, error) { return 0, nil }
