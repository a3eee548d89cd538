package stamp

import (
	"bufio"
	"os/exec"
	"strings"
	"testing"
)

// TestForeignServerPasses: the client speaks NBD as others do.
func TestForeignServerPasses(t *testing.T) {
	tt := newTester(t, nbdkit(t))
	if err := runUntil(t, tt, moreWrites(tt, 2000)); err != nil {
		t.Fatal(err)
	}
	if err := tt.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	c, err := Dial(t.Context(), tt.cfg.URI)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Flush(); err != nil {
		t.Error(err)
	}
}

// nbdkit serves a disk in memory on a Unix socket until the test ends, and
// gives its URI. The
// command that nbdkit runs when it serves tells the URI and waits for its
// standard input to be closed.
func nbdkit(t *testing.T) string {
	t.Helper()
	// Not bound to the test's context: killing nbdkit would leave its server,
	// which is a child of it.
	cmd := exec.Command("nbdkit", "-U", "-", "memory", "2M", "--run", `echo "$uri"; cat`)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v (scripts/deps installs nbdkit)", err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("nbdkit: %v", err)
		}
	})
	uri, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(uri)
}
