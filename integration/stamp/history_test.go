package stamp

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
)

const us = Writer(7)

// content is a block with one stamp.
func content(n Number, v Version) []byte {
	p := make([]byte, block.Size)
	if v > 0 {
		Stamp{Number: n, Version: v, Writer: us}.Encode(p)
	}
	return p
}

// see reads block n as having version v, and tells what was wrong.
func see(h *History, n Number, v Version) string {
	return seeIn(h, h.BeginRead(n, 1), n, v)
}

func seeIn(h *History, r *Read, n Number, v Version) string {
	wrong := h.EndRead(r, content(n, v))
	if len(wrong) == 0 {
		return ""
	}
	return wrong[0].String()
}

// may asserts which of the versions up to newest a read may show, without
// teaching h that it did.
func may(t *testing.T, h *History, n Number, newest Version, want ...Version) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	var got []Version
	for v := range newest + 1 {
		if c := h.register(n).find(v); c != nil && c.removed == never {
			got = append(got, v)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("block %d may hold %v, want %v", n, got, want)
	}
}

func TestAckSupersedesWhatWasAckedBefore(t *testing.T) {
	h := NewHistory(us)
	may(t, h, 5, 0, 0)
	w := h.BeginWrite(5, 1)
	may(t, h, 5, 1, 0, 1)
	h.Acked(w)
	may(t, h, 5, 1, 1)
	h.Acked(h.BeginWrite(4, 3))
	may(t, h, 5, 2, 2)
	may(t, h, 6, 1, 1)
	may(t, h, 7, 1, 0)
}

func TestOverlappingWritesMayEndEitherWay(t *testing.T) {
	h := NewHistory(us)
	a, b := h.BeginWrite(0, 2), h.BeginWrite(1, 2)
	h.Acked(b)
	h.Acked(a)
	may(t, h, 1, 2, 1, 2)
	if s := see(h, 1, 1); s != "" {
		t.Error(s)
	}
	// The read has decided it.
	may(t, h, 1, 2, 1)
	if s := see(h, 1, 2); !strings.Contains(s, "superseded") {
		t.Errorf("the other one afterwards: %q", s)
	}
}

func TestUnknownStaysPossibleWhileTheServerLives(t *testing.T) {
	h := NewHistory(us)
	h.Unknown(h.BeginWrite(0, 1))
	h.Acked(h.BeginWrite(0, 1))
	may(t, h, 0, 2, 1, 2)
	if s := see(h, 0, 2); s != "" {
		t.Error(s)
	}
	may(t, h, 0, 2, 1, 2)
	if s := see(h, 0, 1); s != "" {
		t.Error(s)
	}
	may(t, h, 0, 2, 1)
}

func TestUnknownIsMaybeAfterTheServersDeath(t *testing.T) {
	h := NewHistory(us)
	h.Acked(h.BeginWrite(0, 1))
	h.Unknown(h.BeginWrite(0, 1))
	h.Unknown(h.BeginWrite(0, 1))
	h.ServerDied()
	may(t, h, 0, 3, 1, 2, 3)
	// Until a read shows what became of it, or a later write is acknowledged.
	if s := see(h, 0, 2); s != "" {
		t.Error(s)
	}
	may(t, h, 0, 3, 2)

	h.Unknown(h.BeginWrite(0, 1))
	h.ServerDied()
	may(t, h, 0, 4, 2, 4)
	h.Acked(h.BeginWrite(0, 1))
	may(t, h, 0, 5, 5)
	if s := see(h, 0, 4); !strings.Contains(s, "superseded") {
		t.Errorf("a write that rose from the dead: %q", s)
	}
}

func TestReadsInFlightMayShowWhatWasThereWhenTheyBegan(t *testing.T) {
	h := NewHistory(us)
	h.Acked(h.BeginWrite(0, 1))
	early := h.BeginRead(0, 1)
	again := h.BeginRead(0, 1)
	h.Acked(h.BeginWrite(0, 1))
	h.Acked(h.BeginWrite(0, 1))
	late := h.BeginRead(0, 1)
	for r, v := range map[*Read]Version{early: 1, again: 2} {
		if s := seeIn(h, r, 0, v); s != "" {
			t.Error(s)
		}
	}
	if s := seeIn(h, late, 0, 2); !strings.Contains(s, "want version 3") {
		t.Errorf("a late read of an old version: %q", s)
	}
}

func TestSeenWriteSupersedesBeforeItsAck(t *testing.T) {
	h := NewHistory(us)
	h.Acked(h.BeginWrite(0, 1))
	open := h.BeginWrite(0, 1)
	if s := see(h, 0, 2); s != "" {
		t.Error(s)
	}
	may(t, h, 0, 2, 2)
	h.Acked(open)
	may(t, h, 0, 2, 2)
}

func TestJudgeNamesWhatIsWrong(t *testing.T) {
	h := NewHistory(us)
	h.Acked(h.BeginWrite(0, 2))
	read := func(p []byte) string {
		wrong := h.EndRead(h.BeginRead(0, 1), p)
		if len(wrong) != 1 {
			t.Fatalf("%d violations", len(wrong))
		}
		return wrong[0].String()
	}
	torn := content(0, 1)
	copy(torn[2048:], content(0, 2)[2048:])
	foreign := make([]byte, block.Size)
	Stamp{Number: 0, Version: 1, Writer: us + 1}.Encode(foreign)
	noise := make([]byte, block.Size)
	noise[17] = 1
	for want, p := range map[string][]byte{
		"block 0: found zeroes, which was superseded; want version 1": content(0, 0),
		"block 1 version 1 of writer 7, which belongs elsewhere":      content(1, 1),
		"block 0 version 1 of writer 8, which belongs elsewhere":      foreign,
		"block 0 version 2 of writer 7, which was never written":      content(0, 2),
		"torn: begins as block 0 version 1 of writer 7":               torn,
		"neither a stamp nor zeroes: byte 17 is 0x01":                 noise,
	} {
		if got := read(p); !strings.Contains(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestHistoryForgets(t *testing.T) {
	h := NewHistory(us)
	for range 1000 {
		h.Acked(h.BeginWrite(0, 1))
	}
	if n := len(h.register(0).candidates); n > 2 {
		t.Errorf("%d candidates are kept", n)
	}
	if got := h.Blocks(); !slices.Equal(got, []Number{0}) {
		t.Errorf("blocks %v", got)
	}
}

// operation is one write or read in a random history of one block.
type operation struct {
	write      bool
	value      Version // written or read
	begin, end int     // end is open for a write that may yet happen
	maybe      bool    // it has happened by end, or never does
}

const open = 1 << 30

// linearizable is the dumb judge: it tries every order of the operations that
// keeps the real-time order, with each open or maybe write in it or not.
func linearizable(ops []operation) bool {
	taken := make([]bool, len(ops))
	var try func(value Version, latest int) bool
	try = func(value Version, latest int) bool {
		first := open + 1 // the earliest end of what must still happen
		for i, op := range ops {
			if !taken[i] && op.end < open && !op.maybe {
				first = min(first, op.end)
			}
		}
		if first > open {
			return true
		}
		for i, op := range ops {
			// latest is the latest begin in the order so far: what
			// had ended before that comes too late.
			if taken[i] || op.begin > first || op.end < latest || !op.write && op.value != value {
				continue
			}
			taken[i] = true
			next := value
			if op.write {
				next = op.value
			}
			ok := try(next, max(latest, op.begin))
			taken[i] = false
			if ok {
				return true
			}
		}
		return false
	}
	return try(0, 0)
}

// TestHistoryAgainstAllOrders: on random short histories, the History never
// calls wrong what the dumb judge can order, and finds all that it cannot
// order if reads do not overlap each other.
func TestHistoryAgainstAllOrders(t *testing.T) {
	const rounds = 8000
	right, caught := 0, 0
	for seed := range uint64(rounds) {
		rng := rand.New(rand.NewPCG(seed, 1))
		ops, apart, flagged := randomHistory(rng)
		switch ok := linearizable(ops); {
		case ok && flagged:
			t.Fatalf("seed %d: the History calls wrong what can be ordered: %v", seed, ops)
		case !ok && !flagged && apart:
			t.Fatalf("seed %d: the History has missed a violation: %v", seed, ops)
		case ok:
			right++
		case flagged:
			caught++
		}
	}
	if right < rounds/10 || caught < rounds/10 {
		t.Errorf("%d right and %d wrong histories of %d: the mix proves little", right, caught, rounds)
	}
}

// randomHistory makes a history of one block: operations that begin and end
// in random order, reads that show random versions. apart tells that no two
// reads overlap; flagged that the History found a violation.
func randomHistory(rng *rand.Rand) (ops []operation, apart, flagged bool) {
	h := NewHistory(us)
	type inFlight struct {
		op    int
		write *Write
		read  *Read
	}
	var flight []inFlight
	apart = true
	versions := Version(0)
	readers := 0
	for now := range 14 {
		if len(flight) < 3 && rng.IntN(2) == 0 && len(ops) < 7 {
			f := inFlight{op: len(ops)}
			if rng.IntN(2) == 0 {
				versions++
				f.write = h.BeginWrite(0, 1)
				ops = append(ops, operation{write: true, value: versions, begin: now, end: open})
			} else {
				f.read = h.BeginRead(0, 1)
				ops = append(ops, operation{begin: now, end: open})
				readers++
				apart = apart && readers == 1
			}
			flight = append(flight, f)
			continue
		}
		if rng.IntN(12) == 0 {
			// The server dies: reads in flight say nothing, and writes
			// without an answer have happened by now or never do.
			for _, f := range flight {
				if f.write != nil {
					h.Unknown(f.write)
				} else {
					h.EndRead(f.read, nil)
					readers--
				}
			}
			flight = nil
			h.ServerDied()
			for i := range ops {
				if ops[i].write && ops[i].end == open {
					ops[i].end, ops[i].maybe = now, true
				}
			}
			continue
		}
		if len(flight) == 0 {
			continue
		}
		i := rng.IntN(len(flight))
		f := flight[i]
		flight = slices.Delete(flight, i, i+1)
		switch {
		case f.read != nil:
			v := Version(rng.Uint64N(uint64(versions) + 1))
			ops[f.op].value, ops[f.op].end = v, now
			flagged = seeIn(h, f.read, 0, v) != "" || flagged
			readers--
		case rng.IntN(5) == 0:
			h.Unknown(f.write)
		default:
			h.Acked(f.write)
			ops[f.op].end = now
		}
	}
	// Reads that never end say nothing.
	ops = slices.DeleteFunc(ops, func(o operation) bool { return !o.write && o.end == open })
	return ops, apart, flagged
}

func (o operation) String() string {
	what := "read"
	if o.write {
		what = "write"
	}
	end := fmt.Sprint(o.end)
	if o.end == open {
		end = "open"
	}
	if o.maybe {
		end += "?"
	}
	return fmt.Sprintf("%s %d [%d,%s]", what, o.value, o.begin, end)
}
