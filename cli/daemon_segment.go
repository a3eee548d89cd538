package cli

import (
	"encoding/json"
	"log/slog"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
	"github.com/sextantdisk/sextant/internal/vfs"
	"github.com/sextantdisk/sextant/logstore"
	"github.com/sextantdisk/sextant/metadata"
	"github.com/sextantdisk/sextant/segmentd"
)

// scrubDaysMax keeps a mistyped number from meaning never.
const scrubDaysMax = 365

const metadataDefault = "127.0.0.1:10870"

func metadataFlag() *cli.StringFlag {
	return stringFlag("metadata", metadataDefault, "HOST:PORT[,...] of the metadata service")
}

func segmentCommand() *cli.Command {
	return &cli.Command{
		Name:  "segment",
		Usage: "run a segment daemon: one disk that holds copies of volumes",
		Flags: daemonFlags(
			stringFlag("data", "", "data folder, on the disk that is to be used"),
			stringFlag("zone", "", "availability zone of this node"),
			stringFlag("listen", "", "HOST:PORT for gateways and other daemons"),
			metadataFlag(),
			stringFlag("node", "", "name of this node (default: made, then kept in the data folder)"),
			stringFlag("capacity", "", "how much of the disk may be used (default: all of it)"),
			&cli.IntFlag{Name: "scrub-days", Value: int(segmentd.DefaultScrubEvery / (24 * time.Hour)), Usage: "days in which all data is read and checked; 0 never", EnvVars: env("scrub-days")},
			stringFlag("log-file-size", "", "size of log files, for tests (default 256MiB, less with a capacity below 128GiB)"),
			boolFlag("rebuild-index", "make the index anew from the log, write it as a checkpoint, say what was found, and exit"),
			stringFlag("http", "", "HOST:PORT of /metrics, /healthz and /readyz"),
		),
		Action: withConfig(runSegment),
	}
}

func runSegment(c *cli.Context) error {
	d, err := newDaemon(c)
	if err != nil {
		return err
	}
	defer d.close()
	capacity, err := size(c, "capacity")
	if err != nil {
		return err
	}
	fileSize, err := size(c, "log-file-size")
	if err != nil {
		return err
	}
	days := c.Int("scrub-days")
	if days < 0 || days > scrubDaysMax {
		return usagef(c, "--scrub-days %d is not from 0 to %d", days, scrubDaysMax)
	}
	store := logstore.Config{FileSize: fileSize, Observer: d.flushMetrics(d.metrics)}
	if c.Bool("rebuild-index") {
		return rebuildIndex(c, segmentConfig(d.log, nil, segmentd.Config{Dir: c.String("data"), Capacity: capacity, Store: store}))
	}
	client, err := metadata.Dial(addresses(c, "metadata"), metadata.Options{})
	if err != nil {
		return err
	}
	defer client.Close()
	s, err := segmentd.Start(c.Context, segmentConfig(d.log, client, segmentd.Config{
		Dir: c.String("data"), Zone: block.Zone(c.String("zone")), Node: block.NodeID(c.String("node")),
		Listen: c.String("listen"), Capacity: capacity, Store: store,
		ScrubEvery: time.Duration(days) * 24 * time.Hour,
	}))
	if err != nil {
		return nameFlag(c, err, "listen")
	}
	defer s.Close()
	d.wellIf(s.Failed)
	segmentMetrics(d.metrics, s)
	d.announce("listen", s.Addr().String(), "node", string(s.Identity().Node))
	return d.until(c.Context, s.Done(), s.Err)
}

// segmentConfig fills in what every daemon of this program has.
func segmentConfig(log *slog.Logger, client *metadata.Client, cfg segmentd.Config) segmentd.Config {
	cfg.Registry = registry{client}
	cfg.FS = vfs.OS()
	cfg.Clock = clock.Real()
	cfg.Logger = log
	cfg.Store.Capacity = cfg.Capacity
	cfg.Store.Clock, cfg.Store.Logger = cfg.Clock, log
	return cfg
}

// rebuildIndex is for a folder whose daemon is stopped. It prints JSON.
func rebuildIndex(c *cli.Context, cfg segmentd.Config) error {
	sum, err := segmentd.RebuildIndex(cfg)
	if sum.Files > 0 {
		e := json.NewEncoder(c.App.Writer)
		e.SetIndent("", "  ")
		if jerr := e.Encode(sum); err == nil {
			err = jerr
		}
	}
	return err
}
