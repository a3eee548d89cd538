package boxcar

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
)

// A lone message goes out with one system call by its caller, and wakes
// nobody.
func TestLoneMessageIsOneWrite(t *testing.T) {
	ours, theirs := pair(t, "tcp")
	w := New(ours, nil)
	defer w.Close()
	buf := make([]byte, 16+4096)
	body := bytes.Repeat([]byte{7}, 4096)
	for i := range 100 {
		var own counter
		if err := w.Queue([]byte("0123456789abcdef"), body, &own); err != nil {
			t.Fatal(err)
		}
		w.Flush()
		if own.n.Load() != 1 {
			t.Fatalf("after flush %d the owner was released %d times, want 1: the flush has not sent by itself", i, own.n.Load())
		}
		if _, err := io.ReadFull(theirs, buf); err != nil {
			t.Fatal(err)
		}
	}
	if s := w.Stats(); s.Writes != 100 || s.HandOffs != 0 {
		t.Errorf("100 lone messages took %d writes and %d hand-offs, want 100 and 0", s.Writes, s.HandOffs)
	}
	if n := w.QueuedBytes(); n != 0 {
		t.Errorf("%d bytes are queued after all was sent", n)
	}
}

// Messages queued together go out together.
func TestManyMessagesAreOneWrite(t *testing.T) {
	ours, theirs := pair(t, "tcp")
	w := New(ours, nil)
	defer w.Close()
	var want []byte
	body := []byte("body")
	for i := range 500 {
		head := binary.BigEndian.AppendUint64(nil, uint64(i))
		want = append(want, head...)
		if i%3 == 0 {
			w.Queue(head, nil, nil)
			continue
		}
		w.Queue(head, body, nil)
		want = append(want, body...)
	}
	if n := w.QueuedBytes(); n != block.ByteCount(len(want)) {
		t.Errorf("%d bytes are queued, want %d", n, len(want))
	}
	w.Flush()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(theirs, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("the bytes that arrived are not the ones that were queued")
	}
	if s := w.Stats(); s.Writes != 1 || s.HandOffs != 0 {
		t.Errorf("500 messages took %d writes and %d hand-offs, want 1 and 0", s.Writes, s.HandOffs)
	}
}

// More pieces than one writev takes, and more heads than a chunk holds.
func TestPiecesBeyondOneWrite(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			ours, theirs := pair(t, kind)
			w := New(ours, nil)
			defer w.Close()
			var want []byte
			var own counter
			long := bytes.Repeat([]byte("L"), headChunk+100)
			for i := range 3 * maxVectors {
				head := binary.BigEndian.AppendUint64(nil, uint64(i))
				if i == maxVectors {
					head = long
				}
				w.Queue(head, []byte{byte(i)}, &own)
				want = append(append(want, head...), byte(i))
			}
			w.Flush()
			got := make([]byte, len(want))
			if _, err := io.ReadFull(theirs, got); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Error("the bytes that arrived are not the ones that were queued")
			}
			if err := w.Drain(testContext(t)); err != nil {
				t.Fatal(err)
			}
			if own.n.Load() != 3*maxVectors {
				t.Errorf("%d releases, want %d", own.n.Load(), 3*maxVectors)
			}
		})
	}
}

// message is what the storm sends: 4 bytes length, 2 bytes sender, 4 bytes
// sequence number, then length bytes that follow from both.
func message(sender, seq, length int) (head, body []byte) {
	head = binary.BigEndian.AppendUint32(nil, uint32(length))
	head = binary.BigEndian.AppendUint16(head, uint16(sender))
	head = binary.BigEndian.AppendUint32(head, uint32(seq))
	return head, bytes.Repeat([]byte{byte(sender*31 + seq)}, length)
}

// Many senders, bodies of all sizes, a peer that reads in odd pieces: each
// message arrives whole, each sender's in order, each owner is released once.
func TestStormKeepsMessagesWholeAndInOrder(t *testing.T) {
	const senders, each = 8, 300
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			ours, theirs := pair(t, kind)
			w := New(ours, nil)
			defer w.Close()
			owners := make([]counter, senders*each*2)
			var wg sync.WaitGroup
			for s := range senders {
				wg.Go(func() { sendStorm(t, w, s, each, owners[s*each*2:(s+1)*each*2]) })
			}
			receiveStorm(t, theirs, senders, each)
			wg.Wait()
			if err := w.Drain(testContext(t)); err != nil {
				t.Fatal(err)
			}
			for i := range owners {
				if n := owners[i].n.Load(); n != 1 {
					t.Fatalf("owner %d was released %d times, want 1", i, n)
				}
			}
			if n := w.QueuedBytes(); n != 0 {
				t.Errorf("%d bytes are queued after all was sent", n)
			}
		})
	}
}

// sendStorm sends each message in two halves, as one QueueAll, or as one piece.
func sendStorm(t *testing.T, w *Writer, sender, each int, owners []counter) {
	rng := rand.New(rand.NewPCG(uint64(sender), 1))
	for seq := range each {
		length := 1 << rng.IntN(17)
		head, body := message(sender, seq, length)
		first, second := &owners[seq*2], &owners[seq*2+1]
		var err error
		if rng.IntN(2) == 0 {
			err = w.QueueAll([]Piece{
				{Head: head, Body: body[:length/2], Owner: first},
				{Body: body[length/2:], Owner: second},
			})
		} else {
			err = w.Queue(head, body, first)
			second.Release()
		}
		if err != nil {
			t.Errorf("sender %d: %v", sender, err)
			return
		}
		if rng.IntN(4) > 0 {
			w.Flush()
		}
	}
	w.Flush()
}

func receiveStorm(t *testing.T, r io.Reader, senders, each int) {
	next := make([]int, senders)
	var head [10]byte
	body := make([]byte, 1<<17)
	for range senders * each {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			t.Fatal(err)
		}
		length := int(binary.BigEndian.Uint32(head[0:]))
		sender := int(binary.BigEndian.Uint16(head[4:]))
		seq := int(binary.BigEndian.Uint32(head[6:]))
		if sender >= senders || seq != next[sender] || length > len(body) {
			t.Fatalf("got message %d of sender %d with %d bytes: out of order or torn", seq, sender, length)
		}
		next[sender]++
		if _, err := io.ReadFull(r, body[:length]); err != nil {
			t.Fatal(err)
		}
		if _, want := message(sender, seq, length); !bytes.Equal(body[:length], want) {
			t.Fatalf("message %d of sender %d is mixed with another", seq, sender)
		}
	}
}

// A peer that does not read holds up nobody who queues and flushes; when it
// reads at last, everything is there.
func TestSlowPeerNeverBlocksFlush(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			ours, theirs := pair(t, kind)
			w := New(ours, nil)
			defer w.Close()
			var own counter
			body := make([]byte, 256<<10)
			const n = 200 // 50 MiB: more than any socket buffer
			for range n {
				if err := w.Queue([]byte("head"), body, &own); err != nil {
					t.Fatal(err)
				}
				w.Flush() // would hang here
			}
			if w.Stats().HandOffs == 0 {
				t.Error("nothing was left to the background, although the peer does not read")
			}
			if w.QueuedBytes() < 1<<20 {
				t.Errorf("only %d bytes are queued, although the peer does not read", w.QueuedBytes())
			}
			if _, err := io.CopyN(io.Discard, theirs, n*int64(4+len(body))); err != nil {
				t.Fatal(err)
			}
			if err := w.Drain(testContext(t)); err != nil {
				t.Fatal(err)
			}
			if own.n.Load() != n {
				t.Errorf("%d releases, want %d", own.n.Load(), n)
			}
		})
	}
}

// Close wakes a background write that the peer blocks, joins it and releases
// everything, once.
func TestCloseWhileThePeerBlocks(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			ours, _ := pair(t, kind)
			w := New(ours, func(err error) { t.Errorf("Close was reported as an error: %v", err) })
			var first, second counter
			fill(t, w, &first)
			w.Queue([]byte("x"), nil, &second)
			sent := w.Stats()
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if sent.HandOffs != 1 || second.n.Load() != 1 {
				t.Errorf("hand-offs %d, releases of the last message %d, want 1 and 1", sent.HandOffs, second.n.Load())
			}
			var late counter
			if err := w.Queue(nil, []byte("late"), &late); !errors.Is(err, block.Closed) {
				t.Errorf("Queue after Close: %v, want kind Closed", err)
			}
			if err := w.QueueAll([]Piece{{Body: []byte("late"), Owner: &late}}); !errors.Is(err, block.Closed) {
				t.Errorf("QueueAll after Close: %v, want kind Closed", err)
			}
			if late.n.Load() != 2 {
				t.Errorf("late owners were released %d times, want 2", late.n.Load())
			}
			w.Flush()
			if err := w.Close(); err != nil {
				t.Errorf("second Close: %v", err)
			}
			if n := w.QueuedBytes(); n != 0 {
				t.Errorf("%d bytes are queued after Close", n)
			}
		})
	}
}

// A connection that the peer has broken is reported once, and every owner is
// released once.
func TestPeerGoneIsReportedOnce(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			ours, theirs := pair(t, kind)
			reports := make(chan error, 100)
			w := New(ours, func(err error) { reports <- err })
			defer w.Close()
			theirs.Close()
			var own counter
			queued := int32(0)
			body := make([]byte, 64<<10)
			for {
				queued++
				err := w.Queue([]byte("h"), body, &own)
				w.Flush()
				if err != nil {
					break
				}
			}
			if err := <-reports; !errors.Is(err, block.Unavailable) {
				t.Errorf("reported %v, want kind Unavailable", err)
			}
			w.Close()
			if len(reports) != 0 {
				t.Errorf("%d further reports, want one in all", len(reports))
			}
			if own.n.Load() != queued {
				t.Errorf("%d releases, want %d", own.n.Load(), queued)
			}
			if err := w.Drain(testContext(t)); !errors.Is(err, block.Unavailable) {
				t.Errorf("Drain of a failed connection: %v, want kind Unavailable", err)
			}
		})
	}
}

// Close in the middle of a storm: no deadlock, no double release, no leak.
func TestCloseInTheMiddleOfAStorm(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			for round := range 20 {
				ours, theirs := pair(t, kind)
				w := New(ours, nil)
				owners := make([]counter, 4*100)
				var wg sync.WaitGroup
				for s := range 4 {
					wg.Go(func() {
						for i := range 100 {
							w.Queue([]byte("head"), make([]byte, 10_000), &owners[s*100+i])
							w.Flush()
						}
					})
				}
				wg.Go(func() { io.CopyN(io.Discard, theirs, int64(round)*50_000) })
				wg.Go(func() {
					if round%2 == 0 {
						io.CopyN(io.Discard, theirs, 100_000)
					}
					w.Close()
					theirs.Close()
				})
				wg.Wait()
				for i := range owners {
					if n := owners[i].n.Load(); n != 1 {
						t.Fatalf("round %d: owner %d was released %d times, want 1", round, i, n)
					}
				}
			}
		})
	}
}

// Drain gives up when its context ends.
func TestDrainEndsWithItsContext(t *testing.T) {
	ours, _ := pair(t, "tcp")
	w := New(ours, nil)
	defer w.Close()
	fill(t, w, nil)
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error)
	go func() { result <- w.Drain(ctx) }()
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("Drain: %v, want context.Canceled", err)
	}
}

// In steady state a message costs no allocation.
func TestSteadyStateDoesNotAllocate(t *testing.T) {
	ours, theirs := pair(t, "tcp")
	w := New(ours, nil)
	defer w.Close()
	body := make([]byte, 4096)
	buf := make([]byte, 2*(16+4096))
	own := &counter{}
	got := testing.AllocsPerRun(1000, func() {
		var head [16]byte
		head[3] = 1
		w.Queue(head[:], body, own)
		w.Queue(head[:], body, own)
		w.Flush()
		if _, err := io.ReadFull(theirs, buf); err != nil {
			t.Fatal(err)
		}
	})
	if got != 0 {
		t.Errorf("%v allocations for two messages, want 0", got)
	}
}

func BenchmarkLoneReply(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err == nil {
			io.Copy(io.Discard, c)
			c.Close()
		}
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	w := New(c, nil)
	defer w.Close()
	body := make([]byte, 4096)
	b.ReportAllocs()
	b.SetBytes(4096)
	for b.Loop() {
		var head [16]byte
		w.Queue(head[:], body, nil)
		w.Flush()
	}
}
