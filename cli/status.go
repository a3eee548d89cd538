package cli

import (
	"context"
	"fmt"
	"strconv"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
)

// segmentJSON is a copy of a protection group in JSON output.
type segmentJSON struct {
	ID       string `json:"id"`
	Node     string `json:"node"`
	Zone     string `json:"zone"`
	Address  string `json:"address"`
	Hydrated bool   `json:"hydrated"`
}

// pgJSON is a protection group in JSON output.
type pgJSON struct {
	Index      uint32        `json:"index"`
	Membership uint32        `json:"membership_epoch"`
	Born       uint32        `json:"born_epoch"`
	Segments   []segmentJSON `json:"segments"`
}

func toPGJSON(p metadata.PGConfig) pgJSON {
	out := pgJSON{Index: uint32(p.Index), Membership: uint32(p.Membership), Born: uint32(p.Born), Segments: []segmentJSON{}}
	for _, s := range p.Segments {
		out.Segments = append(out.Segments, segmentJSON{ID: s.ID.String(), Node: string(s.Node), Zone: string(s.Zone), Address: s.Address, Hydrated: s.Hydrated})
	}
	return out
}

func pgTable(w *tabwriter.Writer, pgs []metadata.PGConfig) {
	row(w, "GROUP", "MEMBERSHIP", "SEGMENT", "NODE", "ZONE")
	for _, p := range pgs {
		for _, s := range p.Segments {
			row(w, p.Index, p.Membership, s.ID, s.Node, s.Zone)
		}
	}
}

func pgCommand() *cli.Command {
	return &cli.Command{Name: "pg", Usage: "show where protection groups are", Subcommands: []*cli.Command{
		{Name: "list", Usage: "list the placed groups of a volume", ArgsUsage: "VOLUME", Flags: adminFlags(), Action: admin([]string{"VOLUME"}, func(ctx context.Context, c *cli.Context, m *metadata.Client) error {
			pgs, err := m.AllPGs(ctx, c.Args().First(), 0)
			if err != nil {
				return err
			}
			out := make([]pgJSON, 0, len(pgs))
			for _, p := range pgs {
				out = append(out, toPGJSON(p))
			}
			return show(c, out, func(w *tabwriter.Writer) { pgTable(w, pgs) })
		})},
		{Name: "show", Usage: "show one group", ArgsUsage: "VOLUME INDEX", Flags: adminFlags(), Action: admin([]string{"VOLUME", "INDEX"}, func(ctx context.Context, c *cli.Context, m *metadata.Client) error {
			i, err := strconv.ParseUint(c.Args().Get(1), 10, 32)
			if err != nil {
				return usagef(c, "group %q is not a number", c.Args().Get(1))
			}
			p, err := m.PG(ctx, c.Args().First(), 0, block.PGIndex(i))
			if err != nil {
				return err
			}
			return show(c, toPGJSON(p), func(w *tabwriter.Writer) { pgTable(w, []metadata.PGConfig{p}) })
		})},
	}}
}

// statusJSON is the cluster's health in JSON output.
type statusJSON struct {
	Cluster   string          `json:"cluster"`
	Healthy   bool            `json:"healthy"`
	Nodes     []nodeJSON      `json:"nodes"`
	Volumes   []volumeJSON    `json:"volumes"`
	Unhealthy []unhealthyJSON `json:"unhealthy_segments"`
	Damage    []damageJSON    `json:"damage"`
	Problems  []problemJSON   `json:"problems"`
}

type unhealthyJSON struct {
	Volume  string `json:"volume"`
	PG      uint32 `json:"pg"`
	Segment string `json:"segment"`
	Node    string `json:"node"`
	State   string `json:"state"`
	Lag     uint64 `json:"lag_bytes"`
}

type damageJSON struct {
	Node      string `json:"node"`
	Segment   string `json:"segment"`
	State     string `json:"state"`
	BadBlocks uint64 `json:"bad_blocks"`
}

type problemJSON struct {
	Subject string `json:"subject"`
	What    string `json:"what"`
	Do      string `json:"do"`
	Severe  bool   `json:"severe"`
}

func toStatusJSON(st metadata.Status) statusJSON {
	out := statusJSON{
		Cluster: st.Cluster.String(), Healthy: len(st.Problems) == 0, Nodes: []nodeJSON{}, Volumes: []volumeJSON{},
		Unhealthy: []unhealthyJSON{}, Damage: []damageJSON{}, Problems: []problemJSON{},
	}
	for _, n := range st.Nodes {
		out.Nodes = append(out.Nodes, toNodeJSON(n))
	}
	for _, v := range st.Volumes {
		out.Volumes = append(out.Volumes, toVolumeJSON(v.Volume))
		for _, s := range v.Unhealthy {
			out.Unhealthy = append(out.Unhealthy, unhealthyJSON{
				Volume: v.Volume.Name, PG: uint32(s.PG), Segment: s.Segment.String(), Node: string(s.Node), State: s.State.String(), Lag: uint64(s.Lag),
			})
		}
	}
	for _, d := range st.Damage {
		out.Damage = append(out.Damage, damageJSON{Node: string(d.Node), Segment: d.Segment.Segment.String(), State: d.Segment.State, BadBlocks: d.Segment.Damaged})
	}
	for _, p := range st.Problems {
		out.Problems = append(out.Problems, problemJSON(p))
	}
	return out
}

func statusCommand() *cli.Command {
	return &cli.Command{Name: "status", Usage: "show what works, what is degraded, what is being repaired, what to do", Flags: adminFlags(),
		Action: admin(nil, func(ctx context.Context, c *cli.Context, m *metadata.Client) error {
			st, err := m.Status(ctx)
			if err != nil {
				return err
			}
			j := toStatusJSON(st)
			return show(c, j, func(w *tabwriter.Writer) { statusTable(w, st, j) })
		})}
}

func statusTable(w *tabwriter.Writer, st metadata.Status, j statusJSON) {
	if j.Healthy {
		row(w, "healthy: all copies of all volumes are complete")
	} else {
		row(w, fmt.Sprintf("%d problems", len(j.Problems)))
		for _, p := range j.Problems {
			row(w, "  "+p.Subject+": "+p.What)
			row(w, "    -> "+p.Do)
		}
	}
	row(w)
	nodeTable(w, st.Nodes)
	row(w)
	row(w, "VOLUME", "SIZE", "STATE", "EPOCH", "GROUPS", "GATEWAY")
	for i, v := range j.Volumes {
		row(w, v.Name, st.Volumes[i].Volume.Geometry.Size, v.State, v.Epoch, v.PGs, v.Gateway)
	}
	if len(j.Unhealthy) == 0 {
		return
	}
	row(w)
	row(w, "VOLUME", "GROUP", "SEGMENT", "NODE", "STATE", "LAG")
	for _, s := range j.Unhealthy {
		row(w, s.Volume, s.PG, s.Segment, s.Node, s.State, human(block.ByteCount(s.Lag)))
	}
}
