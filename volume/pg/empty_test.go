package pg_test

import (
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/volume/pg"
	"github.com/sextantdisk/sextant/volume/quorum"
	"github.com/sextantdisk/sextant/wire"
)

// A former writer that is cut off may take a group for empty that was placed in
// an epoch before this one. It asks no segment: no fence reaches it, only time
// does, and that is waited for beside, not instead of, read leases (R14).
func TestR14OnlyTimeEndsTheWaitForWhoTakesTheGroupForEmpty(t *testing.T) {
	const soon, late = 500 * time.Millisecond, 2 * time.Second
	cfg := pg.Config{EmptyUntil: soon, UnopenedUntil: late}
	for name, c := range map[string]struct {
		cfg    pg.Config
		scl    block.LSN // of all members when they are fenced
		fenced quorum.Member
		opens  time.Duration // when reads begin and writes are answered
	}{
		"opened before, all fenced":       {cfg, block.MakeLSN(2, 1), 6, soon},
		"never opened, all fenced":        {cfg, 0, 6, late},
		"never opened, one is not fenced": {cfg, 0, 5, 56*time.Millisecond + quorum.LeaseWait + 4*time.Millisecond},
		"known, all fenced":               {pg.Config{}, 0, 6, 0},
		"known, one is not fenced":        {pg.Config{}, 0, 5, 56*time.Millisecond + quorum.LeaseWait + 4*time.Millisecond},
		"clean, one is not fenced":        {pg.Config{Clean: true}, 0, 5, 0},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOpening(t, c.cfg)
			o.step(pg.Input{Kind: pg.Start})
			for i := range c.fenced {
				o.step(pg.Input{Kind: pg.Up, Member: i})
				o.ack(i, wire.Ack{SCL: c.scl})
			}
			o.now = max(o.now, 56*time.Millisecond) // past the fence's grace
			o.step(pg.Input{Kind: pg.Tick})
			o.step(pg.Input{Kind: pg.Issue, Record: &pg.Record{Record: wire.Record{Type: wire.RecordZero, Count: 1}}})
			for i := range quorum.Member(4) {
				o.ack(i, wire.Ack{SCL: block.MakeLSN(3, 1)})
			}
			o.step(pg.Input{Kind: pg.Collect})
			for i := range quorum.Member(4) {
				o.ack(i, wire.Ack{SCL: block.MakeLSN(3, 2)})
			}
			serves := func() bool {
				_, _, ok := o.m.BeginRead(o.now, o.now)
				if ok != (o.done == 1) {
					t.Fatalf("at %v: reads %v, %d writes answered", o.now, ok, o.done)
				}
				return ok
			}
			if o.now < c.opens {
				if serves() {
					t.Fatalf("it serves at %v already", o.now)
				}
				o.now = c.opens - 1
				o.step(pg.Input{Kind: pg.Tick})
				if serves() {
					t.Fatalf("it serves at %v already", o.now)
				}
				o.now = c.opens
				o.step(pg.Input{Kind: pg.Tick})
			}
			if !serves() || !o.m.LeaseSettled() {
				t.Fatalf("it does not serve at %v", o.now)
			}
		})
	}
}
