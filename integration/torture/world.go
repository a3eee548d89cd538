package torture

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/sextantdisk/sextant/integration/cluster"
	"github.com/sextantdisk/sextant/integration/netns"
	"github.com/sextantdisk/sextant/internal/block"
)

const (
	// volumeName, and its size: most groups are placed by a write in the
	// middle of some fault.
	volumeName = "v"
	pgSize     = 16 * block.MiB
	groups     = 64
	// hold is how long a request waits for a quorum: short, so that clients
	// get errors, too.
	hold = 5 * time.Second
	// logFile and capacity make logs roll over and be cleaned, so that who was
	// away may find the records that it lacks gone.
	logFile  = 8 * block.MiB
	capacity = 384 * block.MiB
)

// World is a cluster that can be broken.
type World struct {
	Net     *netns.Network
	Cluster *cluster.Cluster

	hosts map[daemon]*netns.Host
	dir   string
	// small is a folder on a disk of its own that can be filled; or "".
	small string

	// starting lets one start of a daemon at a time.
	starts   sync.Mutex
	starting map[daemon]*sync.Mutex

	mu struct {
		sync.Mutex
		err error
	}
}

// NewWorld makes a cluster on a network. small, if not empty, is a folder on a
// disk of its own for the segment daemon whose disk is to be full. Error
// kinds: Unavailable.
func NewWorld(seed uint64, binary, dir, small string) (*World, error) {
	w := &World{hosts: map[daemon]*netns.Host{}, dir: dir, small: small, starting: map[daemon]*sync.Mutex{}}
	var err error
	if w.Net, err = netns.New(seed); err != nil {
		return nil, err
	}
	w.Cluster, err = cluster.New(cluster.Options{
		Binary: binary, Dir: dir, Segments: segments, Zones: zones, Metadata: metadatas, Gateways: gateways,
		Machine: w.machine,
		Extra: map[string][]string{
			"segment": {"--log-file-size", logFile.String(), "--capacity", capacity.String()},
			"nbd":     {"--force", "--hold", hold.String()},
		},
	})
	if err = errors.Join(err, w.failure()); err == nil && small != "" {
		err = os.Symlink(small, w.Cluster.DataDir(w.Cluster.Segments[fullDiskOf]))
	}
	if err != nil {
		w.Net.Close()
		return nil, err
	}
	return w, nil
}

// machine makes the host of a daemon.
func (w *World) machine(role string, i int) cluster.Machine {
	h, err := w.Net.Host(fmt.Sprintf("%s-%d", role, i), fmt.Sprintf("zone-%d", i%zones))
	if err != nil {
		w.fail(err)
		return cluster.Machine{}
	}
	w.hosts[daemon{role, i}] = h
	return cluster.Machine{Host: h.Addr().String(), Enter: h.Enter}
}

// fail keeps the first error of what has nobody to return it to.
func (w *World) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mu.err == nil {
		w.mu.err = err
	}
}

func (w *World) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mu.err
}

// Start starts the cluster and makes the volume.
func (w *World) Start(ctx context.Context) error {
	if err := w.Cluster.Start(ctx); err != nil {
		return err
	}
	return w.create(ctx, volumeName)
}

func (w *World) create(ctx context.Context, volume string) error {
	_, err := w.Cluster.Sextant(ctx, "volume", "create", volume,
		"--size", (groups * pgSize).String(), "--pg-size", pgSize.String())
	return err
}

// Close ends the cluster, then the network; it tells what was wrong.
func (w *World) Close() error {
	problems := w.Cluster.Close()
	w.Net.Close()
	return errors.Join(problems...)
}

// process is the daemon of a name.
func (w *World) process(d daemon) *cluster.Daemon {
	switch d.role {
	case "segment":
		return w.Cluster.Segments[d.i]
	case "nbd":
		return w.Cluster.Gateways[d.i]
	}
	return w.Cluster.Metadata[d.i]
}

// report is what `sextant status` tells, as far as it is used.
type report struct {
	Nodes []struct {
		ID string
		Up bool
	}
	Unhealthy []struct {
		Node, State string
	} `json:"unhealthy_segments"`
	Problems []struct {
		Subject, What string
	}
}

func (w *World) status(ctx context.Context) (r report, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := w.Cluster.Sextant(ctx, "status", "--output", "json")
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(out, &r)
}

// settle waits until each copy that is not lost is complete.
func (w *World) settle(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		r, err := w.status(ctx)
		why := r.unsettled()
		if err == nil && why == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return block.Errorf(block.Unavailable, "%v after all was mended: %s (%v)", within, why, err)
		case <-tick.C:
		}
	}
}

// unsettled tells which copies on nodes that are up are not complete.
func (r report) unsettled() string {
	up, n := map[string]bool{}, 0
	for _, node := range r.Nodes {
		up[node.ID] = node.Up
		if node.Up {
			n++
		}
	}
	if n < segments {
		return fmt.Sprintf("%d of %d nodes are up", n, segments)
	}
	var bad []string
	for _, s := range r.Unhealthy {
		if up[s.Node] {
			bad = append(bad, s.Node+" is "+s.State)
		}
	}
	return strings.Join(bad, ", ")
}

// ballast is the file that fills a disk.
func (w *World) ballast() string { return filepath.Join(w.small, "..", "ballast") }
