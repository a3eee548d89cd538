package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/sextantdisk/sextant/integration/cluster"
	"github.com/sextantdisk/sextant/internal/block"
)

// side is one of the two servers.
type side struct {
	name, uri string
	// files is its file, or the folder with them; empty if somebody else
	// runs it.
	files string
	// stop ends it, and tells if it had a problem.
	stop func() error
}

// givenSide is a server that somebody else runs.
func givenSide(name, uri string) side {
	return side{name: name, uri: uri, stop: func() error { return nil }}
}

const volumeName = "bench"

// sextantSide starts daemons as separate processes, and makes a volume.
func sextantSide(ctx context.Context, binary, dir string, size block.ByteCount) (side, error) {
	c, err := cluster.New(cluster.Options{Binary: binary, Dir: filepath.Join(dir, "sextant")})
	if err != nil {
		return side{}, err
	}
	stop := func() error { return errors.Join(c.Close()...) }
	if err := c.Start(ctx); err != nil {
		return side{}, errors.Join(err, stop())
	}
	if _, err := c.Sextant(ctx, "volume", "create", volumeName, "--size", size.String()); err != nil {
		return side{}, errors.Join(err, stop())
	}
	return side{name: "sextant", uri: c.URI(0, volumeName), files: filepath.Join(dir, "sextant"), stop: stop}, nil
}

// nbdkitSide starts nbdkit on a file of zeroes that was written to disk once.
func nbdkitSide(ctx context.Context, name, dir string, size block.ByteCount) (side, error) {
	file := filepath.Join(dir, name+".img")
	if err := preallocate(file, size); err != nil {
		return side{}, err
	}
	addr, err := freePort()
	if err != nil {
		return side{}, err
	}
	cmd := exec.Command("nbdkit", "--foreground", "--exit-with-parent", "-i", "127.0.0.1", "-p", fmt.Sprint(addr.Port), "file", file)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		return side{}, block.Wrap(block.NotFound, err, "starting nbdkit (scripts/deps installs it)")
	}
	stop := func() error {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			return block.Wrap(block.Unavailable, err, "ending nbdkit: %s", &stderr)
		}
		if err := cmd.Wait(); err != nil {
			return block.Wrap(block.Unavailable, err, "nbdkit: %s", &stderr)
		}
		return nil
	}
	if err := await(ctx, addr.String()); err != nil {
		return side{}, errors.Join(err, stop())
	}
	return side{name: name, uri: "nbd://" + addr.String() + "/", files: file, stop: stop}, nil
}

// preallocate writes a file of zeroes: fallocate alone would leave the first
// write of each block slower.
func preallocate(file string, size block.ByteCount) error {
	f, err := os.Create(file)
	if err != nil {
		return block.Wrap(block.Unavailable, err, "making the peer's file")
	}
	defer f.Close()
	if _, err := io.CopyBuffer(f, io.LimitReader(zeroes{}, int64(size)), make([]byte, block.MiB)); err != nil {
		return block.Wrap(block.Unavailable, err, "writing the peer's file")
	}
	if err := f.Sync(); err != nil {
		return block.Wrap(block.Unavailable, err, "writing the peer's file")
	}
	return nil
}

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func freePort() (*net.TCPAddr, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, block.Wrap(block.Unavailable, err, "looking for a free port")
	}
	defer l.Close()
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return nil, block.Errorf(block.Unavailable, "a TCP listener at %v", l.Addr())
	}
	return addr, nil
}

const (
	awaitTimeout = 10 * time.Second
	awaitPause   = 10 * time.Millisecond
)

// await waits until somebody listens at addr.
func await(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, awaitTimeout)
	defer cancel()
	tick := time.NewTicker(awaitPause)
	defer tick.Stop()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err == nil {
			conn.Close()
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return block.Wrap(block.Unavailable, err, "nobody listens at %s", addr)
		}
	}
}
