package volume

import (
	"sync"
	"sync/atomic"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/boxcar"
	"github.com/sextantdisk/sextant/internal/slab"
	"github.com/sextantdisk/sextant/metadata"
	"github.com/sextantdisk/sextant/volume/pg"
	"github.com/sextantdisk/sextant/volume/quorum"
	"github.com/sextantdisk/sextant/volume/rmw"
	"github.com/sextantdisk/sextant/wire"
)

// group is one protection group that is placed: the shell of its machine.
type group struct {
	v      *Volume
	index  block.PGIndex
	born   block.VolumeEpoch
	roster atomic.Pointer[roster] // changes under mu
	roam   atomic.Uint32          // reads that chose a member
	keeps  atomic.Bool            // its ring holds something; see noteRingLocked

	mu struct {
		sync.Mutex
		machine *pg.Machine
		tags    []wire.Tag // by member
		// ticking: the volume's clock goroutine steps this group.
		ticking bool
		reads   []*readOp // wait for the group to serve, or for the lease
		rmw     rmw.Edits // sub-block writes and who waits for them
		// stranded counts the records that were held too long and that no
		// write quorum has: their writers were told, but they are kept,
		// for they may still come through (B7).
		stranded int
		gone     bool // the volume has ended

		// scratch for carryOut
		encoded wire.Batch
		lastRun []*pg.Record
		frame   []byte
		pieces  []boxcar.Piece
	}
}

// record is a pg.Record with what it holds on to.
type record struct {
	pg.Record
	op  *writeOp
	buf *slab.Buffer // the memory of Payload, or nil
	// stranded is what it counts for among what is kept after a failure.
	stranded block.ByteCount
}

var records = sync.Pool{New: func() any { return new(record) }}

// newGroup makes the shell of a placed group and attaches it to its links. It
// does not open it.
func newGroup(v *Volume, cfg metadata.PGConfig) (*group, error) {
	g := &group{v: v, index: cfg.Index, born: cfg.Born}
	r, err := newRoster(v.cfg.Pool, v.info.Quorum, &quorum.Config{}, cfg)
	if err != nil {
		return nil, block.Wrap(block.KindOf(err), err, "volume %s, group %v", v.info.Name, cfg.Index)
	}
	g.roster.Store(r)
	empty, unopened := quorum.EmptyWaits(cfg.Born, v.epoch, v.emptyUntil, v.knownUntil)
	g.mu.machine = pg.New(pg.Config{
		Epoch: v.epoch, Quorum: r.quorum, Fresh: cfg.Born == v.epoch, EmptyUntil: empty, UnopenedUntil: unopened,
		Departed: cfg.Departed > 0, Clean: v.clean, Hold: v.cfg.Hold, Next: v.nextLSN,
	})
	return g, nil
}

// attach makes the group hear of its links, and tells it which are up.
func (g *group) attach(b *batch) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for m, l := range g.roster.Load().links {
		g.seatLocked(b, quorum.Member(m), l)
	}
}

func (g *group) detach() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for m, l := range g.roster.Load().links {
		if l != nil {
			l.detach(g.mu.tags[m])
		}
	}
}

// isFor checks that an answer names the member that it came by (R1).
func (g *group) isFor(id *wire.Identity, m quorum.Member) bool {
	r := g.roster.Load()
	return id.Volume == g.v.info.ID && id.PG == g.index && int(m) < len(r.members) && id.Segment == r.members[m].ID
}

// step gives the machine an input and carries out what it asks for; what is
// to be sent and told goes into b.
func (g *group) step(b *batch, in pg.Input) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.gone {
		return
	}
	g.stepLocked(b, in)
}

// hear is step with what a link tells of a member, unless the member's number
// belongs to another segment, or to none, since the link looked it up.
func (g *group) hear(b *batch, l *link, in pg.Input) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r := g.roster.Load(); !g.mu.gone && int(in.Member) < len(r.links) && r.links[in.Member] == l {
		g.stepLocked(b, in)
	}
}

func (g *group) stepLocked(b *batch, in pg.Input) {
	g.carryOut(b, g.mu.machine.Step(g.v.now(), in))
}

// carryOut does what the machine asks for.
func (g *group) carryOut(b *batch, fx *pg.Effects) {
	if fx.Fenced != 0 {
		g.v.end(block.Errorf(block.Fenced, "volume %s: another gateway has opened it with epoch %d", g.v.info.Name, fx.Fenced))
		return
	}
	if fx.Stuck {
		g.v.end(block.Errorf(block.Closed, "volume %s, group %v: nobody who has the recovery point is left; the volume must be opened anew", g.v.info.Name, g.index))
		return
	}
	opened, readable, outdated := fx.Opened, fx.Readable, fx.Outdated // fx is the machine's, good until its next step
	for i := range fx.Sends {
		g.sendLocked(b, &fx.Sends[i])
	}
	g.mu.lastRun = nil
	for _, r := range fx.Done {
		r.Owner.(*record).op.pieceDone(b, nil)
	}
	for _, r := range fx.Failed {
		g.strandLocked(r.Owner.(*record))
		r.Owner.(*record).op.pieceDone(b, g.heldLocked())
	}
	for _, r := range fx.Late {
		g.unstrandLocked(r.Owner.(*record))
	}
	for _, r := range fx.Free {
		g.freeLocked(r.Owner)
	}
	if opened {
		g.v.groupOpened(g)
	}
	if outdated {
		g.v.reread(g)
	}
	if g.mu.rmw.Busy() {
		g.advanceEditsLocked()
	}
	if readable && len(g.mu.reads) > 0 {
		g.retryReadsLocked(b)
	}
	g.wantTickLocked()
	g.noteRingLocked()
}

// heldLocked is what a write is told that has waited for the hold time (B5), or
// for which there is no room.
func (g *group) heldLocked() error {
	s := g.roster.Load().quorum.Sets[0]
	if g.mu.machine.WantsRoom() {
		return block.Errorf(block.NoSpace, "volume %s, group %v: fewer than %d of %d copies have room on their disks; delete or trim data, or add disks",
			g.v.info.Name, g.index, s.Write, len(s.Members))
	}
	return block.Errorf(block.Unavailable, "volume %s, group %v: fewer than %d of %d copies have answered for %v",
		g.v.info.Name, g.index, s.Write, len(s.Members), g.v.cfg.Hold)
}

// wantTickLocked has the volume's clock goroutine step this group, as long as
// time can make a difference to it.
func (g *group) wantTickLocked() {
	if !g.mu.ticking && (len(g.mu.reads) > 0 || g.mu.rmw.Busy() || g.mu.machine.NeedsTick()) {
		g.mu.ticking = true
		g.v.ticker.add(g)
	}
}

// strandLocked counts a record that failed and is kept.
func (g *group) strandLocked(r *record) {
	g.mu.stranded++
	r.stranded = block.ByteCount(len(r.Payload)) + opBytes
	g.v.stranded.Add(int64(r.stranded))
}

// unstrandLocked counts it no more: a write quorum has it, or it is let go.
// Members that lack it keep it in the ring, but do not keep new writes out.
func (g *group) unstrandLocked(r *record) {
	if r.stranded > 0 {
		g.mu.stranded--
		g.v.stranded.Add(-int64(r.stranded))
		r.stranded = 0
	}
}

// hopelessLocked tells that a new write would fail as others have: writes of
// this group were held for the whole hold time, and nobody has answered for
// them since; or so many are kept in other groups that no more may be taken
// in where no quorum can be seen (R10: memory stays bounded).
func (g *group) hopelessLocked() bool {
	return g.mu.stranded > 0 || g.v.stranded.Load() > int64(maxPendingBytes) && !g.quorumUp()
}

// quorumUp tells whether there are connections to a write quorum.
func (g *group) quorumUp() bool {
	var up quorum.Votes
	r := g.roster.Load()
	for i, l := range r.links {
		if l != nil && l.out.Load() != nil {
			up = up.Add(quorum.Member(i))
		}
	}
	return r.quorum.Writes(up)
}

// freeLocked gives the memory of a record back: the machine refers to it no
// more. Frames that are still on their way hold references of their own.
func (g *group) freeLocked(owner any) {
	r, ok := owner.(*record)
	if !ok {
		return // the machine's own EPOCH_OPEN
	}
	g.unstrandLocked(r)
	if r.buf != nil {
		r.buf.Release()
	}
	sums := r.Sums[:0]
	*r = record{}
	r.Sums = sums
	records.Put(r)
}

// identity goes with a message for a segment: it quotes the newest membership
// epoch (R2).
func (g *group) identity(s block.SegmentID) wire.Identity {
	return wire.Identity{
		Cluster: g.v.cfg.Pool.cfg.Cluster, Volume: g.v.info.ID, Segment: s, PG: g.index,
		Epoch: g.v.epoch, Member: g.roster.Load().cfg.Membership,
	}
}

// sendLocked queues one message on its member's link.
func (g *group) sendLocked(b *batch, s *pg.Send) {
	r := g.roster.Load()
	id := g.identity(r.members[s.Member].ID)
	l, tag := r.links[s.Member], g.mu.tags[s.Member]
	pieces := g.mu.pieces[:0]
	head := g.mu.frame[:0]
	switch s.Kind {
	case pg.SendRecords:
		g.encodeLocked(s.Records)
		head = g.mu.encoded.Append(head, wire.TypeWrite, tag, &id, &s.Progress)
		pieces = append(pieces, boxcar.Piece{Head: head})
		for _, r := range s.Records {
			if len(r.Payload) > 0 {
				rec := r.Owner.(*record)
				pieces = append(pieces, boxcar.Piece{Body: r.Payload, Owner: rec.buf.Retain()})
			}
		}
	case pg.SendJoin:
		m := wire.Join{Identity: id, Progress: s.Progress}
		pieces = append(pieces, boxcar.Piece{Head: m.Append(head, tag)})
	case pg.SendPing:
		m := wire.Ping{Identity: id, Progress: s.Progress}
		pieces = append(pieces, boxcar.Piece{Head: m.Append(head, tag)})
	case pg.SendCatchUp:
		donor := r.members[s.Donor]
		m := wire.CatchUp{Identity: id, UpTo: s.UpTo, DonorSegment: donor.ID, DonorDisk: donor.Disk,
			DonorNode: donor.Node, DonorAddress: r.links[s.Donor].address()}
		pieces = append(pieces, boxcar.Piece{Head: m.Append(head, tag)})
	}
	g.mu.frame = pieces[0].Head[:0]
	l.queue(pieces)
	b.link(l)
	clear(pieces)
	g.mu.pieces = pieces[:0]
}

// encodeLocked encodes a run of records, once for all members that get the
// same run in this step.
func (g *group) encodeLocked(run []*pg.Record) {
	if last := g.mu.lastRun; len(last) == len(run) && last[0] == run[0] {
		return
	}
	g.mu.encoded.Reset()
	for _, r := range run {
		g.mu.encoded.Add(&r.Record)
	}
	g.mu.lastRun = run
}
