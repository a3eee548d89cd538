package history

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
)

// Instant orders begins and ends of operations. 0 is before all.
type Instant uint64

// Never is the end of a write that was not acknowledged.
const Never = Instant(math.MaxUint64)

// Clock gives out instants.
type Clock struct{ last atomic.Uint64 }

// Now is later than all instants before.
func (c *Clock) Now() Instant { return Instant(c.last.Add(1)) }

// Block is the number of a block.
type Block uint64

// Client names who did an operation.
type Client uint16

// Value tells which write a block's content is from. The zero Value is the
// block before any write.
type Value uint64

// clientShift leaves a client 2^40 writes.
const clientShift = 40

// NewValue is the value of the n-th write, from 1 on, of a client.
func NewValue(c Client, n uint64) Value { return Value(uint64(c)<<clientShift | n&(1<<clientShift-1)) }

// Client is who wrote it.
func (v Value) Client() Client { return Client(v >> clientShift) }

// Count says which of its client's writes it is.
func (v Value) Count() uint64 { return uint64(v) & (1<<clientShift - 1) }

// String prints "3.17", or "zeroes".
func (v Value) String() string {
	if v == 0 {
		return "zeroes"
	}
	return fmt.Sprintf("%d.%d", v.Client(), v.Count())
}

// Op is a write or a read of one block.
type Op struct {
	Block      Block
	Value      Value
	Begin, End Instant
	By         Client
	Write      bool
}

// String prints "write 3.17 by 3 [100,120]".
func (o Op) String() string {
	what := "read"
	if o.Write {
		what = "write"
	}
	end := "never"
	if o.End != Never {
		end = fmt.Sprint(uint64(o.End))
	}
	return fmt.Sprintf("%s %v by %d [%d,%s]", what, o.Value, o.By, o.Begin, end)
}

// maxOps bounds what a Log holds.
const maxOps = 4 << 20

// Log holds the operations of a chapter.
type Log struct {
	mu struct {
		sync.Mutex
		ops []Op
	}
}

// Add notes an operation that has ended, or never will. It tells whether there
// is room for more: a chapter should end when there is none.
func (l *Log) Add(ops ...Op) (more bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.ops = append(l.mu.ops, ops...)
	return len(l.mu.ops) < maxOps
}

// Take gives what was added, and forgets it.
func (l *Log) Take() []Op {
	l.mu.Lock()
	defer l.mu.Unlock()
	ops := l.mu.ops
	l.mu.ops = nil
	return ops
}
