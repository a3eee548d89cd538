package torture

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
)

// comparison is what `sextant pg show --digest` tells, as far as it is used.
type comparison struct {
	Equal  bool
	Copies []struct{ Differ int }
}

// differ tells that two copies hold different data at one LSN.
func (c comparison) differ() bool {
	for _, x := range c.Copies {
		if x.Differ != 0 {
			return true
		}
	}
	return false
}

// compareCopies compares all copies of all groups (I4), and waits for those
// that cannot be compared yet. Error kinds: Corrupt (they differ), Unavailable.
func (w *World) compareCopies(ctx context.Context, within time.Duration) error {
	groups, err := w.placedGroups(ctx)
	if err != nil {
		return err
	}
	end := time.Now().Add(within)
	for _, g := range groups {
		for {
			// With copies that are not known to be equal it fails, and tells.
			out, err := w.Cluster.Sextant(ctx, "pg", "show", volumeName, strconv.Itoa(g.Index), "--digest", "--output", "json")
			var c comparison
			told := json.Unmarshal(out, &c) == nil
			switch {
			case told && c.differ():
				return block.Errorf(block.Corrupt, "the copies of group %d differ:\n%s", g.Index, out)
			case err == nil && told && c.Equal:
			case time.Now().After(end):
				return block.Errorf(block.Unavailable, "the copies of group %d could not be compared within %v: %v\n%s", g.Index, within, err, out)
			default:
				if err := pause(ctx, replaceEvery); err != nil {
					return err
				}
				continue
			}
			break
		}
	}
	return nil
}
