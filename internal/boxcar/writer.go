package boxcar

import (
	"context"
	"net"
	"sync"
	"sync/atomic"

	"github.com/sextantdisk/sextant/internal/block"
)

// maxRounds is how many writes one Flush does before it leaves the rest to
// the background goroutine, so that a busy connection does not keep its
// caller for ever.
const maxRounds = 16

// Piece is a part of a message for QueueAll: a head, which is copied, then a
// body, which is not. Either may be empty. Owner, if not nil, is released
// when the piece has been sent or given up.
type Piece struct {
	Head  []byte
	Body  []byte
	Owner Releaser
}

// Writer sends messages over one connection. See the package comment.
type Writer struct {
	conn    net.Conn
	sink    sink
	onError func(error)
	wake    chan struct{} // passes the right to write to the background
	done    chan struct{} // closed when the background goroutine has ended

	queued atomic.Int64 // bytes accepted and not yet sent or dropped
	writes atomic.Int64
	passed atomic.Int64

	// out is what is being written; it belongs to who set mu.writing.
	out batch

	mu struct {
		sync.Mutex
		idle    sync.Cond // signalled when writing becomes false; uses this mutex
		pending batch
		// writing: somebody has the right to write and will come back
		// for pending.
		writing bool
		// err is set once and for all when the connection is of no
		// more use: the write error, or a failure of kind Closed.
		err    error
		closed bool
	}
}

// New makes a Writer for conn and starts its background goroutine. From now
// on nobody else may write to conn. onError, which may be nil, is called at
// most once, with the first write error; it is not called because of Close.
func New(conn net.Conn, onError func(error)) *Writer {
	w := &Writer{
		conn:    conn,
		sink:    newSink(conn),
		onError: onError,
		wake:    make(chan struct{}, 1),
		done:    make(chan struct{}),
	}
	w.mu.idle.L = &w.mu
	go w.run()
	return w
}

// Queue appends one message: a copy of head, then body itself, which must not
// change until owner is released. It sends nothing: Flush does. When the
// connection has failed or was closed, owner is released at once and the
// reason is returned.
func (w *Writer) Queue(head, body []byte, owner Releaser) error {
	w.mu.Lock()
	if err := w.mu.err; err != nil {
		w.mu.Unlock()
		if owner != nil {
			owner.Release()
		}
		return err
	}
	w.mu.pending.addHead(head)
	w.mu.pending.addBody(body)
	w.mu.pending.addClaim(owner)
	w.queued.Add(int64(len(head) + len(body)))
	w.mu.Unlock()
	return nil
}

// QueueAll is Queue for a message of several pieces. The slice itself may be
// used again when QueueAll returns.
func (w *Writer) QueueAll(pieces []Piece) error {
	w.mu.Lock()
	if err := w.mu.err; err != nil {
		w.mu.Unlock()
		for _, p := range pieces {
			if p.Owner != nil {
				p.Owner.Release()
			}
		}
		return err
	}
	n := 0
	for _, p := range pieces {
		w.mu.pending.addHead(p.Head)
		w.mu.pending.addBody(p.Body)
		w.mu.pending.addClaim(p.Owner)
		n += len(p.Head) + len(p.Body)
	}
	w.queued.Add(int64(n))
	w.mu.Unlock()
	return nil
}

// QueuedBytes is how much has been accepted and neither been sent nor
// dropped.
func (w *Writer) QueuedBytes() block.ByteCount { return block.ByteCount(max(w.queued.Load(), 0)) }

// Stats tells how the messages went out, since New.
type Stats struct {
	// Writes counts writes to the connection that took at least one byte;
	// HandOffs counts how often the background goroutine was woken.
	Writes, HandOffs int64
}

// Stats may be called at any time.
func (w *Writer) Stats() Stats { return Stats{Writes: w.writes.Load(), HandOffs: w.passed.Load()} }

// Flush sends what is queued, or makes sure that somebody does. It never
// waits for the peer.
func (w *Writer) Flush() {
	w.mu.Lock()
	if w.mu.writing || w.mu.err != nil || w.mu.pending.empty() {
		w.mu.Unlock()
		return
	}
	w.mu.writing = true
	w.takeLocked()
	w.mu.Unlock()
	for range maxRounds {
		n, err := w.sink.try(&w.out)
		if err != nil {
			w.fail(err)
			return
		}
		if n == 0 {
			break
		}
		if w.sent(n) {
			return
		}
	}
	w.passed.Add(1)
	w.wake <- struct{}{}
}

// takeLocked moves what is pending to out, which must be empty. The caller
// has the right to write.
func (w *Writer) takeLocked() { w.out, w.mu.pending = w.mu.pending, w.out }

// sent accounts for n bytes that went out. When out is empty it takes what is
// pending; when there is nothing it gives up the right to write and reports
// true.
func (w *Writer) sent(n int) (finished bool) {
	w.writes.Add(1)
	w.queued.Add(-int64(n))
	w.out.advance(n)
	if !w.out.empty() {
		return false
	}
	w.out.reset()
	w.mu.Lock()
	if err := w.mu.err; err != nil { // closed meanwhile; Close drops what is pending
		w.restLocked()
		w.mu.Unlock()
		return true
	}
	if w.mu.pending.empty() {
		w.restLocked()
		w.mu.Unlock()
		return true
	}
	w.takeLocked()
	w.mu.Unlock()
	return false
}

// restLocked gives up the right to write.
func (w *Writer) restLocked() {
	w.mu.writing = false
	w.mu.idle.Broadcast()
}

// fail ends the connection for good after a write error. The caller has the
// right to write and loses it.
func (w *Writer) fail(err error) {
	var dropped batch
	w.mu.Lock()
	first := w.mu.err == nil
	if first {
		w.mu.err = block.Wrap(block.Unavailable, err, "write to %v", w.conn.RemoteAddr())
		err = w.mu.err
	}
	dropped, w.mu.pending = w.mu.pending, dropped
	w.mu.Unlock()

	w.queued.Store(0)
	w.out.reset()
	dropped.reset()
	if first && w.onError != nil {
		w.onError(err)
	}

	w.mu.Lock()
	w.restLocked()
	w.mu.Unlock()
}

// run is the background goroutine: it has the right to write from a receive
// on wake until all has been sent.
func (w *Writer) run() {
	defer close(w.done)
	for range w.wake {
		w.sendAll()
	}
}

func (w *Writer) sendAll() {
	for {
		n, err := w.sink.send(&w.out)
		if err != nil {
			w.fail(err)
			return
		}
		if w.sent(n) {
			return
		}
	}
}

// Drain sends what is queued and waits until the last byte is with the
// kernel. It returns early with the reason when the connection fails or is
// closed, or when ctx ends.
func (w *Writer) Drain(ctx context.Context) error {
	w.Flush()
	stop := context.AfterFunc(ctx, func() {
		w.mu.Lock()
		w.mu.idle.Broadcast()
		w.mu.Unlock()
	})
	defer stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.mu.writing && w.mu.err == nil && ctx.Err() == nil {
		w.mu.idle.Wait()
	}
	if w.mu.err != nil {
		return w.mu.err
	}
	return ctx.Err()
}

// Close closes the connection, drops what has not been sent and waits until
// nobody writes any more. All owners have been released when it returns. It
// may be called again.
func (w *Writer) Close() error {
	w.mu.Lock()
	if w.mu.closed {
		w.mu.Unlock()
		<-w.done
		return nil
	}
	w.mu.closed = true
	if w.mu.err == nil {
		w.mu.err = block.Errorf(block.Closed, "connection to %v is closed", w.conn.RemoteAddr())
	}
	w.mu.Unlock()
	err := w.conn.Close()
	w.mu.Lock()
	for w.mu.writing {
		w.mu.idle.Wait()
	}
	w.mu.Unlock()
	// Nobody writes, and nobody will: err is set.
	w.out.reset()
	w.mu.pending.reset()
	w.queued.Store(0)
	close(w.wake)
	<-w.done
	if err != nil {
		return block.Wrap(block.Unavailable, err, "close the connection to %v", w.conn.RemoteAddr())
	}
	return nil
}
