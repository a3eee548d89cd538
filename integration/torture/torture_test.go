package torture

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sextantdisk/sextant/integration/cluster"
	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/vfs/vfstest"
)

var (
	seed = flag.Uint64("torture.seed", 0, "the plan's seed; 0 draws one")
	long = flag.Duration("torture.time", 2*time.Minute, "how long chapters begin")
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// smallDisk is the size of the disk that is full now and then.
const smallDisk = 1 * block.GiB

// TestTorture breaks a cluster at random: no acknowledged write is lost, no
// read is stale (I1, I7, R3, R14, B7).
func TestTorture(t *testing.T) {
	s := *seed
	if s == 0 {
		s = rand.Uint64()
	}
	dir, err := os.MkdirTemp("", "sextant-torture-") //nolint:usetesting // it is kept when the test fails
	if err != nil {
		t.Fatal(err)
	}
	again := fmt.Sprintf("go test ./integration/torture -run '^TestTorture$' -v -timeout 0 -torture.seed %d -torture.time %v", s, *long)
	if err := os.WriteFile(dir+"/again", []byte(again+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sum, err := Run(t.Context(), Config{
		Seed: s, For: *long, Binary: cluster.Build(t), Dir: dir, Small: vfstest.Ext4(t, smallDisk), Say: t.Logf,
	})
	if err != nil {
		t.Fatalf("%v\nall that is known of it is in %s\nthe same plan again: %s", err, dir, again)
	}
	if sum.Chapters == 0 || sum.Ops == 0 || sum.Windows == 0 {
		t.Errorf("nothing was judged: %+v", sum)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
	t.Logf("seed %d: %+v", s, sum)
}
