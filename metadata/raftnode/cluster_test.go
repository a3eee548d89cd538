package raftnode

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
)

// quick makes elections short enough for tests, and long enough for a
// machine that is busy with others.
func quick(c *Config) { c.Timing.Election = 400 * time.Millisecond }

// grow starts a cluster of count members, one after the other.
func grow(t testing.TB, count int, change func(*Config)) ([]*Node, []Config) {
	t.Helper()
	var nodes []*Node
	var configs []Config
	for i := range count {
		cfg := loopback(fmt.Sprint("m", i+1), t.TempDir())
		quick(&cfg)
		if change != nil {
			change(&cfg)
		}
		if cfg.Bootstrap = i == 0; i > 0 {
			cfg.Join = []string{nodes[0].Addr()}
		}
		nodes, configs = append(nodes, start(t, cfg)), append(configs, cfg)
		ready(t, nodes[i])
		eventually(t, fmt.Sprintf("%d members vote", i+1), func() bool { return nodes[0].voters() == i+1 })
	}
	for i := range configs {
		configs[i].Bootstrap, configs[i].Join = false, nil
	}
	return nodes, configs
}

func addresses(nodes []*Node) []string {
	var all []string
	for _, n := range nodes {
		all = append(all, n.Addr())
	}
	return all
}

func leaderOf(t testing.TB, nodes []*Node) int {
	t.Helper()
	at := -1
	eventually(t, "a leader", func() bool {
		for i, n := range nodes {
			if n != nil && n.lead.serving() != 0 {
				at = i
				return true
			}
		}
		return false
	})
	return at
}

// The leader is lost without a goodbye; the client goes on, and nothing that
// was acknowledged is missing.
func TestLeaderLossIsSurvived(t *testing.T) {
	t.Parallel()
	nodes, configs := grow(t, 3, nil)
	c := client(t, addresses(nodes)...)
	v := create(t, c, "v", block.MiB)
	o := open(t, c, "v", "g1")
	at := leaderOf(t, nodes)
	crash(t, nodes[at])
	next := open(t, c, v.ID.String(), "g1").Volume.Epoch
	if next <= o.Volume.Epoch {
		t.Fatalf("epoch %d follows epoch %d", next, o.Volume.Epoch)
	}
	if err := c.CloseVolume(within(t), metadata.CloseRequest{Volume: v.ID, Epoch: next, ReadLeasesExpired: true}); err != nil {
		t.Fatal(err)
	}
	nodes[at] = start(t, configs[at])
	ready(t, nodes[at])
	got, err := c.Volume(within(t), "v")
	if err != nil || got.State != metadata.Closed || !got.Clean || got.Epoch != next {
		t.Fatalf("after the goodbye: %+v, %v", got, err)
	}
	eventually(t, "the restarted member is a voter that has caught up", func() bool {
		for _, n := range nodes {
			if got, err := n.volume("v"); err != nil || got.Epoch != next || !got.Clean {
				return false
			}
		}
		return true
	})
}

// crash ends a member without handing over its lead.
func crash(t testing.TB, n *Node) {
	t.Helper()
	if err := n.raft.Shutdown().Error(); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
}

// A leader that is stopped hands over: the client waits less than an
// election takes.
func TestCloseHandsOver(t *testing.T) {
	t.Parallel()
	nodes, _ := grow(t, 3, func(c *Config) { c.Timing.Election = 5 * time.Second })
	c := client(t, addresses(nodes)...)
	create(t, c, "v", block.MiB)
	begin := time.Now()
	if err := nodes[leaderOf(t, nodes)].Close(); err != nil {
		t.Fatal(err)
	}
	create(t, c, "w", block.MiB)
	if took := time.Since(begin); took > 4*time.Second {
		t.Fatalf("the next command was agreed only after %v", took)
	}
}

// wantFailure waits until a member gives up, which it must for such a reason.
func wantFailure(t *testing.T, n *Node, kind error, who string) {
	t.Helper()
	select {
	case <-n.Failed():
	case <-within(t).Done():
		t.Fatalf("%s was let in", who)
	}
	if err := n.Err(); !errors.Is(err, kind) {
		t.Fatalf("%s: %v", who, err)
	}
}

func TestFiveMembersSurviveTwo(t *testing.T) {
	t.Parallel()
	nodes, _ := grow(t, 5, nil)
	sixth := loopback("m6", t.TempDir())
	sixth.Join = []string{nodes[0].Addr()}
	n := start(t, sixth)
	wantFailure(t, n, block.Exists, "a sixth member")
	n.Close()
	c := client(t, addresses(nodes)...)
	create(t, c, "v", block.MiB)
	for range 2 {
		at := leaderOf(t, nodes)
		crash(t, nodes[at])
		nodes[at] = nil
		create(t, c, fmt.Sprint("after", at), block.MiB)
	}
	vs, err := c.Volumes(within(t))
	if err != nil || len(vs) != 3 {
		t.Fatalf("%d volumes, %v", len(vs), err)
	}
	info, err := c.ClusterInfo(within(t))
	if err != nil || len(info.Members) != 5 {
		t.Fatalf("members: %+v, %v", info, err)
	}
}

// All members stop and start again, at other API ports; raft ports are found
// again.
func TestWholeClusterRestarts(t *testing.T) {
	t.Parallel()
	nodes, configs := grow(t, 3, nil)
	create(t, client(t, addresses(nodes)...), "v", block.MiB)
	for _, n := range nodes {
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range nodes {
		nodes[i] = start(t, configs[i])
	}
	ready(t, nodes...)
	c := client(t, addresses(nodes)...)
	if _, err := c.Volume(within(t), "v"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "everybody's new address is known", func() bool {
		info, err := c.ClusterInfo(within(t))
		if err != nil || len(info.Members) != 3 {
			return false
		}
		for i, m := range info.Members {
			if m.Address != nodes[i].Addr() || m.RaftAddress != nodes[i].RaftAddr() || !m.Voter {
				return false
			}
		}
		return true
	})
}

// A member that was away for longer than the log reaches back gets a
// snapshot.
func TestSnapshotBringsAMemberUpToDate(t *testing.T) {
	t.Parallel()
	nodes, configs := grow(t, 3, func(c *Config) {
		c.Timing.SnapshotAfter, c.Timing.SnapshotCheck = 32, 50*time.Millisecond
		c.Timing.DownAfter = time.Minute // the daemons beat once; the placing takes a while
	})
	c := client(t, addresses(nodes)...)
	away := (leaderOf(t, nodes) + 1) % 3
	if err := nodes[away].Close(); err != nil {
		t.Fatal(err)
	}
	sixDaemons(t, c)
	v := create(t, c, "v", 256*block.MiB)
	o := open(t, c, "v", "g1")
	var wg sync.WaitGroup
	for worker := range block.PGIndex(4) {
		wg.Go(func() {
			for i := worker; i < 200; i += 4 {
				if _, err := c.EnsurePG(within(t), v.ID, o.Volume.Epoch, i); err != nil {
					t.Errorf("group %d: %v", i, err)
				}
			}
		})
	}
	wg.Wait()
	leader := nodes[leaderOf(t, nodes)]
	eventually(t, "the leader has dropped the log that the other lacks", func() bool {
		first, err := leader.store.FirstIndex()
		return err == nil && first > 64
	})
	nodes[away] = start(t, configs[away])
	eventually(t, "the member has all groups", func() bool {
		got, err := nodes[away].volume("v")
		return err == nil && got.PGs == 200
	})
	// Its own snapshot and log serve a restart.
	if err := nodes[away].Close(); err != nil {
		t.Fatal(err)
	}
	nodes[away] = start(t, configs[away])
	eventually(t, "the member has all groups again", func() bool {
		got, err := nodes[away].volume("v")
		return err == nil && got.PGs == 200
	})
}

func TestRemovedMemberDoesNotComeBack(t *testing.T) {
	t.Parallel()
	nodes, configs := grow(t, 3, nil)
	c := client(t, addresses(nodes)...)
	gone := (leaderOf(t, nodes) + 1) % 3
	id := metadata.MemberID(fmt.Sprint("m", gone+1))
	if err := c.RemoveMember(within(t), id); err != nil {
		t.Fatal(err)
	}
	if err := c.RemoveMember(within(t), id); !errors.Is(err, block.NotFound) {
		t.Fatalf("removing it again: %v", err)
	}
	nodes[gone].Close()
	info, err := c.ClusterInfo(within(t))
	if err != nil || len(info.Members) != 2 {
		t.Fatalf("members: %+v, %v", info.Members, err)
	}
	configs[gone].Join = []string{nodes[(gone+1)%3].Addr(), nodes[(gone+2)%3].Addr()}
	n := start(t, configs[gone])
	select {
	case <-n.Failed():
	case <-within(t).Done():
		t.Fatal("a removed member is let in again")
	}
	if err := n.Err(); !errors.Is(err, block.NotFound) || !strings.Contains(err.Error(), "removed") {
		t.Fatalf("a removed member: %v", err)
	}
}

// T13 for members: who lost the folder must not vote again under its id.
func TestMemberWithAnotherFolderIsRefused(t *testing.T) {
	t.Parallel()
	nodes, configs := grow(t, 3, nil)
	lost := (leaderOf(t, nodes) + 1) % 3
	nodes[lost].Close()
	empty := configs[lost]
	empty.Dir, empty.Join = t.TempDir(), []string{nodes[(lost+1)%3].Addr(), nodes[(lost+2)%3].Addr()}
	n := start(t, empty)
	wantFailure(t, n, block.Mismatch, "an empty folder under a known id")
}

func TestOnlyMemberIsNotRemoved(t *testing.T) {
	t.Parallel()
	_, c := lone(t, nil)
	if err := c.RemoveMember(within(t), "m1"); !errors.Is(err, block.Invalid) {
		t.Fatalf("removing the only member: %v", err)
	}
}

func TestMemberOfAnotherClusterIsRefused(t *testing.T) {
	t.Parallel()
	a, c := lone(t, nil)
	dir := t.TempDir()
	cfg := loopback("m2", dir)
	cfg.Bootstrap = true
	b := start(t, cfg)
	ready(t, b)
	r := metadata.JoinRequest{Member: b.self(), Cluster: b.Cluster(), Format: folderFormat}
	if err := c.Join(within(t), r); !errors.Is(err, block.Mismatch) {
		t.Fatalf("joining another cluster: %v", err)
	}
	r.Cluster, r.Format = a.Cluster(), folderFormat+1
	if err := c.Join(within(t), r); !errors.Is(err, block.Version) {
		t.Fatalf("joining with a newer format: %v", err)
	}
	// It claims to be of this cluster, but on its raft port another answers
	// (T27): it does not get a vote, which would cost the majority.
	r.Format = folderFormat
	short, cancel := context.WithTimeout(within(t), time.Second)
	defer cancel()
	if err := c.Join(short, r); !errors.Is(err, block.Unavailable) {
		t.Fatalf("joining under a wrong raft address: %v", err)
	}
	// Nor does one whose raft address is another member's.
	r.Member.RaftAddress = a.RaftAddr()
	if err := c.Join(within(t), r); !errors.Is(err, block.Unavailable) || !strings.Contains(err.Error(), "member m1 answers") {
		t.Fatalf("joining under another member's raft address: %v", err)
	}
	if a.voters() != 1 {
		t.Fatalf("there are %d voters", a.voters())
	}
	create(t, c, "v", block.MiB)
}

// R4, T28: a leader that lost its majority answers nothing that somebody
// would act upon, though it may not know yet that it does not lead.
func TestR4LeaderWithoutMajorityDecidesNothing(t *testing.T) {
	t.Parallel()
	nodes, _ := grow(t, 3, nil)
	all := client(t, addresses(nodes)...)
	v := create(t, all, "v", block.MiB)
	o := open(t, all, "v", "g1")
	at := leaderOf(t, nodes)
	old := nodes[at]
	c := client(t, old.Addr())
	for i, n := range nodes {
		if i != at {
			crash(t, n)
		}
	}
	// At once: by its own clock it still leads.
	short, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if _, err := c.RenewLease(short, metadata.LeaseReport{Volume: v.ID, Epoch: o.Volume.Epoch, Gateway: "g1"}); !errors.Is(err, block.Unavailable) {
		t.Fatalf("a lease was renewed by a leader without a majority: %v", err)
	}
	if _, err := c.Volume(short, "v"); !errors.Is(err, block.Unavailable) {
		t.Fatalf("it answered a read: %v", err)
	}
	if got, _ := old.volume("v"); got.Epoch != 1 {
		t.Fatalf("the epoch moved to %d", got.Epoch)
	}
}
