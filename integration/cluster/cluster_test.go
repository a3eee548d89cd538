package cluster

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/sextantdisk/sextant/internal/block"
)

func fakeOptions(t *testing.T, mode string) Options {
	t.Helper()
	return Options{Binary: os.Args[0], Dir: t.TempDir(), Env: fakeEnviron(mode)}
}

func TestClusterIsWhatTheOptionsSay(t *testing.T) {
	o := fakeOptions(t, fakeHonest)
	o.Metadata, o.Gateways = 3, 2
	o.Extra = map[string][]string{"segment": {"--capacity", "1GiB"}}
	c := Start(t, o)
	if len(c.Metadata) != 3 || len(c.Segments) != 6 || len(c.Gateways) != 2 || len(c.All()) != 11 {
		t.Fatalf("%d metadata, %d segments, %d gateways", len(c.Metadata), len(c.Segments), len(c.Gateways))
	}
	seen := map[string]bool{}
	for _, d := range c.All() {
		for _, key := range []string{"listen", "http"} {
			if a := d.Addr(key); a == "" || seen[a] {
				t.Errorf("%s: %s address %q", d.Name(), key, a)
			} else {
				seen[a] = true
			}
		}
		mustAsk(t, d)
	}
	addrs := c.MetadataAddrs()
	if strings.Count(addrs, ",") != 2 || !strings.HasPrefix(addrs, c.Metadata[0].Addr("listen")+",") {
		t.Errorf("metadata addresses %q", addrs)
	}
	for i, want := range map[int]string{0: "zone-0", 4: "zone-1", 5: "zone-2"} {
		log := Tail(c.Segments[i].spec.LogPath, 100)
		for _, w := range []string{"--zone " + want, "--metadata " + addrs, "--capacity 1GiB", "--data " + c.DataDir(c.Segments[i])} {
			if !strings.Contains(log, w) {
				t.Errorf("segment-%d was not started with %q:\n%s", i, w, log)
			}
		}
	}
	if log := Tail(c.Metadata[0].spec.LogPath, 100); !strings.Contains(log, "--bootstrap") {
		t.Errorf("the first metadata service does not bootstrap:\n%s", log)
	}
	if log := Tail(c.Metadata[2].spec.LogPath, 100); !strings.Contains(log, "--join "+c.Metadata[0].Addr("listen")) {
		t.Errorf("the third metadata service does not join the first:\n%s", log)
	}
	if uri := c.URI(1, "v"); uri != "nbd://"+c.Gateways[1].Addr("listen")+"/v" {
		t.Errorf("URI %s", uri)
	}
}

func TestClusterComesBackAfterKillAll(t *testing.T) {
	c := Start(t, fakeOptions(t, fakeHonest))
	before := map[string]string{}
	for _, d := range c.All() {
		before[d.Name()] = d.Addr("listen")
	}
	c.KillAll()
	for _, d := range c.All() {
		if d.Pid() != 0 {
			t.Errorf("%s lives", d.Name())
		}
	}
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, d := range c.All() {
		if d.Addr("listen") != before[d.Name()] {
			t.Errorf("%s moved from %s to %s", d.Name(), before[d.Name()], d.Addr("listen"))
		}
		mustAsk(t, d)
	}
}

func TestCloseTellsWhatWentWrong(t *testing.T) {
	run := func(mode string, before func(c *Cluster)) []error {
		o := fakeOptions(t, mode)
		o.Segments, o.Zones, o.Gateways = 1, 1, -1
		c, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		before(c)
		return c.Close()
	}
	nothing := func(*Cluster) {}
	pause := func(c *Cluster) {
		if err := c.Segments[0].Pause(); err != nil {
			t.Fatal(err)
		}
	}
	dies := func(c *Cluster) {
		if _, err := ask(c.Segments[0].Addr("listen"), patience); err == nil {
			t.Fatal("it answered")
		}
		<-c.Segments[0].Exited()
	}
	if p := run(fakeHonest, nothing); len(p) != 0 {
		t.Errorf("an honest cluster: %v", p)
	}
	if p := run(fakeHonest, pause); len(p) != 0 {
		t.Errorf("a daemon left paused: %v", p)
	}
	p := errors.Join(run(fakeDiesSoon, dies)...)
	if p == nil || !strings.Contains(p.Error(), "segment-0: it ended by itself: exit status 4") {
		t.Errorf("a daemon that died: %v", p)
	}
	p = errors.Join(run(fakePanics, nothing)...)
	if p == nil || !strings.Contains(p.Error(), "did not end cleanly") || !strings.Contains(p.Error(), "panic: asked to end") {
		t.Errorf("daemons that panic: %v", p)
	}
}

func TestOptionsAreValidated(t *testing.T) {
	for name, o := range map[string]Options{
		"too many segments": {Binary: "x", Dir: "y", Segments: maxDaemons + 1},
		"negative zones":    {Binary: "x", Dir: "y", Zones: -1},
		"no binary":         {Dir: "y"},
		"no folder":         {Binary: "x"},
	} {
		if _, err := New(o); !errors.Is(err, block.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSextantRunsAdminCommands(t *testing.T) {
	o := fakeOptions(t, fakeHonest)
	o.Segments, o.Gateways = 1, -1
	c := Start(t, o)
	// The fake ends with status 1, as it cannot listen there; what it was
	// called with stands on its standard output.
	out, err := c.Sextant(t.Context(), "volume", "list", "--listen", "nowhere")
	if !strings.Contains(string(out), "volume list") {
		t.Errorf("output %q", out)
	}
	if !errors.Is(err, block.Unavailable) || !strings.Contains(err.Error(), "a line of standard error") {
		t.Errorf("error %v", err)
	}
}
