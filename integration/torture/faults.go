package torture

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sextantdisk/sextant/integration/cluster"
	"github.com/sextantdisk/sextant/integration/netns"
	"github.com/sextantdisk/sextant/internal/block"
)

// How bad a network is that is bad but alive.
var (
	slow   = netns.Rule{Delay: 5 * time.Millisecond, Jitter: 20 * time.Millisecond}
	lossy  = netns.Rule{Loss: 0.03, Twice: 0.02}
	narrow = netns.Rule{BytesPerSecond: 2 * block.MiB}
)

// step is the begin or the end of an event.
type step struct {
	at    time.Duration
	event Event
	begin bool
}

// steps are those of a chapter, in order.
func (c Chapter) steps() (all []step) {
	for _, e := range c.Events {
		all = append(all, step{e.At, e, true})
		if e.For > 0 {
			all = append(all, step{e.At + e.For, e, false})
		}
	}
	slices.SortStableFunc(all, func(a, b step) int { return int(a.at - b.at) })
	return all
}

// breaker carries out a chapter's plan.
type breaker struct {
	world *World
	// moveTo brings clients to a gateway.
	moveTo func(gateway int)
	say    func(format string, args ...any)

	// faults of the network that are in force, by event.
	faults map[string][]*netns.Fault
	// lost are the nodes that had their disks lost, by segment daemon.
	lost map[int]string
	// starting are daemons that are being started again, and copies that are
	// being replaced.
	starting sync.WaitGroup
	// mended is closed when no fault is left: what could not start before
	// has to then.
	mended chan struct{}
}

// run carries out the plan and mends what is left of it. It returns when all
// daemons run and serve.
func (b *breaker) run(ctx context.Context, c Chapter) error {
	b.faults, b.lost, b.mended = map[string][]*netns.Fault{}, map[int]string{}, make(chan struct{})
	start := time.Now()
	var err error
	for _, s := range c.steps() {
		if err = errors.Join(err, pause(ctx, time.Until(start.Add(s.at)))); err != nil {
			break
		}
		b.say("%6.2fs %s: %v %v", time.Since(start).Seconds(), map[bool]string{true: "begin", false: "end"}[s.begin], s.event.Kind, s.event.Of)
		if s.begin {
			err = b.begin(ctx, s.event)
		} else {
			err = b.end(ctx, s.event)
		}
	}
	err = errors.Join(err, pause(ctx, time.Until(start.Add(c.Length))))
	close(b.mended)
	b.starting.Wait()
	return errors.Join(err, b.world.failure())
}

// pause waits.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func (b *breaker) begin(ctx context.Context, e Event) (err error) {
	w := b.world
	switch e.Kind {
	case killSegment, killGateway, killMetadata:
		for _, d := range e.daemons() {
			w.process(d).Kill()
		}
	case pauseSegment, pauseGateway, pauseMetadata:
		for _, d := range e.daemons() {
			err = errors.Join(err, ifRunning(w.process(d), w.process(d).Pause))
		}
	case loseDisk:
		for _, i := range e.Of {
			d := w.Cluster.Segments[i]
			b.lost[i] = d.Addr("node")
			d.Kill()
			err = errors.Join(err, empty(w.Cluster.DataDir(d)))
		}
	case fullDisk:
		err = w.fill()
	case linkDown:
		for _, i := range e.Of {
			err = errors.Join(err, w.hosts[daemon{"segment", i}].SetLink(false))
		}
	case move:
		// --force counts once in a gateway's life: it begins a new one.
		w.Cluster.Gateways[e.Of[0]].Kill()
		b.start(ctx, daemon{"nbd", e.Of[0]})
		b.moveTo(e.Of[0])
	case sever:
		w.Net.Sever(netns.Around(zoneName(e.Of[0])))
	case blackout:
		w.Cluster.KillAll()
	default:
		for _, f := range b.rules(e) {
			b.faults[e.String()] = append(b.faults[e.String()], w.Net.Impose(f.match, f.rule))
		}
	}
	return err
}

// ifRunning signals a daemon, unless it is dead for a while: one that is being
// started again late may meet its next fault too early.
func ifRunning(d *cluster.Daemon, signal func() error) error {
	if err := signal(); err != nil && d.Pid() != 0 {
		return err
	}
	return nil
}

func (b *breaker) end(ctx context.Context, e Event) (err error) {
	w := b.world
	switch e.Kind {
	case killSegment, killGateway, killMetadata:
		for _, d := range e.daemons() {
			b.start(ctx, d)
		}
	case loseDisk:
		for _, i := range e.Of {
			b.starting.Go(func() { b.replace(ctx, i, b.lost[i]) })
		}
	case pauseSegment, pauseGateway, pauseMetadata:
		for _, d := range e.daemons() {
			err = errors.Join(err, ifRunning(w.process(d), w.process(d).Resume))
		}
	case fullDisk:
		err = os.Remove(w.ballast())
	case linkDown:
		for _, i := range e.Of {
			err = errors.Join(err, w.hosts[daemon{"segment", i}].SetLink(true))
		}
	case blackout:
		for i := range metadatas {
			b.start(ctx, daemon{"metadata", i})
		}
		for i := range segments {
			b.start(ctx, daemon{"segment", i})
		}
		for i := range gateways {
			b.start(ctx, daemon{"nbd", i})
		}
	default:
		for _, f := range b.faults[e.String()] {
			f.Lift()
		}
		delete(b.faults, e.String())
	}
	return err
}

// start starts a daemon again in the background: it may have to wait for
// others. When all is mended, it must.
func (b *breaker) start(ctx context.Context, d daemon) {
	b.starting.Go(func() { b.started(ctx, d) })
}

// started tells whether the daemon runs now.
func (b *breaker) started(ctx context.Context, d daemon) bool {
	for {
		last := b.isMended()
		err := b.world.start(ctx, d)
		if err == nil {
			return true
		}
		if last || ctx.Err() != nil {
			b.world.fail(err)
			return false
		}
		b.say("%s %d does not start yet", d.role, d.i)
	}
}

func (b *breaker) isMended() bool {
	select {
	case <-b.mended:
		return true
	default:
		return false
	}
}

// start starts a daemon if it does not run.
func (w *World) start(ctx context.Context, d daemon) error {
	w.starts.Lock()
	one := w.starting[d]
	if one == nil {
		one = new(sync.Mutex)
		w.starting[d] = one
	}
	w.starts.Unlock()
	one.Lock()
	defer one.Unlock()
	if w.process(d).Pid() != 0 {
		return nil
	}
	return w.process(d).Start(ctx)
}

// imposed is what an event does to the network.
type imposed struct {
	match netns.Match
	rule  netns.Rule
}

func (b *breaker) rules(e Event) (all []imposed) {
	host := func(role string, i int) *netns.Host { return b.world.hosts[daemon{role, i}] }
	for _, i := range e.Of {
		switch e.Kind {
		case cutZone:
			all = append(all, imposed{netns.Around(zoneName(i)), netns.Rule{Cut: true}})
		case cutInto:
			all = append(all, imposed{netns.Into(zoneName(i)), netns.Rule{Cut: true}})
		case slowZone:
			all = append(all, imposed{netns.Around(zoneName(i)), slow})
		case lossyZone:
			all = append(all, imposed{netns.Around(zoneName(i)), lossy})
		case narrowSegment:
			all = append(all, imposed{netns.Of(host("segment", i)), narrow})
		case holdSegment:
			all = append(all, imposed{netns.Of(host("segment", i)), netns.Rule{Hold: true}})
		default:
		}
	}
	if e.Kind == deafGateway {
		all = append(all, imposed{netns.OneWay(host("nbd", e.Of[1]), host("segment", e.Of[0])), netns.Rule{Cut: true}})
	}
	return all
}

func zoneName(i int) string { return "zone-" + string(rune('0'+i)) }

// empty removes what is in a folder, or in what a link leads to.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(dir+"/"+e.Name()))
	}
	return err
}

// fill leaves nothing free on the small disk.
func (w *World) fill() error {
	f, err := os.Create(w.ballast())
	if err != nil {
		return block.Wrap(block.Unavailable, err, "filling the small disk")
	}
	defer f.Close()
	for size := int64(block.GiB); size >= block.Size; size /= 2 {
		for {
			at, err := f.Seek(0, 2)
			if err == nil {
				err = unix.Fallocate(int(f.Fd()), 0, at, size)
			}
			if errors.Is(err, unix.ENOSPC) {
				break
			}
			if err != nil {
				return block.Wrap(block.Unavailable, err, "filling the small disk")
			}
		}
	}
	return nil
}
