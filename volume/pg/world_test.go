package pg

import (
	"slices"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/volume/quorum"
	"github.com/sextantdisk/sextant/wire"
)

const (
	epoch = block.VolumeEpoch(7)
	hold  = 60 * time.Second
)

// everyone are the six members.
var everyone = []quorum.Member{0, 1, 2, 3, 4, 5}

// ofSix is a set of six with their quorums.
func ofSix(members []quorum.Member) quorum.Set {
	return quorum.Set{Members: members, Write: 4, Read: 3}
}

// world is a machine, a clock that stands still until wait moves it, and six
// segments that say what the test has them say. What the machine asks for is
// collected.
type world struct {
	t   *testing.T
	m   *Machine
	now Time
	seq block.Seq

	sends    []Send                       // since the last forget
	stamps   map[quorum.Member]wire.Stamp // of the newest message to each member
	done     []block.LSN                  // writes answered with success
	failed   []*Record                    // writes failed
	freed    []*Record
	opened   bool
	readable bool
	fenced   block.VolumeEpoch
	stuck    bool
}

func newWorld(t *testing.T, change ...func(*Config)) *world {
	t.Helper()
	w := &world{t: t, now: time.Hour, stamps: map[quorum.Member]wire.Stamp{}}
	cfg := Config{
		Epoch:  epoch,
		Quorum: &quorum.Config{Epoch: 1, Segments: make([]block.SegmentID, 6), Sets: []quorum.Set{ofSix(everyone)}},
		Hold:   hold,
		Next:   func() block.LSN { w.seq++; return block.MakeLSN(epoch, w.seq) },
	}
	for _, f := range change {
		f(&cfg)
	}
	w.m = New(cfg)
	return w
}

// at is the n-th LSN of our epoch; 1 is EPOCH_OPEN.
func at(n block.Seq) block.LSN { return block.MakeLSN(epoch, n) }

// old is an LSN of the writer before.
func old(n block.Seq) block.LSN { return block.MakeLSN(epoch-1, n) }

func (w *world) step(in Input) *Effects {
	w.t.Helper()
	fx := w.m.Step(w.now, in)
	w.take(fx)
	return fx
}

func (w *world) take(fx *Effects) {
	for _, s := range fx.Sends {
		if s.Progress.Stamp <= w.stamps[s.Member] {
			w.t.Errorf("stamp %d to member %d is not above %d", s.Progress.Stamp, s.Member, w.stamps[s.Member])
		}
		s.Records = slices.Clone(s.Records)
		w.stamps[s.Member] = s.Progress.Stamp
		w.sends = append(w.sends, s)
	}
	for _, r := range fx.Done {
		w.done = append(w.done, r.LSN)
	}
	w.failed = append(w.failed, fx.Failed...)
	w.freed = append(w.freed, fx.Free...)
	w.opened = w.opened || fx.Opened
	w.readable = w.readable || fx.Readable
	w.fenced = max(w.fenced, fx.Fenced)
	w.stuck = w.stuck || fx.Stuck
}

func (w *world) up(members ...quorum.Member) {
	for _, i := range members {
		w.step(Input{Kind: Up, Member: i})
	}
}

func (w *world) down(members ...quorum.Member) {
	for _, i := range members {
		w.step(Input{Kind: Down, Member: i})
	}
}

// ack has members answer the newest message that they were sent: they have
// all up to scl on disk.
func (w *world) ack(scl block.LSN, members ...quorum.Member) {
	for _, i := range members {
		w.say(i, wire.Ack{SCL: scl})
	}
}

// say has a member answer the newest message that it was sent.
func (w *world) say(i quorum.Member, a wire.Ack) {
	a.Epoch, a.Stamp = epoch, w.stamps[i]
	w.step(Input{Kind: Acked, Member: i, Ack: &a})
}

func (w *world) refuse(i quorum.Member, r wire.Refuse) {
	w.step(Input{Kind: Refused, Member: i, Refuse: &r})
}

// wait lets time pass, with a tick every 50 ms at the most.
func (w *world) wait(d time.Duration) {
	for d > 0 {
		pace := min(d, 50*time.Millisecond)
		w.now += pace
		d -= pace
		w.step(Input{Kind: Tick})
	}
}

// start begins the opening with members up, all of them if none is named.
func (w *world) start(members ...quorum.Member) {
	if len(members) == 0 {
		members = everyone
	}
	w.step(Input{Kind: Start})
	w.up(members...)
}

// open brings a group that was empty to serve, with all six members.
func (w *world) open() {
	w.t.Helper()
	w.start()
	w.ack(0, everyone...)
	w.ack(at(1), everyone...)
	if w.m.Phase() != Open || !w.opened {
		w.t.Fatalf("the group is %v after all six have EPOCH_OPEN", w.m.Phase())
	}
	w.forget()
}

// openWith brings a group to serve with these members only, and the former
// writer's lease has run out.
func (w *world) openWith(members ...quorum.Member) {
	w.t.Helper()
	w.start(members...)
	w.ack(0, members...)
	w.wait(FenceGrace)
	w.ack(at(1), members...)
	w.wait(quorum.LeaseWait)
	if !w.m.LeaseSettled() {
		w.t.Fatalf("the group is %v, its lease not settled", w.m.Phase())
	}
	w.forget()
}

func (w *world) forget() {
	w.sends, w.done, w.failed, w.freed = nil, nil, nil, nil
	w.opened, w.readable, w.fenced, w.stuck = false, false, 0, false
}

func write(bytes block.ByteCount) *Record {
	return &Record{Record: wire.Record{Type: wire.RecordWrite, Count: block.Count(bytes / block.Size), Payload: make([]byte, bytes)}}
}

// write issues a write of n blocks, without sending it yet.
func (w *world) write(n int) *Record {
	r := write(block.ByteCount(n) * block.Size)
	w.step(Input{Kind: Issue, Record: r})
	return r
}

func (w *world) collect() { w.step(Input{Kind: Collect}) }

// sent are the LSNs of the records that member i was sent since forget.
func (w *world) sent(i quorum.Member) []block.LSN {
	var out []block.LSN
	for _, s := range w.sends {
		for _, r := range s.Records {
			if s.Member == i {
				out = append(out, r.LSN)
			}
		}
	}
	return out
}

// kinds are the messages that member i was sent since forget.
func (w *world) kinds(i quorum.Member) []SendKind {
	var out []SendKind
	for _, s := range w.sends {
		if s.Member == i {
			out = append(out, s.Kind)
		}
	}
	return out
}

// catchUps are the orders to catch up since forget.
func (w *world) catchUps() []Send {
	var out []Send
	for _, s := range w.sends {
		if s.Kind == SendCatchUp {
			out = append(out, s)
		}
	}
	return out
}

func (w *world) wantDone(want ...block.LSN) {
	w.t.Helper()
	if !slices.Equal(w.done, want) {
		w.t.Fatalf("answered %v, want %v", w.done, want)
	}
}

func (w *world) wantSent(i quorum.Member, want ...block.LSN) {
	w.t.Helper()
	if got := w.sent(i); !slices.Equal(got, want) {
		w.t.Fatalf("member %d was sent %v, want %v", i, got, want)
	}
}

func (w *world) wantState(i quorum.Member, want State) {
	w.t.Helper()
	if got := w.m.Member(i); got.State != want {
		w.t.Fatalf("member %d is %v (%s), want %v", i, got.State, got.Reason, want)
	}
}

func (w *world) wantPhase(want Phase) {
	w.t.Helper()
	if got := w.m.Phase(); got != want {
		w.t.Fatalf("the group is %v, want %v", got, want)
	}
}

// never is a confirmation of the metadata service that never came.
func (w *world) beginRead() (block.LSN, bool) {
	lsn, fx, ok := w.m.BeginRead(w.now, longAgo)
	w.take(fx)
	return lsn, ok
}
