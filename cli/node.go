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

// nodeJSON is a node in JSON output.
type nodeJSON struct {
	ID       string `json:"id"`
	Zone     string `json:"zone"`
	Address  string `json:"address"`
	State    string `json:"state"`
	Up       bool   `json:"up"`
	Segments int    `json:"segments"`
	Capacity uint64 `json:"capacity"`
	Used     uint64 `json:"used"`
	Live     uint64 `json:"live"`
	Damaged  uint64 `json:"damaged"`

	Unmended     int       `json:"unmended"`
	Folder       string    `json:"folder"`
	Failed       string    `json:"failed,omitempty"`
	Fullness     string    `json:"fullness"`
	Dead         uint64    `json:"dead"`
	Reserved     uint64    `json:"reserved"`
	Free         uint64    `json:"free"`
	Log          uint64    `json:"log"`
	IndexBlocks  int       `json:"index_blocks"`
	IndexBytes   uint64    `json:"index_bytes"`
	Stalls       int       `json:"stalls"`
	LongestFlush float64   `json:"longest_flush_seconds"`
	Scrub        scrubJSON `json:"scrub"`
	Pulls        pullsJSON `json:"pulls"`
}

// pullsJSON is what a node's segments take from their peers, in JSON output.
type pullsJSON struct {
	Segments int     `json:"segments"`
	Records  uint64  `json:"record_bytes"`
	Leaves   uint64  `json:"leaf_bytes"`
	Left     uint64  `json:"left_bytes"`
	Rate     uint64  `json:"bytes_per_second"`
	Ends     float64 `json:"eta_seconds"`
}

func toPullsJSON(p metadata.Pulls) pullsJSON {
	return pullsJSON{Segments: p.Segments, Records: uint64(p.Records), Leaves: uint64(p.Leaves), Left: uint64(p.Left), Rate: uint64(p.Rate), Ends: p.Ends.Seconds()}
}

// pullsLine says how far catching up and hydration are.
func pullsLine(p metadata.Pulls) string {
	if p.Segments == 0 {
		return "no segment lacks anything"
	}
	line := fmt.Sprintf("%d segments take what they lack: %s in records and %s in leaves so far, %s/s", p.Segments, human(p.Records), human(p.Leaves), human(p.Rate))
	if p.Left > 0 {
		line += fmt.Sprintf("; some %s are left, %v", human(p.Left), p.Ends.Round(time.Second))
	}
	return line
}

// scrubJSON is a node's scrub in JSON output. Times are RFC 3339, or empty.
type scrubJSON struct {
	Running bool   `json:"running"`
	Done    uint64 `json:"done"`
	Total   uint64 `json:"total"`
	Found   int    `json:"found"`
	Mended  int    `json:"mended"`
	Passes  int    `json:"passes"`
	Began   string `json:"began"`
	Ended   string `json:"ended"`
	Next    string `json:"next"`
}

func toNodeJSON(n metadata.Node) nodeJSON {
	h, s := n.Health, n.Health.Scrub
	return nodeJSON{
		ID: string(n.ID), Zone: string(n.Zone), Address: n.Address, State: n.State.String(), Up: n.Up, Segments: n.Segments,
		Capacity: uint64(n.Capacity), Used: uint64(n.Used), Live: uint64(n.Live), Damaged: n.Damaged,
		Unmended: h.Unmended, Folder: h.Folder, Failed: h.Failed, Fullness: h.Fullness.String(),
		Dead: uint64(h.Dead), Reserved: uint64(h.Reserved), Free: uint64(h.Free), Log: uint64(n.Log),
		IndexBlocks: h.IndexBlocks, IndexBytes: uint64(h.IndexBytes), Stalls: h.Stalls, LongestFlush: h.LongestFlush.Seconds(),
		Scrub: scrubJSON{
			Running: s.Running, Done: uint64(s.Done), Total: uint64(s.Total), Found: s.Found, Mended: s.Mended, Passes: s.Passes,
			Began: stamped(s.Began), Ended: stamped(s.Ended), Next: stamped(s.Next),
		},
		Pulls: toPullsJSON(h.Pulls),
	}
}

// human prints a byte count for people, in three digits or so.
func human(n block.ByteCount) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	f, i := float64(n), 0
	for f >= 1024 && i < len(units)-1 {
		f /= 1024
		i++
	}
	if i == 0 || f >= 100 {
		return fmt.Sprintf("%.0f%s", f, units[i])
	}
	return fmt.Sprintf("%.1f%s", f, units[i])
}

func nodeTable(w *tabwriter.Writer, nodes []metadata.Node) {
	row(w, "NODE", "ZONE", "UP", "STATE", "SEGMENTS", "USED", "LIVE", "CAPACITY", "DAMAGED", "ADDRESS")
	for _, n := range nodes {
		up := "up"
		if !n.Up {
			up = "DOWN"
		}
		row(w, n.ID, n.Zone, up, n.State, n.Segments, human(n.Used), human(n.Live), human(n.Capacity), n.Damaged, n.Address)
	}
}

// stamped prints a time, or nothing if there is none.
func stamped(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// nodeRows shows all that is known of one node.
func nodeRows(w *tabwriter.Writer, n metadata.Node) {
	nodeTable(w, []metadata.Node{n})
	h := n.Health
	row(w)
	row(w, "disk", n.Disk)
	row(w, "folder", h.Folder)
	if h.Failed != "" {
		row(w, "FAILED", h.Failed)
	}
	row(w, "space", fmt.Sprintf("%s live, %s dead, %s reserved, %s free, of %s: %v", human(n.Live), human(h.Dead), human(h.Reserved), human(h.Free), human(n.Capacity), h.Fullness))
	row(w, "log files", human(n.Log))
	row(w, "index", fmt.Sprintf("%d blocks, %s of memory", h.IndexBlocks, human(h.IndexBytes)))
	row(w, "stalls", fmt.Sprintf("%d flushes of 100ms or longer, the longest %v", h.Stalls, h.LongestFlush.Round(time.Microsecond)))
	row(w, "damage", fmt.Sprintf("%d places found since the start, %d not mended yet", n.Damaged, h.Unmended))
	row(w, "scrub", scrubLine(h.Scrub))
	row(w, "catching up", pullsLine(h.Pulls))
}

// scrubLine says how far a scrub is.
func scrubLine(s metadata.Scrub) string {
	line := fmt.Sprintf("%d passes, %d damaged places found, %d blocks mended since the start", s.Passes, s.Found, s.Mended)
	switch {
	case s.Running:
		line += fmt.Sprintf("; running since %s: %s of %s", stamped(s.Began), human(s.Done), human(s.Total))
	case !s.Next.IsZero():
		line += fmt.Sprintf("; the last ended %s, the next begins %s", stamped(s.Ended), stamped(s.Next))
	}
	return line
}

func nodeCommand() *cli.Command {
	byName := func(f func(ctx context.Context, m *metadata.Client, id block.NodeID) error) cli.ActionFunc {
		return admin([]string{"ID"}, func(ctx context.Context, c *cli.Context, m *metadata.Client) error {
			return f(ctx, m, block.NodeID(c.Args().First()))
		})
	}
	return &cli.Command{Name: "node", Usage: "list, drain and remove segment daemons", Subcommands: []*cli.Command{
		{Name: "list", Usage: "list nodes", Flags: adminFlags(), Action: admin(nil, func(ctx context.Context, c *cli.Context, m *metadata.Client) error {
			nodes, err := m.Nodes(ctx)
			if err != nil {
				return err
			}
			out := make([]nodeJSON, 0, len(nodes))
			for _, n := range nodes {
				out = append(out, toNodeJSON(n))
			}
			return show(c, out, func(w *tabwriter.Writer) { nodeTable(w, nodes) })
		})},
		{Name: "show", Usage: "show a node", ArgsUsage: "ID", Flags: adminFlags(), Action: admin([]string{"ID"}, func(ctx context.Context, c *cli.Context, m *metadata.Client) error {
			n, err := m.Node(ctx, block.NodeID(c.Args().First()))
			if err != nil {
				return err
			}
			return show(c, toNodeJSON(n), func(w *tabwriter.Writer) { nodeRows(w, n) })
		})},
		{Name: "scrub", Usage: "have a node read and check all its data now", ArgsUsage: "ID", Flags: adminFlags(), Action: byName(func(ctx context.Context, m *metadata.Client, id block.NodeID) error { return m.ScrubNode(ctx, id) })},
		{Name: "drain", Usage: "keep new segments off a node", ArgsUsage: "ID", Flags: adminFlags(), Action: byName(func(ctx context.Context, m *metadata.Client, id block.NodeID) error { return m.DrainNode(ctx, id) })},
		{Name: "activate", Usage: "undo drain", ArgsUsage: "ID", Flags: adminFlags(), Action: byName(func(ctx context.Context, m *metadata.Client, id block.NodeID) error { return m.ActivateNode(ctx, id) })},
		{Name: "remove", Usage: "forget a node that holds nothing", ArgsUsage: "ID", Flags: adminFlags(), Action: byName(func(ctx context.Context, m *metadata.Client, id block.NodeID) error { return m.RemoveNode(ctx, id) })},
	}}
}
