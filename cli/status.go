package cli

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
)

// statusJSON is the cluster's health in JSON output.
type statusJSON struct {
	Cluster   string          `json:"cluster"`
	Healthy   bool            `json:"healthy"`
	Nodes     []nodeJSON      `json:"nodes"`
	Volumes   []volumeJSON    `json:"volumes"`
	Unhealthy []unhealthyJSON `json:"unhealthy_segments"`
	Changes   []changeJSON    `json:"changes"`
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

// changeJSON is a segment that is being replaced.
type changeJSON struct {
	Volume   string `json:"volume"`
	PG       uint32 `json:"pg"`
	Leaving  string `json:"leaving"`
	From     string `json:"from"`
	Joining  string `json:"joining"`
	To       string `json:"to"`
	Hydrated bool   `json:"hydrated"`
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
		Unhealthy: []unhealthyJSON{}, Changes: []changeJSON{}, Damage: []damageJSON{}, Problems: []problemJSON{},
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
	for _, v := range st.Volumes {
		for _, ch := range v.Changes {
			out.Changes = append(out.Changes, changeJSON{
				Volume: v.Volume.Name, PG: uint32(ch.PG), Leaving: ch.Leaving.String(), From: string(ch.LeavingNode),
				Joining: ch.Joining.String(), To: string(ch.JoiningNode), Hydrated: ch.Hydrated,
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
	if len(j.Changes) > 0 {
		row(w)
		row(w, "VOLUME", "GROUP", "REPLACED ON", "BY ONE ON", "HYDRATED")
		for _, ch := range j.Changes {
			row(w, ch.Volume, ch.PG, ch.From, ch.To, yesNo(ch.Hydrated))
		}
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
