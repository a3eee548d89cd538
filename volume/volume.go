package volume

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
	"github.com/sextantdisk/sextant/volume/pg"
	"github.com/sextantdisk/sextant/volume/quorum"
)

// Metadata is what a volume needs of the metadata service; *metadata.Client
// is one.
type Metadata interface {
	OpenVolume(ctx context.Context, r metadata.OpenRequest) (metadata.Opened, error)
	OpenDone(ctx context.Context, volume block.VolumeID, epoch block.VolumeEpoch, unopened []block.PGIndex) error
	CloseVolume(ctx context.Context, r metadata.CloseRequest) error
	RenewLease(ctx context.Context, r metadata.LeaseReport) (metadata.LeaseReply, error)
	EnsurePG(ctx context.Context, volume block.VolumeID, epoch block.VolumeEpoch, index block.PGIndex) (metadata.PGConfig, error)
	PG(ctx context.Context, nameOrID string, epoch block.VolumeEpoch, index block.PGIndex) (metadata.PGConfig, error)
	MarkHydrated(ctx context.Context, r metadata.ChangeRef) (metadata.PGConfig, error)
	FinishChange(ctx context.Context, r metadata.ChangeRef) (metadata.PGConfig, error)
}

// Defaults and bounds.
const (
	// DefaultHold is how long requests wait for a quorum (B5).
	DefaultHold = 60 * time.Second
	// maxPendingBytes and maxPendingOps bound what is admitted and not done
	// (R10).
	maxPendingBytes = 128 * block.MiB
	// opBytes is what an operation counts for beside its payload.
	opBytes = 128
)

// Config is how a volume is opened.
type Config struct {
	Pool     *Pool
	Metadata Metadata
	Gateway  metadata.GatewayID
	// Description tells people where the gateway runs.
	Description string
	// Takeover takes the volume from another gateway, even from one that
	// lives.
	Takeover bool
	Hold     time.Duration // 0: DefaultHold
	Logger   *slog.Logger
	// Ended, if not nil, is called once when the volume has ended by itself.
	Ended func(err error)
}

// Volume is an opened volume: this gateway is its only writer as long as it
// lives.
type Volume struct {
	cfg   Config
	info  metadata.Volume // as of the opening; the size may grow, see size
	epoch block.VolumeEpoch
	clean bool
	// emptyUntil is until when a former gateway may take groups that are placed
	// now for never written, knownUntil those that were placed before the epoch
	// before this one began, or by its owner. See absent.go.
	emptyUntil, knownUntil pg.Time
	log                    *slog.Logger

	seq       atomic.Uint64 // last sequence given out
	size      atomic.Uint64 // bytes
	confirmed atomic.Int64  // pg.Time: the metadata service knew no higher epoch then (R14)
	dead      atomic.Pointer[error]
	groups    atomic.Pointer[[]atomic.Pointer[group]] // by index
	pending   admission
	stranded  atomic.Int64 // bytes of writes that failed and are kept
	keeping   atomic.Int64 // groups whose rings hold something
	budget    hedgeBudget
	ticker    ticker
	counters  Counters

	ctx    context.Context //nolint:containedctx // the one background context of the service
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	mu struct {
		sync.Mutex
		placing  map[block.PGIndex]*placing
		unopened int  // placed groups of the opening that are not open yet
		allOpen  bool // that channel is closed
		unsure   []unsure
		jobs     []func(b *batch)
		jobsOver bool                                    // runJobs has returned
		changing map[block.PGIndex]block.MembershipEpoch // what runChanges has to see to
	}
	jobsReady    chan struct{} // has a token when jobs wait
	allOpen      chan struct{} // closed when the groups of the opening are open
	changesReady chan struct{} // has a token when mu.changing was set
}

// Open opens a volume as its new writer: a new epoch from the metadata
// service, then the groups are opened, first those that are used (protocol
// §2.5). Error kinds: NotFound, Held, Unavailable, Invalid.
func Open(ctx context.Context, name string, cfg Config) (*Volume, error) {
	if cfg.Hold == 0 {
		cfg.Hold = DefaultHold
	}
	sent := cfg.Pool.now()
	opened, err := cfg.Metadata.OpenVolume(ctx, metadata.OpenRequest{
		Volume: name, Gateway: cfg.Gateway, Description: cfg.Description, Takeover: cfg.Takeover,
	})
	if err != nil {
		return nil, err
	}
	v := &Volume{cfg: cfg, info: opened.Volume, epoch: opened.Volume.Epoch, clean: opened.CleanHandover}
	v.log = cfg.Logger.With("volume", v.info.Name, "epoch", uint32(v.epoch))
	v.ctx, v.cancel = context.WithCancel(context.Background())
	v.confirmed.Store(int64(sent))
	if !v.clean {
		v.emptyUntil = v.now() + quorum.LeaseWait
		v.knownUntil = v.emptyUntil - opened.FormerFor
	}
	v.size.Store(uint64(v.info.Geometry.Size))
	v.pending.init(maxPendingBytes)
	v.budget.tokens.Store(hedgeBurst)
	v.mu.placing = map[block.PGIndex]*placing{}
	v.jobsReady, v.changesReady, v.allOpen = make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{})
	groups := make([]atomic.Pointer[group], v.info.Geometry.PGs())
	v.groups.Store(&groups)
	for _, cfg := range opened.PGs {
		g, err := newGroup(v, cfg)
		if err != nil {
			return nil, err
		}
		groups[cfg.Index].Store(g)
		v.mu.unopened++
	}
	v.log.Info("volume opened", "groups", len(opened.PGs), "clean", v.clean, "size", v.info.Geometry.Size.String())
	var b batch
	for i := range groups {
		if g := groups[i].Load(); g != nil {
			g.attach(&b)
		}
	}
	b.run()
	v.spawn(v.runJobs)
	v.spawn(v.runClock)
	v.spawn(v.keepLease)
	v.spawn(v.runChanges)
	v.spawn(v.openGroups)
	return v, nil
}

func (v *Volume) spawn(f func()) {
	v.tasks.Add(1)
	go func() {
		defer v.tasks.Done()
		f()
	}()
}

// now is the pool's clock: all machines of a gateway share it.
func (v *Volume) now() pg.Time { return v.cfg.Pool.now() }

func (v *Volume) confirmedAt() pg.Time { return pg.Time(v.confirmed.Load()) }

// nextLSN gives out the volume's next LSN (R5).
func (v *Volume) nextLSN() block.LSN {
	s := block.Seq(v.seq.Add(1))
	if s == block.ReopenSeq {
		v.end(block.Errorf(block.Closed, "volume %s: half of epoch %d's sequence numbers are used; it is opened anew", v.info.Name, v.epoch))
	}
	return block.MakeLSN(v.epoch, s)
}

// Info is the volume as of its opening.
func (v *Volume) Info() metadata.Volume { return v.info }

// Epoch is the epoch under which this gateway writes.
func (v *Volume) Epoch() block.VolumeEpoch { return v.epoch }

// Size is the volume's present size.
func (v *Volume) Size() block.ByteCount { return block.ByteCount(v.size.Load()) }

// ended is nil, or why the volume is over.
func (v *Volume) ended() error {
	if p := v.dead.Load(); p != nil {
		return *p
	}
	return nil
}

// Ended is nil, or why the volume is over.
func (v *Volume) Ended() error { return v.ended() }

// end makes the volume be over, once. All waiters are told by another
// goroutine: this may be called with a group's lock held.
func (v *Volume) end(err error) {
	if !v.dead.CompareAndSwap(nil, &err) {
		return
	}
	v.log.Error("volume ended", "err", err)
	v.later(func(b *batch) {
		v.abandon(b)
		if v.cfg.Ended != nil {
			v.cfg.Ended(err)
		}
		v.cancel()
	})
}

// abandon tells everybody who waits that it is over.
func (v *Volume) abandon(b *batch) {
	v.pending.close()
	v.mu.Lock()
	unplaced := v.mu.placing
	v.mu.placing = map[block.PGIndex]*placing{}
	v.mu.Unlock()
	for _, p := range unplaced {
		p.fail(b, v.ended())
	}
	v.failUnsure(b, 0, v.ended())
	v.eachGroup(func(g *group) {
		g.detach()
		g.abandon(b)
	})
	b.run()
}

// abandon tells all who wait in this group.
func (g *group) abandon(b *batch) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.gone {
		return
	}
	g.mu.gone = true
	err := g.v.ended()
	unanswered, all := g.mu.machine.Abandon()
	g.noteRingLocked()
	for _, r := range unanswered {
		r.Owner.(*record).op.pieceDone(b, err)
	}
	for _, r := range all {
		g.freeLocked(r.Owner)
	}
	for _, o := range g.mu.reads {
		o.owner.pieceDone(b, err)
	}
	g.mu.reads = nil
	for _, i := range g.mu.rmw.Abandon() {
		if e, ok := i.Owner.(*edit); ok {
			e.image = nil // a read may still be writing into it
		}
		endWaiting(b, i, err)
	}
}

func (v *Volume) eachGroup(f func(g *group)) {
	groups := *v.groups.Load()
	for i := range groups {
		if g := groups[i].Load(); g != nil {
			f(g)
		}
	}
}

// group gives a placed group, or nil.
func (v *Volume) group(i block.PGIndex) *group {
	groups := *v.groups.Load()
	if uint64(i) >= uint64(len(groups)) {
		return nil
	}
	return groups[i].Load()
}

// later runs job on a goroutine of the volume, which then sends off what it
// collected. It may be called with any lock held.
func (v *Volume) later(job func(b *batch)) {
	v.mu.Lock()
	over := v.mu.jobsOver
	if !over {
		v.mu.jobs = append(v.mu.jobs, job)
	}
	v.mu.Unlock()
	if over { // the volume is closed; the last ones are told all the same
		go func() {
			var b batch
			job(&b)
			b.run()
		}()
		return
	}
	select {
	case v.jobsReady <- struct{}{}:
	default:
	}
}

// runJobs runs what later was given, until the volume is closed and no job is
// left.
func (v *Volume) runJobs() {
	var b batch
	for {
		v.mu.Lock()
		jobs := v.mu.jobs
		v.mu.jobs = nil
		v.mu.jobsOver = len(jobs) == 0 && v.ctx.Err() != nil
		over := v.mu.jobsOver
		v.mu.Unlock()
		if over {
			return
		}
		for _, job := range jobs {
			job(&b)
		}
		b.run()
		if len(jobs) > 0 {
			continue
		}
		select {
		case <-v.jobsReady:
		case <-v.ctx.Done():
		}
	}
}

// Close ends the volume in good order: nothing may be under way any more. It
// says goodbye to the metadata service, so that the next gateway need not wait
// (R14). It may be called again, and after the volume has ended by itself.
func (v *Volume) Close(ctx context.Context) error {
	settled := v.clean || v.leasesSettled()
	err := block.Errorf(block.Closed, "volume %s was closed", v.info.Name)
	if !v.dead.CompareAndSwap(nil, &err) {
		v.cancel()
		v.tasks.Wait()
		return nil
	}
	var b batch
	v.abandon(&b)
	v.cancel()
	v.tasks.Wait()
	bye := v.cfg.Metadata.CloseVolume(ctx, metadata.CloseRequest{Volume: v.info.ID, Epoch: v.epoch, ReadLeasesExpired: settled})
	if bye != nil && !errors.Is(bye, block.NotFound) && !errors.Is(bye, block.Fenced) {
		return bye
	}
	v.log.Info("volume closed", "clean", settled)
	return nil
}

// leasesSettled reports whether no gateway before this one can still read.
func (v *Volume) leasesSettled() bool {
	ok := v.now() >= v.emptyUntil
	v.eachGroup(func(g *group) {
		g.mu.Lock()
		ok = ok && (g.mu.machine.LeaseSettled() || g.born == v.epoch)
		g.mu.Unlock()
	})
	return ok
}
