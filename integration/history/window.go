package history

import (
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

const (
	// windowOps is how many operations a window has, but for one that begins
	// with more that overlap; maxWindow bounds those.
	windowOps = 64
	maxWindow = 256
	// windowTime bounds what a window may take: the problem is NP-complete
	// for a checker that does not know about registers.
	windowTime = 5 * time.Second
)

// Opinion is what porcupine says of the windows of one block's history.
type Opinion struct {
	// Windows were judged; Unknown took too long; TooBusy have more than
	// maxWindow operations without a quiet moment.
	Windows, Unknown, TooBusy int
	// Bad have no order.
	Bad []Window
}

// Window is a part of a block's history that begins and ends in quiet moments.
type Window struct {
	Ops  []Op
	info porcupine.LinearizationInfo
}

// SecondOpinion asks porcupine for each window of one block's history. What the
// block held at the beginning of a window is taken to be unknown, so this is
// weaker than a Checker; it shares nothing with it.
func SecondOpinion(ops []Op) (o Opinion) {
	for _, w := range windows(ops) {
		if len(w) > maxWindow {
			o.TooBusy++
			continue
		}
		o.Windows++
		result, info := porcupine.CheckOperationsVerbose(register, operations(w), windowTime)
		switch result {
		case porcupine.Illegal:
			o.Bad = append(o.Bad, Window{w, info})
		case porcupine.Unknown:
			o.Unknown++
		case porcupine.Ok:
		}
	}
	return o
}

// Picture writes a page of HTML that shows what is wrong.
func (w Window) Picture(out io.Writer) error { return porcupine.Visualize(register, w.info, out) }

// windows cuts a history at quiet moments. Maybes that nobody in the window
// has read are left out; the others may have taken effect in any window.
func windows(ops []Op) (all [][]Op) {
	var sure []Op
	maybe := map[Value]Op{}
	for _, o := range ops {
		if o.End == Never {
			maybe[o.Value] = o
		} else {
			sure = append(sure, o)
		}
	}
	slices.SortFunc(sure, func(a, b Op) int { return compare(a.Begin, b.Begin) })
	begin, quiet := 0, 0 // of the window; the last quiet moment in it
	var end Instant
	for i, o := range sure {
		if o.Begin > end {
			quiet = i
		}
		end = max(end, o.End)
		if i-begin >= windowOps && quiet > begin {
			all = append(all, withMaybes(sure[begin:quiet], maybe))
			begin = quiet
		}
	}
	if begin < len(sure) {
		all = append(all, withMaybes(sure[begin:], maybe))
	}
	return all
}

func withMaybes(w []Op, maybe map[Value]Op) []Op {
	w = slices.Clone(w)
	added := map[Value]bool{}
	for _, o := range w {
		if m, ok := maybe[o.Value]; ok && !o.Write && !added[o.Value] {
			added[o.Value] = true
			w = append(w, m)
		}
	}
	return w
}

// operations are those of a window in porcupine's words. It wants an end of
// each: a maybe ends behind all others.
func operations(w []Op) (all []porcupine.Operation) {
	var end Instant
	for _, o := range w {
		end = max(end, o.Begin)
		if o.End != Never {
			end = max(end, o.End)
		}
	}
	for _, o := range w {
		end := min(o.End, end+1)
		all = append(all, porcupine.Operation{ClientId: int(o.By), Input: o, Call: instant(o.Begin), Output: o.Value, Return: instant(end)})
	}
	return all
}

func instant(i Instant) int64 { return int64(min(i, math.MaxInt64)) }

// register is porcupine's model: its state is nil, for unknown, or a Value.
var register = porcupine.Model{
	Init: func() any { return nil },
	Step: func(state, input, output any) (bool, any) {
		o := input.(Op)
		return o.Write || state == nil || state == output, o.Value
	},
	Equal: func(a, b any) bool { return a == b },
	DescribeOperation: func(input, _ any) string {
		o := input.(Op)
		if o.Write {
			return fmt.Sprintf("write %v", o.Value)
		}
		return fmt.Sprintf("read %v", o.Value)
	},
	DescribeState: func(state any) string {
		if state == nil {
			return "unknown"
		}
		return fmt.Sprint(state)
	},
}
