package integration

import (
	"encoding/json"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/integration/cluster"
	"github.com/sextantdisk/sextant/internal/block"
)

// sextant runs an admin command.
func sextant(t *testing.T, c *cluster.Cluster, args ...string) []byte {
	t.Helper()
	out, err := c.Sextant(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// equalCopies tells whether so many copies of a group have the same data.
func equalCopies(t *testing.T, c *cluster.Cluster, group, copies int) bool {
	t.Helper()
	out, err := c.Sextant(t.Context(), "pg", "show", "v", strconv.Itoa(group), "--digest", "--output", "json")
	if err != nil {
		return false
	}
	var d struct {
		Equal  bool
		Copies []struct{}
	}
	if err := json.Unmarshal(out, &d); err != nil {
		t.Fatal(err)
	}
	return d.Equal && len(d.Copies) == copies
}

// TestR29ZoneIsLostForLong: both daemons of a zone are killed under load, and all
// groups go on without it; then one daemon more is killed: writes go on with three
// of four copies. The gateway is killed, and another one takes over: nothing is
// lost. The daemons come back, the groups take the zone back, and all six copies
// are equal.
func TestR29ZoneIsLostForLong(t *testing.T) {
	const groups, zone = 3, 2
	c, tester := gateways(t, 2, groups)
	settled(t, c, tester)
	stop := load(t.Context(), tester)
	runFor(t, tester, 300)
	lost := []*cluster.Daemon{c.Segments[zone], c.Segments[zone+3]}
	for _, d := range lost {
		d.Kill()
	}
	runFor(t, tester, 300)
	start := time.Now()
	sextant(t, c, "pg", "reduce", "v", "--all", "--zone", c.Zone(zone), "--wait")
	t.Logf("%d groups go on without %s after %v", groups, c.Zone(zone), time.Since(start))
	s := mustStatus(t, c)
	if s.problem("volume v", "3 groups go on without zone "+c.Zone(zone), "3 of 4 copies take each write") == "" {
		t.Errorf("status does not tell of it: %+v", s.Problems)
	}
	lost = append(lost, c.Segments[0])
	c.Segments[0].Kill()
	runFor(t, tester, 300)
	if n := tester.Counts(); n.Refused+n.Unknown != 0 {
		t.Errorf("the client saw errors: %+v", n)
	}

	c.Gateways[0].Kill()
	if err := stop(); err != nil && !errors.Is(err, block.Closed) {
		t.Fatal(err)
	}
	conn := dial(t, c.URI(1, "v"))
	defer conn.Close()
	touchAll(t, tester, conn, groups)
	settled(t, c, tester)
	tester.SetURI(c.URI(1, "v"))
	if err := tester.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}

	stop = load(t.Context(), tester)
	runFor(t, tester, 300)
	for _, d := range lost {
		if err := d.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	start = time.Now()
	sextant(t, c, "pg", "restore", "v", "--all", "--wait")
	t.Logf("all have their six copies again after %v", time.Since(start))
	runFor(t, tester, 300)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for g := range groups {
		await(t, time.Minute, "equal in all six copies of group "+strconv.Itoa(g), func() bool { return equalCopies(t, c, g, 6) })
	}
	if err := tester.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := tester.Err(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", tester.Counts())
}
