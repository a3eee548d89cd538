package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/logstore"
	"github.com/sextantdisk/sextant/metadata"
	"github.com/sextantdisk/sextant/metadata/raftnode"
	"github.com/sextantdisk/sextant/segmentd"
	"github.com/sextantdisk/sextant/volume"
)

const (
	devZones    = 3
	devPerZone  = 2
	devFileSize = 64 * block.MiB
)

func devCommand() *cli.Command {
	return &cli.Command{
		Name:  "dev",
		Usage: "run everything in one process, to try it out: metadata, six segment daemons in three zones, a gateway",
		Flags: daemonFlags(
			stringFlag("data", "./sextant-data", "data folder"),
			stringFlag("nbd", "127.0.0.1:10809", "HOST:PORT for NBD clients"),
			stringFlag("nbd-socket", "", "Unix socket for NBD clients (default: nbd.sock in the data folder)"),
			stringFlag("http", "127.0.0.1:10880", "HOST:PORT of /metrics, /healthz and /readyz"),
			stringFlag("metadata", metadataDefault, "HOST:PORT of the metadata service's API"),
			stringFlag("volume", defaultVolume, "volume to make if it does not exist"),
			stringFlag("size", "1TiB", "its size (it takes no space before it is written to)"),
			stringFlag("pg-size", block.DefaultPGSize.String(), "size of its protection groups"),
		),
		Action: withConfig(runDev),
	}
}

func runDev(c *cli.Context) error {
	dir, err := filepath.Abs(c.String("data"))
	if err != nil {
		return err
	}
	volSize, err := size(c, "size")
	if err != nil {
		return err
	}
	pgSize, err := size(c, "pg-size")
	if err != nil {
		return err
	}
	d, err := newDaemon(c)
	if err != nil {
		return err
	}
	defer d.close()
	n, err := raftnode.Start(c.Context, raftnode.Config{
		ID: "dev", Dir: filepath.Join(dir, "metadata"), Listen: c.String("metadata"), Bootstrap: true, Logger: d.log,
	})
	if err != nil {
		return nameFlag(c, err, "metadata")
	}
	defer n.Close()
	if err := n.AwaitReady(c.Context); err != nil {
		return err
	}
	client, err := metadata.Dial([]string{n.Addr()}, metadata.Options{})
	if err != nil {
		return err
	}
	defer client.Close()
	segments, err := startDevSegments(c.Context, d, client, dir)
	defer func() {
		for _, s := range segments {
			_ = s.Close()
		}
	}()
	if err != nil {
		return err
	}
	if err := ensureVolume(c.Context, client, c.String("volume"), volSize, pgSize); err != nil {
		return err
	}
	socket := c.String("nbd-socket")
	if socket == "" {
		socket = filepath.Join(dir, "nbd.sock")
	}
	g, err := startGateway(c.Context, d.log, client, gatewayConfig{
		listen: c.String("nbd"), socket: socket, hold: volume.DefaultHold, description: "dev", metrics: d.requestMetrics(),
	})
	if err != nil {
		return nameFlag(c, err, "nbd", "nbd-socket")
	}
	defer g.close()
	gatewayMetrics(d.metrics, g)
	metadataMetrics(d.metrics, n)
	d.wellIf(func() error { return devHealth(n, segments) })
	d.announce("nbd", g.addr(), "socket", socket, "metadata", n.Addr(), "volume", c.String("volume"))
	return d.until(c.Context, n.Failed(), n.Err)
}

// startDevSegments starts six daemons side by side.
func startDevSegments(ctx context.Context, d *daemon, client *metadata.Client, dir string) ([]*segmentd.Server, error) {
	type started struct {
		s   *segmentd.Server
		err error
	}
	results := make(chan started)
	for i := range devZones * devPerZone {
		go func() {
			name := fmt.Sprintf("segment-%d", i)
			m := d.metrics.of("daemon", name)
			s, err := segmentd.Start(ctx, segmentConfig(d.log.With("daemon", i), client, segmentd.Config{
				Dir: filepath.Join(dir, name), Zone: block.Zone(fmt.Sprintf("zone-%c", 'a'+i%devZones)), Node: block.NodeID(name),
				Listen: "127.0.0.1:0", Store: logstore.Config{FileSize: devFileSize, Observer: d.flushMetrics(m)},
				ScrubEvery: segmentd.DefaultScrubEvery,
			}))
			if err == nil {
				segmentMetrics(m, s)
			}
			results <- started{s, err}
		}()
	}
	var segments []*segmentd.Server
	var failed error
	for range devZones * devPerZone {
		r := <-results
		if r.err != nil {
			failed = errors.Join(failed, r.err)
			continue
		}
		segments = append(segments, r.s)
	}
	return segments, failed
}

// ensureVolume makes the volume that dev serves, unless it is there.
func ensureVolume(ctx context.Context, client *metadata.Client, name string, size, pgSize block.ByteCount) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	_, err := client.CreateVolume(ctx, metadata.VolumeSpec{
		Name: name, Geometry: block.Geometry{Size: size, PGSize: pgSize}, Quorum: metadata.DefaultQuorum, AllowUnplaceable: true,
	})
	if errors.Is(err, block.Exists) {
		return nil
	}
	return err
}

func devHealth(n *raftnode.Node, segments []*segmentd.Server) error {
	if err := n.Err(); err != nil {
		return err
	}
	for _, s := range segments {
		if err := s.Failed(); err != nil {
			return err
		}
	}
	return nil
}
