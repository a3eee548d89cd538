package torture

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/integration/history"
)

const length = 20 * time.Second

func TestPlanIsRepeatable(t *testing.T) {
	a, b, other := planner{seed: 7}, planner{seed: 7}, planner{seed: 8}
	for range 20 {
		x, y, z := a.next(length).String(), b.next(length).String(), other.next(length).String()
		if x != y || x == z {
			t.Fatalf("%s\n%s\n%s", x, y, z)
		}
	}
}

// TestPlanKeepsWithinThePromise: in chapters within it, never more than two
// copies, lost disks included, and one metadata member are away at once, and
// no daemon has two faults at a time. All kinds of faults come up.
func TestPlanKeepsWithinThePromise(t *testing.T) {
	seen := map[kind]int{}
	beyond := 0
	for seed := range uint64(50) {
		p := planner{seed: seed}
		for range 12 {
			c := p.next(length)
			for _, e := range c.Events {
				seen[e.Kind]++
			}
			if c.Beyond {
				beyond++
				continue
			}
			checkWithin(t, c)
		}
	}
	for _, k := range append([]kind{loseDisk, blackout}, ordinary...) {
		if seen[k] == 0 {
			t.Errorf("never: %s", k)
		}
	}
	if beyond != 50*12/beyondEvery {
		t.Errorf("%d chapters are beyond", beyond)
	}
}

// checkWithin looks at each moment at which something begins.
func checkWithin(t *testing.T, c Chapter) {
	t.Helper()
	for _, at := range c.Events {
		var hit, members set
		var all []daemon
		for _, e := range c.Events {
			if e.Kind == loseDisk && e.At <= at.At {
				hit |= e.hits()
			}
			if e.At > at.At || at.At > e.At+e.For {
				continue
			}
			hit |= e.hits()
			members |= e.members()
			for _, d := range e.daemons() {
				for _, o := range all {
					if o == d {
						t.Errorf("%v has two faults at %v:\n%v", d, at.At, c)
					}
				}
				all = append(all, d)
			}
		}
		if hit.size() > mayHit || members.size() > 1 {
			t.Errorf("at %v %d copies and %d members are away:\n%v", at.At, hit.size(), members.size(), c)
		}
	}
}

func TestSteps(t *testing.T) {
	c := Chapter{Events: []Event{
		{Kind: killSegment, At: 1 * time.Second, For: 5 * time.Second, Of: []int{1}},
		{Kind: sever, At: 2 * time.Second, Of: []int{0}},
	}}
	var got []string
	for _, s := range c.steps() {
		got = append(got, fmt.Sprint(s.at, " ", s.event.Kind, " ", s.begin))
	}
	want := "1s kill -9 of segment true, 2s connections are cut in mid-frame around zone true, 6s kill -9 of segment false"
	if s := strings.Join(got, ", "); s != want {
		t.Errorf("got %s, want %s", s, want)
	}
}

// TestWrongHistoryIsKept: what is wrong is told, and kept with its history and
// porcupine's picture.
func TestWrongHistoryIsKept(t *testing.T) {
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	r := &runner{cfg: Config{Dir: t.TempDir(), Say: t.Logf}, load: newLoad(nil, 1), checker: history.NewChecker(), log: log}
	r.load.say("block %d: torn", 9)
	err = r.judge([]history.Op{
		{Block: 5, Value: 1, Begin: 1, End: 2, Write: true},
		{Block: 5, Value: 2, Begin: 3, End: 4, Write: true},
		{Block: 5, Value: 1, Begin: 5, End: 6},
	}, r.checker.Chapter)
	if err == nil || !strings.Contains(err.Error(), "block 9: torn") || !strings.Contains(err.Error(), "block 5: 0.1 was there before and after 0.2") {
		t.Errorf("got %v", err)
	}
	for _, name := range []string{"history-of-block-5.txt", "block-5-window-0.html"} {
		if text, err := os.ReadFile(filepath.Join(r.cfg.Dir, name)); err != nil || len(text) == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestUnits: what a unit says of itself is read again, and what is torn, or in
// the place of another, is told.
func TestUnits(t *testing.T) {
	for _, u := range []unit{wholeBlocks, sectors} {
		p := make([]byte, u)
		at := u.register(5 * 4096)
		if v, err := u.decode(p, at); v != 0 || err != nil {
			t.Errorf("%d: zeroes are %v, %v", u, v, err)
		}
		want := history.NewValue(3, 17)
		u.encode(p, at, want)
		if v, err := u.decode(p, at); v != want || err != nil {
			t.Errorf("%d: %v, %v", u, v, err)
		}
		if _, err := u.decode(p, at+1); err == nil {
			t.Errorf("%d: another's place is taken for its own", u)
		}
		p[len(p)/2] ^= 1
		if _, err := u.decode(p, at); err == nil {
			t.Errorf("%d: a flipped bit is not seen", u)
		}
	}
	if wholeBlocks.register(4096) == sectors.register(4096) {
		t.Error("a block and a sector have one name")
	}
}
