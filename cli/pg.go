package cli

import (
	"context"
	"slices"
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
	// Change is "leaves" or "joins" while the group's segments change, and
	// "out" while the group goes on without it.
	Change string `json:"change,omitempty"`
	// State, Lag and ETA are what its gateway says, if it says anything: a
	// segment that streams and is complete is not mentioned.
	State string  `json:"state,omitempty"`
	Lag   uint64  `json:"lag_bytes,omitempty"`
	ETA   float64 `json:"eta_seconds,omitempty"`
}

// pgJSON is a protection group in JSON output.
type pgJSON struct {
	Index      uint32        `json:"index"`
	Membership uint32        `json:"membership_epoch"`
	Born       uint32        `json:"born_epoch"`
	Segments   []segmentJSON `json:"segments"`
	// Sets are the quorum sets in force, by the ids of their segments: one,
	// or the old and the new one while segments change.
	Sets [][]string `json:"sets"`
	// Without is the zone that the group goes on without, or that it is
	// about to give up or to take back.
	Without string `json:"without_zone,omitempty"`
}

func toPGJSON(p metadata.PGConfig) pgJSON {
	out := pgJSON{Index: uint32(p.Index), Membership: uint32(p.Membership), Born: uint32(p.Born), Segments: []segmentJSON{}, Sets: [][]string{}}
	for i, s := range p.Segments {
		out.Segments = append(out.Segments, segmentJSON{
			ID: s.ID.String(), Node: string(s.Node), Zone: string(s.Zone), Address: s.Address, Hydrated: s.Hydrated, Change: changeOf(p, i),
		})
	}
	for _, set := range p.Sets {
		ids := []string{}
		for _, i := range set {
			ids = append(ids, p.Segments[i].ID.String())
		}
		out.Sets = append(out.Sets, ids)
	}
	if zone, ok := p.Without(); ok {
		out.Without = string(zone)
	}
	return out
}

// changeOf says whether the i-th segment comes or goes, or is out.
func changeOf(p metadata.PGConfig, i int) string {
	switch {
	case p.Out(i):
		return "out"
	case !p.Joint():
		return ""
	case !slices.Contains(p.Sets[0], i):
		return "joins"
	case !slices.Contains(p.Sets[1], i):
		return "leaves"
	}
	return ""
}

func pgTable(w *tabwriter.Writer, pgs []pgJSON) {
	row(w, "GROUP", "MEMBERSHIP", "SEGMENT", "NODE", "ZONE", "CHANGE", "HYDRATED")
	for _, p := range pgs {
		for _, s := range p.Segments {
			row(w, p.Index, p.Membership, s.ID, s.Node, s.Zone, dash(s.Change), yesNo(s.Hydrated))
		}
	}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func pgCommand() *cli.Command {
	return &cli.Command{Name: "pg", Usage: "show where protection groups are, and change their segments", Subcommands: append([]*cli.Command{
		{Name: "list", Usage: "list the placed groups of a volume", ArgsUsage: "VOLUME", Flags: adminFlags(), Action: admin([]string{"VOLUME"}, listGroups)},
		{Name: "show", Usage: "show one group", ArgsUsage: "VOLUME INDEX", Flags: adminFlags(
			boolFlag("digest", "compare the data of all copies as of one LSN; exit status 1 if they are not known to be equal"),
		), Action: admin([]string{"VOLUME", "INDEX"}, showGroup)},
		{Name: "replace", Usage: "have a new segment take the place of another", ArgsUsage: "VOLUME INDEX", Flags: adminFlags(
			stringFlag("segment", "", "the segment to be replaced: its id, or its node"),
			stringFlag("to", "", "the node of the new one (chosen if not given)"),
			boolFlag("wait", "show how far it is, until it is done"),
			boolFlag("cancel", "go back to the old segments"),
		), Action: adminFor([]string{"VOLUME", "INDEX"}, replaceSegment)},
	}, zoneCommands()...)}
}

func listGroups(ctx context.Context, c *cli.Context, m *metadata.Client) error {
	pgs, err := m.AllPGs(ctx, c.Args().First(), 0)
	if err != nil {
		return err
	}
	out := make([]pgJSON, 0, len(pgs))
	for _, p := range pgs {
		out = append(out, toPGJSON(p))
	}
	return show(c, out, func(w *tabwriter.Writer) { pgTable(w, out) })
}

// groupArgs are the arguments VOLUME INDEX.
func groupArgs(c *cli.Context) (volume string, pg block.PGIndex, err error) {
	i, err := strconv.ParseUint(c.Args().Get(1), 10, 32)
	if err != nil {
		return "", 0, usagef(c, "group %q is not a number", c.Args().Get(1))
	}
	return c.Args().First(), block.PGIndex(i), nil
}

// showGroup shows a group with what its gateway says of its segments.
func showGroup(ctx context.Context, c *cli.Context, m *metadata.Client) error {
	volume, index, err := groupArgs(c)
	if err != nil {
		return err
	}
	p, err := m.PG(ctx, volume, 0, index)
	if err != nil {
		return err
	}
	if c.Bool("digest") {
		return digestGroup(ctx, c, m, volume, p)
	}
	st, err := m.Status(ctx)
	if err != nil {
		return err
	}
	out := toPGJSON(p)
	for _, v := range st.Volumes {
		if v.Volume.Name == volume || v.Volume.ID.String() == volume {
			out.addHealth(v)
		}
	}
	return show(c, out, func(w *tabwriter.Writer) {
		row(w, "GROUP", "MEMBERSHIP", "SEGMENT", "NODE", "ZONE", "CHANGE", "HYDRATED", "STATE", "BEHIND", "ETA")
		for _, s := range out.Segments {
			eta := "-"
			if s.ETA > 0 {
				eta = strconv.FormatFloat(s.ETA, 'f', 0, 64) + "s"
			}
			row(w, out.Index, out.Membership, s.ID, s.Node, s.Zone, dash(s.Change), yesNo(s.Hydrated), dash(s.State), human(block.ByteCount(s.Lag)), eta)
		}
	})
}

// addHealth notes what the volume's gateway says of the group's segments.
func (p *pgJSON) addHealth(v metadata.VolumeStatus) {
	for i := range p.Segments {
		s := &p.Segments[i]
		if v.Volume.Leased && s.Change != "out" {
			s.State = metadata.Streaming.String()
		}
		for _, h := range v.Unhealthy {
			if uint32(h.PG) == p.Index && h.Segment.String() == s.ID {
				s.State, s.Lag, s.ETA = h.State.String(), uint64(h.Lag), max(0, h.ETA.Seconds())
			}
		}
	}
}
