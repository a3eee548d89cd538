package cli

import (
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs"
	"github.com/sextantdisk/sextant/logstore"
)

func inspectCheckpoint(c *cli.Context) error {
	if c.NArg() != 1 {
		return usagef(c, "want one folder")
	}
	all, err := logstore.InspectCheckpoints(vfs.OS(), c.Args().First())
	if err != nil {
		return err
	}
	if err := show(c, all, func(w *tabwriter.Writer) {
		for i := range all {
			checkpointTable(w, &all[i])
		}
	}); err != nil {
		return err
	}
	bad := 0
	for i := range all {
		if all[i].Damage != "" {
			bad++
		}
	}
	if bad > 0 {
		return block.Errorf(block.Corrupt, "%d checkpoints are damaged; start the daemon: it does without them, and writes new ones", bad)
	}
	return nil
}

func checkpointTable(w *tabwriter.Writer, p *logstore.CheckpointInfo) {
	used := "not used"
	if p.Used {
		used = "used"
	}
	row(w, p.Manifest, used, p.Why)
	if p.Damage != "" {
		row(w, "  damage", p.Damage)
	}
	if p.Generation == 0 {
		return
	}
	row(w, "  generation", p.Generation)
	row(w, "  disk", p.Disk)
	placeRow(w, "  hot log up to", p.Hot)
	placeRow(w, "  cold log up to", p.Cold)
	row(w, "  log files", p.LogFiles)
	row(w, "  state", p.State.File, human(p.State.Size))
	for _, f := range p.Parts {
		row(w, "  leaves", f.File, human(f.Size), f.Used, "of", f.Leaves, "used")
	}
	for _, s := range p.Segments {
		row(w, "  segment", s.Segment, "scl", s.SCL, "floor", s.Floor, "promised", s.Promised, "leaves", s.Leaves, "records", s.Records, "damaged", s.Damaged)
	}
}

func placeRow(w *tabwriter.Writer, what string, p *logstore.CheckpointPlace) {
	if p != nil {
		row(w, what, p.File, human(p.Offset), "batch", p.Batch)
	}
}
