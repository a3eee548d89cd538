package torture

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
)

// replaceEvery is how often it is looked whether copies were replaced.
const replaceEvery = 500 * time.Millisecond

// placedGroup is what `sextant pg list` tells of a group, as far as it is used.
type placedGroup struct {
	Index    int
	Segments []struct {
		Node, Change string
	}
}

// on tells whether a copy of the group is on a node, and whether the group
// changes.
func (g placedGroup) on(node string) (here, changes bool) {
	for _, s := range g.Segments {
		here = here || s.Node == node
		changes = changes || s.Change != ""
	}
	return here, changes
}

// replace starts the segment daemon i on its empty disk, where it is a new
// node, gives it the copies that the lost node had, group by group while all
// else goes on, and removes that node, as an operator would.
func (b *breaker) replace(ctx context.Context, i int, lost string) {
	if !b.started(ctx, daemon{"segment", i}) {
		return
	}
	node := b.world.Cluster.Segments[i].Addr("node")
	b.say("the copies of node %s are to be on node %s", lost, node)
	start := time.Now()
	var end time.Time // none while there are other faults
	for {
		left, err := b.replaceGroups(ctx, lost, node)
		if err == nil && left == 0 {
			if _, err = b.world.Cluster.Sextant(ctx, "node", "remove", lost); err == nil {
				b.say("all copies of node %s were replaced in %v", lost, time.Since(start))
				return
			}
		}
		if end.IsZero() && b.isMended() {
			end = time.Now().Add(backMax)
		}
		if !end.IsZero() && time.Now().After(end) {
			b.world.fail(block.Errorf(block.Unavailable, "%v after all was mended %d copies of node %s are not replaced (%v)", backMax, left, lost, err))
			return
		}
		if pause(ctx, replaceEvery) != nil {
			return
		}
	}
}

// replaceGroups asks for what was not asked for yet, and counts what is left.
func (b *breaker) replaceGroups(ctx context.Context, lost, node string) (left int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	all, err := b.world.placedGroups(ctx)
	if err != nil {
		return 0, err
	}
	for _, g := range all {
		here, changes := g.on(lost)
		if !here {
			continue
		}
		left++
		if !changes {
			// An error is the fault of the moment: it is tried again.
			_, err = b.world.Cluster.Sextant(ctx, "pg", "replace", volumeName, strconv.Itoa(g.Index), "--segment", lost, "--to", node)
		}
	}
	return left, err
}

// placedGroups lists the groups of the volume.
func (w *World) placedGroups(ctx context.Context) (all []placedGroup, err error) {
	out, err := w.Cluster.Sextant(ctx, "pg", "list", volumeName, "--output", "json")
	if err != nil {
		return nil, err
	}
	return all, json.Unmarshal(out, &all)
}
