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

// filesTimeout is for one boot; that with the file systems takes a minute.
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

// connections is how many CPUs the guest with the file systems has, so that
// its kernel uses all connections that guest/files.sh attaches with.
const connections = 4

// FilesystemTest attaches each volume with the kernel's NBD driver over four
// connections, makes a file system, writes with checksums (buffered with
// fsync, and direct with a queue), detaches, attaches again, reads all back,
// trims, checks the file system and detaches. It fails the test if anything
// of that fails, and gives how long each step took in the guest. Large is
// done in a guest of its own with one CPU, which is the faster one.
func FilesystemTest(tb testing.TB, v Volumes) map[string]time.Duration {
	tb.Helper()
	large := Volumes{Large: v.Large}
	v.Large = Volume{}
	steps := map[string]time.Duration{}
	if v != (Volumes{}) {
		boots(tb, v, connections, steps)
	}
	if large != (Volumes{}) {
		boots(tb, large, defaultCPUs, steps)
	}
	return steps
}

// boots does what is to be done with the volumes in one boot.
func boots(tb testing.TB, v Volumes, cpus int, steps map[string]time.Duration) {
	tb.Helper()
	script, err := filesCalls(v)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(tb.Context(), filesTimeout)
	defer cancel()
	out, err := Run(ctx, Options{Script: filesScript + script, CPUs: cpus})
	if err != nil {
		tb.Fatal(err)
	}
	if err := durations(out.Values, steps); err != nil {
		tb.Fatal(err)
	}
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

// durations adds the values that the script's steps have told.
func durations(values map[string]string, steps map[string]time.Duration) error {
	for key, value := range values {
		if key == "booted" || key == "status" || key == "large-size" {
			continue
		}
		ms, err := strconv.Atoi(value)
		if err != nil {
			return block.Errorf(block.Invalid, "the guest said %q of step %s, want milliseconds", value, key)
		}
		steps[key] = time.Duration(ms) * time.Millisecond
	}
	return nil
}
