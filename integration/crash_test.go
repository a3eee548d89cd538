package integration

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/integration/cluster"
	"github.com/sextantdisk/sextant/integration/stamp"
	"github.com/sextantdisk/sextant/internal/block"
)

// rounds is how often everything is killed.
const rounds = 10

// load runs the checker until stop is called; stop returns its error.
func load(ctx context.Context, t *stamp.Tester) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- t.Run(ctx) }()
	return func() error {
		cancel()
		return <-done
	}
}

// runFor lets load run until n more writes were acknowledged.
func runFor(tb testing.TB, tester *stamp.Tester, n int) {
	tb.Helper()
	want := tester.Counts().Writes + n
	await(tb, time.Minute, "enough writes acknowledged", func() bool { return tester.Counts().Writes >= want })
}

// fio is a second client with a load of its own: blocks of all sizes, which
// begin anywhere. It is never the judge, and it ends when the server does.
type fio struct {
	cmd *exec.Cmd
	out strings.Builder
}

// fioBytes is the length of the range that one fio writes to.
const fioBytes = 2 * block.MiB

// startFio gives a fio that has written to its range, which was all zeroes.
func startFio(tb testing.TB, uri string, from block.Offset) *fio {
	tb.Helper()
	f := &fio{}
	f.cmd = exec.CommandContext(tb.Context(), "fio", "--name=other", "--ioengine=nbd", "--uri="+uri, "--rw=randwrite",
		"--bsrange=512-64k", "--blockalign=512", "--iodepth=16", fmt.Sprintf("--offset=%d", from), fmt.Sprintf("--size=%d", fioBytes),
		"--time_based", "--runtime=60")
	f.cmd.Stdout, f.cmd.Stderr, f.cmd.Dir = &f.out, &f.out, tb.TempDir()
	if err := f.cmd.Start(); err != nil {
		tb.Fatalf("%v (scripts/deps installs fio)", err)
	}
	conn, buf := dial(tb, uri), make([]byte, fioBytes)
	await(tb, time.Minute, "written to by fio", func() bool {
		if err := conn.Read(buf, from); err != nil {
			tb.Fatal(err)
		}
		return !allZero(buf)
	})
	return f
}

func allZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

// died waits for the end of fio after its server was killed under it.
func (f *fio) died(tb testing.TB) {
	tb.Helper()
	if err := f.cmd.Wait(); err == nil {
		tb.Errorf("fio ended well although its server was killed:\n%s", &f.out)
	}
}

// TestEverythingKilled kills all daemons at once under the load of three
// clients, again and again; what was acknowledged is there each time (R6, R7,
// I1), also what came in parts of blocks (B1).
func TestEverythingKilled(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Extra: rollingLogs()})
	mustCreateSized(t, c, "v", "128MiB", "16MiB")
	tester, err := stamp.New(stamp.Config{URI: c.URI(0, "v"), Writer: 1, Seed: 1, Blocks: 8192, MaxBlocks: 96})
	if err != nil {
		t.Fatal(err)
	}
	parts := &sectors{from: block.Offset(100 * block.MiB)}
	for round := range rounds {
		stop := load(t.Context(), tester)
		stopParts := parts.load(t.Context(), dial(t, c.URI(0, "v")))
		other := startFio(t, c.URI(0, "v"), block.Offset(64*block.MiB)+block.Offset(round)*block.Offset(fioBytes))
		runFor(t, tester, 500)
		c.KillAll()
		if err := stop(); err != nil && !errors.Is(err, block.Closed) {
			t.Fatal(err)
		}
		if err := stopParts(); err != nil && !errors.Is(err, block.Closed) {
			t.Fatal(err)
		}
		other.died(t)
		tester.ServerDied()
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		tester.SetURI(c.URI(0, "v"))
		if err := tester.Verify(t.Context()); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if err := tester.Err(); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if err := parts.verify(dial(t, c.URI(0, "v"))); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
	t.Logf("%+v, and %d writes of parts of blocks", tester.Counts(), parts.versions())
	if parts.versions() < rounds*sectorWriters {
		t.Errorf("only %d parts of blocks were written", parts.versions())
	}
}
