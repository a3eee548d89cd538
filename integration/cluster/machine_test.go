package cluster

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
)

// TestMachines: each daemon, and each admin command, starts on a thread that
// was brought to its machine, and listens on its address.
func TestMachines(t *testing.T) {
	var entered atomic.Int32
	asked := map[string]int{}
	o := fakeOptions(t, fakeHonest)
	o.Gateways = 2
	o.Machine = func(role string, _ int) Machine {
		asked[role]++
		return Machine{Host: "127.0.0.2", Enter: func() error { entered.Add(1); return nil }}
	}
	c := Start(t, o)
	if asked["metadata"] != 1 || asked["segment"] != 6 || asked["nbd"] != 2 || asked["admin"] != 1 {
		t.Errorf("machines were asked for: %v", asked)
	}
	if n := entered.Load(); n != 9 {
		t.Errorf("%d daemons were started on their machines, want 9", n)
	}
	for _, d := range c.All() {
		if a := d.Addr("listen"); !strings.HasPrefix(a, "127.0.0.2:") {
			t.Errorf("%s listens on %s", d.Name(), a)
		}
		mustAsk(t, d)
	}
	if uri := c.URI(1, "v"); uri != "nbd+unix:///v?socket="+c.DataDir(c.Gateways[1])+".sock" {
		t.Errorf("URI %s", uri)
	}
	if log := Tail(c.Gateways[1].spec.LogPath, 100); !strings.Contains(log, "--socket "+c.Socket(1)) {
		t.Errorf("the gateway was not given its socket:\n%s", log)
	}
}

func TestMachineThatCannotBeEntered(t *testing.T) {
	gone := errors.New("no such machine")
	o := fakeOptions(t, fakeHonest)
	o.Machine = func(string, int) Machine { return Machine{Enter: func() error { return gone }} }
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(t.Context()); !errors.Is(err, gone) {
		t.Errorf("started: %v", err)
	}
	if _, err := c.Sextant(t.Context(), "status"); !errors.Is(err, gone) {
		t.Errorf("an admin command: %v", err)
	}
}
