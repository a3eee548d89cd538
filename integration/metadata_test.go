package integration

import (
	"errors"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/integration/cluster"
	"github.com/sextantdisk/sextant/integration/stamp"
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
)

// TestTakeoverWithTheMetadataServiceInTrouble: while all its members hang, an open
// volume is read and written on; a takeover that falls into that time waits for
// them. Then the Raft leader dies in the middle of the next one: the others choose
// another, and the volume is served.
func TestTakeoverWithTheMetadataServiceInTrouble(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{Gateways: 2, Metadata: 3})
	mustCreateSized(t, c, "v", "8MiB", "1MiB")
	tester, err := stamp.New(stamp.Config{URI: c.URI(0, "v"), Writer: 1, Seed: 1, Blocks: 2048, MaxBlocks: 8, Depth: 16})
	if err != nil {
		t.Fatal(err)
	}
	touchAll(t, tester, dial(t, c.URI(0, "v")), 8)
	stop := load(t.Context(), tester)
	runFor(t, tester, 100)
	for _, m := range c.Metadata {
		if err := m.Pause(); err != nil {
			t.Fatal(err)
		}
	}
	paused := time.Now()
	await(t, time.Minute, "longer than any lease", func() bool { return time.Since(paused) > 2*metadata.LeaseFor })
	late := tester.Counts()
	runFor(t, tester, 100)
	await(t, time.Minute, "reads answered", func() bool { return tester.Counts().Reads > late.Reads+20 })

	c.Gateways[0].Kill()
	if err := stop(); err != nil && !errors.Is(err, block.Closed) {
		t.Fatal(err)
	}
	tester.ServerDied()
	tester.SetURI(c.URI(1, "v"))
	served := make(chan error, 1)
	go func() { served <- tester.Verify(t.Context()) }()
	resumed := time.Now()
	for _, m := range c.Metadata {
		if err := m.Resume(); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-served; err != nil {
		t.Fatalf("after the metadata service came back: %v", err)
	}
	t.Logf("served %v after the metadata service came back", time.Since(resumed).Round(time.Millisecond))

	c.Gateways[1].Kill()
	tester.ServerDied()
	if err := c.Gateways[0].Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	tester.SetURI(c.URI(0, "v"))
	go func() { served <- tester.Verify(t.Context()) }()
	leader := leaderOf(t, c)
	leader.Kill()
	start := time.Now()
	if err := <-served; err != nil {
		t.Fatalf("after %s, which led, was killed: %v", leader.Name(), err)
	}
	t.Logf("served %v after the leader was killed; %+v", time.Since(start).Round(time.Millisecond), tester.Counts())
	if n := tester.Counts().Refused; n != 0 {
		t.Errorf("%d requests failed", n)
	}
}

func leaderOf(t *testing.T, c *cluster.Cluster) (leader *cluster.Daemon) {
	t.Helper()
	await(t, time.Minute, "led", func() bool {
		for _, m := range c.Metadata {
			if metric(t, m.Addr("http"), "sextant_metadata_leader") == 1 {
				leader = m
			}
		}
		return leader != nil
	})
	return leader
}
