package cli

import (
	"log/slog"
	"sync/atomic"

	"github.com/urfave/cli/v2"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
	"github.com/sextantdisk/sextant/internal/vfs"
	"github.com/sextantdisk/sextant/logstore"
	"github.com/sextantdisk/sextant/metadata"
	"github.com/sextantdisk/sextant/segmentd"
)

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
			stringFlag("log-file-size", "", "size of log files, for tests (default 256MiB)"),
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
	client, err := metadata.Dial(addresses(c, "metadata"), metadata.Options{})
	if err != nil {
		return err
	}
	defer client.Close()
	s, err := segmentd.Start(c.Context, segmentConfig(d.log, client, segmentd.Config{
		Dir: c.String("data"), Zone: block.Zone(c.String("zone")), Node: block.NodeID(c.String("node")),
		Listen: c.String("listen"), Capacity: capacity, Store: logstore.Config{FileSize: fileSize},
	}))
	if err != nil {
		return nameFlag(c, err, "listen")
	}
	defer s.Close()
	d.healthy = s.Store().Failed
	segmentMetrics(d, s)
	d.announce("listen", s.Addr().String(), "node", string(s.Identity().Node))
	return until(c.Context, s.Done(), s.Err)
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

// segmentMetrics shows the counters of logs and daemons; those of several
// daemons in one process are added up.
func segmentMetrics(d *daemon, daemons ...*segmentd.Server) {
	sum := func(f func(*segmentd.Server) float64) func() float64 {
		return func() (total float64) {
			for _, s := range daemons {
				total += f(s)
			}
			return total
		}
	}
	stats := func(f func(logstore.Stats) float64) func() float64 {
		return sum(func(s *segmentd.Server) float64 { return f(s.Store().Stats()) })
	}
	count := func(f func(*segmentd.Counters) *atomic.Uint64) func() float64 {
		return sum(func(s *segmentd.Server) float64 { return float64(f(s.Counters()).Load()) })
	}
	d.counter("log_batches_total", "Group commits: one flush each.", stats(func(st logstore.Stats) float64 { return float64(st.Batches) }))
	d.counter("log_records_total", "Records appended.", stats(func(st logstore.Stats) float64 { return float64(st.Records) }))
	d.counter("log_appended_bytes_total", "Bytes appended, headers included.", stats(func(st logstore.Stats) float64 { return float64(st.Bytes) }))
	d.gauge("log_bytes", "Bytes of all log files.", stats(func(st logstore.Stats) float64 { return float64(st.Size) }))
	d.gauge("log_damages", "Damaged places found in the log since the start.", stats(func(st logstore.Stats) float64 { return float64(st.Damages) }))
	d.gauge("live_bytes", "Data of the newest versions.", sum(func(s *segmentd.Server) float64 { return float64(s.Report().Live) }))
	d.counter("reads_total", "Reads served.", count(func(n *segmentd.Counters) *atomic.Uint64 { return &n.Reads }))
	d.counter("mended_blocks_total", "Damaged blocks written again.", count(func(n *segmentd.Counters) *atomic.Uint64 { return &n.Mended }))
	d.counter("caught_up_bytes_total", "Bytes fetched from peers.", count(func(n *segmentd.Counters) *atomic.Uint64 { return &n.CaughtUpBytes }))
	d.counter("corrupt_on_arrival_total", "Record frames that arrived damaged.", count(func(n *segmentd.Counters) *atomic.Uint64 { return &n.CorruptOnArrival }))
}
