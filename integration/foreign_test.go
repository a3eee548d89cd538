package integration

import (
	"path/filepath"
	"testing"

	"github.com/sextantdisk/sextant/integration/cluster"
	"github.com/sextantdisk/sextant/integration/conformance"
)

// TestForeignClients: a gateway with a cluster behind it keeps the rules of
// the NBD spec towards clients that we did not write, as it does over a
// memory disk, and carries what they write. The daemons run under the race
// detector.
func TestForeignClients(t *testing.T) {
	t.Parallel()
	extra := rollingLogs()
	extra["nbd"] = []string{"--socket", filepath.Join(t.TempDir(), "nbd.sock")}
	// A client that names no volume gets "default".
	c := cluster.Start(t, cluster.Options{Binary: cluster.Build(t, "-race"), Extra: extra})
	mustCreateSized(t, c, "default", "5GiB", "16MiB")
	mustCreateSized(t, c, "tools", "128MiB", "16MiB")
	conformance.Run(t, c.URI(0, "default"), extra["nbd"][1])
	conformance.Tools(t, c.URI(0, "tools"))
}
