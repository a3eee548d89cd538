package raftnode

import (
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
	"github.com/sextantdisk/sextant/metadata"
)

// Config of a member.
type Config struct {
	ID  metadata.MemberID
	Dir string // data folder; made if need be
	// Listen is the HOST:PORT of the API, RaftListen that of Raft's own
	// traffic; port 0 picks a free one (for Raft the same again at the next
	// start, if it is still free). RaftListen may be empty: Listen's host
	// and port 0.
	Listen, RaftListen string
	// Advertise is the host under which others reach this member; empty:
	// the host of Listen, which then must not be a wildcard.
	Advertise string
	// Bootstrap makes a cluster of one in an empty folder. Join are API
	// addresses of members of the cluster to become part of. An empty
	// folder needs one of the two; a used one goes on as it is.
	Bootstrap bool
	Join      []string

	Logger *slog.Logger // nil: slog.Default
	Clock  clock.Clock  // nil: clock.Real; for liveness and leases only
	Timing Timing
}

// Timing of a member. Zero values stand for the defaults.
type Timing struct {
	// Election is how long a follower hears nothing before it asks for an
	// election (1 s). A lone voter does not wait for it.
	Election time.Duration
	// DownAfter is how long a node may be silent (metadata.DownAfter).
	DownAfter time.Duration
	// LeaseFor is how long a volume's lease lives (metadata.LeaseFor).
	LeaseFor time.Duration
	// SnapshotAfter is after how many commands a snapshot is taken (8192).
	SnapshotAfter int
	// SnapshotCheck is how often that is looked at (30 s).
	SnapshotCheck time.Duration
}

const (
	defaultElection      = time.Second
	defaultSnapshotAfter = 8192
	defaultSnapshotCheck = 30 * time.Second
	electionShortest     = 50 * time.Millisecond
)

// withDefaults validates c and fills in what is left out. Error kind:
// Invalid.
func (c Config) withDefaults() (Config, error) {
	if err := block.CheckName("member", string(c.ID)); err != nil {
		return c, err
	}
	if c.Dir == "" {
		return c, block.Errorf(block.Invalid, "metadata member %s has no data folder", c.ID)
	}
	if c.Bootstrap && len(c.Join) > 0 {
		return c, block.Errorf(block.Invalid, "metadata member %s is told both to bootstrap a cluster and to join one", c.ID)
	}
	host, err := listenHost("listen address", c.Listen)
	if err != nil {
		return c, err
	}
	if c.RaftListen == "" {
		c.RaftListen = net.JoinHostPort(host, "0")
	}
	if _, err := listenHost("raft address", c.RaftListen); err != nil {
		return c, err
	}
	if c.Advertise == "" {
		c.Advertise = host
	}
	if ip := net.ParseIP(c.Advertise); c.Advertise == "" || ip != nil && ip.IsUnspecified() {
		return c, block.Errorf(block.Invalid, "metadata member %s listens on every address of the machine: also give the one under which others reach it", c.ID)
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Clock == nil {
		c.Clock = clock.Real()
	}
	c.Timing, err = c.Timing.withDefaults()
	return c, err
}

func listenHost(what, address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", block.Errorf(block.Invalid, "%s %q is not HOST:PORT", what, address)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", block.Errorf(block.Invalid, "%s %q has no port from 0 to 65535", what, address)
	}
	return host, nil
}

func (t Timing) withDefaults() (Timing, error) {
	orElse := func(d *time.Duration, otherwise time.Duration) {
		if *d == 0 {
			*d = otherwise
		}
	}
	orElse(&t.Election, defaultElection)
	orElse(&t.DownAfter, metadata.DownAfter)
	orElse(&t.LeaseFor, metadata.LeaseFor)
	orElse(&t.SnapshotCheck, defaultSnapshotCheck)
	if t.SnapshotAfter == 0 {
		t.SnapshotAfter = defaultSnapshotAfter
	}
	if t.Election < electionShortest || t.DownAfter < 0 || t.LeaseFor < 0 || t.SnapshotCheck < 0 || t.SnapshotAfter < 0 {
		return t, block.Errorf(block.Invalid, "metadata timing %+v: times must not be negative, and Election at least %v", t, electionShortest)
	}
	return t, nil
}
