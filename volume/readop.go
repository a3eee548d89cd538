package volume

import (
	"errors"
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/boxcar"
	"github.com/sextantdisk/sextant/internal/slab"
	"github.com/sextantdisk/sextant/volume/pg"
	"github.com/sextantdisk/sextant/volume/quorum"
	"github.com/sextantdisk/sextant/wire"
)

// pieceOwner is told how a piece of a request ended. It may be called with a
// group's lock held, and only notes who is to be told.
type pieceOwner interface {
	pieceDone(b *batch, err error)
}

// readOp reads blocks of one group into dst, or maps them.
type readOp struct {
	g     *group
	owner pieceOwner
	block block.Index
	count block.Count
	dst   []byte             // count blocks; nil for a map
	runs  func(r []wire.Run) // takes the runs of an answer, if not nil
	began pg.Time

	at     block.LSN
	roster *roster // as it was at the read-point: segments that leave serve on
	// claimed: an answer is being taken, or was. It stays set when the op
	// is over, so that answers to further attempts are skipped; whoever
	// begins anew does so with a fresh op.
	claimed atomic.Bool

	mu struct {
		sync.Mutex
		candidates quorum.Votes // who can serve at this read-point
		tried      quorum.Votes
		corrupt    quorum.Votes // whose copy turned out damaged
		waiting    int          // attempts without an answer
		hedged     bool
		err        error
	}
}

// begin finds the read-point and asks the best member. If the group does not
// serve now, the read waits in the group.
func (o *readOp) begin(b *batch) {
	g := o.g
	g.mu.Lock()
	o.beginLocked(b)
	g.mu.Unlock()
}

func (o *readOp) beginLocked(b *batch) {
	g := o.g
	if g.mu.gone {
		o.owner.pieceDone(b, g.v.ended())
		return
	}
	if g.mu.machine.Phase() == pg.Idle {
		g.stepLocked(b, pg.Input{Kind: pg.Start})
	}
	at, fx, ok := g.mu.machine.BeginRead(g.v.now(), g.v.confirmedAt())
	if !ok {
		g.mu.reads = append(g.mu.reads, o)
		g.carryOut(b, fx)
		return
	}
	o.at, o.roster = at, g.roster.Load()
	o.mu.Lock()
	for m := range o.roster.links {
		if g.mu.machine.Serves(quorum.Member(m), at) {
			o.mu.candidates = o.mu.candidates.Add(quorum.Member(m))
		}
	}
	o.mu.Unlock()
	o.ask(b)
}

// renew is the same read, to be begun anew.
func (o *readOp) renew() *readOp {
	return &readOp{g: o.g, owner: o.owner, block: o.block, count: o.count, dst: o.dst, runs: o.runs, began: o.began}
}

// retryReadsLocked begins anew what waited for the group.
func (g *group) retryReadsLocked(b *batch) {
	waiting := g.mu.reads
	g.mu.reads = nil
	for _, o := range waiting {
		o.beginLocked(b)
	}
}

// ask sends the read to the best member that was not tried yet. When there is
// none, and no answer is awaited, the read is parked.
func (o *readOp) ask(b *batch) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for {
		m, home, ok := o.chooseLocked()
		if !ok {
			break
		}
		o.mu.tried = o.mu.tried.Add(m)
		o.mu.waiting++
		l := o.roster.links[m]
		if l.reads.submit(o, func(tag wire.Tag) []boxcar.Piece { return o.encode(m, home, tag) }) {
			b.link(l)
			return
		}
		o.mu.waiting--
	}
	if o.mu.waiting == 0 && o.claim() {
		o.parkLocked()
	}
}

// roamEvery is how many reads of a group go by until one goes to the member
// whose turn it is, however slow it seems: a latency that was measured once in
// a bad moment would else stand for ever, and damage be met only when it is
// too late. With six members each is asked for 0.5 % of the reads.
const roamEvery = 32

// chooseLocked picks, among the members that can serve and were not tried,
// the one where the read is expected back first, or the group's home if that
// takes less than twice as long (R15): then one daemon's page cache has what
// is read often, not each of six a part of it, and its disk sees reads in the
// order in which clients do them. Groups have different homes. home says that it
// is this one.
func (o *readOp) chooseLocked() (m quorum.Member, home, ok bool) {
	var costs [quorum.MaxMembers]int64
	var up quorum.Votes
	least := int64(math.MaxInt64)
	for left := uint32(o.mu.candidates &^ o.mu.tried); left != 0; left &= left - 1 {
		m := quorum.Member(bits.TrailingZeros32(left))
		if side := &o.roster.links[m].reads; side.up() {
			costs[m], up = side.cost(), up.Add(m)
			least = min(least, costs[m])
		}
	}
	n := len(o.roster.links)
	at := int(o.g.index) % len(o.roster.quorum.Sets[0].Members)
	if turn := int(o.g.roam.Add(1)); turn%roamEvery == 0 {
		if m := quorum.Member(turn / roamEvery % n); up.Has(m) {
			return m, false, true
		}
	}
	for i := range n { // from the home on
		m := quorum.Member((at + i) % n)
		if up.Has(m) && costs[m] <= 2*least {
			return m, i == 0, true
		}
	}
	return -1, false, false // nobody is up
}

func (o *readOp) encode(m quorum.Member, home bool, tag wire.Tag) []boxcar.Piece {
	r := wire.Read{
		Identity: o.g.identity(o.roster.members[m].ID),
		At:       o.at, Block: o.block, Count: o.count, Home: home,
	}
	typ := wire.TypeRead
	if o.dst == nil {
		typ = wire.TypeMap
	}
	return []boxcar.Piece{{Head: r.Append(make([]byte, 0, 160), typ, tag)}}
}

// parkLocked gives up on this read-point: nobody who can serve it answers.
// The read waits in the group and is begun anew.
func (o *readOp) parkLocked() {
	err := o.mu.err
	if err == nil {
		err = block.Errorf(block.Unavailable, "volume %s, group %v: no copy that is complete can be reached", o.g.v.info.Name, o.g.index)
	}
	o.g.v.later(func(b *batch) {
		g := o.g
		g.mu.Lock()
		defer g.mu.Unlock()
		g.mu.machine.EndRead(o.at)
		if dead := g.v.ended(); dead != nil {
			err = dead
		} else if g.v.now()-o.began < g.v.cfg.Hold {
			g.mu.reads = append(g.mu.reads, o.renew())
			g.wantTickLocked()
			return
		}
		o.owner.pieceDone(b, err)
	})
}

func (o *readOp) claim() bool { return o.claimed.CompareAndSwap(false, true) }
func (o *readOp) unclaim()    { o.claimed.Store(false) }

// data takes the answer: the payload goes straight to its place, is verified
// (B3) and handed on.
func (o *readOp) data(b *batch, l *link, typ wire.Type, d *wire.Data, r *wire.Reader) error {
	if o.dst == nil && typ == wire.TypeRuns {
		if o.finish(b) {
			o.runs(d.Runs)
			o.owner.pieceDone(b, nil)
		}
		return nil
	}
	packed := len(d.Sums) * block.Size
	if typ != wire.TypeData || o.dst == nil || packed > len(o.dst) || !covers(d.Runs, o.count) {
		return block.Errorf(block.Invalid, "%v answers a read of %d blocks wrongly", typ, o.count)
	}
	if err := r.Payload(o.dst[:packed]); err != nil {
		return err
	}
	if err := wire.VerifyBlocks(o.dst[:packed], d.Sums); err != nil {
		o.g.v.cfg.Pool.cfg.Logger.Error("read arrived damaged", "node", string(l.node), "err", err)
		o.unclaim()
		o.failed(b, l, err, nil)
		return nil
	}
	unpack(o.dst, d.Runs, packed)
	if o.finish(b) {
		if o.runs != nil {
			o.runs(d.Runs)
		}
		o.mend(b)
		o.owner.pieceDone(b, nil)
	}
	return nil
}

// finish ends the read at its read-point. The bytes may go to the client only
// while the read lease holds (R14); else the read is begun anew.
func (o *readOp) finish(b *batch) bool {
	g := o.g
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.machine.EndRead(o.at)
	switch {
	case g.mu.gone || g.v.ended() != nil:
		o.owner.pieceDone(b, g.v.ended())
		return false
	case !g.mu.machine.MayReturn(g.v.now(), g.v.confirmedAt()):
		o.renew().beginLocked(b)
		return false
	}
	return true
}

// covers reports whether the runs are exactly n blocks.
func covers(runs []wire.Run, n block.Count) bool {
	var sum uint64
	for _, r := range runs {
		sum += uint64(r.Count)
	}
	return sum == uint64(n)
}

// unpack moves data blocks, packed at the front of dst, to their places, from
// the back to the front, and fills the rest with zeroes.
func unpack(dst []byte, runs []wire.Run, packed int) {
	if packed == len(dst) {
		return
	}
	end := len(dst)
	for i := len(runs) - 1; i >= 0; i-- {
		n := int(runs[i].Count) * block.Size
		if runs[i].Kind == wire.RunData {
			copy(dst[end-n:end], dst[packed-n:packed])
			packed -= n
		} else {
			clear(dst[end-n : end])
		}
		end -= n
	}
}

// failed takes a daemon's refusal or silence: the next one is asked.
func (o *readOp) failed(b *batch, l *link, err error, refusal *wire.Refuse) {
	o.mu.Lock()
	o.mu.waiting--
	o.mu.err = err
	m := o.roster.member(l)
	switch {
	case errors.Is(err, block.Corrupt) && m >= 0:
		o.mu.corrupt = o.mu.corrupt.Add(m)
	case o.overtaken(refusal) && m >= 0:
		o.mu.tried &^= quorum.Votes(0).Add(m)
	}
	o.mu.Unlock()
	if refusal != nil && refusal.Epoch > o.g.v.epoch {
		o.g.v.later(func(b *batch) { o.g.step(b, pg.Input{Kind: pg.Refused, Member: m, Refuse: refusal}) })
	}
	if refusal != nil && refusal.Kind == block.Stale && refusal.Member > o.g.roster.Load().cfg.Membership {
		o.g.v.reread(o.g)
	}
	if errors.Is(err, block.Corrupt) {
		o.g.v.counters.CorruptReads.Add(1)
	}
	if !o.claimed.Load() {
		o.ask(b)
	}
}

// overtaken reports whether a refusal says only that the segment has installed
// the present configuration while the read was on its way with the one before:
// it can be asked again.
func (o *readOp) overtaken(r *wire.Refuse) bool {
	return r != nil && r.Kind == block.Stale && r.Member != 0 && r.Member > o.roster.cfg.Membership &&
		r.Member <= o.g.roster.Load().cfg.Membership
}

// skipped: this daemon's answer came while another one's was being taken, and
// was thrown away. If that other one turns out to be no good this daemon can
// be asked again; and if it has turned out so meanwhile, nobody else will ask.
func (o *readOp) skipped(b *batch, l *link) {
	o.mu.Lock()
	o.mu.waiting--
	if m := o.roster.member(l); m >= 0 {
		o.mu.tried &^= quorum.Votes(0).Add(m)
	}
	o.mu.Unlock()
	if !o.claimed.Load() {
		o.ask(b)
	}
}

// overdue asks another member as well, within the budget (R15).
func (o *readOp) overdue(b *batch, _ *link, waited time.Duration) {
	if o.claimed.Load() {
		return
	}
	if dead := o.g.v.ended(); dead != nil {
		if o.claim() {
			o.g.mu.Lock()
			o.g.mu.machine.EndRead(o.at)
			o.g.mu.Unlock()
			o.owner.pieceDone(b, dead)
		}
		return
	}
	o.mu.Lock()
	first := !o.mu.hedged
	o.mu.hedged = true
	o.mu.Unlock()
	// One extra within the budget; more only when it takes very long.
	if first && o.g.v.budget.take() || waited > time.Second {
		o.g.v.counters.Hedged.Add(1)
		o.ask(b)
	}
}

// mend sends the good bytes to members whose copy was damaged (B3, S2): all
// that was read, for a member tells of the first damaged block only. It writes
// again what is damaged there.
func (o *readOp) mend(b *batch) {
	o.mu.Lock()
	corrupt := o.mu.corrupt
	o.mu.Unlock()
	if corrupt == 0 {
		return
	}
	for m := range o.roster.links {
		if corrupt.Has(quorum.Member(m)) {
			o.mendAt(b, quorum.Member(m))
		}
	}
}

// mendAt sends them to one.
func (o *readOp) mendAt(b *batch, m quorum.Member) {
	buf := slab.Get(len(o.dst))
	copy(buf.Bytes(), o.dst)
	me := &mendOp{g: o.g, segment: o.roster.members[m].ID, block: o.block, count: o.count, buf: buf}
	l := o.roster.links[m]
	if l.reads.submit(me, me.encode) {
		b.link(l)
	}
	buf.Release() // the frame, queued or dropped, had a reference of its own
}

// mendOp brings good bytes to a segment whose copy is damaged. Nobody waits
// for it: if it fails, the next read tries again.
type mendOp struct {
	g       *group
	segment block.SegmentID
	block   block.Index
	count   block.Count
	buf     *slab.Buffer
}

func (o *mendOp) encode(tag wire.Tag) []boxcar.Piece {
	m := wire.Mend{
		Identity: o.g.identity(o.segment),
		Block:    o.block, Count: o.count,
	}
	data := o.buf.Bytes()
	for i := 0; i < len(data); i += block.Size {
		m.Sums = append(m.Sums, block.Checksum(data[i:i+block.Size]))
	}
	return []boxcar.Piece{{Head: m.Append(nil, tag)}, {Body: data, Owner: o.buf.Retain()}}
}

func (o *mendOp) claim() bool { return true }
func (o *mendOp) unclaim()    {}

func (o *mendOp) data(*batch, *link, wire.Type, *wire.Data, *wire.Reader) error {
	o.g.v.counters.Mended.Add(1)
	return nil
}

func (o *mendOp) failed(_ *batch, l *link, err error, _ *wire.Refuse) {
	o.g.v.cfg.Pool.cfg.Logger.Warn("mending failed", "node", string(l.node), "segment", o.segment, "err", err)
}

func (o *mendOp) skipped(*batch, *link) {}

func (o *mendOp) overdue(*batch, *link, time.Duration) {}
