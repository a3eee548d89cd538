package cli

import (
	"context"
	"fmt"
	"slices"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
	"github.com/sextantdisk/sextant/metadata"
	"github.com/sextantdisk/sextant/segmentd"
)

// compareTries is how often a comparison is tried that clients have overtaken.
const compareTries = 20

// digestJSON is what the copies of a group hold at one LSN, in JSON output.
type digestJSON struct {
	At     string     `json:"at"`
	Equal  bool       `json:"equal"` // all copies answered, with the same data
	Copies []copyJSON `json:"copies"`
}

type copyJSON struct {
	Segment  string `json:"segment"`
	Node     string `json:"node"`
	SCL      string `json:"scl"`
	Readable string `json:"readable"`
	Digest   string `json:"digest,omitempty"`
	Leaves   int    `json:"leaves"`
	// Differ is in how many leaves of 2 MiB it differs from the first copy
	// that answered.
	Differ int    `json:"differ"`
	Error  string `json:"error,omitempty"`
}

// digestGroup compares the copies of a group that are in force (invariant I4).
func digestGroup(ctx context.Context, c *cli.Context, m *metadata.Client, volume string, p metadata.PGConfig) error {
	v, err := m.Volume(ctx, volume)
	if err != nil {
		return err
	}
	info, err := m.ClusterInfo(ctx)
	if err != nil {
		return err
	}
	var peers []segmentd.Peer
	for i, s := range p.Segments {
		if p.Out(i) {
			continue // it misses what is written (R29)
		}
		peers = append(peers, segmentd.Peer{Segment: s.ID, Node: s.Node, Disk: s.Disk, Address: s.Address})
	}
	var out digestJSON
	for range compareTries {
		at, copies, err := segmentd.Compare(ctx, clock.Real(), info.Cluster, v.ID, p.Index, peers)
		if err != nil {
			return err
		}
		if out = toDigestJSON(at, copies); out.Equal || !overtaken(copies) || ctx.Err() != nil {
			break
		}
	}
	if err := show(c, out, func(w *tabwriter.Writer) { digestTable(w, out) }); err != nil {
		return err
	}
	if !out.Equal {
		return block.Errorf(block.Mismatch, "the copies of group %v of volume %s are not known to be equal at %s", p.Index, volume, out.At)
	}
	return nil
}

// overtaken tells whether a copy has settled the LSN since it was chosen.
func overtaken(copies []segmentd.Copy) bool {
	return slices.ContainsFunc(copies, func(c segmentd.Copy) bool { return block.KindOf(c.Err) == block.Stale })
}

func toDigestJSON(at block.LSN, copies []segmentd.Copy) digestJSON {
	out := digestJSON{At: at.String(), Equal: true, Copies: []copyJSON{}}
	var first *segmentd.Copy
	for i := range copies {
		c := &copies[i]
		j := copyJSON{Segment: c.Segment.String(), Node: string(c.Node), SCL: c.SCL.String(), Readable: c.Readable.String(), Leaves: len(c.Leaves)}
		switch {
		case c.Err != nil:
			j.Error, out.Equal = c.Err.Error(), false
		default:
			if first == nil {
				first = c
			}
			j.Digest, j.Differ = fmt.Sprintf("%016x", uint64(c.Digest())), differ(first, c)
			out.Equal = out.Equal && j.Differ == 0
		}
		out.Copies = append(out.Copies, j)
	}
	return out
}

// differ counts the leaves that are not the same.
func differ(a, b *segmentd.Copy) (n int) {
	for i := range max(len(a.Leaves), len(b.Leaves)) {
		if i >= len(a.Leaves) || i >= len(b.Leaves) || a.Leaves[i] != b.Leaves[i] {
			n++
		}
	}
	return n
}

func digestTable(w *tabwriter.Writer, d digestJSON) {
	row(w, "as of "+d.At)
	row(w, "SEGMENT", "NODE", "SCL", "READABLE FROM", "LEAVES", "DIFFER", "DIGEST")
	for _, c := range d.Copies {
		row(w, c.Segment, c.Node, c.SCL, c.Readable, c.Leaves, c.Differ, c.Digest+c.Error)
	}
}
