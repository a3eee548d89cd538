package vm

import (
	"context"
	_ "embed"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/internal/block"
)

//go:embed guest/files.sh
var filesScript string

// filesTimeout is for one boot with all file systems; it takes a minute.
const filesTimeout = 8 * time.Minute

// Volume is an export of an NBD server on the host.
type Volume struct {
	Addr   string // on loopback, HOST:PORT
	Export string
}

// Volumes are fresh volumes for FilesystemTest; each is overwritten. A zero
// Volume is left out. 512 MiB are enough for all but Large.
type Volumes struct {
	Ext4, XFS, Btrfs Volume
	// Large gets an ext4 that is made and mounted, without load.
	Large Volume
}

// FilesystemTest attaches each volume with the kernel's NBD driver over four
// connections, makes a file system, writes with checksums (buffered with
// fsync, and direct with a queue), detaches, attaches again, reads all back,
// trims, checks the file system and detaches. It fails the test if anything
// of that fails, and gives how long each step took in the guest.
func FilesystemTest(tb testing.TB, v Volumes) map[string]time.Duration {
	tb.Helper()
	script, err := filesCalls(v)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(tb.Context(), filesTimeout)
	defer cancel()
	out, err := Run(ctx, Options{Script: filesScript + script})
	if err != nil {
		tb.Fatal(err)
	}
	steps, err := durations(out.Values)
	if err != nil {
		tb.Fatal(err)
	}
	return steps
}

// filesCalls is what the guest is to do, a line for each volume.
func filesCalls(v Volumes) (string, error) {
	var b strings.Builder
	for _, c := range []struct {
		verb string
		Volume
	}{{"use ext4", v.Ext4}, {"use xfs", v.XFS}, {"use btrfs", v.Btrfs}, {"large", v.Large}} {
		if c.Volume == (Volume{}) {
			continue
		}
		addr, err := GuestAddr(c.Addr)
		if err != nil {
			return "", err
		}
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			return "", block.Wrap(block.Invalid, err, "address %q", addr)
		}
		if strings.ContainsAny(c.Export, "'\n") {
			return "", block.Errorf(block.Invalid, "export %q cannot be named in the guest's script", c.Export)
		}
		fmt.Fprintf(&b, "%s %s %s '%s'\n", c.verb, host, port, c.Export)
	}
	if b.Len() == 0 {
		return "", block.Errorf(block.Invalid, "no volume to put a file system on")
	}
	return b.String(), nil
}

// durations are the values that the script's steps have told.
func durations(values map[string]string) (map[string]time.Duration, error) {
	steps := map[string]time.Duration{}
	for key, value := range values {
		if key == "booted" || key == "status" || key == "large-size" {
			continue
		}
		ms, err := strconv.Atoi(value)
		if err != nil {
			return nil, block.Errorf(block.Invalid, "the guest said %q of step %s, want milliseconds", value, key)
		}
		steps[key] = time.Duration(ms) * time.Millisecond
	}
	return steps, nil
}
