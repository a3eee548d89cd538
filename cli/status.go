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
	Reduced   []reducedJSON   `json:"reduced"`
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

// reducedJSON is a group that goes on without a zone.
type reducedJSON struct {
	Volume string `json:"volume"`
	PG     uint32 `json:"pg"`
	Zone   string `json:"zone"`
}

// changeJSON is a segment that is being replaced, or a zone that is given up or
// taken back: then no segments are named.
type changeJSON struct {
	Volume   string `json:"volume"`
	PG       uint32 `json:"pg"`
	Leaving  string `json:"leaving"`
	From     string `json:"from"`
	Joining  string `json:"joining"`
	To       string `json:"to"`
	Hydrated bool   `json:"hydrated"`
	Zone     string `json:"zone,omitempty"`
	Back     bool   `json:"back,omitempty"`
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
		Unhealthy: []unhealthyJSON{}, Changes: []changeJSON{}, Reduced: []reducedJSON{}, Damage: []damageJSON{}, Problems: []problemJSON{},
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
			out.Changes = append(out.Changes, toChangeJSON(v.Volume.Name, ch))
		}
		for _, r := range v.Reduced {
			out.Reduced = append(out.Reduced, reducedJSON{Volume: v.Volume.Name, PG: uint32(r.PG), Zone: string(r.Zone)})
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

func toChangeJSON(volume string, ch metadata.PGChange) changeJSON {
	j := changeJSON{Volume: volume, PG: uint32(ch.PG), Hydrated: ch.Hydrated, Zone: string(ch.Zone), Back: ch.Back}
	if ch.Zone == "" {
		j.Leaving, j.From, j.Joining, j.To = ch.Leaving.String(), string(ch.LeavingNode), ch.Joining.String(), string(ch.JoiningNode)
	}
	return j
}

// who is what a change takes away and what it brings, for a table.
func (ch changeJSON) who() (leaves, joins string) {
	switch {
	case ch.Zone == "":
		return ch.From, ch.To
	case ch.Back:
		return "-", "zone " + ch.Zone
	}
	return "zone " + ch.Zone, "-"
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
		row(w, "VOLUME", "GROUP", "LEAVES", "JOINS", "HYDRATED")
		for _, ch := range j.Changes {
			leaves, joins := ch.who()
			row(w, ch.Volume, ch.PG, leaves, joins, yesNo(ch.Hydrated))
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
