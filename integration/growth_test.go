package integration

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/integration/cluster"
	"github.com/sextantdisk/sextant/integration/stamp"
	"github.com/sextantdisk/sextant/internal/block"
)

const (
	// firstWrite is how long the first write to a new group may take while
	// nodes are silent.
	firstWrite = 2 * time.Second
	// growthPG is the size of a group, growthImage what is written to each
	// new one.
	growthPG    = 16 * block.MiB
	growthImage = 4 * block.MiB
)

// TestGrowthWithSilentNodes: on six nodes, one of which is dead, or all of a
// zone, a write to a new group succeeds at once. The copies on the dead nodes
// are made when they are back (R24) and become complete, from the gateway's
// ring or, if it was lost, from peers (R8, R20): then they alone serve all of
// it (B5).
func TestGrowthWithSilentNodes(t *testing.T) {
	t.Parallel()
	for name, dead := range map[string]struct {
		nodes   []int
		gateway bool
	}{
		"one node":                   {nodes: []int{2}},
		"a zone":                     {nodes: []int{1, 4}},
		"of two zones, then gateway": {nodes: []int{0, 5}, gateway: true},
	} {
		t.Run(name, func(t *testing.T) { growth(t, dead.nodes, dead.gateway) })
	}
}

func growth(t *testing.T, dead []int, gatewayToo bool) {
	extra := rollingLogs()
	extra["nbd"] = []string{"--hold", "10s"}
	c := cluster.Start(t, cluster.Options{Extra: extra})
	mustCreateSized(t, c, "v", "64MiB", "16MiB")
	conn := dial(t, c.URI(0, "v"))
	if err := conn.Write(bytes.Repeat([]byte{1}, block.Size), 0); err != nil {
		t.Fatal(err) // group 0 is placed on all six
	}
	var names []string
	for _, i := range dead {
		names = append(names, c.Segments[i].Addr("node"))
		c.Segments[i].Kill()
	}
	slices.Sort(names)
	await(t, 30*time.Second, "known as silent", func() bool { return countUp(mustStatus(t, c)) == 6-len(dead) })
	if told := aboutPlacement(mustStatus(t, c)); !strings.Contains(told, strings.Join(names, ", ")) {
		t.Errorf("status says of placement: %q; dead are %v", told, names)
	}

	images := growthWrites(t, conn)
	if gatewayToo {
		if err := c.Gateways[0].Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		conn = redial(t, c.URI(0, "v"))
	}
	wantImages(t, conn, images)

	start := time.Now()
	for _, i := range dead {
		if err := c.Segments[i].Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	await(t, time.Minute, "complete again", func() bool { return mustStatus(t, c).Healthy })
	t.Logf("complete %v after the start", time.Since(start))
	for i, d := range c.Segments {
		if !slices.Contains(dead, i) {
			d.Kill()
		} else if caught := metric(t, d.Addr("http"), "sextant_caught_up_bytes_total"); gatewayToo && caught == 0 {
			t.Errorf("%s fetched nothing from peers, though the gateway that had it all is gone", d.Name())
		}
	}
	wantImages(t, conn, images)
}

// growthWrites writes to group 0, and to three that are new.
func growthWrites(t *testing.T, conn *stamp.Conn) (images [][]byte) {
	for pg := range 4 {
		image := make([]byte, growthImage)
		if _, err := rand.NewChaCha8([32]byte{byte(pg)}).Read(image); err != nil {
			t.Fatal(err)
		}
		at := block.Offset(pg) * block.Offset(growthPG)
		start := time.Now()
		if err := conn.Write(image[:block.Size], at); err != nil {
			t.Fatalf("the first write to group %d: %v", pg, err)
		}
		took := time.Since(start)
		t.Logf("first write to group %d after %v", pg, took)
		if took > firstWrite {
			t.Errorf("the first write to group %d took %v", pg, took)
		}
		if err := conn.Write(image, at); err != nil {
			t.Fatal(err)
		}
		images = append(images, image)
	}
	return images
}

// wantImages checks that the groups begin with their images.
func wantImages(t *testing.T, conn *stamp.Conn, images [][]byte) {
	t.Helper()
	for pg, image := range images {
		got := make([]byte, len(image))
		if err := conn.Read(got, block.Offset(pg)*block.Offset(growthPG)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, image) {
			t.Errorf("group %d has other bytes than were written", pg)
		}
	}
}

// redial connects to an export of a gateway that was killed: until the
// volume's lease is over it is refused.
func redial(tb testing.TB, uri string) (conn *stamp.Conn) {
	tb.Helper()
	await(tb, 30*time.Second, "served again", func() bool {
		var err error
		conn, err = stamp.Dial(tb.Context(), uri)
		return err == nil
	})
	tb.Cleanup(conn.Close)
	return conn
}

func countUp(s status) (up int) {
	for _, n := range s.Nodes {
		if n.Up {
			up++
		}
	}
	return up
}

// aboutPlacement is what status tells of it, "" if nothing.
func aboutPlacement(s status) string {
	for _, p := range s.Problems {
		if p.Subject == "placement" {
			return p.What
		}
	}
	return ""
}
