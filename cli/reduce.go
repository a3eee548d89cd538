package cli

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
)

// zoneEvery is how often a command looks that waits for groups to give up a zone,
// or to take it back.
const zoneEvery = time.Second

// zoneChange has groups go on without a zone, or take it back (R29).
type zoneChange struct {
	begin    func(ctx context.Context, m *metadata.Client, volume string, pg block.PGIndex) (metadata.PGConfig, error)
	underWay func(*metadata.PGConfig) bool
	done     func(*metadata.PGConfig) bool
	// may: nothing about the group itself keeps the change from beginning.
	may func(*metadata.PGConfig) bool
}

// zoneJSON is what became of a volume's groups, in JSON output.
type zoneJSON struct {
	Groups   int           `json:"groups"`
	UnderWay int           `json:"under_way"`
	Done     int           `json:"done"`
	LeftOut  []leftOutJSON `json:"left_out"`
}

// leftOutJSON is a group that cannot change now.
type leftOutJSON struct {
	Index uint32 `json:"index"`
	Error string `json:"error"`
}

func zoneCommands() []*cli.Command {
	all := func() cli.Flag { return boolFlag("all", "all placed groups of the volume") }
	wait := func() cli.Flag { return boolFlag("wait", "show how far it is, until it is done") }
	cancel := func() cli.Flag { return boolFlag("cancel", "go back to what was before") }
	return []*cli.Command{
		{Name: "reduce", Usage: "go on without the copies of a zone that is lost for long", ArgsUsage: "VOLUME INDEX|--all", Flags: adminFlags(
			stringFlag("zone", "", "the zone (needed)"), all(), wait(), cancel(),
		), Action: func(c *cli.Context) error {
			zone := block.Zone(c.String("zone"))
			if zone == "" {
				return usagef(c, "--zone is missing: which zone is lost?")
			}
			return zoneAction(c, withoutZone(zone))
		}},
		{Name: "restore", Usage: "take the copies of a zone back", ArgsUsage: "VOLUME INDEX|--all", Flags: adminFlags(all(), wait(), cancel()),
			Action: func(c *cli.Context) error { return zoneAction(c, withAllZones()) }},
	}
}

func withoutZone(zone block.Zone) zoneChange {
	lacks := func(p *metadata.PGConfig) bool {
		z, ok := p.Without()
		return ok && z == zone
	}
	return zoneChange{
		begin: func(ctx context.Context, m *metadata.Client, volume string, pg block.PGIndex) (metadata.PGConfig, error) {
			return m.ReduceGroup(ctx, volume, pg, zone)
		},
		underWay: func(p *metadata.PGConfig) bool { return p.Reducing() && lacks(p) },
		done:     func(p *metadata.PGConfig) bool { return p.Reduced() && lacks(p) },
		may:      func(p *metadata.PGConfig) bool { return !p.Joint() && !p.Reduced() },
	}
}

func withAllZones() zoneChange {
	return zoneChange{
		begin: func(ctx context.Context, m *metadata.Client, volume string, pg block.PGIndex) (metadata.PGConfig, error) {
			return m.RestoreGroup(ctx, volume, pg)
		},
		underWay: (*metadata.PGConfig).Restoring,
		done:     func(p *metadata.PGConfig) bool { _, lacks := p.Without(); return !lacks },
		may:      func(p *metadata.PGConfig) bool { return !p.Joint() },
	}
}

// zoneAction takes VOLUME and INDEX, or VOLUME and --all.
func zoneAction(c *cli.Context, ch zoneChange) error {
	args := []string{"VOLUME", "INDEX"}
	if c.Bool("all") {
		args = args[:1]
	}
	if c.Bool("cancel") && c.Bool("wait") {
		return usagef(c, "--cancel takes no --wait")
	}
	return adminFor(args, func(ctx context.Context, c *cli.Context, m *metadata.Client) error {
		if c.Bool("all") {
			return ch.all(ctx, c, m)
		}
		return ch.one(ctx, c, m)
	})(c)
}

// one changes one group.
func (ch zoneChange) one(ctx context.Context, c *cli.Context, m *metadata.Client) error {
	volume, index, err := groupArgs(c)
	if err != nil {
		return err
	}
	if err := ch.change(ctx, c, m, volume, index, new(bool)); err != nil {
		return err
	}
	look := func() ([]metadata.PGConfig, error) {
		p, err := m.PG(ctx, volume, 0, index)
		return []metadata.PGConfig{p}, err
	}
	pgs, err := ch.settled(ctx, c, look)
	if err != nil {
		return err
	}
	return shownPG(c, pgs[0], nil)
}

// all changes all groups of a volume, and says what became of them. It fails when
// some had to be left out.
func (ch zoneChange) all(ctx context.Context, c *cli.Context, m *metadata.Client) error {
	volume := c.Args().First()
	look := func() ([]metadata.PGConfig, error) { return m.AllPGs(ctx, volume, 0) }
	pgs, err := look()
	if err != nil {
		return err
	}
	out, told := zoneJSON{LeftOut: []leftOutJSON{}}, false
	for i := range pgs {
		if p := &pgs[i]; ch.wanted(c, p) {
			if err := ch.change(ctx, c, m, volume, p.Index, &told); err != nil {
				out.LeftOut = append(out.LeftOut, leftOutJSON{Index: uint32(p.Index), Error: err.Error()})
			}
		}
	}
	if pgs, err = ch.settled(ctx, c, look); err != nil {
		return err
	}
	out.Groups = len(pgs)
	out.UnderWay, out.Done = ch.count(pgs)
	err = show(c, out, func(w *tabwriter.Writer) {
		row(w, fmt.Sprintf("%d groups: %d done, %d under way, %d left out", out.Groups, out.Done, out.UnderWay, len(out.LeftOut)))
		for _, l := range out.LeftOut {
			row(w, fmt.Sprintf("  group %d: %s", l.Index, l.Error))
		}
	})
	if err == nil && len(out.LeftOut) > 0 {
		err = block.Errorf(block.Unavailable, "volume %s: %d groups were left out; try again when they can change", volume, len(out.LeftOut))
	}
	return err
}

// wanted reports whether there is something to do about a group.
func (ch zoneChange) wanted(c *cli.Context, p *metadata.PGConfig) bool {
	if c.Bool("cancel") {
		return ch.underWay(p)
	}
	return !ch.underWay(p) && !ch.done(p)
}

// change begins the change of one group, or cancels it. While too many groups of
// the volume change it waits for its turn, and says so unless it has told before.
func (ch zoneChange) change(ctx context.Context, c *cli.Context, m *metadata.Client, volume string, index block.PGIndex, told *bool) error {
	if c.Bool("cancel") {
		_, err := cancelReplace(ctx, m, volume, index)
		return err
	}
	for {
		err := ch.try(ctx, m, volume, index)
		if !errors.Is(err, errFull) {
			return err
		}
		if !*told {
			*told = true
			fmt.Fprintf(c.App.ErrWriter, "group %v waits until others have changed, which needs a gateway that serves the volume ('sextant status' tells how far they are)\n", index)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(zoneEvery):
		}
	}
}

// errFull says that a group can change as soon as others have.
var errFull = errors.New("too many groups change")

func (ch zoneChange) try(ctx context.Context, m *metadata.Client, volume string, index block.PGIndex) error {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	_, err := ch.begin(ctx, m, volume, index)
	if !errors.Is(err, block.Held) {
		return err
	}
	if p, e := m.PG(ctx, volume, 0, index); e == nil && ch.may(&p) {
		return errors.Join(errFull, err) // it is others that keep it back
	}
	return err
}

// settled is the groups as they are, or, with --wait, as they are when none is
// under way any more; meanwhile it tells on standard error how many are.
func (ch zoneChange) settled(ctx context.Context, c *cli.Context, look func() ([]metadata.PGConfig, error)) ([]metadata.PGConfig, error) {
	for said := -1; ; {
		pgs, err := look()
		if err != nil {
			return nil, err
		}
		left, _ := ch.count(pgs)
		if left == 0 || !c.Bool("wait") {
			return pgs, nil
		}
		if left != said {
			said = left
			fmt.Fprintf(c.App.ErrWriter, "%d of %d groups are under way\n", left, len(pgs))
		}
		select {
		case <-ctx.Done():
			return nil, block.Wrap(block.Unavailable, ctx.Err(), "it goes on; 'sextant status' tells how far it is")
		case <-time.After(zoneEvery):
		}
	}
}

func (ch zoneChange) count(pgs []metadata.PGConfig) (underWay, done int) {
	for i := range pgs {
		switch p := &pgs[i]; {
		case ch.underWay(p):
			underWay++
		case ch.done(p):
			done++
		}
	}
	return underWay, done
}
