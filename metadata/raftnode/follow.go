package raftnode

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
)

// following finds out whether a majority of the voters follows this member in a
// Raft term, at moments after the question was asked: then no leader of a higher
// term was elected before it, for that takes a majority whose terms are higher
// from then on (the read index of the Raft dissertation, section 6.4).
//
// hashicorp/raft has such a check, VerifyLeader. But it counts the next answer of
// each voter to a heartbeat, also to one that was sent before the check began: who
// answered, then elected another leader, would speak for a moment too late (ADR
// 38). So these heartbeats are our own. A voter is sent one at a time; an
// answer counts for all questions that were there when it was sent, and for none
// that came later: so those who ask at one time share the answers.
type following struct {
	ask   func(to raft.Server, term uint64) error // sends one heartbeat; nil: followed
	start func(func())                            // runs a goroutine, which Close joins

	mu struct {
		sync.Mutex
		question uint64 // counts them
		voters   map[raft.ServerID]*voter
		news     chan struct{} // closed when a voter has answered
	}
}

// voter is another member, as far as it was asked. Its fields are guarded by
// following.mu.
type voter struct {
	server   raft.Server
	term     uint64
	asked    uint64 // the newest question for it
	yes, no  uint64 // the newest that it followed, and that it did not
	underway bool   // a goroutine asks it
}

func newFollowing(ask func(raft.Server, uint64) error, start func(func())) *following {
	f := &following{ask: ask, start: start}
	f.mu.voters = make(map[raft.ServerID]*voter)
	f.mu.news = make(chan struct{})
	return f
}

// majority asks the voters among servers, in a term in which self led when its
// caller looked, and must still when it returns: the caller makes sure. (Who asks in
// another term meanwhile may have a voter say no; a yes in a lower one is as good.)
// Error kind: Unavailable: no majority follows, or has said so when ctx ends.
func (f *following) majority(ctx context.Context, servers []raft.Server, self metadata.MemberID, term uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.question++
	q := f.mu.question
	own, others := 0, make([]*voter, 0, len(servers))
	for _, s := range servers {
		switch {
		case s.Suffrage != raft.Voter:
		case s.ID == raft.ServerID(self):
			own = 1
		default:
			others = append(others, f.putLocked(s, term, q))
		}
	}
	quorum := (own+len(others))/2 + 1
	for {
		yes, open := own, 0
		for _, v := range others {
			switch {
			case v.yes >= q:
				yes++
			case v.no < q:
				open++
			}
		}
		switch {
		case yes >= quorum && own == 1:
			return nil
		case yes+open < quorum || own == 0:
			return block.Errorf(block.Unavailable, "%d of %d voters follow it", yes, own+len(others))
		}
		news := f.mu.news
		f.mu.Unlock()
		select {
		case <-news:
		case <-ctx.Done():
		}
		f.mu.Lock()
		if ctx.Err() != nil {
			return block.Errorf(block.Unavailable, "%d of %d voters say that they follow it", yes, own+len(others))
		}
	}
}

// putLocked has a voter asked.
func (f *following) putLocked(s raft.Server, term, q uint64) *voter {
	v := f.mu.voters[s.ID]
	if v == nil {
		v = &voter{}
		f.mu.voters[s.ID] = v
	}
	v.server, v.term, v.asked = s, term, q
	if !v.underway {
		v.underway = true
		f.start(func() { f.pursue(v) })
	}
	return v
}

// pursue asks until there is no newer question.
func (f *following) pursue(v *voter) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for v.yes != v.asked && v.no != v.asked {
		to, term, q := v.server, v.term, v.asked
		f.mu.Unlock()
		err := f.ask(to, term)
		f.mu.Lock()
		if err == nil {
			v.yes = q
		} else {
			v.no = q
		}
		close(f.mu.news)
		f.mu.news = make(chan struct{})
	}
	v.underway = false
}

// heartbeat tells a voter that this member leads in a term, as Raft itself
// does between entries. A connection that has ended since it was used last is no
// answer: then once more, unless it took long.
func (n *Node) heartbeat(to raft.Server, term uint64) error {
	start := time.Now()
	err := n.beat(to, term)
	if block.KindOf(err) == block.Unavailable && time.Since(start) < n.cfg.Timing.Election/2 {
		err = n.beat(to, term)
	}
	return err
}

func (n *Node) beat(to raft.Server, term uint64) error {
	if n.background.Err() != nil {
		return block.Errorf(block.Closed, "this member stops")
	}
	req := &raft.AppendEntriesRequest{
		RPCHeader: raft.RPCHeader{
			ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(n.cfg.ID),
			Addr: n.transport.EncodePeer(raft.ServerID(n.cfg.ID), n.transport.LocalAddr()),
		},
		Term: term,
	}
	var r raft.AppendEntriesResponse
	if err := n.transport.AppendEntries(to.ID, to.Address, req, &r); err != nil {
		return block.Wrap(block.Unavailable, err, "voter %s", to.ID)
	}
	if !r.Success || r.Term != term {
		return block.Errorf(block.Stale, "voter %s is in term %d", to.ID, r.Term)
	}
	return nil
}
