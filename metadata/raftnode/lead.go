package raftnode

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sextantdisk/sextant/metadata"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
	"github.com/sextantdisk/sextant/metadata/state"
)

const (
	// leadEventsMax bounds the changes of leadership that wait to be
	// noticed; Raft itself waits when there are more.
	leadEventsMax = 64
	// prepareRetry is the pause between attempts to begin leading.
	prepareRetry = 20 * time.Millisecond
)

// lead says whether this member leads and serves.
//
//	following --elected--> preparing --barrier passed--> serving
//	    ^                      |                            |
//	    +------- deposed ------+-------------- deposed -----+
//	stopped is final.
type lead struct {
	mu struct {
		sync.Mutex
		term    term // counts elections
		serving bool
		agreed  uint64 // Raft's term, as long as serving
		stopped bool
		end     context.CancelFunc // of preparing the current term
	}
}

// serving is the current term of leading if this member serves, or 0.
func (l *lead) serving() term {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.mu.serving {
		return 0
	}
	return l.mu.term
}

// agreedTerm is Raft's term under which this member serves as leader, or 0.
func (l *lead) agreedTerm() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.mu.serving {
		return 0
	}
	return l.mu.agreed
}

// change begins or ends a term of leading; ctx is done when the term is over.
func (l *lead) change(parent context.Context, leading bool) (t term, ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.end != nil {
		l.mu.end()
		l.mu.end = nil
	}
	l.mu.serving = false
	if !leading || l.mu.stopped {
		return 0, nil
	}
	l.mu.term++
	ctx, l.mu.end = context.WithCancel(parent)
	return l.mu.term, ctx
}

// serve begins to serve under Raft's term agreed, if term t is not over.
// begin runs before anybody sees it.
func (l *lead) serve(t term, agreed uint64, begin func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.term == t && l.mu.end != nil && !l.mu.stopped {
		begin()
		l.mu.serving, l.mu.agreed = true, agreed
	}
}

func (l *lead) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.stopped, l.mu.serving = true, false
	if l.mu.end != nil {
		l.mu.end()
		l.mu.end = nil
	}
}

// followLead lives until Close. It must never wait for Raft, which waits for
// it: what takes time goes into a goroutine of each term.
func (n *Node) followLead(leading <-chan bool) {
	for {
		select {
		case is := <-leading:
			t, ctx := n.lead.change(n.background, is)
			n.log.Info("metadata leadership", "leading", is)
			if t != 0 {
				n.wg.Go(func() { n.prepare(ctx, t) })
			}
		case <-n.background.Done():
			return
		}
	}
}

// prepare makes a fresh leader ready to serve: all that earlier leaders
// agreed is applied (a barrier), the cluster has its id, and this member's
// addresses are known. It lives until that is done or the term is over.
func (n *Node) prepare(ctx context.Context, t term) {
	for ctx.Err() == nil {
		agreed := n.raft.CurrentTerm()
		err := n.tryPrepare(ctx)
		if err == nil && n.raft.CurrentTerm() == agreed {
			n.lead.serve(t, agreed, func() { n.soft.reset(t) })
			return
		}
		n.log.Warn("metadata leader is not ready yet", "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(prepareRetry):
		}
	}
}

func (n *Node) tryPrepare(ctx context.Context) error {
	if err := n.wait(ctx, func() raft.Future { return n.raft.Barrier(0) }); err != nil {
		return err
	}
	var cluster, known bool
	self := n.self()
	n.fsm.view(func(s *state.State) {
		cluster = !s.Cluster().IsZero()
		for _, m := range s.Members() {
			known = known || m == self
		}
	})
	if !cluster {
		id := metadata.IDToPB(n.id.cluster)
		if _, err := n.apply(ctx, &pb.Command{Body: &pb.Command_InitCluster{InitCluster: &pb.InitCluster{Cluster: id}}}); err != nil {
			return err
		}
	}
	if !known {
		if _, err := n.apply(ctx, upsertMember(self)); err != nil {
			return err
		}
	}
	return n.correctAddress(ctx, self)
}

func upsertMember(m metadata.Member) *pb.Command {
	return &pb.Command{Body: &pb.Command_UpsertMember{UpsertMember: &pb.UpsertMember{
		Id: string(m.ID), Address: m.Address, RaftAddress: m.RaftAddress, Instance: metadata.IDToPB(m.Instance),
	}}}
}

// correctAddress puts m's Raft address into Raft's configuration, making m a
// voter if it is none.
func (n *Node) correctAddress(ctx context.Context, m metadata.Member) error {
	for _, s := range n.servers() {
		if s.ID == raft.ServerID(m.ID) && s.Suffrage == raft.Voter && s.Address == raft.ServerAddress(m.RaftAddress) {
			return nil
		}
	}
	return n.wait(ctx, func() raft.Future {
		return n.raft.AddVoter(raft.ServerID(m.ID), raft.ServerAddress(m.RaftAddress), 0, transportTimeout)
	})
}
