package segmentd

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/segmentd/pull"
	"github.com/sextantdisk/sextant/wire"
)

const (
	// progressEvery is how often a segment that pulls tells its writer.
	progressEvery = 250 * time.Millisecond
	// maxAsked bounds what a source may be asked for and has not answered; the
	// machine asks for less.
	maxAsked = 16
	// maxUnsaved bounds what has come and is not on disk, in pages or leaves.
	maxUnsaved = 32
)

// puller is the shell of a pull.Machine: one pull of one segment. Its goroutine
// is run's; one more for each source, and one that waits for the disk. All end
// before run returns.
type puller struct {
	s       *Server
	h       *hosted
	ident   wire.Identity
	m       pull.Machine
	sources []*source
	events  chan event
	unsaved chan saving
	ctx     context.Context //nolint:containedctx // that of one pull, ended by run
	cancel  context.CancelFunc
	tasks   sync.WaitGroup // sources and calls
	tell    func()         // the writer, or nil
	told    time.Time
}

// event is what happened to a pull.
type event struct {
	in pull.Input
	// peers come with Found.
	peers []Peer
}

// pulling are a pull's figures, for reports.
type pulling struct {
	began   time.Time
	from    block.LSN
	records atomic.Uint64 // bytes of payload that came in records
	copied  atomic.Uint64 // and in leaves
	// total and left are leaves of the round.
	total, left atomic.Int64
}

// pullReport tells how far a segment is.
func (s *Server) pullReport(h *hosted) (r PullReport) {
	f := h.pulling.Load()
	if f == nil {
		return r
	}
	r.Records, r.Leaves = block.ByteCount(f.records.Load()), block.ByteCount(f.copied.Load())
	took := s.clock.Now().Sub(f.began)
	if took > 0 {
		r.Rate = block.ByteCount(float64(r.Records+r.Leaves) / took.Seconds())
	}
	if total, left := f.total.Load(), f.left.Load(); total > left {
		r.Left = r.Leaves / block.ByteCount(total-left) * block.ByteCount(left)
	}
	if r.Rate > 0 {
		r.Ends = time.Duration(float64(r.Left) / float64(r.Rate) * float64(time.Second))
	}
	return r
}

// pull brings a segment up to upTo, unless that is being done already. donor
// has all of it by the word of tell's writer; without a writer both are nil.
func (s *Server) pull(h *hosted, upTo block.LSN, donor *Peer, tell func()) {
	if !h.catching.CompareAndSwap(false, true) {
		return
	}
	s.spawn(func() {
		select {
		case s.catchUps <- struct{}{}:
			s.runPull(h, upTo, donor, tell)
			<-s.catchUps
		case <-s.ctx.Done():
		}
		h.catching.Store(false)
		if tell != nil {
			tell()
		}
	})
}

func (s *Server) runPull(h *hosted, upTo block.LSN, donor *Peer, tell func()) {
	st := h.log.State()
	figures := &pulling{began: s.clock.Now(), from: st.SCL}
	h.pulling.Store(figures)
	defer h.pulling.Store(nil)
	p := &puller{
		s: s, h: h, ident: h.ident(), tell: tell, told: figures.began,
		events: make(chan event), unsaved: make(chan saving, maxUnsaved),
	}
	log := s.log.With("segment", h.log.ID(), "pg", p.ident.PG, "epoch", p.ident.Epoch)
	log.Info("catching up", "from", st.SCL, "to", upTo, "hydrating", st.Hydrating)
	p.ctx, p.cancel = context.WithCancel(s.ctx)
	err := p.run(pull.Input{Kind: pull.Begin, UpTo: upTo, SCL: st.SCL, Floor: st.Floor, Mixed: st.Hydrating}, donor)
	took := s.clock.Now().Sub(figures.began)
	log = log.With("scl", h.log.SCL(), "record_bytes", figures.records.Load(), "leaf_bytes", figures.copied.Load(), "took", took)
	if err != nil {
		log.Warn("catch-up stopped", "err", err)
	} else {
		log.Info("caught up")
	}
}

// run does what the machine asks for until it has come to an end.
func (p *puller) run(begin pull.Input, donor *Peer) error {
	var saver sync.WaitGroup
	saver.Add(1)
	go func() { defer saver.Done(); p.save() }()
	defer saver.Wait()
	defer close(p.unsaved)
	defer p.tasks.Wait()
	defer p.cancel()
	if donor != nil {
		p.addSource(*donor)
		begin.Peers = 1
	}
	timer := p.s.clock.NewTimer(progressEvery)
	defer timer.Stop()
	p.step(begin)
	for p.m.Phase() != pull.Done && p.m.Phase() != pull.Failed {
		select {
		case e := <-p.events:
			p.take(e)
		case <-timer.C():
			timer.Reset(progressEvery)
		case <-p.ctx.Done():
			return context.Cause(p.ctx)
		}
		p.progress()
	}
	return p.m.Err()
}

// take takes in an event.
func (p *puller) take(e event) {
	if e.in.Kind == pull.Found {
		p.found(e.peers)
		return
	}
	p.step(e.in)
}

// found adds the peers that are not known yet, and asks all where they stand.
func (p *puller) found(peers []Peer) {
	for _, peer := range peers {
		known := peer.Segment == p.ident.Segment || peer.Address == ""
		for _, src := range p.sources {
			known = known || src.peer.Segment == peer.Segment
		}
		if !known {
			p.addSource(peer)
		}
	}
	p.step(pull.Input{Kind: pull.Found, Peers: len(p.sources)})
	for _, src := range p.sources {
		src.ask(pull.Effect{})
	}
}

// progress tells the writer now and then, and keeps the figures.
func (p *puller) progress() {
	total, left := p.m.Leaves()
	if f := p.h.pulling.Load(); f != nil {
		f.total.Store(int64(total))
		f.left.Store(int64(left))
	}
	if now := p.s.clock.Now(); p.tell != nil && now.Sub(p.told) >= progressEvery {
		p.told = now
		p.tell()
	}
}

// size is how much all leaves have that are to be copied.
func (p *puller) size() block.ByteCount {
	f := p.h.pulling.Load()
	if f == nil {
		return 0
	}
	return block.ByteCount(f.total.Load()) * leafBytes
}

// step has the machine take an input, and does what it asks for.
func (p *puller) step(in pull.Input) {
	for _, e := range p.m.Step(in) {
		switch e.Kind {
		case pull.AskRecords, pull.AskMarks, pull.AskLeaf:
			p.sources[e.Peer].ask(e)
		case pull.Discover:
			p.call(p.discover)
		case pull.BeginHydration:
			p.call(p.beginHydration)
		case pull.Hydrate:
			p.call(func() event { return p.hydrate(e.Cut) })
		}
	}
}

// call does something that takes a while beside the machine.
func (p *puller) call(f func() event) {
	p.tasks.Add(1)
	go func() {
		defer p.tasks.Done()
		p.send(f())
	}()
}

// send hands an event to the machine, unless the pull is over.
func (p *puller) send(e event) {
	select {
	case p.events <- e:
	case <-p.ctx.Done():
	}
}

func (p *puller) stop(err error) { p.send(event{in: pull.Input{Kind: pull.Stop, Err: err}}) }

func (p *puller) discover() event {
	ctx, cancel := context.WithTimeout(p.ctx, callTimeout)
	defer cancel()
	peers, err := p.s.cfg.Registry.Peers(ctx, p.ident.Volume, p.ident.PG)
	if err != nil {
		p.s.log.Warn("the other copies cannot be found out", "segment", p.ident.Segment, "pg", p.ident.PG, "err", err)
	}
	return event{in: pull.Input{Kind: pull.Found}, peers: peers}
}

func (p *puller) beginHydration() event {
	if err := p.h.log.BeginHydration(); err != nil {
		return event{in: pull.Input{Kind: pull.Stop, Err: err}}
	}
	since := p.h.log.Hydration().After
	p.s.log.Info("hydrating: no log reaches back, so what has changed is copied", "segment", p.ident.Segment, "pg", p.ident.PG, "since", since)
	return event{in: pull.Input{Kind: pull.Begun, Since: since}}
}

func (p *puller) hydrate(cut block.LSN) event {
	if err := p.h.log.Hydrate(cut); err != nil {
		return event{in: pull.Input{Kind: pull.Stop, Err: err}}
	}
	p.s.log.Info("hydrated", "segment", p.ident.Segment, "pg", p.ident.PG, "scl", p.h.log.SCL(), "leaf_bytes", p.h.pulling.Load().copied.Load())
	return event{in: pull.Input{Kind: pull.Hydrated, SCL: p.h.log.SCL()}}
}
