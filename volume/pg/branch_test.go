package pg_test

import (
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/volume/pg"
	"github.com/sextantdisk/sextant/volume/quorum"
	"github.com/sextantdisk/sextant/wire"
)

// opening is a machine of epoch 3 whose group holds {A B C: 1.3, D: 2.1}: D
// took the EPOCH_OPEN of a writer that followed 1.2 and failed, and lacks 1.3.
type opening struct {
	t   *testing.T
	m   *pg.Machine
	now pg.Time
	// stamp is that of the last message to each member.
	stamp [6]wire.Stamp
	// sent counts the messages to each member, by kind.
	sent [6]map[pg.SendKind]int
	last [6]pg.Send
	// upTo is the point of the last CATCHUP to each member.
	upTo  [6]block.LSN
	donor [6][]quorum.Member // of each CATCHUP
	done  int                // writes that were answered
}

func newOpening(t *testing.T, cfg pg.Config) *opening {
	seq := block.Seq(0)
	o := &opening{t: t}
	cfg.Epoch, cfg.Hold = 3, time.Minute
	cfg.Quorum = &quorum.Config{
		Epoch: 1, Segments: make([]block.SegmentID, 6),
		Sets: []quorum.Set{{Members: []quorum.Member{0, 1, 2, 3, 4, 5}, Write: 4, Read: 3}},
	}
	cfg.Next = func() block.LSN { seq++; return block.MakeLSN(3, seq) }
	o.m = pg.New(cfg)
	for i := range o.sent {
		o.sent[i] = map[pg.SendKind]int{}
	}
	return o
}

func (o *opening) step(in pg.Input) {
	fx := o.m.Step(o.now, in)
	o.done += len(fx.Done)
	for _, s := range fx.Sends {
		o.stamp[s.Member] = s.Progress.Stamp
		o.sent[s.Member][s.Kind]++
		o.last[s.Member] = s
		if s.Kind == pg.SendCatchUp {
			o.upTo[s.Member] = s.UpTo
			o.donor[s.Member] = append(o.donor[s.Member], s.Donor)
		}
	}
}

func (o *opening) ack(i quorum.Member, a wire.Ack) {
	a.Epoch, a.Stamp = 3, o.stamp[i]
	o.now += time.Millisecond
	o.step(pg.Input{Kind: pg.Acked, Member: i, Ack: &a})
}

// fenced brings the opening so far that A, B and C have answered the fence,
// EPOCH_OPEN follows 1.3, and D has joined.
func (o *opening) fenced() {
	o.step(pg.Input{Kind: pg.Start})
	for _, i := range []quorum.Member{0, 1, 2} {
		o.step(pg.Input{Kind: pg.Up, Member: i})
		o.ack(i, wire.Ack{SCL: block.MakeLSN(1, 3)})
	}
	o.now += pg.FenceGrace
	o.step(pg.Input{Kind: pg.Tick})
	if o.m.Phase() != pg.Opening {
		o.t.Fatalf("phase %v after a read quorum has answered, want opening", o.m.Phase())
	}
	o.step(pg.Input{Kind: pg.Up, Member: 3})
	o.ack(3, wire.Ack{SCL: block.MakeLSN(2, 1)})
	if o.last[3].Kind != pg.SendRecords {
		o.t.Fatalf("a member above the recovery point was sent %v, want our EPOCH_OPEN", o.last[3].Kind)
	}
}

// A member that stands on an annulled branch above the recovery point, and
// lacks the point, must catch up: our EPOCH_OPEN does not link there, however
// often it is offered (R8, §2.5 note b). With two members dead the group
// cannot open without it.
func TestR8MemberOnAnotherBranchCatchesUpDuringOpening(t *testing.T) {
	o := newOpening(t, pg.Config{})
	o.fenced()
	o.ack(3, wire.Ack{SCL: block.MakeLSN(2, 1), Gap: true}) // it does not link
	o.ack(3, wire.Ack{SCL: block.MakeLSN(2, 1), Gap: true}) // the answer to the Join that follows
	for i := range 3 {
		o.ack(quorum.Member(i), wire.Ack{SCL: block.MakeLSN(3, 1)})
	}
	for range 20 {
		o.now += 100 * time.Millisecond
		o.step(pg.Input{Kind: pg.Tick})
	}
	if n := o.sent[3][pg.SendRecords]; n > 1 {
		t.Errorf("EPOCH_OPEN was offered %d times to a member where it does not link", n)
	}
	if o.sent[3][pg.SendCatchUp] == 0 {
		t.Fatalf("the member was never told to catch up: %+v", o.sent[3])
	}
	if up := o.upTo[3]; up <= block.MakeLSN(2, 1) {
		t.Fatalf("it is to catch up to %v: a point below where it stands brings it nothing", up)
	}
	o.ack(3, wire.Ack{SCL: block.MakeLSN(3, 1)})
	if o.m.Phase() != pg.Open {
		t.Fatalf("phase %v when four have EPOCH_OPEN, want open", o.m.Phase())
	}
}

// What a Join tells must not let a damaged segment conclude that it is
// complete again: until the answer to the Join has come, the writer counts
// what the segment had acknowledged before it lost it (trap T14).
func TestT14JoinTellsNothingCommitted(t *testing.T) {
	o := newOpening(t, pg.Config{})
	o.fenced()
	o.ack(3, wire.Ack{SCL: block.MakeLSN(3, 1)})
	for i := range 3 {
		o.ack(quorum.Member(i), wire.Ack{SCL: block.MakeLSN(3, 1)})
	}
	if o.m.Phase() != pg.Open {
		t.Fatalf("phase %v, want open", o.m.Phase())
	}
	o.step(pg.Input{Kind: pg.Down, Member: 0})
	o.step(pg.Input{Kind: pg.Up, Member: 0})
	if s := o.last[0]; s.Kind != pg.SendJoin || s.Progress.Committed != 0 || s.Progress.Floor != 0 {
		t.Errorf("a Join with committed %v, floor %v: nothing is to be concluded from a Join", s.Progress.Committed, s.Progress.Floor)
	}
	o.ack(0, wire.Ack{SCL: block.MakeLSN(3, 1)})
	o.now += pg.PingEvery
	o.step(pg.Input{Kind: pg.Tick})
	if s := o.last[0]; s.Kind != pg.SendPing || s.Progress.Committed != block.MakeLSN(3, 1) {
		t.Errorf("a %v with committed %v after the Join was answered, want a ping with 3.1", s.Kind, s.Progress.Committed)
	}
}

// A group that was placed in this epoch may still be read as empty by a
// former writer that is cut off; fencing does not reach that one, only time
// does (R14, docs/adr/0003).
func TestR14FreshGroupWaitsForWhoTakesItForEmpty(t *testing.T) {
	const until = 2 * time.Second
	o := newOpening(t, pg.Config{Fresh: true, EmptyUntil: until})
	o.step(pg.Input{Kind: pg.Start})
	for i := range quorum.Member(6) {
		o.step(pg.Input{Kind: pg.Up, Member: i})
		o.ack(i, wire.Ack{})
	}
	r := &pg.Record{Record: wire.Record{Type: wire.RecordZero, Count: 1}}
	o.step(pg.Input{Kind: pg.Issue, Record: r})
	for lsn := block.Seq(1); lsn <= 2; lsn++ { // EPOCH_OPEN, then the record
		for i := range quorum.Member(6) {
			o.ack(i, wire.Ack{SCL: block.MakeLSN(3, lsn)})
		}
		o.step(pg.Input{Kind: pg.Collect})
	}
	if c := o.m.Committed(); c != block.MakeLSN(3, 2) {
		t.Fatalf("committed %v, want 3.2", c)
	}
	if _, _, ok := o.m.BeginRead(o.now, o.now); ok || o.done != 0 {
		t.Errorf("%d writes answered, read begun: %v, while a former writer may take the group for empty", o.done, ok)
	}
	o.now = until - 1
	o.step(pg.Input{Kind: pg.Tick})
	if o.done != 0 {
		t.Errorf("%d writes answered too early", o.done)
	}
	o.now = until
	o.step(pg.Input{Kind: pg.Tick})
	if _, _, ok := o.m.BeginRead(o.now, o.now); !ok || o.done != 1 {
		t.Errorf("%d writes answered, read begun: %v, when the wait is over", o.done, ok)
	}
}

// A donor may have a damaged block just where the member that catches up needs
// it. All donors have the same SCL as a rule: each must get its turn, or the
// member would ask the damaged one for ever (R8, B3).
func TestR8EachDonorGetsItsTurn(t *testing.T) {
	o := newOpening(t, pg.Config{})
	o.fenced()
	for i := range quorum.Member(4) {
		o.ack(i, wire.Ack{SCL: block.MakeLSN(3, 1)})
	}
	o.step(pg.Input{Kind: pg.Up, Member: 4})
	for range 100 { // what it asks for does not come
		o.ack(4, wire.Ack{SCL: block.MakeLSN(1, 1)})
		o.now += 100 * time.Millisecond
		o.step(pg.Input{Kind: pg.Tick})
	}
	asked := map[quorum.Member]int{}
	for _, d := range o.donor[4] {
		asked[d]++
	}
	for d := range quorum.Member(4) {
		if asked[d] < 2 {
			t.Errorf("donor %d was asked %d times of %d, want all four in turn", d, asked[d], len(o.donor[4]))
		}
	}
}
