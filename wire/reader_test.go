package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
)

// crumbs gives a stream in pieces of random length.
type crumbs struct {
	r   io.Reader
	rng *rand.Rand
}

func (c *crumbs) Read(p []byte) (int, error) {
	most := 1 << c.rng.IntN(19)
	return c.r.Read(p[:min(len(p), 1+c.rng.IntN(most))])
}

// dataFrame is a DATA frame of n blocks with random bytes.
func dataFrame(rng *rand.Rand, n int, tag Tag) (frame, payload []byte) {
	payload = make([]byte, n*block.Size)
	for i := 0; i < len(payload); i += 64 {
		binary.LittleEndian.PutUint64(payload[i:], rng.Uint64())
	}
	m := Data{Runs: []Run{{block.Count(max(n, 1)), RunData}}}
	for i := range n {
		m.Sums = append(m.Sums, block.Checksum(payload[i*block.Size:(i+1)*block.Size]))
	}
	if n == 0 {
		m.Runs[0].Kind = RunHole
	}
	return append(m.Append(nil, TypeData, tag), payload...), payload
}

// TestReaderInCrumbs: however the bytes arrive, and whether payloads are taken
// or skipped, each frame comes out as it went in, and the end is told.
func TestReaderInCrumbs(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var stream []byte
		var payloads [][]byte
		for i := range 40 {
			frame, payload := dataFrame(rng, []int{0, 1, 3, 5, 40, 256}[rng.IntN(6)], Tag(i))
			stream, payloads = append(stream, frame...), append(payloads, payload)
		}
		r := NewReader(&crumbs{bytes.NewReader(stream), rng})
		for i, want := range payloads {
			h, _, err := r.Next()
			if err != nil || h.Tag != Tag(i) || h.PayloadLen != len(want) {
				t.Fatalf("seed %d, frame %d: %+v, %v", seed, i, h, err)
			}
			if rng.IntN(4) == 0 {
				if err := r.Skip(h.PayloadLen); err != nil {
					t.Fatal(err)
				}
				continue
			}
			got := make([]byte, h.PayloadLen)
			if err := r.Payload(got); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("seed %d, frame %d: payload differs, %v", seed, i, err)
			}
		}
		if _, _, err := r.Next(); err != io.EOF {
			t.Fatalf("seed %d: at the end: %v", seed, err)
		}
	}
}

// TestReaderTellsACutFrame: an end within a frame is not the end of the
// stream, wherever it comes.
func TestReaderTellsACutFrame(t *testing.T) {
	frame, payload := dataFrame(rand.New(rand.NewPCG(1, 1)), 8, 1)
	for _, n := range []int{1, HeaderSize - 1, HeaderSize, HeaderSize + 3, len(frame) - len(payload), len(frame) - 20000, len(frame) - 1} {
		r := NewReader(bytes.NewReader(frame[:n]))
		h, _, err := r.Next()
		if err == nil {
			err = r.Payload(make([]byte, h.PayloadLen))
		}
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut at %d of %d: %v", n, len(frame), err)
		}
	}
}

// parts gives a stream as it has come so far, and errNotYet at each cut.
type parts struct{ left [][]byte }

var errNotYet = errors.New("not yet")

func (p *parts) Read(b []byte) (int, error) {
	switch {
	case len(p.left) == 0:
		return 0, io.EOF
	case len(p.left[0]) == 0:
		p.left = p.left[1:]
		return 0, errNotYet
	}
	n := copy(b, p.left[0])
	p.left[0] = p.left[0][n:]
	return n, nil
}

// TestReaderGivesWholeFramesOnly: wherever a stream that nobody waits for is cut,
// each frame comes once, when its last byte has come.
func TestReaderGivesWholeFramesOnly(t *testing.T) {
	ack := samples()[TypeAck]
	for cut := 1; cut < 2*len(ack); cut++ {
		stream := append(bytes.Clone(ack), ack...)
		r := NewReader(nil)
		r.From(&parts{[][]byte{stream[:cut], stream[cut:]}})
		frames, notYet := 0, 0
		for {
			err := r.Fetch()
			if errors.Is(err, errNotYet) {
				notYet++
			} else if err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("cut at %d: %v", cut, err)
			}
			for {
				h, meta, whole, err := r.Whole()
				if err != nil || whole && (h.Type != TypeAck || len(meta) != h.MetaLen) {
					t.Fatalf("cut at %d: %+v, %v", cut, h, err)
				}
				if !whole {
					break
				}
				frames++
			}
			if notYet == 0 && frames > cut/len(ack) {
				t.Fatalf("cut at %d: %d frames before the rest has come", cut, frames)
			}
		}
		if frames != 2 {
			t.Errorf("cut at %d: %d frames of 2", cut, frames)
		}
	}
}

// TestReaderRefusesWhatCannotBeWhole: a frame beyond the buffer would be waited
// for in vain, and so would one whose header makes no sense.
func TestReaderRefusesWhatCannotBeWhole(t *testing.T) {
	long, _ := dataFrame(rand.New(rand.NewPCG(1, 1)), 40, 1)
	for name, frame := range map[string][]byte{"too long": long, "garbage": bytes.Repeat([]byte{0xff}, HeaderSize)} {
		r := NewReader(bytes.NewReader(frame[:HeaderSize]))
		if err := r.Fetch(); err != nil {
			t.Fatal(err)
		}
		if _, _, whole, err := r.Whole(); whole || !errors.Is(err, block.Invalid) {
			t.Errorf("%s: whole %v, %v, want kind invalid", name, whole, err)
		}
	}
}
