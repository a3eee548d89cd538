package raftnode

import (
	"github.com/hashicorp/raft"

	"github.com/sextantdisk/sextant/metadata"
	"github.com/sextantdisk/sextant/metadata/state"
)

// Stats is a look at a member, for metrics: what it has applied, which a
// follower may have done later than the leader.
type Stats struct {
	// Leads: this member is Raft's leader; Serves: and has prepared its term.
	Leads, Serves bool
	// Commit is the last log entry known to be agreed, Applied the last one
	// that this member's state has.
	Commit, Applied state.Index
	Voters          int
	Nodes           []metadata.Node // whether they are up is known if Leads only
	Volumes         []metadata.Volume
}

// Stats may be called at any time before Close.
func (n *Node) Stats() Stats {
	return Stats{
		Leads: n.raft.State() == raft.Leader, Serves: n.lead.serving() != 0,
		Commit: state.Index(n.raft.CommitIndex()), Applied: state.Index(n.raft.AppliedIndex()),
		Voters: n.voters(), Nodes: n.nodes(true), Volumes: n.volumes(),
	}
}
