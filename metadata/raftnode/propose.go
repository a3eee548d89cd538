package raftnode

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sextantdisk/sextant/metadata"
	pb "github.com/sextantdisk/sextant/metadata/metadatapb"
	"github.com/sextantdisk/sextant/metadata/state"
)

// callsMax bounds what Raft is asked for at one time.
const callsMax = 2048

// calls counts the goroutines that wait for Raft. Raft forgets futures when
// it shuts down, so it may do so only after these have ended.
type calls struct {
	mu struct {
		sync.Mutex
		under  int
		closed bool
		idle   chan struct{} // closed when closed and under is 0
	}
}

func (c *calls) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed || c.mu.under >= callsMax {
		return false
	}
	c.mu.under++
	return true
}

func (c *calls) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.under--; c.mu.under == 0 && c.mu.closed {
		close(c.mu.idle)
	}
}

// drain lets no call begin any more and waits for those under way, at most d.
func (c *calls) drain(d time.Duration) {
	c.mu.Lock()
	if !c.mu.closed {
		c.mu.closed, c.mu.idle = true, make(chan struct{})
		if c.mu.under == 0 {
			close(c.mu.idle)
		}
	}
	idle := c.mu.idle
	c.mu.Unlock()
	select {
	case <-idle:
	case <-time.After(d):
	}
}

// wait asks Raft and waits for the answer, or until ctx ends; the question
// stands then all the same. Errors of Raft come as a Redirect.
func (n *Node) wait(ctx context.Context, ask func() raft.Future) error {
	if !n.calls.begin() {
		return n.redirect("is busy or closing")
	}
	answer := make(chan error, 1)
	go func() { // counted by calls
		defer n.calls.end()
		answer <- ask().Error()
	}()
	select {
	case err := <-answer:
		return n.raftError(err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// raftError translates: whatever keeps Raft from answering here, another
// member may answer, now or soon; and every call may be repeated.
func (n *Node) raftError(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, raft.ErrNotLeader) {
		return n.redirect("does not lead")
	}
	return n.redirect("cannot get it agreed: " + err.Error())
}

// redirect is the error that sends a client to the leader.
func (n *Node) redirect(why string) error {
	r := &metadata.Redirect{Reason: "metadata member " + string(n.cfg.ID) + " " + why}
	if n.raft == nil {
		return r
	}
	if _, id := n.raft.LeaderWithID(); id != "" && string(id) != string(n.cfg.ID) {
		n.fsm.view(func(s *state.State) {
			for _, m := range s.Members() {
				if string(m.ID) == string(id) {
					r.Leader = m.Address
				}
			}
		})
	}
	return r
}

// apply is the one place where commands go to Raft, and where the state
// machine's refusals come back (Response).
func (n *Node) apply(ctx context.Context, c *pb.Command) (applied, error) {
	entry, err := state.Encode(c)
	if err != nil {
		return applied{}, err
	}
	result := make(chan applied, 1)
	err = n.wait(ctx, func() raft.Future {
		f := n.raft.Apply(entry, 0)
		if f.Error() == nil {
			r, _ := f.Response().(applied) // fsm.Apply gives nothing else
			result <- r
		}
		return f
	})
	if err != nil {
		return applied{}, err
	}
	r := <-result
	return r, r.Err
}

// propose is apply for a member that serves as leader.
func (n *Node) propose(ctx context.Context, c *pb.Command) (applied, error) {
	if n.lead.serving() == 0 {
		return applied{}, n.redirect("does not lead")
	}
	return n.apply(ctx, c)
}

// verify makes sure that this member leads at some moment after the call
// began (T28), and gives the term of leading. What was acknowledged before
// is in the state then: acknowledgement follows application, and a term of
// leading begins with a barrier. The check must have been made in the very
// Raft term of that barrier, not in a later one that we do not know of yet.
func (n *Node) verify(ctx context.Context) (term, error) {
	t, agreed := n.lead.serving(), n.lead.agreedTerm()
	if t == 0 || agreed == 0 {
		return 0, n.redirect("does not lead")
	}
	if err := n.followed(ctx, agreed); err != nil {
		return 0, err
	}
	if n.raft.CurrentTerm() != agreed || n.lead.serving() != t {
		return 0, n.redirect("was elected anew")
	}
	return t, nil
}

// followed asks the voters whether this member leads; they have an election
// timeout to answer, after which Raft, too, does not believe it any more.
func (n *Node) followed(ctx context.Context, agreed uint64) error {
	short, cancel := context.WithTimeout(ctx, n.cfg.Timing.Election)
	defer cancel()
	err := n.following.majority(short, n.servers(), n.cfg.ID, agreed)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return n.redirect("may not lead: " + err.Error())
}
