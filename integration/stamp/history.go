package stamp

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/sextantdisk/sextant/internal/block"
)

// instant orders the events of a history: begins and ends of operations.
type instant uint64

const never = instant(math.MaxUint64)

// History knows what each block may hold. Its methods may be called from any
// goroutine.
type History struct {
	writer Writer

	mu struct {
		sync.Mutex
		now    instant
		blocks map[Number]*register
		// reads are the begins of the reads in flight, for forgetting
		// what no read can still show.
		reads map[*Read]struct{}
		// loose are writes whose connection broke while their server may
		// still act on them.
		loose []*Write
	}
}

// register is the history of one block.
type register struct {
	last Version // the newest version that was ever given out
	// candidates in the order of their versions. Invariant: at least one
	// has removed == never, unless a violation was told.
	candidates []candidate
}

// candidate is a version that a block may hold, or may have held while a
// read that is still in flight was under way.
type candidate struct {
	version Version
	begin   instant
	// done is an instant by which the write has certainly happened, or will
	// never happen; never while it is open.
	done instant
	// removed is when something superseded it.
	removed instant
}

// Write is a write in flight.
type Write struct {
	First    Number
	Versions []Version // of the blocks from First on
	begin    instant
}

// Read is a read in flight.
type Read struct {
	First Number
	Count int
	begin instant
}

// Violation is a block that held what it must not.
type Violation struct {
	Number Number
	Found  string
	Want   string
}

// String prints all of it in one line.
func (v Violation) String() string {
	return fmt.Sprintf("block %d: found %s; want %s", v.Number, v.Found, v.Want)
}

// NewHistory begins a history of blocks that are all zeroes. All stamps are
// of that writer.
func NewHistory(w Writer) *History {
	h := &History{writer: w}
	h.mu.blocks = map[Number]*register{}
	h.mu.reads = map[*Read]struct{}{}
	return h
}

// BeginWrite gives new versions to the blocks [first, first+count). It is
// called before the first byte is sent.
func (h *History) BeginWrite(first Number, count int) *Write {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.now++
	w := &Write{First: first, Versions: make([]Version, count), begin: h.mu.now}
	for i := range w.Versions {
		r := h.register(first + Number(i))
		r.last++
		w.Versions[i] = r.last
		r.candidates = append(r.candidates, candidate{version: r.last, begin: w.begin, done: never, removed: never})
	}
	return w
}

// Stamp is what block i of the write is to be filled with.
func (h *History) Stamp(w *Write, i int) Stamp {
	return Stamp{Number: w.First + Number(i), Version: w.Versions[i], Writer: h.writer}
}

// Acked is called when a write's success was received.
func (h *History) Acked(w *Write) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.now++
	for i, v := range w.Versions {
		h.register(w.First+Number(i)).happened(v, h.mu.now)
	}
	h.forget(w.First, len(w.Versions))
}

// Unknown is called when a write's connection broke, or it was answered with
// an error: it may have happened in part, and may yet happen.
func (h *History) Unknown(w *Write) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.loose = append(h.mu.loose, w)
}

// ServerDied is called when the server that all broken connections led to is
// dead for certain, before anything is sent to its successor: no write that
// is unknown until now can happen from now on.
func (h *History) ServerDied() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.now++
	for _, w := range h.mu.loose {
		for i, v := range w.Versions {
			if c := h.register(w.First + Number(i)).find(v); c != nil && c.done == never {
				c.done = h.mu.now
			}
		}
	}
	h.mu.loose = nil
}

// BeginRead is called before a read of [first, first+count) is sent.
func (h *History) BeginRead(first Number, count int) *Read {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.now++
	r := &Read{First: first, Count: count, begin: h.mu.now}
	h.mu.reads[r] = struct{}{}
	return r
}

// EndRead judges what a read has returned: r.Count blocks. With nil data it
// only forgets a read that failed.
func (h *History) EndRead(r *Read, data []byte) []Violation {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.now++
	delete(h.mu.reads, r)
	if data == nil {
		return nil
	}
	var wrong []Violation
	for i := range r.Count {
		n := r.First + Number(i)
		if v := h.judge(n, r.begin, data[i*block.Size:(i+1)*block.Size]); v != nil {
			wrong = append(wrong, *v)
		}
	}
	h.forget(r.First, r.Count)
	return wrong
}

// judge compares one block with its register, and learns from it.
func (h *History) judge(n Number, begin instant, data []byte) *Violation {
	reg := h.register(n)
	s, err := Decode(data)
	if err != nil {
		return reg.violation(n, err.Error())
	}
	if s.Version != 0 && (s.Number != n || s.Writer != h.writer) {
		return reg.violation(n, s.String()+", which belongs elsewhere")
	}
	c := reg.find(s.Version)
	switch {
	case c == nil && s.Version > reg.last:
		return reg.violation(n, s.String()+", which was never written")
	case c == nil || c.removed < begin:
		return reg.violation(n, s.String()+", which was superseded")
	}
	reg.shown(s.Version, begin, h.mu.now)
	return nil
}

// register gives the history of a block. The lock is held.
func (h *History) register(n Number) *register {
	r := h.mu.blocks[n]
	if r == nil {
		r = &register{candidates: []candidate{{removed: never}}}
		h.mu.blocks[n] = r
	}
	return r
}

// forget drops what was removed before any read in flight began. The lock is
// held.
func (h *History) forget(first Number, count int) {
	oldest := h.mu.now
	for r := range h.mu.reads {
		oldest = min(oldest, r.begin)
	}
	for i := range count {
		r := h.register(first + Number(i))
		r.candidates = slices.DeleteFunc(r.candidates, func(c candidate) bool { return c.removed < oldest })
	}
}

// Blocks lists the blocks that were ever written, in order.
func (h *History) Blocks() []Number {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []Number
	for n, r := range h.mu.blocks {
		if r.last > 0 {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return all
}

func (r *register) find(v Version) *candidate {
	i, ok := slices.BinarySearchFunc(r.candidates, v, func(c candidate, v Version) int {
		return int(int64(c.version) - int64(v))
	})
	if !ok {
		return nil
	}
	return &r.candidates[i]
}

// happened notes that version v has taken effect by now. It supersedes
// whatever was over before v began.
func (r *register) happened(v Version, now instant) {
	c := r.find(v)
	if c == nil {
		return
	}
	c.done = min(c.done, now)
	r.remove(v, c.begin, now)
}

// shown notes that a read that began at begin has returned version v: v took
// effect by now, and all that was over before the read began came before v.
func (r *register) shown(v Version, begin, now instant) {
	r.happened(v, now)
	r.remove(v, begin, now)
}

// remove supersedes what was over before the instant given, but v.
func (r *register) remove(v Version, before, now instant) {
	for i := range r.candidates {
		c := &r.candidates[i]
		if c.version != v && c.done < before && c.removed == never {
			c.removed = now
		}
	}
}

func (r *register) violation(n Number, found string) *Violation {
	var want []string
	for _, c := range r.candidates {
		switch {
		case c.removed != never:
		case c.version == 0:
			want = append(want, "zeroes")
		case c.done == never:
			want = append(want, fmt.Sprintf("version %d (in flight or unknown)", c.version))
		default:
			want = append(want, fmt.Sprintf("version %d", c.version))
		}
	}
	if len(want) == 0 {
		want = []string{"nothing that is possible: reads have contradicted each other"}
	}
	return &Violation{Number: n, Found: found, Want: strings.Join(want, " or ")}
}
