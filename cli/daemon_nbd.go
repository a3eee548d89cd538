package cli

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/clock"
	"github.com/sextantdisk/sextant/metadata"
	"github.com/sextantdisk/sextant/nbd"
	"github.com/sextantdisk/sextant/volume"
)

func nbdCommand() *cli.Command {
	return &cli.Command{
		Name:  "nbd",
		Usage: "run a gateway: serve volumes over NBD",
		Flags: daemonFlags(
			stringFlag("listen", "", "HOST:PORT for NBD clients"),
			stringFlag("socket", "", "Unix socket for NBD clients"),
			metadataFlag(),
			stringFlag("zone", "", "availability zone of this gateway"),
			boolFlag("force", "take volumes over from other gateways, even from one that lives; each volume once"),
			&cli.DurationFlag{Name: "hold", Value: volume.DefaultHold, Usage: "how long requests wait while a write quorum is missing", EnvVars: env("hold")},
			stringFlag("http", "", "HOST:PORT of /metrics, /healthz and /readyz"),
		),
		Action: withConfig(runNBD),
	}
}

func runNBD(c *cli.Context) error {
	d, err := newDaemon(c)
	if err != nil {
		return err
	}
	defer d.close()
	client, err := metadata.Dial(addresses(c, "metadata"), metadata.Options{})
	if err != nil {
		return err
	}
	defer client.Close()
	g, err := startGateway(c.Context, d.log, client, gatewayConfig{
		listen: c.String("listen"), socket: c.String("socket"), takeover: c.Bool("force"), hold: c.Duration("hold"),
		description: c.String("zone"), metrics: d.requestMetrics(),
	})
	if err != nil {
		return nameFlag(c, err, "listen", "socket")
	}
	defer g.close()
	gatewayMetrics(d.metrics, g)
	d.announce("listen", g.addr(), "socket", c.String("socket"))
	return d.until(c.Context, g.failed, func() error { return g.err })
}

type gatewayConfig struct {
	listen, socket, description string
	takeover                    bool
	hold                        time.Duration
	metrics                     nbd.Metrics
}

// gateway is a running gateway.
type gateway struct {
	pool      *volume.Pool
	manager   *volume.Manager
	server    *nbd.Server
	listeners []net.Listener
	failed    chan struct{}
	err       error
}

// startGateway waits for the metadata service, then serves.
func startGateway(ctx context.Context, log *slog.Logger, client *metadata.Client, cfg gatewayConfig) (*gateway, error) {
	info, err := awaitCluster(ctx, client)
	if err != nil {
		return nil, err
	}
	g := &gateway{failed: make(chan struct{})}
	if err := g.listen(cfg); err != nil {
		return nil, err
	}
	name := gatewayID()
	g.pool = volume.NewPool(volume.PoolConfig{
		Cluster: info.Cluster, Name: "gateway " + string(name), Clock: clock.Real(), Logger: log,
		Resolve: func(ctx context.Context, n block.NodeID) (string, error) {
			node, err := client.Node(ctx, n)
			return node.Address, err
		},
	})
	g.manager = volume.NewManager(volume.Config{
		Pool: g.pool, Metadata: client, Gateway: name, Description: strings.TrimSpace(cfg.description + " " + g.addr()),
		Takeover: cfg.takeover, Hold: cfg.hold, Logger: log,
	})
	g.server, err = nbd.NewServer(nbd.Config{Backend: &backend{client, g.manager}, Log: log, Metrics: cfg.metrics})
	if err != nil {
		g.close()
		return nil, err
	}
	for _, ln := range g.listeners {
		go func() {
			if err := g.server.Serve(ln); err != nil {
				log.Error("listener failed", "addr", ln.Addr().String(), "err", err)
			}
		}()
	}
	return g, nil
}

// listen opens what the flags ask for, and takes what systemd has passed.
func (g *gateway) listen(cfg gatewayConfig) error {
	passed, err := nbd.ActivationListeners()
	if err != nil {
		return err
	}
	g.listeners = passed
	if cfg.listen != "" {
		ln, err := net.Listen("tcp", cfg.listen)
		if err != nil {
			return block.Wrap(block.Unavailable, err, "cannot listen on %s: is the port in use?", cfg.listen)
		}
		g.listeners = append([]net.Listener{ln}, g.listeners...)
	}
	if cfg.socket == "" {
		if len(g.listeners) == 0 {
			return block.Errorf(block.Invalid, "nowhere to listen: give --listen or --socket, or pass sockets as systemd does (LISTEN_PID must name this process)")
		}
		return nil
	}
	if err := removeStale(cfg.socket); err != nil {
		return err
	}
	ln, err := net.Listen("unix", cfg.socket)
	if err != nil {
		return block.Wrap(block.Unavailable, err, "cannot listen on %s", cfg.socket)
	}
	g.listeners = append(g.listeners, ln)
	return nil
}

// removeStale removes a Unix socket that nobody listens on any more.
func removeStale(name string) error {
	st, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return block.Wrap(block.Unavailable, err, "socket %s", name)
	}
	if st.Mode().Type() != fs.ModeSocket {
		return block.Errorf(block.Invalid, "%s exists and is no socket", name)
	}
	if c, err := net.DialTimeout("unix", name, time.Second); err == nil {
		c.Close()
		return block.Errorf(block.Unavailable, "somebody listens on %s already", name)
	}
	return os.Remove(name)
}

func (g *gateway) addr() string {
	if len(g.listeners) == 0 {
		return ""
	}
	return g.listeners[0].Addr().String()
}

// close ends in good order: clients first, then volumes, then connections.
func (g *gateway) close() {
	if g.server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
		_ = g.server.Shutdown(ctx)
		cancel()
		_ = g.server.Close()
	}
	g.manager.Close()
	g.pool.Close()
}

// awaitCluster asks the metadata service who it is, for as long as it takes.
func awaitCluster(ctx context.Context, client *metadata.Client) (metadata.ClusterInfo, error) {
	for {
		info, err := client.ClusterInfo(ctx)
		if err == nil || !errors.Is(err, block.Unavailable) || ctx.Err() != nil {
			return info, err
		}
		select {
		case <-ctx.Done():
			return info, err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// gatewayID names this process: a gateway has no state, so each start is a
// new one.
func gatewayID() metadata.GatewayID {
	var b [8]byte
	rand.Read(b[:])
	host, _ := os.Hostname()
	if block.CheckName("host", host) != nil {
		host = "gw"
	}
	return metadata.GatewayID(host[:min(len(host), 40)] + "-" + hex.EncodeToString(b[:]))
}
