package raftnode

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"google.golang.org/grpc"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
)

// Node is a running member of the metadata service.
type Node struct {
	cfg    Config
	log    *slog.Logger
	folder *folder
	id     identity
	api    net.Listener
	stream *stream

	fsm       *fsm
	soft      *soft
	raft      *raft.Raft
	transport *transport
	store     *raftboltdb.BoltStore
	grpc      *grpc.Server
	following *following
	lead      lead
	calls     calls
	again     bool // the folder was a member's before this start

	background context.Context //nolint:containedctx // the one background context of the service; ends with Close
	cancel     context.CancelFunc
	wg         sync.WaitGroup
	closeOnce  sync.Once
	closeErr   error
	failOnce   sync.Once
	failure    error         // set before failed is closed
	failed     chan struct{} // closed when the member cannot go on
}

// Start runs a member. When it returns, the API answers; AwaitReady waits
// until there is a leader. ctx bounds the start only. Error kinds: Invalid;
// Held: a port or the folder is in use; Mismatch, Version, Corrupt: the
// folder is not this member's, or damaged, or the cluster to join does not
// want it; Unavailable: nobody to join answered.
func Start(ctx context.Context, cfg Config) (*Node, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	n := &Node{
		cfg: cfg, log: cfg.Logger.With("member", string(cfg.ID)), soft: newSoft(cfg.Clock, cfg.Timing),
		failed: make(chan struct{}),
	}
	n.background, n.cancel = context.WithCancel(context.WithoutCancel(ctx))
	n.fsm = newFSM(cfg.Clock, n.fail)
	n.following = newFollowing(n.heartbeat, n.wg.Go)
	if err := n.start(ctx); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

func (n *Node) start(ctx context.Context) (err error) {
	if n.folder, err = openFolder(n.cfg.Dir); err != nil {
		return err
	}
	if err := n.identify(ctx); err != nil {
		return err
	}
	if n.api, err = listen(n.cfg.Listen); err != nil {
		return err
	}
	raftListener, err := n.listenRaft()
	if err != nil {
		return err
	}
	n.stream = newStream(raftListener, n.advertised(raftListener), n.id.cluster, n.cfg.ID)
	leading := make(chan bool, leadEventsMax)
	if err := n.startRaft(leading); err != nil {
		return err
	}
	n.id.Started, n.id.RaftAddress = true, raftListener.Addr().String()
	if err := n.folder.write(n.id); err != nil {
		return err
	}
	n.wg.Go(func() { n.followLead(leading) })
	n.wg.Go(n.stopAfterFailure)
	n.wg.Go(n.announce)
	n.serve()
	return n.hurryLoneVoter()
}

// identify finds out or decides whose folder it is.
func (n *Node) identify(ctx context.Context) error {
	id, found, err := n.folder.read(n.cfg.ID)
	switch {
	case err != nil:
		return err
	case found:
		n.id, n.again = id, id.Started
		return nil
	case n.cfg.Bootstrap:
		n.id = newIdentity(newClusterID(), n.cfg.ID)
		n.id.Bootstrapped = true
	case len(n.cfg.Join) > 0:
		cluster, err := askCluster(ctx, n.cfg.Join)
		if err != nil {
			return err
		}
		n.id = newIdentity(cluster, n.cfg.ID)
	default:
		return block.Errorf(block.Invalid, "metadata folder %s is empty: bootstrap a new cluster in it, or name a member of the cluster to join", n.cfg.Dir)
	}
	return n.folder.write(n.id)
}

// Addr is the API's HOST:PORT as others reach it.
func (n *Node) Addr() string { return n.advertised(n.api) }

// RaftAddr is the HOST:PORT of Raft's own traffic.
func (n *Node) RaftAddr() string { return n.stream.Addr().String() }

// Cluster is the id of the cluster that this member belongs to.
func (n *Node) Cluster() block.ClusterID { return n.id.cluster }

// Ready is nil if this member leads and serves, or knows who does. Error
// kinds: Unavailable; those of Err.
func (n *Node) Ready() error {
	if err := n.Err(); err != nil {
		return err
	}
	if n.lead.serving() != 0 {
		return nil
	}
	if _, id := n.raft.LeaderWithID(); id == "" || string(id) == string(n.cfg.ID) {
		return block.Errorf(block.Unavailable, "metadata member %s knows no leader", n.cfg.ID)
	}
	return nil
}

// readyPoll is how often AwaitReady looks.
const readyPoll = 5 * time.Millisecond

// AwaitReady waits until Ready is nil. Error kinds: Unavailable: ctx has
// ended; those of Err.
func (n *Node) AwaitReady(ctx context.Context) error {
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		err := n.Ready()
		if err == nil {
			return nil
		}
		select {
		case <-n.failed:
			return n.Err()
		case <-ctx.Done():
			return block.Wrap(block.Unavailable, ctx.Err(), "%v", err)
		case <-tick.C:
		}
	}
}

// Failed is closed when the member cannot go on; Err then says why.
func (n *Node) Failed() <-chan struct{} { return n.failed }

// Err is why the member cannot go on, or nil.
func (n *Node) Err() error {
	select {
	case <-n.failed:
		return n.failure
	default:
		return nil
	}
}

// fail stops the member for good: going on, it would part from the others.
// It may be called from within Raft.
func (n *Node) fail(err error) {
	n.failOnce.Do(func() {
		n.failure = err
		close(n.failed)
		n.lead.stop()
		n.log.Error("metadata member stops", "err", err)
	})
}

// stopAfterFailure ends Raft when the member has failed, so that the others
// elect another leader. It lives until then or until Close.
func (n *Node) stopAfterFailure() {
	select {
	case <-n.background.Done():
	case <-n.failed:
		n.calls.drain(drainTimeout)
		if err := n.raft.Shutdown().Error(); err != nil {
			n.log.Error("raft does not stop", "err", err)
		}
	}
}

const (
	// handoverTimeout bounds how long a leader that closes waits for another
	// member to take over; without, the others notice after an election
	// timeout.
	handoverTimeout = time.Second
	// drainTimeout bounds how long Close waits for what Raft has in hand:
	// longer only if its disk hangs.
	drainTimeout = 5 * time.Second
)

// Close stops the member and joins all its goroutines. It is idempotent.
func (n *Node) Close() error {
	n.closeOnce.Do(func() { n.closeErr = n.close() })
	return n.closeErr
}

func (n *Node) close() error {
	var errs []error
	if n.raft != nil && n.raft.State() == raft.Leader && n.voters() > 1 {
		n.handOver()
	}
	n.cancel()
	n.lead.stop()
	if n.grpc != nil {
		n.grpc.Stop()
	}
	n.calls.drain(drainTimeout)
	if n.raft != nil {
		errs = append(errs, n.raft.Shutdown().Error())
	}
	if n.transport != nil {
		errs = append(errs, n.transport.Close())
		n.transport.CloseStreams()
		n.transport.shut()
	}
	if n.stream != nil {
		errs = append(errs, n.stream.Close())
	}
	n.wg.Wait()
	if n.store != nil {
		errs = append(errs, n.store.Close())
	}
	if n.api != nil {
		n.api.Close() // closed already, if gRPC served
	}
	if n.folder != nil {
		errs = append(errs, n.folder.close())
	}
	return errors.Join(errs...)
}

func (n *Node) handOver() {
	ctx, cancel := context.WithTimeout(n.background, handoverTimeout)
	defer cancel()
	if err := n.wait(ctx, func() raft.Future { return n.raft.LeadershipTransfer() }); err != nil {
		n.log.Debug("handing over the lead", "err", err)
	}
}

// advertised is what others dial to reach l.
func (n *Node) advertised(l net.Listener) string {
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return l.Addr().String()
	}
	return net.JoinHostPort(n.cfg.Advertise, port)
}

// self is this member, as it joins.
func (n *Node) self() metadata.Member {
	return metadata.Member{ID: n.cfg.ID, Address: n.Addr(), RaftAddress: n.RaftAddr(), Instance: n.id.instance}
}
