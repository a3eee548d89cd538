package cli

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
)

// replaceEvery is how often a command that waits for a replacement looks.
const replaceEvery = time.Second

// replaceSegment begins or cancels a replacement, and waits for its end if
// asked to.
func replaceSegment(ctx context.Context, c *cli.Context, m *metadata.Client) error {
	volume, index, err := groupArgs(c)
	if err != nil {
		return err
	}
	segment, to := c.String("segment"), block.NodeID(c.String("to"))
	switch {
	case c.Bool("cancel") && (segment != "" || to != "" || c.Bool("wait")):
		return usagef(c, "--cancel takes no --segment, --to or --wait")
	case c.Bool("cancel"):
		p, err := cancelReplace(ctx, m, volume, index)
		return shownPG(c, p, err)
	case segment == "":
		return usagef(c, "--segment is missing: which one is to be replaced? ('sextant pg show %s %d' lists them)", volume, index)
	}
	first, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	p, err := m.ReplaceSegment(first, metadata.ReplaceRequest{Volume: volume, PG: index, Leaving: segment, To: to})
	if err == nil && c.Bool("wait") {
		p, err = awaitReplaced(ctx, c, m, volume, p)
	}
	return shownPG(c, p, err)
}

// cancelReplace cancels whatever change of the group is under way.
func cancelReplace(ctx context.Context, m *metadata.Client, volume string, index block.PGIndex) (p metadata.PGConfig, err error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	v, err := m.Volume(ctx, volume)
	if err != nil {
		return p, err
	}
	if p, err = m.PG(ctx, volume, 0, index); err != nil {
		return p, err
	}
	return m.CancelChange(ctx, metadata.ChangeRef{Volume: v.ID, Epoch: v.Epoch, PG: index, Membership: p.Membership})
}

// shownPG prints a group as it is now.
func shownPG(c *cli.Context, p metadata.PGConfig, err error) error {
	if err != nil {
		return err
	}
	j := toPGJSON(p)
	return show(c, j, func(w *tabwriter.Writer) { pgTable(w, []pgJSON{j}) })
}

// awaitReplaced shows on standard error how far the replacement is, until it
// is over.
func awaitReplaced(ctx context.Context, c *cli.Context, m *metadata.Client, volume string, p metadata.PGConfig) (metadata.PGConfig, error) {
	in, ok := p.Joining()
	if !ok {
		fmt.Fprintf(c.App.ErrWriter, "done: the new copy is made when the group takes its zone back\n")
		return p, nil
	}
	said := ""
	for {
		now, err := m.PG(ctx, volume, 0, p.Index)
		if err != nil {
			return p, err
		}
		if here, ok := segmentIn(now, in.ID); !now.Joint() || !ok {
			if !ok {
				return now, block.Errorf(block.Stale, "volume %s, group %v: the replacement was cancelled", volume, p.Index)
			}
			fmt.Fprintf(c.App.ErrWriter, "done: node %s has the copy\n", here.Node)
			return now, nil
		}
		if line := progress(ctx, m, now, in.ID); line != said {
			said = line
			fmt.Fprintln(c.App.ErrWriter, line)
		}
		select {
		case <-ctx.Done():
			return now, block.Wrap(block.Unavailable, ctx.Err(), "the replacement goes on; 'sextant pg show %s %d' tells how far it is", volume, p.Index)
		case <-time.After(replaceEvery):
		}
	}
}

func segmentIn(p metadata.PGConfig, id block.SegmentID) (metadata.Segment, bool) {
	for _, s := range p.Segments {
		if s.ID == id {
			return s, true
		}
	}
	return metadata.Segment{}, false
}

// progress is a line about the new segment.
func progress(ctx context.Context, m *metadata.Client, p metadata.PGConfig, id block.SegmentID) string {
	in, _ := segmentIn(p, id)
	if in.Hydrated {
		return fmt.Sprintf("node %s is hydrated; the old copy is about to leave", in.Node)
	}
	st, err := m.Status(ctx)
	if err != nil {
		return fmt.Sprintf("node %s: %v", in.Node, err)
	}
	for _, v := range st.Volumes {
		for _, h := range v.Unhealthy {
			if h.Segment == id {
				line := fmt.Sprintf("node %s: %v, %s behind", in.Node, h.State, human(h.Lag))
				if h.ETA >= 0 {
					line += fmt.Sprintf(", about %v left", h.ETA.Round(time.Second))
				}
				return line
			}
		}
	}
	return fmt.Sprintf("node %s: waits for the volume's gateway", in.Node)
}
