package quorum

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
)

func six() *Config {
	return &Config{Epoch: 1, Segments: make([]block.SegmentID, 6), Sets: []Set{{Members: []Member{0, 1, 2, 3, 4, 5}, Write: 4, Read: 3}}}
}

func joint() *Config {
	c := six()
	c.Segments = make([]block.SegmentID, 7)
	c.Sets = append(c.Sets, Set{Members: []Member{0, 1, 2, 3, 4, 6}, Write: 4, Read: 3})
	return c
}

// sized is a configuration of one set of n members.
func sized(n, write, read int) *Config {
	set := Set{Write: write, Read: read}
	for m := range Member(n) {
		set.Members = append(set.Members, m)
	}
	return &Config{Segments: make([]block.SegmentID, n), Sets: []Set{set}}
}

// committedSlowly counts, for each LSN, who has it: the definition itself.
func committedSlowly(c *Config, scl []block.LSN) block.LSN {
	best := block.LSN(0)
	for l := block.LSN(0); l <= 20; l++ {
		ok := true
		for _, set := range c.Sets {
			n := 0
			for _, m := range set.Members {
				if scl[m] >= l {
					n++
				}
			}
			ok = ok && n >= set.Write
		}
		if ok {
			best = l
		}
	}
	return best
}

func TestR7CommittedIsTheFourthLargest(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, c := range []*Config{six(), joint(), sized(3, 2, 2), sized(1, 1, 1), reduced(), reducing(), restoring()} {
		if err := c.Check(); err != nil {
			t.Fatal(err)
		}
		for range 20000 {
			scl := make([]block.LSN, len(c.Segments))
			for i := range scl {
				scl[i] = block.LSN(rng.IntN(21))
			}
			got := c.Committed(func(m Member) block.LSN { return scl[m] })
			if want := committedSlowly(c, scl); got != want {
				t.Fatalf("%v with SCLs %v: committed %d, want %d", c, scl, got, want)
			}
		}
	}
}

func TestCheckRefusesUnsafeQuorums(t *testing.T) {
	for _, q := range []struct {
		n, w, r int
		ok      bool
	}{
		{6, 4, 3, true}, {6, 3, 4, false}, {6, 4, 2, false}, {6, 6, 1, true}, {3, 2, 2, true}, {3, 2, 1, false},
		{1, 1, 1, true}, {6, 7, 3, false}, {6, 0, 6, false}, {4, 3, 2, true}, {4, 2, 3, false},
	} {
		err := sized(q.n, q.w, q.r).Check()
		if (err == nil) != q.ok {
			t.Errorf("%d copies, write %d, read %d: %v, want ok %v", q.n, q.w, q.r, err, q.ok)
		}
		if err != nil && !errors.Is(err, block.Invalid) {
			t.Errorf("kind of %v", err)
		}
	}
	for _, members := range [][]Member{nil, {0, 0, 1, 2, 3, 4}, {0, 1, 2, 3, 4, 6}, {0, 1, 2, 3, 4, -1}} {
		c := six()
		c.Sets[0].Members = members
		if c.Check() == nil {
			t.Errorf("set %v is accepted", members)
		}
	}
	c := six()
	c.Sets = nil
	if c.Check() == nil {
		t.Error("a configuration without sets is accepted")
	}
}

// TestRecoverFindsEverythingAcknowledged acknowledges by any write quorum,
// recovers from any read quorum, and wants the record found: the law of
// overlapping quorums, over all subsets.
func TestRecoverFindsEverythingAcknowledged(t *testing.T) {
	c := six()
	for w := range Votes(1 << 6) {
		if !c.Writes(w) {
			continue
		}
		for r := range Votes(1 << 6) {
			var answers []Answer
			for m := range Member(6) {
				if r.Has(m) {
					a := Answer{Member: m, SCL: 5}
					if w.Has(m) {
						a.SCL = 9
					}
					answers = append(answers, a)
				}
			}
			point, donors, ok := c.Recover(answers)
			if ok != c.Fences(r) {
				t.Fatalf("answers %06b: ok %v", r, ok)
			}
			if ok && (point < 9 || donors != w&r) {
				t.Fatalf("written at %06b, read at %06b: point %v of %06b", w, r, point, donors)
			}
		}
	}
}

func TestRecoverDoesNotCountDamagedForData(t *testing.T) {
	c := six()
	answers := []Answer{{0, 9, true}, {1, 5, false}, {2, 5, false}}
	if _, _, ok := c.Recover(answers); ok {
		t.Error("two healthy answers and a damaged one are taken for a read quorum of data")
	}
	answers = append(answers, Answer{3, 7, false})
	point, donors, ok := c.Recover(answers)
	if !ok || point != 7 || donors != Votes(0).Add(3) {
		t.Errorf("point %v, donors %b, ok %v", point, donors, ok)
	}
	c = joint()
	c.Unhydrated = map[Member]bool{6: true}
	if _, _, ok := c.Recover([]Answer{{0, 1, false}, {1, 1, false}, {6, 1, false}}); ok {
		t.Error("an unhydrated member is counted for data (R25)")
	}
}

func TestR14LeaseOverlapsEveryOpening(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, c := range []*Config{six(), joint(), reduced(), reducing(), restoring()} {
		for range 5000 {
			sent := make([]time.Duration, len(c.Segments))
			for i := range sent {
				sent[i] = time.Duration(rng.IntN(1000))
			}
			start := c.LeaseUntil(func(m Member) time.Duration { return sent[m] }) - LeaseTerm
			// Whoever answered something sent at or after start had not
			// heard of a successor then; a successor cannot have a write
			// quorum among the others of every set.
			for _, set := range c.Sets {
				others := 0
				for _, m := range set.Members {
					if sent[m] < start {
						others++
					}
				}
				if others >= set.Write {
					t.Fatalf("sent %v: a successor could have opened before %v", sent, start)
				}
			}
			if slices.Max(sent) < start {
				t.Fatalf("sent %v: lease begins at %v, later than anything sent", sent, start)
			}
		}
	}
}

func TestVotes(t *testing.T) {
	c := joint()
	v := Votes(0)
	for _, m := range []Member{0, 1, 2, 3, 4} {
		v = v.Add(m)
	}
	if !c.Writes(v) || !c.Fences(v) || c.All(v) || c.All(v.Add(5)) || !c.All(v.Add(5).Add(6)) {
		t.Errorf("votes %b of %v", v, c)
	}
}

func BenchmarkCommitted(b *testing.B) {
	c := six()
	scl := []block.LSN{5, 3, 9, 7, 1, 8}
	f := func(m Member) block.LSN { return scl[m] }
	for b.Loop() {
		c.Committed(f)
	}
}
