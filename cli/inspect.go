package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs"
	"github.com/sextantdisk/sextant/logstore"
)

func inspectCommand() *cli.Command {
	flags := func() []cli.Flag {
		return []cli.Flag{stringFlag("output", "table", "table or json (one object a line)"), boolFlag("records", "print every record")}
	}
	return &cli.Command{Name: "inspect", Usage: "look into the data folder of a segment daemon that is stopped", Subcommands: []*cli.Command{
		{Name: "log", Usage: "print files, batches, records and damage of a log", ArgsUsage: "DIR (the folder 'log' in the data folder)", Flags: flags(), Action: inspectLog},
		{Name: "index", Usage: "print the segments that a log holds", ArgsUsage: "DIR (the folder 'log' in the data folder)", Flags: flags()[:1], Action: inspectIndex},
		{Name: "checkpoint", Usage: "print the checkpoints of a log, and which one opening begins with", ArgsUsage: "DIR (the folder 'log' in the data folder)", Flags: flags()[:1], Action: inspectCheckpoint},
	}}
}

func inspectLog(c *cli.Context) error {
	if c.NArg() != 1 {
		return usagef(c, "want one folder")
	}
	out := printer{c: c}
	in := logstore.Inspector{
		File:   func(f logstore.FileInfo) error { return out.item("file", f) },
		Batch:  func(b logstore.BatchInfo) error { return out.item("batch", b) },
		Damage: func(d logstore.Damage) error { return out.item("damage", d) },
	}
	if c.Bool("records") {
		in.Record = func(r logstore.RecordInfo) error { return out.item("record", r) }
	}
	sum, err := logstore.Inspect(vfs.OS(), c.Args().First(), in)
	if err != nil {
		return err
	}
	if err := out.item("summary", sum); err != nil {
		return err
	}
	if sum.Damages > 0 {
		return block.Errorf(block.Corrupt, "%d damaged places; start the daemon: it fetches what is missing from its peers", sum.Damages)
	}
	return nil
}

// printer prints items a line each.
type printer struct{ c *cli.Context }

func (p printer) item(kind string, v any) error {
	if p.c.String("output") == "json" {
		raw, err := json.Marshal(v)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(p.c.App.Writer, "{%q:%s}\n", kind, raw)
		return err
	}
	_, err := fmt.Fprintf(p.c.App.Writer, "%-8s %+v\n", kind, v)
	return err
}

// indexJSON is a segment in JSON output.
type indexJSON struct {
	Segment  string `json:"segment"`
	SCL      string `json:"scl"`
	Floor    string `json:"floor"`
	Promised uint32 `json:"promised"`
	Bytes    uint64 `json:"live_bytes"`
	Damaged  bool   `json:"damaged"`
}

func inspectIndex(c *cli.Context) (err error) {
	if c.NArg() != 1 {
		return usagef(c, "want one folder")
	}
	disk, err := logstore.Identify(vfs.OS(), c.Args().First())
	if err != nil {
		return err
	}
	s, err := logstore.Open(vfs.OS(), c.Args().First(), disk, logstore.Config{ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	out := []indexJSON{}
	for _, g := range s.Segments() {
		st := g.State()
		out = append(out, indexJSON{g.ID().String(), st.SCL.String(), st.Floor.String(), uint32(st.Promised), uint64(st.Bytes), st.Damaged})
	}
	return show(c, out, func(w *tabwriter.Writer) {
		row(w, "SEGMENT", "SCL", "FLOOR", "PROMISED", "LIVE", "DAMAGED")
		for _, s := range out {
			row(w, s.Segment, s.SCL, s.Floor, s.Promised, human(block.ByteCount(s.Bytes)), s.Damaged)
		}
	})
}
