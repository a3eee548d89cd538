package integration

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/integration/cluster"
	"github.com/sextantdisk/sextant/integration/stamp"
	"github.com/sextantdisk/sextant/internal/block"
)

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

func mustCreate(tb testing.TB, c *cluster.Cluster, name string) {
	tb.Helper()
	if _, err := c.Sextant(tb.Context(), "volume", "create", name, "--size", "64MiB", "--pg-size", "16MiB"); err != nil {
		tb.Fatal(err)
	}
}

// runFor lets load run until n more writes were acknowledged.
func runFor(tb testing.TB, tester *stamp.Tester, n int) {
	tb.Helper()
	want := tester.Counts().Writes + n
	for end := time.Now().Add(time.Minute); tester.Counts().Writes < want; {
		if time.Now().After(end) {
			tb.Fatalf("after a minute %+v", tester.Counts())
		}
		select {
		case <-tb.Context().Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// TestEverythingKilled kills all daemons at once under load, again and again;
// what was acknowledged is there each time (R6, R7, I1).
func TestEverythingKilled(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Extra: map[string][]string{"segment": {"--log-file-size", "8MiB"}}})
	mustCreate(t, c, "v")
	tester, err := stamp.New(stamp.Config{URI: c.URI(0, "v"), Writer: 1, Seed: 1, Blocks: 4096})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		stop := load(t.Context(), tester)
		runFor(t, tester, 2000)
		c.KillAll()
		if err := stop(); err != nil && !errors.Is(err, block.Closed) {
			t.Fatal(err)
		}
		tester.ServerDied()
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		tester.SetURI(c.URI(0, "v"))
		if err := tester.Verify(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := tester.Err(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%+v", tester.Counts())
}

// TestTwoOfSixKilled kills two segment daemons under load: no client sees an
// error; brought back, they become complete again.
func TestTwoOfSixKilled(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Extra: map[string][]string{"segment": {"--log-file-size", "8MiB"}}})
	mustCreate(t, c, "v")
	tester, err := stamp.New(stamp.Config{URI: c.URI(0, "v"), Writer: 1, Seed: 2, Blocks: 4096})
	if err != nil {
		t.Fatal(err)
	}
	stop := load(t.Context(), tester)
	runFor(t, tester, 1000)
	c.Segments[1].Kill()
	c.Segments[3].Kill()
	runFor(t, tester, 2000)
	for _, i := range []int{1, 3} {
		if err := c.Segments[i].Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	runFor(t, tester, 1000)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if n := tester.Counts(); n.Refused+n.Unknown != 0 {
		t.Errorf("the client saw errors: %+v", n)
	}
	if err := tester.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := tester.Err(); err != nil {
		t.Fatal(err)
	}
}
