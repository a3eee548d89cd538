package integration

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sextantdisk/sextant/integration/cluster"
	"github.com/sextantdisk/sextant/integration/stamp"
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/metadata"
)

// replacing is a cluster of nine nodes in three zones with a volume of one
// group on six of them: one node of each zone is free.
type replacing struct {
	tb testing.TB
	c  *cluster.Cluster
	// nodes are the ids of c.Segments.
	nodes []string
	// metadata is asked in a loop: a process for each question would take a
	// processor from those who are measured.
	metadata *metadata.Client
}

// pgView is what `pg show --output json` prints, as far as it is used.
type pgView struct {
	Membership int `json:"membership_epoch"`
	Segments   []struct {
		Node, Zone, Change, State string
		Hydrated                  bool
	}
	Sets [][]string
}

func newReplacing(tb testing.TB, size string, more ...string) *replacing {
	tb.Helper()
	c := cluster.Start(tb, cluster.Options{Segments: 9, Extra: map[string][]string{"segment": append(rollingLogs()["segment"], more...)}})
	mustCreateSized(tb, c, "v", size, size)
	client, err := metadata.Dial(strings.Split(c.MetadataAddrs(), ","), metadata.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = client.Close() })
	r := &replacing{tb: tb, c: c, metadata: client}
	out, err := c.Sextant(tb.Context(), "node", "list", "--output", "json")
	if err != nil {
		tb.Fatal(err)
	}
	var nodes []struct{ ID, Address string }
	if err := json.Unmarshal(out, &nodes); err != nil {
		tb.Fatal(err)
	}
	for _, d := range c.Segments {
		for _, n := range nodes {
			if n.Address == d.Addr("listen") {
				r.nodes = append(r.nodes, n.ID)
			}
		}
	}
	if len(r.nodes) != 9 {
		tb.Fatalf("found %d of nine daemons in %s", len(r.nodes), out)
	}
	return r
}

// bytesOf adds up a daemon's counters.
func (r *replacing) bytesOf(i int, names ...string) (sum block.ByteCount) {
	r.tb.Helper()
	for _, n := range names {
		sum += block.ByteCount(metric(r.tb, r.daemon(i).Addr("http"), "sextant_"+n))
	}
	return sum
}

func (r *replacing) show() (p pgView) {
	r.tb.Helper()
	out, err := r.c.Sextant(r.tb.Context(), "pg", "show", "v", "0", "--output", "json")
	if err != nil {
		r.tb.Fatal(err)
	}
	if err := json.Unmarshal(out, &p); err != nil {
		r.tb.Fatal(err)
	}
	return p
}

// member is a daemon of the group in a zone, and free is one that is in none.
func (r *replacing) member(zone int) int { return r.find(zone, true) }
func (r *replacing) free(zone int) int   { return r.find(zone, false) }

func (r *replacing) find(zone int, in bool) int {
	r.tb.Helper()
	p := r.show()
	for i := zone; i < len(r.nodes); i += 3 {
		has := false
		for _, s := range p.Segments {
			has = has || s.Node == r.nodes[i]
		}
		if has == in {
			return i
		}
	}
	r.tb.Fatalf("zone %d has no such node: %+v", zone, p)
	return -1
}

func (r *replacing) daemon(i int) *cluster.Daemon { return r.c.Segments[i] }

// begin has daemon from's segment replaced by one on daemon to.
func (r *replacing) begin(from, to int) {
	r.tb.Helper()
	if _, err := r.c.Sextant(r.tb.Context(), "pg", "replace", "v", "0", "--segment", r.nodes[from], "--to", r.nodes[to]); err != nil {
		r.tb.Fatal(err)
	}
}

// replaced waits until daemon to has from's place.
func (r *replacing) replaced(from, to int) {
	r.tb.Helper()
	await(r.tb, 2*time.Minute, fmt.Sprintf("replaced: segment-%d by segment-%d", from, to), func() bool {
		pgs, err := r.metadata.AllPGs(r.tb.Context(), "v", 0)
		if err != nil {
			r.tb.Fatal(err)
		}
		old, now := false, false
		for _, s := range pgs[0].Segments {
			old = old || string(s.Node) == r.nodes[from]
			now = now || string(s.Node) == r.nodes[to] && s.Hydrated
		}
		return len(pgs[0].Sets) == 1 && now && !old
	})
}

// whole waits until all copies are complete: they have the same data at one LSN
// (I4).
func (r *replacing) whole(what string) {
	r.tb.Helper()
	await(r.tb, 3*time.Minute, what, func() bool {
		out, err := r.c.Sextant(r.tb.Context(), "pg", "show", "v", "0", "--digest", "--output", "json")
		var d struct {
			Equal  bool
			Copies []struct{ SCL string }
		}
		if err != nil || json.Unmarshal(out, &d) != nil || !d.Equal {
			return false
		}
		for _, c := range d.Copies {
			if c.SCL != d.Copies[0].SCL {
				return false // a copy that lags is compared where it stands
			}
		}
		return true
	})
}

// up waits until the metadata service hears of a daemon again.
func (r *replacing) up(i int) {
	r.tb.Helper()
	await(r.tb, 30*time.Second, "up", func() bool {
		out, err := r.c.Sextant(r.tb.Context(), "node", "show", r.nodes[i], "--output", "json")
		return err == nil && strings.Contains(string(out), `"up": true`)
	})
}

// digest is the checksum of n bytes of the volume.
func (r *replacing) digest(from block.Offset, n block.ByteCount) [32]byte {
	r.tb.Helper()
	conn := dial(r.tb, r.c.URI(0, "v"))
	defer conn.Close()
	h := sha256.New()
	buf := make([]byte, block.MiB)
	for at := block.ByteCount(0); at < n; at += block.MiB {
		if err := conn.Read(buf, from+block.Offset(at)); err != nil {
			r.tb.Fatal(err)
		}
		h.Write(buf)
	}
	return [32]byte(h.Sum(nil))
}

// TestR26SegmentsAreReplacedUnderLoad: while clients write and read, a segment
// is replaced; then one while it and another are dead, of which the former comes
// back in the middle; then one whose successor dies while it hydrates and comes
// back; then one is begun and cancelled. No client sees an error, every block is
// what it has to be, and what nobody wrote meanwhile is what it was (R23 to R28).
func TestR26SegmentsAreReplacedUnderLoad(t *testing.T) {
	r := newReplacing(t, "64MiB")
	image := randomFile(t, 16*block.MiB, 3)
	tool(t, "libnbd-bin", "nbdcopy", "--flush", image, r.c.URI(0, "v"))
	before := r.digest(0, 16*block.MiB)
	tester, err := stamp.New(stamp.Config{URI: r.c.URI(0, "v"), Writer: 1, Seed: 4, First: stamp.Number(32 * block.MiB / block.Size), Blocks: 4096})
	if err != nil {
		t.Fatal(err)
	}
	stop := load(t.Context(), tester)
	runFor(t, tester, 500)

	from, to := r.member(0), r.free(0)
	r.begin(from, to)
	r.replaced(from, to)

	e, f, g := r.member(1), r.member(2), r.free(2)
	r.daemon(e).Kill()
	r.daemon(f).Kill()
	r.begin(f, g)
	if err := r.daemon(f).Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.replaced(f, g)
	if err := r.daemon(e).Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.up(e)
	runFor(t, tester, 500)

	e, g = r.member(1), r.free(1)
	r.up(g)
	if err := r.daemon(g).Pause(); err != nil { // so that it cannot be done before it dies
		t.Fatal(err)
	}
	r.begin(e, g)
	await(t, time.Minute, "told of both sets", func() bool { return len(r.show().Sets) == 2 })
	r.daemon(g).Kill()
	runFor(t, tester, 500)
	if err := r.daemon(g).Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.replaced(e, g)

	from, to = r.member(0), r.free(0)
	r.daemon(from).Kill()
	if err := r.daemon(to).Pause(); err != nil {
		t.Fatal(err)
	}
	r.begin(from, to)
	if _, err := r.c.Sextant(t.Context(), "pg", "replace", "v", "0", "--cancel"); err != nil {
		t.Fatal(err)
	}
	if p := r.show(); len(p.Sets) != 1 || len(p.Segments) != 6 {
		t.Errorf("after --cancel: %+v", p)
	}
	if err := r.daemon(to).Resume(); err != nil {
		t.Fatal(err)
	}
	if err := r.daemon(from).Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	runFor(t, tester, 500)

	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if n := tester.Counts(); n.Refused+n.Unknown != 0 {
		t.Errorf("the client saw errors: %+v", n)
	}
	t.Logf("%+v", tester.Counts())
	if r.digest(0, 16*block.MiB) != before {
		t.Error("what nobody wrote to has changed")
	}
	r.judgedByTwo(tester, before)
}

// judgedByTwo reads everything from two copies alone, in turns: reads go on with
// any complete one.
func (r *replacing) judgedByTwo(tester *stamp.Tester, before [32]byte) {
	t := r.tb
	t.Helper()
	await(t, 2*time.Minute, "complete", func() bool {
		for _, s := range r.show().Segments {
			if s.State != "streaming" {
				return false
			}
		}
		return true
	})
	conn := dial(t, r.c.URI(0, "v")) // keeps the volume open: a quorum is gone below
	defer conn.Close()
	var members []int
	for _, s := range r.show().Segments {
		for i, n := range r.nodes {
			if n == s.Node {
				members = append(members, i)
			}
		}
	}
	for pair := 0; pair < 6; pair += 2 {
		for k, i := range members {
			if k/2 != pair/2 {
				if err := r.daemon(i).Pause(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if r.digest(0, 16*block.MiB) != before {
			t.Errorf("copies %d and %d have something else", members[pair], members[pair+1])
		}
		if err := tester.Verify(t.Context()); err != nil {
			t.Errorf("copies %d and %d: %v", members[pair], members[pair+1], err)
		}
		for k, i := range members {
			if k/2 != pair/2 {
				if err := r.daemon(i).Resume(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if err := tester.Err(); err != nil {
		t.Fatal(err)
	}
}
