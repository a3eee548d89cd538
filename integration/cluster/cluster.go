package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
)

// Options say what a cluster is made of. The zero value of a field stands
// for its default.
type Options struct {
	// Binary is the program; default: built from the tree (see Build).
	Binary string
	// Dir holds data folders and logs; default: the test's folder.
	Dir string
	// Segments (default 6) are spread over Zones (default 3) in turn.
	Segments, Zones int
	// Metadata (default 1) is the number of metadata services.
	Metadata int
	// Gateways (default 1) serve NBD. Negative: none.
	Gateways int
	// Extra arguments by role: "metadata", "segment", "nbd".
	Extra map[string][]string
	// Env is added to every daemon's environment.
	Env []string
	// Machine (default: this one, on loopback) is where a daemon runs. It is
	// asked once for each, and for the admin commands as ("admin", 0). On
	// machines of their own, clients reach a gateway by its Unix socket.
	Machine func(role string, i int) Machine
}

const (
	defaultSegments = 6
	defaultZones    = 3
	defaultMetadata = 1
	defaultGateways = 1
	// maxDaemons bounds each kind, against a slip in a test.
	maxDaemons = 64
)

// withDefaults fills what is not set, and validates.
func (o Options) withDefaults() (Options, error) {
	for _, f := range []struct {
		field *int
		name  string
		value int
	}{
		{&o.Segments, "segments", defaultSegments},
		{&o.Zones, "zones", defaultZones},
		{&o.Metadata, "metadata services", defaultMetadata},
		{&o.Gateways, "gateways", defaultGateways},
	} {
		if *f.field == 0 {
			*f.field = f.value
		}
		if *f.field > maxDaemons || *f.field < 0 && f.field != &o.Gateways {
			return o, block.Errorf(block.Invalid, "a cluster of %d %s: 1 to %d are possible", *f.field, f.name, maxDaemons)
		}
	}
	if o.Binary == "" || o.Dir == "" {
		return o, block.Errorf(block.Invalid, "a cluster needs a binary and a folder")
	}
	return o, nil
}

// Cluster is a set of daemons that know each other.
type Cluster struct {
	// Metadata, Segments and Gateways are in the order of their numbers:
	// Segments[i] is called segment-i and is in zone i modulo the number of
	// zones. They do not change while the cluster lives.
	Metadata, Segments, Gateways []*Daemon

	opts  Options
	admin Machine
}

// Start starts a cluster for a test, which fails if that is not possible.
// When the test ends, the daemons are asked to end; one that does not end
// cleanly, has ended before without being asked to, or has a panic or a data
// race in its log, fails the test. The logs of a failed test are shown.
func Start(tb testing.TB, o Options) *Cluster {
	tb.Helper()
	if o.Binary == "" {
		o.Binary = Build(tb)
	}
	if o.Dir == "" {
		o.Dir = tb.TempDir()
	}
	c, err := New(o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		for _, problem := range c.Close() {
			tb.Error(problem)
		}
		if tb.Failed() {
			tb.Log(c.Logs())
		}
	})
	if err := c.Start(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return c
}

// New prepares a cluster without starting it. Error kinds: Invalid,
// Unavailable (its folder cannot be made).
func New(o Options) (*Cluster, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, block.Wrap(block.Unavailable, err, "making the cluster's folder")
	}
	c := &Cluster{opts: o, admin: o.machine("admin", 0)}
	for i := range o.Metadata {
		c.Metadata = append(c.Metadata, c.metadata(i))
	}
	for i := range o.Segments {
		c.Segments = append(c.Segments, c.segment(i))
	}
	for i := range o.Gateways {
		c.Gateways = append(c.Gateways, c.gateway(i))
	}
	return c, nil
}

// Start starts all daemons that do not run: the metadata services one after
// another, then the segment daemons at once, then the gateways. The daemons
// that started stay running if one does not. Error kinds: Unavailable.
func (c *Cluster) Start(ctx context.Context) error {
	for _, d := range c.Metadata {
		if err := startAll(ctx, []*Daemon{d}); err != nil {
			return err
		}
	}
	if err := startAll(ctx, c.Segments); err != nil {
		return err
	}
	return startAll(ctx, c.Gateways)
}

func startAll(ctx context.Context, daemons []*Daemon) error {
	errs := make([]error, len(daemons))
	var wg sync.WaitGroup
	for i, d := range daemons {
		if d.Pid() != 0 {
			continue
		}
		wg.Go(func() { errs[i] = d.Start(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// All are all daemons of the cluster, gateways first, metadata last: the
// order in which they end.
func (c *Cluster) All() []*Daemon {
	var all []*Daemon
	all = append(all, c.Gateways...)
	all = append(all, c.Segments...)
	return append(all, c.Metadata...)
}

// KillAll ends everything at once with SIGKILL, as a power cut of all
// machines would, except that the page caches live on.
func (c *Cluster) KillAll() {
	all := c.All()
	for _, d := range all {
		if r := d.current(); r != nil {
			r.end(syscall.SIGKILL)
		}
	}
	for _, d := range all {
		d.Kill()
	}
}

// Close ends all daemons that run, in the order of All, those of one role at
// once, and tells what was wrong with any of them: see Start.
func (c *Cluster) Close() []error {
	var problems []error
	for _, role := range [][]*Daemon{c.Gateways, c.Segments, c.Metadata} {
		errs := make([]error, len(role))
		var wg sync.WaitGroup
		for i, d := range role {
			wg.Go(func() { errs[i] = d.finish() })
		}
		wg.Wait()
		for _, err := range errs {
			if err != nil {
				problems = append(problems, err)
			}
		}
	}
	for _, d := range c.All() {
		if d.current() == nil {
			continue
		}
		text, err := alarm(d.spec.LogPath)
		if err != nil {
			problems = append(problems, err)
		} else if text != "" {
			problems = append(problems, fmt.Errorf("%s: its log holds\n%s", d.Name(), text))
		}
	}
	return problems
}

// Logs are the ends of all logs, for people.
func (c *Cluster) Logs() string {
	var b strings.Builder
	for _, d := range c.All() {
		fmt.Fprintf(&b, "--- %s (%s)\n%s", d.Name(), d.spec.LogPath, Tail(d.spec.LogPath, tailLines))
	}
	return b.String()
}

// MetadataAddrs is the value of --metadata: the addresses of all metadata
// services that have been started, with commas.
func (c *Cluster) MetadataAddrs() string {
	var addrs []string
	for _, d := range c.Metadata {
		if a := d.Addr("listen"); a != "" {
			addrs = append(addrs, a)
		}
	}
	return strings.Join(addrs, ",")
}

// URI is the NBD URI of a volume at gateway i.
func (c *Cluster) URI(i int, volume string) string {
	if c.opts.Machine != nil {
		return "nbd+unix:///" + volume + "?socket=" + c.Socket(i)
	}
	return "nbd://" + c.Gateways[i].Addr("listen") + "/" + volume
}

// Socket is the path of the Unix socket of gateway i, which has one if it is
// on a machine of its own.
func (c *Cluster) Socket(i int) string { return c.DataDir(c.Gateways[i]) + ".sock" }

// Sextant runs an admin command against the cluster, and gives its standard
// output. An error holds its standard error.
func (c *Cluster) Sextant(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, c.opts.Binary, args...)
	cmd.Env = append(append(os.Environ(), c.opts.Env...), "SEXTANT_METADATA="+c.MetadataAddrs())
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := c.admin.run(cmd); err != nil {
		return []byte(stdout.String()), block.Wrap(block.Unavailable, err, "sextant %s: %s", strings.Join(args, " "), strings.TrimSpace(stderr.String()))
	}
	return []byte(stdout.String()), nil
}

// DataDir is the data folder of a daemon of this cluster.
func (c *Cluster) DataDir(d *Daemon) string { return filepath.Join(c.opts.Dir, d.Name()) }

// spec fills in what all daemons have in common.
func (c *Cluster) spec(role string, i int, args func(data string, at func(string) string) []string) *Daemon {
	name := fmt.Sprintf("%s-%d", role, i)
	data := filepath.Join(c.opts.Dir, name)
	return NewDaemon(Spec{
		Name:    name,
		Machine: c.opts.machine(role, i),
		Binary:  c.opts.Binary,
		LogPath: data + ".log",
		Env:     c.opts.Env,
		Args: func(at func(string) string) []string {
			return append(args(data, at), c.opts.Extra[role]...)
		},
	})
}

// Zone is where the daemon i of its role stands.
func (c *Cluster) Zone(i int) string { return fmt.Sprintf("zone-%d", i%c.opts.Zones) }

func (c *Cluster) metadata(i int) *Daemon {
	return c.spec("metadata", i, func(data string, at func(string) string) []string {
		args := []string{
			"metadata", "--id", fmt.Sprintf("metadata-%d", i), "--data", data,
			"--listen", at("listen"), "--raft", at("raft"), "--http", at("http"),
		}
		if i == 0 {
			return append(args, "--bootstrap")
		}
		return append(args, "--join", c.Metadata[0].Addr("listen"))
	})
}

func (c *Cluster) segment(i int) *Daemon {
	return c.spec("segment", i, func(data string, at func(string) string) []string {
		return []string{
			"segment", "--data", data, "--zone", c.Zone(i),
			"--listen", at("listen"), "--metadata", c.MetadataAddrs(), "--http", at("http"),
		}
	})
}

func (c *Cluster) gateway(i int) *Daemon {
	return c.spec("nbd", i, func(data string, at func(string) string) []string {
		args := []string{
			"nbd", "--zone", c.Zone(i), "--listen", at("listen"), "--metadata", c.MetadataAddrs(), "--http", at("http"),
		}
		if c.opts.Machine != nil {
			args = append(args, "--socket", data+".sock")
		}
		return args
	})
}
