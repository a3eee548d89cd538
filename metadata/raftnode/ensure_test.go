package raftnode

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
	"github.com/sextantdisk/sextant/metadata"
)

// All groups of a volume are asked for at once, each by three callers: each
// is placed once, and the nodes share the segments evenly.
func TestEnsurePGIsIdempotentAndEven(t *testing.T) {
	_, _, c := leased(t)
	sixDaemons(t, c)
	for _, id := range []string{"a3", "b3", "c3"} {
		newDaemon(t, c, id)
	}
	const groups = 30
	v := create(t, c, "v", groups*block.MiB)
	e := open(t, c, "v", "g1").Volume.Epoch
	var mu sync.Mutex
	seen := make(map[block.PGIndex][]metadata.Segment)
	var wg sync.WaitGroup
	for range 3 {
		for i := range block.PGIndex(groups) {
			wg.Go(func() {
				pg, err := c.EnsurePG(within(t), v.ID, e, i)
				mu.Lock()
				defer mu.Unlock()
				if before := seen[i]; err != nil || before != nil && !slices.Equal(before, pg.Segments) {
					t.Errorf("group %v: %v, %v, before %v", i, pg, err, before)
				}
				seen[i] = pg.Segments
			})
		}
	}
	wg.Wait()
	nodes, err := c.Nodes(within(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		// Choices made at the same moment see the same nodes, so the shares
		// are even only roughly.
		if n.Segments < 12 || n.Segments > 28 {
			t.Errorf("node %s has %d of %d segments on 9 nodes", n.ID, n.Segments, groups*6)
		}
	}
	all, err := c.AllPGs(within(t), "v", e)
	if err != nil || len(all) != groups {
		t.Fatalf("%d groups, %v", len(all), err)
	}
	for i, pg := range all {
		if pg.Index != block.PGIndex(i) || !slices.Equal(pg.Segments, seen[pg.Index]) || pg.Segments[0].Address == "" || !pg.Segments[0].Hydrated {
			t.Fatalf("group %d is listed as %+v", i, pg)
		}
	}
}

// Two of six nodes may be silent when a group is placed, whichever they are;
// with three it has to wait (docs/adr/0011).
func TestEnsurePGWithSilentNodes(t *testing.T) {
	hand, _, c := leased(t)
	daemons := sixDaemons(t, c)
	const groups = 15
	v := create(t, c, "v", (groups+1)*block.MiB)
	e := open(t, c, "v", "g1").Volume.Epoch
	silence := func(silent ...int) {
		hand.Advance(metadata.DownAfter)
		for i, d := range daemons {
			if !slices.Contains(silent, i) {
				d.beat(nil)
			}
		}
	}
	index := block.PGIndex(0)
	for i := range daemons {
		for j := range i {
			silence(i, j)
			pg, err := c.EnsurePG(within(t), v.ID, e, index)
			if err != nil || len(pg.Segments) != 6 {
				t.Fatalf("%s and %s are silent: %v, %v", six[i], six[j], pg, err)
			}
			index++
		}
	}
	silence(0, 2, 5)
	if _, err := c.EnsurePG(within(t), v.ID, e, index); !errors.Is(err, block.Unavailable) || !strings.Contains(err.Error(), "a1 is down") {
		t.Fatalf("three are silent: %v", err)
	}
	daemons[2].beat(nil)
	if _, err := c.EnsurePG(within(t), v.ID, e, index); err != nil {
		t.Fatalf("one is back: %v", err)
	}
}

// A young lead takes nobody for silent that it has merely not heard yet: it
// places on nodes that it has heard, or waits.
func TestEnsurePGUnderAYoungLead(t *testing.T) {
	hand := clock.NewFake(time.Time{})
	n, c := lone(t, func(cfg *Config) { cfg.Clock = hand })
	hand.Advance(metadata.DownAfter)
	daemons := sixDaemons(t, c)
	v := create(t, c, "v", block.MiB)
	e := open(t, c, "v", "g1").Volume.Epoch
	n.soft.reset(n.lead.serving()) // as at the beginning of a lead
	for _, d := range daemons[:5] {
		d.beat(nil)
	}
	s := &server{Node: n}
	if _, err := s.ensureOnce(within(t), v.ID, e, 0); !errors.Is(err, block.Unavailable) || !strings.Contains(err.Error(), "not heard all nodes yet") {
		t.Fatalf("one of six was not heard yet: %v", err)
	}
	daemons[5].beat(nil)
	if _, err := s.ensureOnce(within(t), v.ID, e, 0); err != nil {
		t.Fatalf("all were heard: %v", err)
	}
}

func TestEnsurePGRefusals(t *testing.T) {
	_, _, c := leased(t)
	sixDaemons(t, c)
	v := create(t, c, "v", 2*block.MiB)
	if _, err := c.EnsurePG(within(t), v.ID, 0, 0); !errors.Is(err, block.Fenced) {
		t.Errorf("a volume never opened: %v", err)
	}
	open(t, c, "v", "g1")
	e := open(t, c, "v", "g1").Volume.Epoch
	for name, bad := range map[string]struct {
		id    block.VolumeID
		epoch block.VolumeEpoch
		index block.PGIndex
		kind  block.Kind
	}{
		"R3 old epoch":     {v.ID, e - 1, 0, block.Fenced},
		"epoch to come":    {v.ID, e + 1, 0, block.Invalid},
		"behind the end":   {v.ID, e, 2, block.Invalid},
		"unknown volume":   {block.VolumeID{9}, e, 0, block.NotFound},
		"no volume at all": {block.VolumeID{}, e, 0, block.NotFound},
	} {
		if _, err := c.EnsurePG(within(t), bad.id, bad.epoch, bad.index); !errors.Is(err, bad.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.PG(within(t), "v", e, 1); !errors.Is(err, block.NotFound) {
		t.Errorf("a group that is not placed: %v", err)
	}
	if _, err := c.AllPGs(within(t), "v", e-1); !errors.Is(err, block.Fenced) {
		t.Errorf("R3: a list under an old epoch: %v", err)
	}
	for _, limit := range []int{0, -1, metadata.MaxPGPage + 1} {
		if _, err := c.PGs(within(t), "v", 0, 0, limit); !errors.Is(err, block.Invalid) {
			t.Errorf("a page of %d: %v", limit, err)
		}
	}
}
