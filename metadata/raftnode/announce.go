package raftnode

import (
	"time"

	"github.com/hashicorp/raft"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
	"github.com/sextantdisk/sextant/metadata/state"
)

const (
	// announceRetry is how often a member that the leader does not know yet,
	// or knows by old addresses, tells again.
	announceRetry = 200 * time.Millisecond
	// joinTimeout bounds one request to join, which may be repeated. It is
	// short because the addresses that it goes to may be out of date: the
	// next one looks again.
	joinTimeout = 2 * time.Second
)

// announce tells the leader where this member is, until it knows: when it
// joins, and when it starts again at other addresses. It lives until then or
// until Close. If the cluster does not want this member, the member fails.
func (n *Node) announce() {
	for told := false; !told && !n.known(); {
		if addrs := n.others(); len(addrs) > 0 {
			err := n.tellLeader(addrs)
			told = err == nil
			switch kind := block.KindOf(err); {
			case n.background.Err() != nil:
				return
			case kind == block.Mismatch || kind == block.NotFound || kind == block.Exists || kind == block.Version || kind == block.Invalid:
				n.fail(err)
				return
			case err != nil:
				n.log.Warn("metadata member has not joined yet", "err", err)
			}
		}
		select {
		case <-n.background.Done():
			return
		case <-time.After(announceRetry):
		}
	}
}

// known tells whether this member leads, or is in the agreed list with the
// addresses that it has now.
func (n *Node) known() bool {
	if n.raft.State() == raft.Leader {
		return true
	}
	known, self := false, n.self()
	n.fsm.view(func(s *state.State) {
		for _, m := range s.Members() {
			known = known || m == self
		}
	})
	return known
}

// others are the API addresses of whom to tell.
func (n *Node) others() []string {
	addrs := append([]string(nil), n.cfg.Join...)
	n.fsm.view(func(s *state.State) {
		for _, m := range s.Members() {
			if m.ID != n.cfg.ID {
				addrs = append(addrs, m.Address)
			}
		}
	})
	return addrs
}

func (n *Node) tellLeader(addrs []string) error {
	c, err := metadata.Dial(addrs, metadata.Options{Timeout: joinTimeout, Attempt: joinTimeout})
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Join(n.background, metadata.JoinRequest{Member: n.self(), Cluster: n.id.cluster, Format: folderFormat, Again: n.again})
}
