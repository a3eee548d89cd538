package raftnode

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
)

const (
	snapshotsKept = 2
	logCacheSize  = 512
	// transportTimeout bounds one exchange on the Raft port; Raft itself
	// gives snapshots more.
	transportTimeout = 5 * time.Second
	transportPool    = 3
	// askTimeout bounds how long a new member looks for its cluster.
	askTimeout = 30 * time.Second
)

func listen(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, block.Wrap(block.Held, err, "port of %s is in use: choose another, or stop who uses it", addr)
	case err != nil:
		return nil, block.Wrap(block.Invalid, err, "cannot listen on %s", addr)
	}
	return l, nil
}

// listenRaft listens where others look for this member: for port 0, where it
// was last, if that is free.
func (n *Node) listenRaft() (net.Listener, error) {
	host, port, err := net.SplitHostPort(n.cfg.RaftListen)
	lastHost, lastPort, lastErr := net.SplitHostPort(n.id.RaftAddress)
	if err == nil && port == "0" && lastErr == nil && lastHost == host {
		if l, err := net.Listen("tcp", net.JoinHostPort(host, lastPort)); err == nil {
			return l, nil
		}
	}
	return listen(n.cfg.RaftListen)
}

func newClusterID() block.ClusterID { return block.ClusterID(metadata.NewVolumeID()) }

// askCluster asks the members at addrs which cluster they are.
func askCluster(ctx context.Context, addrs []string) (block.ClusterID, error) {
	c, err := metadata.Dial(addrs, metadata.Options{Timeout: askTimeout})
	if err != nil {
		return block.ClusterID{}, err
	}
	defer c.Close()
	info, err := c.ClusterInfo(ctx)
	if err != nil {
		return block.ClusterID{}, block.Wrap(block.KindOf(err), err, "nobody to join answers at %v", addrs)
	}
	if info.Format > folderFormat {
		return block.ClusterID{}, block.Errorf(block.Version, "the cluster at %v has format %d, this program knows up to %d: install a newer Sextant", addrs, info.Format, folderFormat)
	}
	return info.Cluster, nil
}

func (n *Node) startRaft(leading chan<- bool) error {
	logger := bridge(n.log)
	var err error
	n.store, err = raftboltdb.New(raftboltdb.Options{
		Path: n.folder.path(logFile), MsgpackUseNewTimeFormat: true,
		BoltOptions: &bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType, Timeout: time.Second},
	})
	if err != nil {
		return block.Wrap(block.Corrupt, err, "raft log %s", n.folder.path(logFile))
	}
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(n.folder.dir, snapshotsKept, logger)
	if err != nil {
		return block.Wrap(block.Corrupt, err, "raft snapshots in %s", n.folder.dir)
	}
	cache, err := raft.NewLogCache(logCacheSize, n.store)
	if err != nil {
		return block.Wrap(block.Invalid, err, "raft log cache")
	}
	n.transport = &transport{NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: n.stream, MaxPool: transportPool, Timeout: transportTimeout, Logger: logger, MsgpackUseNewTimeFormat: true,
	})}
	cfg := n.raftConfig()
	cfg.Logger, cfg.NotifyCh = logger, leading
	if err := n.bootstrap(cfg, cache, snapshots); err != nil {
		return err
	}
	n.raft, err = raft.NewRaft(cfg, n.fsm, cache, n.store, snapshots, n.transport)
	if err != nil {
		return block.Wrap(block.Corrupt, errors.Join(err, n.Err()), "raft in %s cannot start", n.folder.dir)
	}
	return nil
}

func (n *Node) raftConfig() *raft.Config {
	t := n.cfg.Timing
	cfg := raft.DefaultConfig()
	cfg.LocalID = raft.ServerID(n.cfg.ID)
	cfg.HeartbeatTimeout, cfg.ElectionTimeout, cfg.LeaderLeaseTimeout = t.Election, t.Election, t.Election/2
	cfg.SnapshotThreshold, cfg.SnapshotInterval = uint64(t.SnapshotAfter), t.SnapshotCheck
	cfg.TrailingLogs = uint64(t.SnapshotAfter)
	return cfg
}

// bootstrap makes the first configuration, in a folder whose Raft has not
// begun; and notices a Raft log that was lost.
func (n *Node) bootstrap(cfg *raft.Config, logs raft.LogStore, snapshots raft.SnapshotStore) error {
	exists, err := raft.HasExistingState(logs, n.store, snapshots)
	switch {
	case err != nil:
		return block.Wrap(block.Corrupt, err, "raft log in %s", n.folder.dir)
	case exists:
		return nil
	case n.id.Started && n.id.Bootstrapped:
		return block.Errorf(block.Corrupt, "metadata folder %s has lost its Raft log %s: restore it from a backup; or, if other members have the cluster, remove this member and let it join with an empty folder", n.folder.dir, logFile)
	case !n.id.Bootstrapped:
		return nil // waits to be joined
	}
	self := raft.Server{Suffrage: raft.Voter, ID: cfg.LocalID, Address: n.transport.LocalAddr()}
	if err := raft.BootstrapCluster(cfg, logs, n.store, snapshots, n.transport, raft.Configuration{Servers: []raft.Server{self}}); err != nil {
		return block.Wrap(block.Corrupt, err, "bootstrapping raft in %s", n.folder.dir)
	}
	return nil
}

// hurryLoneVoter lets a lone voter stand for election at once: it need not
// listen for a leader first, for there is nobody else.
func (n *Node) hurryLoneVoter() error {
	servers := n.raft.GetConfiguration()
	if err := servers.Error(); err != nil {
		return block.Wrap(block.Corrupt, err, "raft configuration in %s", n.folder.dir)
	}
	all := servers.Configuration().Servers
	if len(all) != 1 || all[0].ID != raft.ServerID(n.cfg.ID) {
		return nil
	}
	request := &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}}
	if err := n.transport.TimeoutNow(all[0].ID, n.transport.LocalAddr(), request, &raft.TimeoutNowResponse{}); err != nil {
		n.log.Debug("the lone voter waits for its election timeout", "err", err)
	}
	return nil
}

// voters is the number of voters in Raft's latest configuration.
func (n *Node) voters() int {
	count := 0
	for _, s := range n.servers() {
		if s.Suffrage == raft.Voter {
			count++
		}
	}
	return count
}

// servers is Raft's latest configuration.
func (n *Node) servers() []raft.Server {
	f := n.raft.GetConfiguration()
	if f.Error() != nil {
		return nil // only after a shutdown
	}
	return f.Configuration().Servers
}
