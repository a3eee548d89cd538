package segmentd

import (
	"sync"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/slab"
	"github.com/sextantdisk/sextant/logstore"
	"github.com/sextantdisk/sextant/wire"
)

// Bounds of rounds.
const (
	// roundBytes and roundFrames bound what a connection takes in before it
	// waits for the disk.
	roundBytes  = 4 * block.MiB
	roundFrames = 64
	// longRound is from which length on the disk is waited for beside the
	// connection: taking in the next one takes about as long.
	longRound = 128 * block.KiB
)

// round is what a connection took in at a time and waits for the disk
// together. It belongs to one goroutine at a time.
type round struct {
	c      *conn
	frames []*frame // not yet waited for
	spare  []*frame
	bytes  block.ByteCount // payload of frames
	acks   []pendingAck
	head   []byte // scratch for encoding
}

// frame is a message whose records are on their way to the disk.
type frame struct {
	write   wire.Write
	recs    []logstore.Record
	payload *slab.Buffer
	ticket  *logstore.Ticket
	host    *hosted
	tag     wire.Tag
}

// pendingAck is owed to a segment's writer at the end of a round; messages of
// one round are answered together (R6).
type pendingAck struct {
	host     *hosted
	tag      wire.Tag
	epoch    block.VolumeEpoch
	progress wire.Progress
}

// newFrame gives an unused frame, with a slab of n bytes if n is not 0.
func (r *round) newFrame(n int) *frame {
	var f *frame
	if k := len(r.spare) - 1; k >= 0 {
		f, r.spare = r.spare[k], r.spare[:k]
	} else {
		f = &frame{}
	}
	if n > 0 {
		f.payload = slab.Get(n)
	}
	r.frames = append(r.frames, f)
	r.bytes += block.ByteCount(n)
	return f
}

// full tells that nothing more is to be taken in before the disk is waited
// for.
func (r *round) full() bool { return r.bytes >= roundBytes || len(r.frames) >= roundFrames }

func (r *round) empty() bool { return len(r.frames) == 0 && len(r.acks) == 0 }

// owe notes that host's writer is to get an ack that covers this message.
func (r *round) owe(a pendingAck) {
	for i := range r.acks {
		if b := &r.acks[i]; b.host == a.host && b.epoch == a.epoch {
			b.tag, b.progress = a.tag, a.progress
			return
		}
	}
	r.acks = append(r.acks, a)
}

func (r *round) dropAck(h *hosted) {
	for i := range r.acks {
		if r.acks[i].host == h {
			r.acks[i].host = nil
		}
	}
}

// add appends all of o, which came later, and empties it.
func (r *round) add(o *round) {
	r.frames = append(r.frames, o.frames...)
	r.bytes += o.bytes
	for _, a := range o.acks {
		r.owe(a)
	}
	o.frames, o.bytes, o.acks = o.frames[:0], 0, o.acks[:0]
}

// finish waits for the disk, answers, and sends the answers off.
func (r *round) finish() {
	c := r.c
	for _, f := range r.frames {
		if f.ticket == nil {
			continue
		}
		if err := f.ticket.Wait(); err != nil {
			now := c.s.clock.Now()
			c.s.room.refused(now, err)
			if untold, ok := c.s.refusals.due(now); ok {
				c.log.Error("segment takes no records", "segment", f.host.log.ID(), "untold", untold, "err", err)
			}
			m := c.s.refusal(err)
			r.send(m.Append(r.head[:0], f.tag))
			r.dropAck(f.host)
		}
	}
	for i := range r.acks {
		r.answer(&r.acks[i])
		r.acks[i] = pendingAck{}
	}
	r.acks = r.acks[:0]
	r.release()
	c.w.Flush()
}

// answer settles what the progress allows and sends the ack.
func (r *round) answer(a *pendingAck) {
	if a.host == nil {
		return
	}
	if err := a.host.settled(a.epoch, a.progress); err != nil {
		r.c.log.Error("settling failed", "segment", a.host.log.ID(), "floor", a.progress.Floor, "err", err)
	}
	r.send(a.host.appendAnswer(r.head[:0], a.tag, a.epoch, a.progress.Stamp))
}

// send queues a frame without payload; head may be used again at once.
func (r *round) send(head []byte) {
	r.head = head[:0]
	_ = r.c.w.Queue(head, nil, nil) // a broken connection shows at the reader
}

// release gives all frames of the round back.
func (r *round) release() {
	for _, f := range r.frames {
		if f.payload != nil {
			f.payload.Release()
		}
		f.payload, f.ticket, f.host = nil, nil, nil
		r.spare = append(r.spare, f)
	}
	r.frames, r.bytes = r.frames[:0], 0
}

// abandon ends the last round of a connection that is gone: what was enqueued
// is waited for, because its memory is in use until then.
func (r *round) abandon() {
	for _, f := range r.frames {
		if f.ticket != nil {
			_ = f.ticket.Wait()
		}
	}
	r.release()
}

// aside waits for the disk beside a connection's goroutine, which takes in the
// next round meanwhile: without it long frames would be received and written in
// turn, never at once. What comes while one round is on its way joins the
// next, which so grows as long as the disk is slow.
type aside struct {
	tasks sync.WaitGroup

	mu struct {
		sync.Mutex
		changed sync.Cond // with this mutex
		waiting *round    // the next round, or nil
		spare   *round    // an empty one, or nil
		busy    bool      // a goroutine is there and will look at waiting again
	}
}

func (a *aside) init() { a.mu.changed.L = &a.mu }

// idle tells that nothing is on its way.
func (a *aside) idle() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.mu.busy
}

// pass hands a round over and gives an empty one for it. It waits while the
// next round is full.
func (a *aside) pass(r *round) *round {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.mu.waiting != nil && a.mu.waiting.full() {
		a.mu.changed.Wait()
	}
	if a.mu.waiting != nil {
		a.mu.waiting.add(r)
		return r
	}
	a.mu.waiting = r
	if !a.mu.busy {
		a.mu.busy = true
		a.tasks.Add(1)
		go a.run()
	}
	next := a.mu.spare
	if a.mu.spare = nil; next == nil {
		next = &round{c: r.c}
	}
	return next
}

// run finishes rounds until none is waiting.
func (a *aside) run() {
	defer a.tasks.Done()
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.mu.waiting != nil {
		r := a.mu.waiting
		a.mu.waiting = nil
		a.mu.changed.Broadcast()
		a.mu.Unlock()
		r.finish()
		a.mu.Lock()
		a.mu.spare = r
	}
	a.mu.busy = false
}
