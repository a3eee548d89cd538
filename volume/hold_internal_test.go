package volume

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/boxcar"
	"github.com/sextantdisk/sextant/internal/clock"
	"github.com/sextantdisk/sextant/internal/slab"
	"github.com/sextantdisk/sextant/metadata"
	"github.com/sextantdisk/sextant/volume/pg"
	"github.com/sextantdisk/sextant/volume/quorum"
	"github.com/sextantdisk/sextant/wire"
)

// scripted is an open group whose members answer when the test says so.
type scripted struct {
	*group
	t     *testing.T
	clock *clock.Fake
}

const testHold = time.Minute

func newScripted(t *testing.T) *scripted {
	t.Helper()
	fake := clock.NewFake(time.Unix(1000, 0))
	return scriptedIn(t, scriptedVolume(t, fake, testHold), fake)
}

// scriptedVolume is a volume without groups.
func scriptedVolume(t *testing.T, fake *clock.Fake, hold time.Duration) *Volume {
	t.Helper()
	pool := NewPool(PoolConfig{Name: "test", Clock: fake, Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(pool.Close)
	v := &Volume{
		cfg: Config{Pool: pool, Hold: hold}, info: metadata.Volume{Name: "v"}, epoch: 1, clean: true,
		log: slog.New(slog.DiscardHandler), jobsReady: make(chan struct{}, 1),
	}
	v.pending.init(maxPendingBytes)
	return v
}

// scriptedIn is another group of such a volume.
func scriptedIn(t *testing.T, v *Volume, fake *clock.Fake) *scripted {
	t.Helper()
	r := &roster{members: make([]metadata.Segment, 6), links: make([]*link, 6), quorum: &quorum.Config{
		Epoch: 1, Segments: make([]block.SegmentID, 6),
		Sets: []quorum.Set{{Members: []quorum.Member{0, 1, 2, 3, 4, 5}, Write: 4, Read: 3}},
	}}
	for i := range r.links {
		r.links[i] = &link{pool: v.cfg.Pool, log: v.log}
		r.links[i].reads.init(r.links[i])
	}
	g := &group{v: v, born: 1}
	g.roster.Store(r)
	g.mu.tags = make([]wire.Tag, 6)
	g.mu.machine = pg.New(pg.Config{Epoch: 1, Quorum: r.quorum, Clean: true, Hold: v.cfg.Hold, Next: v.nextLSN})
	s := &scripted{group: g, t: t, clock: fake}
	s.input(pg.Input{Kind: pg.Start})
	for i := range quorum.Member(6) {
		s.input(pg.Input{Kind: pg.Up, Member: i})
		s.ack(i)
	}
	for i := range quorum.Member(6) {
		s.ack(i)
	}
	if g.mu.machine.Phase() != pg.Open {
		t.Fatalf("the group is %v", g.mu.machine.Phase())
	}
	return s
}

func (s *scripted) input(in pg.Input) {
	var b batch
	s.step(&b, in)
	b.run()
}

// ack has member i acknowledge all that was issued.
func (s *scripted) ack(i quorum.Member) {
	s.input(pg.Input{Kind: pg.Acked, Member: i, Ack: &wire.Ack{Identity: wire.Identity{Epoch: 1}, SCL: s.mu.machine.Tail(), Stamp: wire.Stamp(1 << 62)}})
}

func (s *scripted) pass(d time.Duration) {
	s.clock.Advance(d)
	var b batch
	s.tick(&b)
	b.run()
}

// outcome is a Waiter.
type outcome struct {
	told bool
	err  error
}

func (o *outcome) Done(err error)   { o.told, o.err = true, err }
func (o *outcome) Flusher() Flusher { return nowhere{} }

type nowhere struct{}

func (nowhere) Flush() {}

// write writes block b as a client does.
func (s *scripted) write(at block.Index) *outcome {
	var b batch
	out := &outcome{}
	buf := slab.Get(block.Size)
	defer buf.Release()
	buf.Bytes()[0] = 1
	bytes := block.ByteCount(block.Size + opBytes)
	s.v.pending.try(bytes)
	s.issue(&b, s.v.newWriteOp(out, bytes), change{typ: wire.RecordWrite, block: at, count: 1, data: buf.Bytes(), buf: buf})
	s.step(&b, pg.Input{Kind: pg.Collect})
	b.run()
	return out
}

// put changes a few bytes of a block.
func (s *scripted) put(at block.Index) *outcome {
	var b batch
	out := &outcome{}
	buf := slab.Get(block.Size)
	s.v.pending.try(opBytes)
	s.edit(&b, s.newEdit(s.v.newWriteOp(out, opBytes), at, 5, 3, buf.Bytes()[:3], buf))
	b.run()
	return out
}

// TestB5AfterTheHoldWritesFailAtOnce: what was held for too long fails and is
// kept (B7), for it may still come through; more is not taken in, so that
// memory stays bounded (R10), until a quorum has answered for it.
func TestB5AfterTheHoldWritesFailAtOnce(t *testing.T) {
	s := newScripted(t)
	first := s.write(1)
	for i := range quorum.Member(3) {
		s.ack(i)
	}
	s.pass(testHold - time.Second)
	if first.told {
		t.Fatalf("told after %v: %v", testHold-time.Second, first.err)
	}
	s.pass(2 * time.Second)
	if !first.told || !errors.Is(first.err, block.Unavailable) {
		t.Fatalf("after the hold: %+v", first)
	}
	if s.v.pending.used.Load() != 0 || s.v.stranded.Load() < block.Size {
		t.Fatalf("%d bytes pending, %d stranded", s.v.pending.used.Load(), s.v.stranded.Load())
	}
	kept, tail := s.v.stranded.Load(), s.mu.machine.Tail()
	for i := range 10 {
		if o := s.write(block.Index(i)); !errors.Is(o.err, block.Unavailable) {
			t.Fatalf("a write after it: %+v", o)
		}
	}
	if s.v.stranded.Load() != kept || s.mu.machine.Tail() != tail {
		t.Fatalf("%d bytes are kept, the tail is %v; they were %d and %v", s.v.stranded.Load(), s.mu.machine.Tail(), kept, tail)
	}
	s.ack(3) // the quorum is back: that is enough, whoever else is away
	if s.v.stranded.Load() != 0 {
		t.Fatalf("%d bytes are still stranded", s.v.stranded.Load())
	}
	again := s.write(1)
	for i := range quorum.Member(4) {
		s.ack(i)
	}
	if !again.told || again.err != nil {
		t.Fatalf("a write with a quorum: %+v", again)
	}
}

// TestB5AnEditIsHeldNoLongerThanAWrite: a sub-block write that waits to read
// what was issued before it fails like others, and so does what waits for it.
func TestB5AnEditIsHeldNoLongerThanAWrite(t *testing.T) {
	s := newScripted(t)
	before := s.write(1)
	edit, behind, elsewhere := s.put(1), s.write(1), s.put(7)
	for i := range quorum.Member(3) {
		s.ack(i)
	}
	s.pass(testHold + time.Second)
	s.pass(time.Second)
	for name, o := range map[string]*outcome{"write": before, "edit": edit, "write behind it": behind, "edit elsewhere": elsewhere} {
		if !o.told || !errors.Is(o.err, block.Unavailable) {
			t.Errorf("%s: %+v", name, o)
		}
	}
	if n := s.mu.rmw.Len(); n != 0 {
		t.Errorf("%d edits and what waits for them are left", n)
	}
}

// TestTagIsNotTakenForTheNextOne: a tag that was given back finds nobody, also
// when its place is used again.
func TestTagIsNotTakenForTheNextOne(t *testing.T) {
	s := newScripted(t)
	l := s.roster.Load().links[0]
	a, b := l.attach(s.group, 0), l.attach(s.group, 1)
	l.detach(a)
	c := l.attach(s.group, 2)
	if l.route(a) != nil || l.route(b).member != 1 || l.route(c).member != 2 || a == c {
		t.Fatalf("tags %x, %x, %x lead to %v, %v, %v", a, b, c, l.route(a), l.route(b), l.route(c))
	}
	if n := len(*l.routes.Load()); n != 2 {
		t.Errorf("there are %d places for two tags", n)
	}
	seen := 0
	l.eachRoute(func(*route) { seen++ })
	if seen != 2 || l.route(99) != nil {
		t.Errorf("%d routes are seen", seen)
	}
}

// TestR15TheHomeIsAskedUnlessItIsSlow: a group's home has its reads, others'
// differ, and a home that is twice as slow as the best, or down, loses them.
func TestR15TheHomeIsAskedUnlessItIsSlow(t *testing.T) {
	s := newScripted(t)
	links := s.roster.Load().links
	for i := range links {
		links[i].reads.out.Store(new(boxcar.Writer)) // up; nothing is sent here
		links[i].reads.ewma.Store(1000 + int64(i))
	}
	home := false
	choose := func() (m quorum.Member) {
		o := &readOp{g: s.group, roster: s.roster.Load()}
		for i := range quorum.Member(6) {
			o.mu.candidates = o.mu.candidates.Add(i)
		}
		m, home, _ = o.chooseLocked()
		return m
	}
	for i := range 12 { // fewer than roamEvery
		s.index = block.PGIndex(i)
		if m := choose(); m != quorum.Member(i%6) || !home {
			t.Errorf("group %d is read from member %d, its home: %v", i, m, home)
		}
	}
	s.index = 3
	for i := 1; i <= 6*roamEvery; i++ { // who has its turn is not told that readers come back
		m, turn := choose(), (i+12)%roamEvery == 0
		if home == turn || home && m != 3 {
			t.Errorf("read %d goes to member %d, a turn: %v; told that it is the home: %v", i, m, turn, home)
		}
	}
	s.roam.Store(12)
	s.index = 11
	seen := map[quorum.Member]int{}
	links[2].reads.ewma.Store(int64(time.Hour))
	for range 6 * roamEvery {
		seen[choose()]++
	}
	if len(seen) != 6 || seen[5] < 5*roamEvery || seen[2] != 1 {
		t.Errorf("members were asked this often: %v", seen)
	}
	links[2].reads.ewma.Store(1000)
	s.roam.Store(0)
	s.index = 3
	links[3].reads.ewma.Store(2500)
	if m := choose(); m != 4 {
		t.Errorf("with a slow home member %d is asked, not the next", m)
	}
	links[4].reads.out.Store(nil)
	if m := choose(); m != 5 {
		t.Errorf("with the next down member %d is asked", m)
	}
	links[5].reads.inFlight.Store(7)
	if m := choose(); m != 0 {
		t.Errorf("with seven reads before it member %d is asked", m)
	}
}
