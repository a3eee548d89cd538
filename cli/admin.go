package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
)

// adminTimeout bounds one admin command.
const adminTimeout = 10 * time.Second

// adminFlags are those of every admin command.
func adminFlags(flags ...cli.Flag) []cli.Flag {
	return append(flags, metadataFlag(), stringFlag("output", "table", "table or json"))
}

// admin makes the action of an admin command that takes the named arguments.
func admin(args []string, run adminRun) cli.ActionFunc {
	return adminFor(args, func(ctx context.Context, c *cli.Context, m *metadata.Client) error {
		ctx, cancel := context.WithTimeout(ctx, adminTimeout)
		defer cancel()
		return run(ctx, c, m)
	})
}

// adminRun does the work of an admin command.
type adminRun func(ctx context.Context, c *cli.Context, m *metadata.Client) error

// adminFor is admin for a command that may take as long as it likes.
func adminFor(args []string, run adminRun) cli.ActionFunc {
	return func(c *cli.Context) error {
		if c.NArg() != len(args) {
			return usagef(c, "want %d arguments: %s", len(args), strings.Join(args, " "))
		}
		if o := c.String("output"); o != "table" && o != "json" {
			return usagef(c, "--output %q is not table or json", o)
		}
		m, err := metadata.Dial(addresses(c, "metadata"), metadata.Options{})
		if err != nil {
			return usageError{commandPath(c), err}
		}
		defer m.Close()
		return run(c.Context, c, m)
	}
}

// show prints v as JSON, or calls table.
func show(c *cli.Context, v any, table func(w *tabwriter.Writer)) error {
	if c.String("output") == "json" {
		e := json.NewEncoder(c.App.Writer)
		e.SetIndent("", "  ")
		return e.Encode(v)
	}
	w := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	table(w)
	return w.Flush()
}

// row prints one line of a table.
func row(w *tabwriter.Writer, cells ...any) {
	for i, x := range cells {
		if i > 0 {
			fmt.Fprint(w, "\t")
		}
		fmt.Fprint(w, x)
	}
	fmt.Fprintln(w)
}

// volumeJSON is a volume in JSON output.
type volumeJSON struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Size        uint64 `json:"size"`
	PGSize      uint64 `json:"pg_size"`
	Copies      int    `json:"copies"`
	WriteQuorum int    `json:"write_quorum"`
	ReadQuorum  int    `json:"read_quorum"`
	Epoch       uint32 `json:"epoch"`
	State       string `json:"state"`
	Gateway     string `json:"gateway"`
	PGs         int    `json:"pgs"`
	Created     string `json:"created"`
	Deleting    bool   `json:"deleting"`
}

func toVolumeJSON(v metadata.Volume) volumeJSON {
	gateway := ""
	if v.Leased {
		gateway = strings.TrimSpace(string(v.Gateway) + " " + v.Description)
	}
	return volumeJSON{
		ID: v.ID.String(), Name: v.Name, Size: uint64(v.Geometry.Size), PGSize: uint64(v.Geometry.PGSize),
		Copies: v.Quorum.Copies, WriteQuorum: v.Quorum.Write, ReadQuorum: v.Quorum.Read,
		Epoch: uint32(v.Epoch), State: v.State.String(), Gateway: gateway, PGs: v.PGs,
		Created: v.Created.UTC().Format(time.RFC3339), Deleting: v.Deleting,
	}
}

func volumeCommand() *cli.Command {
	return &cli.Command{Name: "volume", Usage: "make, list, resize and delete volumes", Subcommands: []*cli.Command{
		{Name: "create", Usage: "make a volume", ArgsUsage: "NAME", Flags: adminFlags(
			stringFlag("size", "", "size, such as 100GiB (needed)"),
			stringFlag("pg-size", block.DefaultPGSize.String(), "size of its protection groups"),
			&cli.IntFlag{Name: "copies", Value: metadata.DefaultQuorum.Copies, Usage: "copies of each protection group"},
			&cli.IntFlag{Name: "write-quorum", Value: metadata.DefaultQuorum.Write, Usage: "copies that must have a write before it is acknowledged"},
			&cli.IntFlag{Name: "read-quorum", Value: metadata.DefaultQuorum.Read, Usage: "copies that recover a group"},
			boolFlag("force", "make it even if there are too few nodes or zones now"),
		), Action: admin([]string{"NAME"}, createVolume)},
		{Name: "list", Usage: "list volumes", Flags: adminFlags(), Action: admin(nil, listVolumes)},
		{Name: "show", Usage: "show a volume", ArgsUsage: "NAME", Flags: adminFlags(), Action: admin([]string{"NAME"}, func(ctx context.Context, c *cli.Context, m *metadata.Client) error {
			v, err := m.Volume(ctx, c.Args().First())
			if err != nil {
				return err
			}
			return showVolume(c, v)
		})},
		{Name: "resize", Usage: "make a volume larger", ArgsUsage: "NAME", Flags: adminFlags(stringFlag("size", "", "new size (needed)")),
			Action: admin([]string{"NAME"}, func(ctx context.Context, c *cli.Context, m *metadata.Client) error {
				n, err := requiredSize(c, "size")
				if err != nil {
					return err
				}
				v, err := m.ResizeVolume(ctx, c.Args().First(), n)
				if err != nil {
					return err
				}
				return showVolume(c, v)
			})},
		{Name: "delete", Usage: "delete a volume and all its data", ArgsUsage: "NAME", Flags: adminFlags(boolFlag("force", "even if a gateway serves it")),
			Action: admin([]string{"NAME"}, func(ctx context.Context, c *cli.Context, m *metadata.Client) error {
				return m.DeleteVolume(ctx, c.Args().First(), c.Bool("force"))
			})},
	}}
}

func createVolume(ctx context.Context, c *cli.Context, m *metadata.Client) error {
	n, err := requiredSize(c, "size")
	if err != nil {
		return err
	}
	pg, err := size(c, "pg-size")
	if err != nil {
		return err
	}
	v, err := m.CreateVolume(ctx, metadata.VolumeSpec{
		Name: c.Args().First(), Geometry: block.Geometry{Size: n, PGSize: pg},
		Quorum:           metadata.Quorum{Copies: c.Int("copies"), Write: c.Int("write-quorum"), Read: c.Int("read-quorum")},
		AllowUnplaceable: c.Bool("force"),
	})
	if err != nil {
		return err
	}
	return showVolume(c, v)
}

func listVolumes(ctx context.Context, c *cli.Context, m *metadata.Client) error {
	vols, err := m.Volumes(ctx)
	if err != nil {
		return err
	}
	out := make([]volumeJSON, 0, len(vols))
	for _, v := range vols {
		out = append(out, toVolumeJSON(v))
	}
	return show(c, out, func(w *tabwriter.Writer) {
		row(w, "NAME", "SIZE", "COPIES", "STATE", "EPOCH", "GROUPS", "GATEWAY")
		for i, v := range out {
			row(w, v.Name, vols[i].Geometry.Size, v.Copies, v.State, v.Epoch, v.PGs, v.Gateway)
		}
	})
}

func showVolume(c *cli.Context, v metadata.Volume) error {
	j := toVolumeJSON(v)
	return show(c, j, func(w *tabwriter.Writer) {
		row(w, "name", j.Name)
		row(w, "id", j.ID)
		row(w, "size", v.Geometry.Size)
		row(w, "group size", v.Geometry.PGSize)
		row(w, "groups placed", j.PGs)
		row(w, "copies", fmt.Sprintf("%d, write quorum %d, read quorum %d", j.Copies, j.WriteQuorum, j.ReadQuorum))
		row(w, "state", j.State)
		row(w, "epoch", j.Epoch)
		row(w, "gateway", j.Gateway)
		row(w, "created", j.Created)
	})
}
